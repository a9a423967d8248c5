//! Asynchronous messages, rejects, renegotiation: what a target says on its own account.

use std::time::Duration;

use crate::support::{World, assert_pattern, config, poll_once, read, write};
use iscsi_client::{
    error::{ErrorKind, Outcome, Retry},
    session::{DownReason, Session, SessionEventKind, SessionOptions, SessionState},
};
use iscsi_proto::{
    pdu::{AsyncEvent, LogoutResponseCode, RejectReason, opcode},
    scsi::lun::Lun,
    text::{TaskReporting, TaskReportingOffer},
};
use iscsi_testkit::target::Notice;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(10);

fn wanted_logout(within: u16) -> Notice {
    Notice::new(AsyncEvent::LogoutRequested, [0, 0, within])
}

async fn down(session: &Session, seen: u64) -> DownReason {
    let mut status = session.changed(seen).await;
    loop {
        match status.state {
            SessionState::Down { reason, .. } => return reason,
            _ => status = session.changed(status.generation).await,
        }
    }
}

/// Row C-50: what is under way is finished, then comes a logout and a login.
#[test]
fn a_wanted_logout_loses_no_command_under_way() {
    for seed in 0..10 {
        let world = World::new(seed);
        let session = world.connect(SessionOptions::default());
        let core = world.target.core();
        core.set_delay(0, SECOND / 2);
        world.sim.block_on(async {
            let seen = session.status().generation;
            let mut first = session.execute(write(0, vec![1; 8192]));
            assert!(poll_once(&mut first).await.is_pending());
            world.sim.sleep(SOON).await;
            core.announce(0, wanted_logout(4));
            let mut second = session.execute(read(64, 8));
            assert!(poll_once(&mut second).await.is_pending());
            world.sim.sleep(SECOND / 10).await;
            // Too late: not sent, and not executed.
            let error = session.execute(read(0, 1)).await.result.unwrap_err();
            assert_eq!(
                (error.outcome(), error.retry()),
                (Outcome::NotExecuted, Retry::OtherPath)
            );
            first.await.result.unwrap();
            assert_pattern(second.await, 64);
            assert!(matches!(
                down(&session, seen).await,
                DownReason::LogoutRequested
            ));
            core.set_delay(0, Duration::ZERO);
            session.wait_up().await.unwrap();
            assert_pattern(session.execute(read(64, 8)).await, 64);
        });
        let stats = session.stats();
        assert_eq!((stats.logins, stats.connections_lost), (2, 0));
        assert_eq!(stats.logouts_requested, 1);
        world.assert_clean();
    }
}

/// Not "closed", which says that the session is gone for good.
#[test]
fn a_text_request_during_a_wanted_logout_is_one_for_later() {
    let world = World::new(4);
    // A session that waits takes requests while it is down.
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(60 * SECOND);
    let session = world.connect(options);
    let core = world.target.core();
    core.set_delay(0, SECOND / 2);
    world.sim.block_on(async {
        let mut running = session.execute(read(0, 8));
        assert!(poll_once(&mut running).await.is_pending());
        core.announce(0, wanted_logout(4));
        world.sim.sleep(SECOND / 10).await;
        let error = session.send_targets().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.retry()),
            (ErrorKind::Transport, Outcome::NotExecuted, Retry::OtherPath)
        );
        assert_pattern(running.await, 0);
        // And back.
        let seen = session.status().generation;
        down(&session, seen.saturating_sub(1)).await;
        session.wait_up().await.unwrap();
        session.send_targets().await.unwrap();
    });
    world.assert_clean();
}

#[test]
fn commands_that_may_wait_are_carried_over_to_the_next_login() {
    let world = World::new(1);
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(60 * SECOND);
    let session = world.connect(options);
    let core = world.target.core();
    core.set_delay(0, SECOND / 2);
    world.sim.block_on(async {
        core.announce(0, wanted_logout(4));
        let mut first = session.execute(read(0, 8));
        assert!(poll_once(&mut first).await.is_pending());
        world.sim.sleep(SECOND / 10).await;
        let mut second = session.execute(read(8, 8));
        assert!(poll_once(&mut second).await.is_pending());
        assert_pattern(first.await, 0);
        assert_pattern(second.await, 8);
    });
    assert_eq!(session.stats().logins, 2);
    world.assert_clean();
}

/// A command that takes longer than the target grants ends unknown; the logout is not late for it.
#[test]
fn a_wanted_logout_does_not_wait_for_ever() {
    let world = World::new(2);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    core.set_delay(0, 60 * SECOND);
    world.sim.block_on(async {
        core.announce(0, wanted_logout(4));
        let begin = world.sim.elapsed();
        let error = session.execute(write(0, vec![1; 512])).await;
        assert_eq!(error.result.unwrap_err().outcome(), Outcome::Unknown);
        let took = world.sim.elapsed() - begin;
        assert!(
            took < 3 * SECOND,
            "half of what the target grants: {took:?}"
        );
        core.set_delay(0, Duration::ZERO);
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(8, 8)).await, 8);
    });
    world.assert_clean();
}

