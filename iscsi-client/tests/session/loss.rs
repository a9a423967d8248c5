//! Connections that end, and what comes after.

use std::time::Duration;

use crate::support::{World, address, assert_pattern, config, poll_once, read, write};
use iscsi_client::{
    error::{ErrorKind, LoginFailure, Outcome, Retry},
    session::{DownReason, SessionEventKind, SessionOptions, SessionState},
};
use iscsi_proto::LoginStatus;
use iscsi_testkit::sim::Link;

fn link() -> Link {
    Link::to(address())
}

const SLOW: Duration = Duration::from_secs(1);

#[test]
fn a_command_that_never_left_is_not_executed_and_any_other_is_unknown() {
    for seed in 0..20 {
        let mut config = config();
        // A window of one: the second command waits in the core.
        config.limits.queue_depth = 1;
        let world = World::with_config(seed, config);
        let session = world.connect(SessionOptions::default());
        world.target.core().set_delay(0, SLOW);
        world.sim.block_on(async {
            let mut sent = session.execute(write(0, vec![1; 512]));
            let mut unsent = session.execute(write(8, vec![2; 512]));
            assert!(poll_once(&mut sent).await.is_pending());
            assert!(poll_once(&mut unsent).await.is_pending());
            world.sim.sleep(SLOW / 10).await;
            world.sim.net().reset(link());
            let (sent, unsent) = (
                sent.await.result.unwrap_err(),
                unsent.await.result.unwrap_err(),
            );
            assert_eq!(
                (sent.kind(), sent.outcome()),
                (ErrorKind::Transport, Outcome::Unknown)
            );
            assert_eq!(sent.retry(), Retry::OtherPath);
            assert_eq!(unsent.outcome(), Outcome::NotExecuted);
        });
    }
}

#[test]
fn a_lost_session_is_reinstated_with_the_same_isid() {
    let world = World::new(1);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.sim.net().reset(link());
        let status = session.changed(seen).await;
        assert!(matches!(
            status.state,
            SessionState::Down {
                reason: DownReason::Lost(_),
                ..
            }
        ));
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(0, 16)).await, 0);
    });
    assert_eq!(world.target.core().counters(0).logins, 2);
    assert_eq!(world.target.core().sessions(), 1, "one nexus, not two");
    let stats = session.stats();
    assert_eq!((stats.logins, stats.connections_lost), (2, 1));
    assert_eq!(stats.last_error.unwrap().kind(), ErrorKind::Transport);
    let kinds: Vec<_> = session
        .events(0)
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert!(matches!(
        kinds[..],
        [
            SessionEventKind::Up { .. },
            SessionEventKind::Down { .. },
            SessionEventKind::Up { .. }
        ]
    ));
    world.assert_clean();
}

#[test]
fn while_down_commands_fail_at_once_unless_they_may_wait() {
    let world = World::new(2);
    let session = world.connect(SessionOptions::default());
    world.target.core().refuse_logins(
        0,
        Some(LoginStatus {
            class: 3,
            detail: 1,
        }),
    );
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.sim.net().reset(link());
        session.changed(seen).await;
        let start = world.sim.elapsed();
        let error = session.execute(read(0, 1)).await.result.unwrap_err();
        assert_eq!(
            (error.outcome(), error.retry()),
            (Outcome::NotExecuted, Retry::OtherPath)
        );
        assert_eq!(world.sim.elapsed(), start);
        world.sim.sleep(Duration::from_secs(30)).await;
        let state = session.state();
        let SessionState::Down {
            reason: DownReason::Login(error),
            ..
        } = state
        else {
            panic!("{state:?}")
        };
        assert!(matches!(error.failure(), LoginFailure::Protocol(_)));
        assert!(session.stats().login_failures < 20, "there is a back-off");
        world.target.core().refuse_logins(0, None);
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(0, 1)).await, 0);
    });
}

