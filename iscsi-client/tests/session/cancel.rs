//! Futures that are dropped, buffers that are wanted back, drivers that end.

use std::{future::Future, task::Poll, time::Duration};

use crate::support::{World, assert_pattern, poll_once, read, write};
use futures_util::future::join_all;
use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::{Execute, Payload, SessionOptions, SessionState, SessionStats},
};

const SLOW: Duration = Duration::from_secs(1);

fn soon() -> Duration {
    Duration::from_millis(10)
}

/// A read of a slow target whose buffer is wanted back by `give_up`. It comes at once, late data is discarded, and the
/// session goes on.
fn gives_its_buffer_back(seed: u64, give_up: fn(&Execute)) -> SessionStats {
    let world = World::new(seed);
    let session = world.connect(SessionOptions::default());
    world.target.core().set_delay(0, SLOW);
    world.sim.block_on(async {
        let mut slow = session.execute(read(0, 256));
        assert!(poll_once(&mut slow).await.is_pending());
        world.sim.sleep(soon()).await;
        let start = world.sim.elapsed();
        give_up(&slow);
        let executed = slow.await;
        assert!(
            world.sim.elapsed() - start < soon(),
            "no round trip was waited for"
        );
        let error = executed.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Aborted, Outcome::Unknown)
        );
        let Payload::In(buf) = executed.payload else {
            panic!("the buffer is gone")
        };
        assert_eq!(buf.len(), 256 * 512);
        world.target.core().set_delay(0, Duration::ZERO);
        world.sim.sleep(2 * SLOW).await;
        assert_pattern(session.execute(read(5, 9)).await, 5);
    });
    world.assert_clean();
    session.stats()
}

#[test]
fn a_revoked_read_gives_its_buffer_back_at_once_and_late_data_is_discarded() {
    for seed in 0..20 {
        let stats = gives_its_buffer_back(seed, Execute::revoke);
        assert_eq!(stats.logins, 1, "the session survived");
    }
}

/// A target that is merely slow is asked for nothing more than the read, and has its session after it.
#[test]
fn a_detached_read_gives_its_buffer_back_at_once_and_is_not_aborted() {
    for seed in 0..20 {
        let stats = gives_its_buffer_back(seed, Execute::detach);
        assert_eq!(
            (stats.logins, stats.aborts_sent, stats.tasks_proven_dead),
            (1, 0, 1)
        );
    }
}

#[test]
fn a_revoked_write_comes_back_with_an_unknown_outcome() {
    let world = World::new(1);
    let session = world.connect(SessionOptions::default());
    world.target.core().set_delay(0, SLOW);
    world.sim.block_on(async {
        let mut slow = session.execute(write(0, vec![1; 4096]));
        assert!(poll_once(&mut slow).await.is_pending());
        world.sim.sleep(soon()).await;
        slow.revoke();
        let executed = slow.await;
        let error = executed.result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(!error.is_dead());
        assert!(matches!(executed.payload, Payload::Out(buf) if buf.len() == 4096));
        world.sim.sleep(2 * SLOW).await;
    });
    assert_eq!(
        session.stats().tasks_proven_dead,
        1,
        "the abort was confirmed"
    );
}

#[test]
fn a_dropped_command_frees_its_slot_and_leaves_the_session_alone() {
    let world = World::new(2);
    let mut options = SessionOptions::default();
    options.queue_depth = 2;
    let session = world.connect(options);
    world.target.core().set_delay(0, SLOW);
    world.sim.block_on(async {
        let mut dropped: Vec<_> = (0..2).map(|i| session.execute(read(i, 8))).collect();
        for future in &mut dropped {
            assert!(poll_once(future).await.is_pending());
        }
        world.sim.sleep(soon()).await;
        drop(dropped);
        world.target.core().set_delay(0, Duration::ZERO);
        let start = world.sim.elapsed();
        assert_pattern(session.execute(read(7, 8)).await, 7);
        assert!(
            world.sim.elapsed() - start < SLOW / 2,
            "the slots were free at once"
        );
    });
    world.assert_clean();
}

#[test]
fn a_command_dropped_before_the_driver_saw_it_is_never_sent() {
    let world = World::new(3);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let mut unseen = session.execute(write(0, vec![9; 512]));
        assert!(poll_once(&mut unseen).await.is_pending());
        drop(unseen);
        world.sim.sleep(soon()).await;
    });
    assert_eq!(world.target.core().counters(0).commands, 0);
}

#[test]
fn dropping_the_driver_ends_every_command_with_its_true_outcome() {
    let world = World::new(4);
    let (session, mut driver) = world.connect_with_driver().unwrap();
    world.target.core().set_delay(0, SLOW);
    world.sim.block_on(async {
        let mut sent = session.execute(write(0, vec![1; 512]));
        assert!(poll_once(&mut sent).await.is_pending());
        assert!(poll_once(&mut driver).await.is_pending());
        let mut unsent = session.execute(write(8, vec![2; 512]));
        assert!(poll_once(&mut unsent).await.is_pending());
        drop(driver);
        let [sent, unsent] = [sent.await, unsent.await].map(|executed| {
            assert!(matches!(executed.payload, Payload::Out(buf) if buf.len() == 512));
            executed.result.unwrap_err()
        });
        assert_eq!((sent.outcome(), sent.is_dead()), (Outcome::Unknown, false));
        assert_eq!(
            (unsent.outcome(), unsent.is_dead()),
            (Outcome::NotExecuted, true)
        );
        assert!(matches!(session.state(), SessionState::Closed));
        let late = session.execute(read(0, 1)).await.result.unwrap_err();
        assert_eq!(
            (late.kind(), late.outcome()),
            (ErrorKind::Closed, Outcome::NotExecuted)
        );
    });
}