/// Rows C-66, H97: the answer to a logout says when to come back.
#[test]
fn time2wait_of_a_logout_is_kept() {
    for (code, wait) in [
        (LogoutResponseCode::Closed, 3),
        (LogoutResponseCode::CidNotFound, 2),
        (LogoutResponseCode::CleanupFailed, 4),
    ] {
        let world = World::new(3);
        let session = world.connect(SessionOptions::default());
        let core = world.target.core();
        core.answer_logouts(0, Some((code, wait, 20)));
        world.sim.block_on(async {
            let seen = session.status().generation;
            core.announce(0, wanted_logout(2));
            assert_pattern(session.execute(read(0, 8)).await, 0);
            down(&session, seen).await;
            let begin = world.sim.elapsed();
            session.wait_up().await.unwrap();
            let waited = world.sim.elapsed() - begin;
            let wait = Duration::from_secs(wait.into());
            assert!(waited >= wait && waited < wait + SECOND, "{waited:?}");
        });
        world.assert_clean();
    }
}

/// Row H101: "log out" after every login is no reason to log in at line rate.
#[test]
fn logouts_wanted_after_each_login_are_slowed_down() {
    let world = World::new(4);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    for _ in 0..1000 {
        core.announce(0, wanted_logout(0));
    }
    world.sim.block_on(async {
        let begin = world.sim.elapsed();
        while world.sim.elapsed() - begin < 30 * SECOND {
            let _refused = session.execute(read(0, 1)).await;
            world.sim.sleep(SOON).await;
        }
    });
    let logins = session.stats().logins;
    assert!((3..20).contains(&logins), "{logins}");
}

#[test]
fn an_announced_drop_says_when_to_come_back() {
    for event in [AsyncEvent::ConnectionDrop, AsyncEvent::SessionDrop] {
        let world = World::new(5);
        let session = world.connect(SessionOptions::default());
        let core = world.target.core();
        core.set_delay(0, 60 * SECOND);
        world.sim.block_on(async {
            core.announce(0, Notice::new(event, [0, 3, 20]));
            let begin = world.sim.elapsed();
            let error = session.execute(write(0, vec![1; 512])).await;
            assert_eq!(error.result.unwrap_err().outcome(), Outcome::Unknown);
            session.wait_up().await.unwrap();
            let waited = world.sim.elapsed() - begin;
            assert!(waited >= 3 * SECOND && waited < 4 * SECOND, "{waited:?}");
        });
        world.assert_clean();
    }
}

/// What asks for nothing is an event, with its sense data.
#[test]
fn scsi_and_vendor_events_are_told() {
    let world = World::new(6);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    let mut sense = vec![0, 18, 0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x3f, 0x0e];
    sense.resize(20, 0);
    let scsi = Notice::new(AsyncEvent::ScsiEvent, [0; 3]).with_data(sense);
    core.announce(0, scsi);
    let vendor = Notice::new(AsyncEvent::from_byte(250), [1, 2, 3]).with_data([9; 100]);
    core.announce(0, vendor);
    core.announce(0, Notice::new(AsyncEvent::Unknown(77), [0; 3]));
    world.sim.block_on(async {
        assert_pattern(session.execute(read(0, 8)).await, 0);
        session.ping().await.unwrap();
        session.ping().await.unwrap();
    });
    let told: Vec<_> = session
        .events(0)
        .into_iter()
        .filter_map(|event| match event.kind {
            SessionEventKind::Async { message, sense } => Some((message.event, sense)),
            _ => None,
        })
        .collect();
    let code = told[0].1.as_ref().unwrap().code();
    assert_eq!((code.0, code.1), (0x3f, 0x0e));
    assert!(told[1].0.is_vendor_specific() && told[1].1.is_none());
    assert_eq!(told[2].0, AsyncEvent::Unknown(77));
    assert_eq!(session.stats().logins, 1);
    world.assert_clean();
}

/// Event 4. The target watches that the Text Request comes in time.
#[test]
fn a_wanted_negotiation_takes_place() {
    let world = World::new(7);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    core.redeclare(0, 8192);
    core.announce(0, Notice::new(AsyncEvent::NegotiationRequested, [0, 0, 1]));
    world.sim.block_on(async {
        assert_pattern(session.execute(read(0, 8)).await, 0);
        world.sim.sleep(3 * SECOND).await;
        // In segments of at most 8 KiB, or the target would object.
        let wrote = session.execute(write(0, vec![5; 512 * 1024])).await;
        wrote.result.unwrap();
    });
    world.assert_clean();
    assert_eq!(session.stats().logins, 1);
}