#[test]
fn with_a_replacement_timeout_commands_wait_for_the_next_login() {
    let world = World::new(3);
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(Duration::from_secs(60));
    let session = world.connect(options);
    world.target.core().refuse_logins(
        0,
        Some(LoginStatus {
            class: 3,
            detail: 1,
        }),
    );
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.sim.net().reset(link());
        session.changed(seen).await;
        let mut waiting = session.execute(read(4, 16));
        assert!(poll_once(&mut waiting).await.is_pending());
        world.sim.sleep(Duration::from_secs(5)).await;
        world.target.core().refuse_logins(0, None);
        assert_pattern(waiting.await, 4);
    });
}

#[test]
fn commands_wait_no_longer_than_the_replacement_timeout_or_their_own() {
    let world = World::new(4);
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(Duration::from_secs(20));
    let session = world.connect(options);
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.target.core().refuse_logins(
            0,
            Some(LoginStatus {
                class: 3,
                detail: 1,
            }),
        );
        world.sim.net().reset(link());
        session.changed(seen).await;
        let start = world.sim.elapsed();
        let short = read(0, 1).with_timeout(Some(Duration::from_secs(2)));
        let (mut short, mut long) = (session.execute(short), session.execute(read(0, 1)));
        assert!(poll_once(&mut short).await.is_pending());
        assert!(poll_once(&mut long).await.is_pending());
        let error = short.await.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::NotExecuted)
        );
        assert_eq!((world.sim.elapsed() - start).as_secs(), 2);
        let error = long.await.result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        let waited = world.sim.elapsed() - start;
        assert!((19..21).contains(&waited.as_secs()), "{waited:?}");
        let error = session.execute(read(0, 1)).await.result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotExecuted);
    });
}

#[test]
fn reconnect_is_down_at_once_and_up_with_a_new_login() {
    let world = World::new(5);
    let session = world.connect(SessionOptions::default());
    world.target.core().set_delay(0, SLOW);
    world.sim.block_on(async {
        let mut running = session.execute(write(0, vec![3; 512]));
        assert!(poll_once(&mut running).await.is_pending());
        world.sim.sleep(SLOW / 10).await;
        session.reconnect();
        assert!(!session.state().is_up());
        let start = world.sim.elapsed();
        session.wait_up().await.unwrap();
        assert!(world.sim.elapsed() - start < SLOW / 10, "without any wait");
        assert_eq!(
            running.await.result.unwrap_err().outcome(),
            Outcome::Unknown
        );
    });
    assert_eq!(world.target.core().counters(0).logins, 2);
}

#[test]
fn a_silent_connection_is_found_by_pings_and_replaced() {
    let world = World::new(6);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.sim.net().cut(link());
        let start = world.sim.elapsed();
        session.changed(seen).await;
        let silence = world.sim.elapsed() - start;
        assert!(
            (9..=11).contains(&silence.as_secs()),
            "5 s to the ping, 5 s for it: {silence:?}"
        );
        world.sim.sleep(Duration::from_secs(30)).await;
        world.sim.net().heal(link());
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
}

#[test]
fn a_command_past_its_deadline_is_aborted_and_the_session_lives_on() {
    let world = World::new(7);
    let session = world.connect(SessionOptions::default());
    world.target.core().set_delay(0, Duration::from_secs(3));
    world.sim.block_on(async {
        let request = read(0, 8).with_timeout(Some(Duration::from_millis(500)));
        let error = session.execute(request).await.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::Unknown)
        );
        assert!(error.is_dead(), "the target confirmed the abort");
        world.target.core().set_delay(0, Duration::ZERO);
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    assert_eq!(session.stats().logins, 1);
}

/// "For ever" is a duration that callers do write.
#[test]
fn the_longest_durations_are_no_overflow() {
    let world = World::new(1);
    let mut options = SessionOptions::default();
    options.command_timeout = Some(Duration::MAX);
    options.replacement_timeout = Some(Duration::MAX);
    options.close_timeout = Duration::MAX;
    options.connect_timeout = Duration::MAX;
    options.login.timeout = Duration::MAX;
    options.core.nop_interval = Some(Duration::MAX);
    options.core.nop_timeout = Duration::MAX;
    let session = world.connect(options);
    world.sim.block_on(async {
        let seen = session.status().generation;
        world.sim.net().reset(link());
        session.changed(seen).await;
        assert_pattern(session.execute(read(0, 1)).await, 0);
        session.close().await;
    });
}