#[test]
fn dropping_the_last_handle_logs_out_and_ends_the_driver() {
    let world = World::new(5);
    let (session, driver) = world.connect_with_driver().unwrap();
    let other = session.clone();
    world.sim.block_on(async {
        let mut driver = std::pin::pin!(driver);
        drop(session);
        assert!(poll_once(&mut driver).await.is_pending(), "a clone is left");
        drop(other);
        driver.await;
    });
    world.sim.block_on(world.sim.sleep(soon()));
    assert_eq!(world.target.core().sessions(), 0);
    assert_eq!(world.sim.net().connections(), 0);
    world.assert_clean();
}

#[test]
fn close_waits_for_the_commands_under_way() {
    let world = World::new(6);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let mut running = session.execute(read(3, 64));
        assert!(poll_once(&mut running).await.is_pending());
        session.close().await;
        assert_pattern(running.await, 3);
        assert!(matches!(session.state(), SessionState::Closed));
    });
    assert_eq!(world.target.core().sessions(), 0);
}

#[test]
fn a_full_queue_is_served_in_order_and_loses_nobody() {
    for seed in 0..20 {
        let world = World::new(seed);
        let mut options = SessionOptions::default();
        options.queue_depth = 3;
        let session = world.connect(options);
        world.sim.block_on(async {
            let mut futures: Vec<_> = (0..40).map(|i| session.execute(read(i * 8, 8))).collect();
            for future in &mut futures {
                assert!(poll_once(future).await.is_pending());
            }
            let refused = session.try_execute(read(0, 1)).unwrap_err();
            assert!(matches!(refused.request.payload, Payload::In(buf) if buf.len() == 512));
            // Every third one gives up; the others must not be stuck behind it.
            let mut left = Vec::new();
            for (i, future) in futures.into_iter().enumerate() {
                if i % 3 != 1 {
                    left.push(async move { assert_pattern(future.await, i as u64 * 8) });
                }
            }
            join_all(left).await;
        });
        world.assert_clean();
    }
}

#[test]
fn a_command_revoked_in_the_line_was_not_executed() {
    let world = World::new(7);
    let mut options = SessionOptions::default();
    options.queue_depth = 1;
    let session = world.connect(options);
    world.sim.block_on(async {
        let mut first = session.execute(read(0, 8));
        let mut second = session.execute(write(0, vec![1; 512]));
        assert!(poll_once(&mut first).await.is_pending());
        assert!(poll_once(&mut second).await.is_pending());
        second.revoke();
        let Poll::Ready(executed) = poll_once(&mut second).await else {
            panic!("it waits for nobody")
        };
        let error = executed.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Aborted, Outcome::NotExecuted)
        );
        assert_pattern(first.await, 0);
    });
}

#[test]
fn handles_and_futures_can_cross_threads() {
    const fn is<T: Send + Sync + Unpin>() {}
    is::<iscsi_client::session::Session>();
    is::<Execute>();
    const fn sends<T: Send + Unpin + Future>() {}
    sends::<iscsi_client::session::Driver>();
    sends::<iscsi_client::session::Ping>();
}

/// Sixteen dropped commands hold all tasks of the core until the target has confirmed their aborts. A
/// command that waits for one of these gets it as soon as the answers are in, which come all at once,
/// and is not left until something else happens.
#[test]
fn a_command_that_waits_for_the_core_is_sent_when_the_aborts_are_answered() {
    for seed in 0..20 {
        let world = World::new(seed);
        let mut options = SessionOptions::default();
        options.queue_depth = 1;
        options.core.nop_interval = None;
        let session = world.connect(options);
        let link = iscsi_testkit::sim::Link::to(crate::support::address());
        world.sim.block_on(async {
            world.sim.net().stall(link);
            for _ in 0..16 {
                let mut dropped = session.execute(read(0, 1));
                assert!(poll_once(&mut dropped).await.is_pending());
                world.sim.sleep(Duration::from_millis(5)).await;
                drop(dropped);
                world.sim.sleep(Duration::from_millis(5)).await;
            }
            let mut waiting = session.execute(read(8, 1));
            assert!(poll_once(&mut waiting).await.is_pending());
            world.sim.sleep(Duration::from_millis(5)).await;
            world.sim.net().heal(link);
            let begin = world.sim.elapsed();
            assert_pattern(waiting.await, 8);
            assert!(world.sim.elapsed() - begin < Duration::from_secs(1));
        });
        world.assert_clean();
    }
}

/// Its own deadline ends it all the same.
#[test]
fn a_command_that_waits_for_the_core_ends_at_its_deadline() {
    let world = World::new(1);
    let mut options = SessionOptions::default();
    options.queue_depth = 1;
    options.core.nop_interval = None;
    options.core.ladder.abort_task = Some(Duration::from_secs(60));
    let session = world.connect(options);
    let link = iscsi_testkit::sim::Link::to(crate::support::address());
    world.sim.block_on(async {
        world.sim.net().stall(link);
        for _ in 0..16 {
            let mut dropped = session.execute(read(0, 1));
            assert!(poll_once(&mut dropped).await.is_pending());
            world.sim.sleep(Duration::from_millis(5)).await;
            drop(dropped);
            world.sim.sleep(Duration::from_millis(5)).await;
        }
        let begin = world.sim.elapsed();
        let timeout = Some(Duration::from_millis(300));
        let error = session.execute(read(8, 1).with_timeout(timeout)).await;
        let error = error.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        assert!(world.sim.elapsed() - begin < Duration::from_secs(1));
    });
}