#[test]
fn segment_lengths_can_be_negotiated_anew_under_load() {
    for seed in 0..10 {
        let world = World::new(seed);
        let session = world.connect(SessionOptions::default());
        let core = world.target.core();
        world.sim.block_on(async {
            for (ours, theirs) in [(4096, 512), (1 << 20, 1 << 20), (512, 8192)] {
                core.redeclare(0, theirs);
                let mut wrote = session.execute(write(0, vec![6; 256 * 1024]));
                let mut got = session.execute(read(4096, 512));
                assert!(poll_once(&mut wrote).await.is_pending());
                assert!(poll_once(&mut got).await.is_pending());
                let lengths = session.renegotiate(ours).await.unwrap();
                assert_eq!((lengths.receive, lengths.transmit), (ours, theirs));
                wrote.await.result.unwrap();
                assert_pattern(got.await, 4096);
                assert_pattern(session.execute(read(4096, 512)).await, 4096);
                let wrote = session.execute(write(0, vec![7; 256 * 1024])).await;
                wrote.result.unwrap();
            }
        });
        world.assert_clean();
        assert_eq!(session.stats().logins, 1);
    }
}

/// Event 5, with the handshake of FastAbort: tasks end, dead, and nothing is sent for them any more.
#[test]
fn terminated_tasks_end_and_may_be_repeated() {
    for reporting in [TaskReporting::FastAbort, TaskReporting::Rfc3720] {
        let mut config = config();
        config.limits.task_reporting = reporting;
        let world = World::with_config(8, config);
        let mut options = SessionOptions::default();
        options.offer = options
            .offer
            .with_task_reporting(TaskReportingOffer::PreferFastAbort);
        let session = world.connect(options);
        let core = world.target.core();
        core.set_delay(0, 60 * SECOND);
        world.sim.block_on(async {
            let mut first = session.execute(write(0, vec![1; 4096]));
            assert!(poll_once(&mut first).await.is_pending());
            world.sim.sleep(SOON).await;
            let ended = Notice::new(AsyncEvent::TasksTerminated, [1, 0, 0]);
            core.announce(0, ended.with_lun(Lun::new(0)));
            let second = session.execute(write(64, vec![1; 4096])).await;
            for error in [first.await.result, second.result] {
                let error = error.unwrap_err();
                assert_eq!(
                    (error.kind(), error.outcome(), error.is_dead()),
                    (ErrorKind::Aborted, Outcome::Unknown, true)
                );
            }
            core.set_delay(0, Duration::ZERO);
            assert_pattern(session.execute(read(0, 128)).await, 0);
            session.close().await;
        });
        world.assert_clean();
    }
}

/// Every reason of section 11.17.1 for a command: not executed, and the session is there afterwards.
#[test]
fn a_rejected_command_is_not_executed_whatever_the_reason() {
    for reason in 1..=13 {
        let reason = RejectReason::from_byte(reason);
        let world = World::new(9);
        let session = world.connect(SessionOptions::default());
        let core = world.target.core();
        core.reject(0, opcode::SCSI_COMMAND, reason, 1);
        world.sim.block_on(async {
            let error = session.execute(write(0, vec![1; 512])).await;
            let error = error.result.unwrap_err();
            // Where the two sides disagree, only the end of the connection settles it.
            let known = match reason {
                RejectReason::SnackReject
                | RejectReason::InvalidDataAck
                | RejectReason::TaskInProgress => Outcome::Unknown,
                _ => Outcome::NotExecuted,
            };
            assert_eq!(error.outcome(), known, "{reason}");
            world.sim.sleep(SECOND).await;
            session.wait_up().await.unwrap();
            assert_pattern(session.execute(read(0, 8)).await, 0);
        });
        world.assert_clean();
    }
}

/// A rejected Data-Out ends its command by a response of the target.
#[test]
fn a_rejected_data_out_ends_its_command_only() {
    let mut config = config();
    config.limits.initial_r2t = true;
    config.limits.immediate_data = false;
    let world = World::with_config(10, config);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    core.reject(0, opcode::DATA_OUT, RejectReason::DataDigestError, 1);
    world.sim.block_on(async {
        let response = session
            .execute(write(0, vec![1; 4096]))
            .await
            .result
            .unwrap();
        let sense = response.sense.unwrap();
        assert_eq!((sense.code().0, sense.code().1), (0x47, 0x05));
        let wrote = session.execute(write(0, vec![1; 4096])).await;
        wrote.result.unwrap();
    });
    assert_eq!(session.stats().logins, 1);
    world.assert_clean();
}

/// Reason 0x0c, without any message before it.
#[test]
fn waiting_for_logout_is_a_request_for_one() {
    let world = World::new(11);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    core.reject(0, opcode::SCSI_COMMAND, RejectReason::WaitingForLogout, 1);
    world.sim.block_on(async {
        let seen = session.status().generation;
        let error = session.execute(read(0, 1)).await.result.unwrap_err();
        assert_eq!(
            (error.outcome(), error.retry()),
            (Outcome::NotExecuted, Retry::OtherPath)
        );
        assert!(matches!(
            down(&session, seen).await,
            DownReason::LogoutRequested
        ));
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    world.assert_clean();
}
