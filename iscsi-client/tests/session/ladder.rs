//! What happens to commands that are not answered in time.

use std::time::Duration;

use crate::support::{World, assert_pattern, poll_once, read, settle, write};
use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::{Session, SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    pdu::{RejectReason, opcode},
    session::{Rung, TimeoutLadder},
};
use iscsi_testkit::sim::Link;

const LONG: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(300);

fn ladder(abort: Option<u64>, reset: Option<u64>) -> SessionOptions {
    let mut options = SessionOptions::default();
    let mut ladder = TimeoutLadder::default();
    ladder.abort_task = abort.map(Duration::from_secs);
    ladder.logical_unit_reset = reset.map(Duration::from_secs);
    options.core.ladder = ladder;
    options
}

fn rungs(session: &Session) -> Vec<Rung> {
    let rungs = session
        .events(0)
        .into_iter()
        .filter_map(|event| match event.kind {
            SessionEventKind::CommandLate { rung, .. } => Some(rung),
            _ => None,
        });
    rungs.collect()
}

/// The command that is late ends dead; its neighbour of the same unit too, and may be repeated.
#[test]
fn where_an_abort_is_refused_a_reset_helps_and_the_session_lives_on() {
    let world = World::new(1);
    let session = world.connect(ladder(Some(5), Some(5)));
    let core = world.target.core();
    core.set_delay(0, LONG);
    let reason = RejectReason::CommandNotSupported;
    core.reject(0, opcode::TASK_MANAGEMENT_REQUEST, reason, 1);
    world.sim.block_on(async {
        let mut neighbour = session.execute(write(64, vec![2; 512]));
        assert!(poll_once(&mut neighbour).await.is_pending());
        let late = write(0, vec![1; 512]).with_timeout(Some(LIMIT));
        let error = session.execute(late).await.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.is_dead()),
            (ErrorKind::Timeout, Outcome::Unknown, true)
        );
        let error = neighbour.await.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.is_dead()),
            (ErrorKind::Aborted, Outcome::Unknown, true)
        );
        assert!(world.sim.elapsed() < Duration::from_secs(1));
        core.set_delay(0, Duration::ZERO);
        settle(&session).await;
        assert_pattern(session.execute(read(0, 128)).await, 0);
    });
    assert_eq!(rungs(&session), [Rung::AbortTask, Rung::LogicalUnitReset]);
    let stats = session.stats();
    assert_eq!((stats.logins, stats.commands_late), (1, 1));
    assert_eq!((stats.aborts_sent, stats.resets_sent), (1, 1));
    assert_eq!(stats.pdus_rejected, 1);
    world.assert_clean();
}

/// With the defaults, multipath's: no reset of a unit that others may use, but a new session.
#[test]
fn where_an_abort_is_refused_the_default_is_a_new_session() {
    let world = World::new(2);
    let session = world.connect(SessionOptions::default());
    let core = world.target.core();
    core.set_delay(0, LONG);
    let reason = RejectReason::CommandNotSupported;
    core.reject(0, opcode::TASK_MANAGEMENT_REQUEST, reason, 1);
    world.sim.block_on(async {
        let late = write(0, vec![1; 512]).with_timeout(Some(LIMIT));
        let error = session.execute(late).await.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.is_dead()),
            (ErrorKind::Timeout, Outcome::Unknown, false)
        );
        core.set_delay(0, Duration::ZERO);
        session.wait_up().await.unwrap();
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    assert_eq!(rungs(&session), [Rung::AbortTask, Rung::DropConnection]);
    let stats = session.stats();
    assert_eq!((stats.logins, stats.resets_sent), (2, 0));
    world.assert_clean();
}

/// Each rung takes as long as it may, and no longer: a target that answers nothing.
#[test]
fn silence_costs_exactly_the_time_of_the_rungs() {
    for (abort, reset, total) in [
        (Some(2), Some(3), 5),
        (Some(2), None, 2),
        (None, Some(3), 3),
        (None, None, 0),
    ] {
        let world = World::new(3);
        let mut options = ladder(abort, reset);
        options.core.nop_interval = None;
        let session = world.connect(options);
        let link = Link::to(crate::support::address());
        world.sim.block_on(async {
            let mut late = session.execute(write(0, vec![1; 512]).with_timeout(Some(LIMIT)));
            world.target.core().set_delay(0, LONG);
            assert!(poll_once(&mut late).await.is_pending());
            world.sim.sleep(Duration::from_millis(10)).await;
            world.sim.net().stall(link);
            let error = late.await.result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Unknown);
            let took = world.sim.elapsed();
            let want = LIMIT + Duration::from_secs(total);
            assert!(
                took >= want && took < want + Duration::from_millis(50),
                "{abort:?} {reset:?}: {took:?}"
            );
        });
    }
}

/// Somebody who waits for a slot gives up in time, too.
#[test]
fn the_wait_for_a_slot_counts() {
    let world = World::new(4);
    let mut options = SessionOptions::default();
    options.queue_depth = 1;
    let session = world.connect(options);
    world.target.core().set_delay(0, Duration::from_secs(20));
    world.sim.block_on(async {
        let mut first = session.execute(read(0, 1));
        assert!(poll_once(&mut first).await.is_pending());
        let begin = world.sim.elapsed();
        let mut short = session.execute(read(1, 1).with_timeout(Some(LIMIT)));
        let mut shorter = session.execute(read(2, 1).with_timeout(Some(LIMIT / 3)));
        assert!(poll_once(&mut short).await.is_pending());
        assert!(poll_once(&mut shorter).await.is_pending());
        for (waiting, limit) in [(shorter, LIMIT / 3), (short, LIMIT)] {
            let error = waiting.await.result.unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Timeout, Outcome::NotExecuted)
            );
            assert_eq!(world.sim.elapsed() - begin, limit);
        }
        assert_pattern(first.await, 0);
    });
    world.assert_clean();
}

#[test]
fn a_ping_has_a_time_of_its_own() {
    let world = World::new(5);
    let session = world.connect(SessionOptions::default());
    let link = Link::to(crate::support::address());
    world.sim.block_on(async {
        world.sim.net().stall(link);
        let begin = world.sim.elapsed();
        let error = session.ping_within(LIMIT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(world.sim.elapsed() - begin, LIMIT);
        assert!(session.state().is_up());
        world.sim.net().heal(link);
        // The late answer to the first is no answer to the second, and no misbehaviour.
        session.ping_within(LIMIT).await.unwrap();
    });
    assert_eq!(session.stats().logins, 1);
    world.assert_clean();
}

/// Intervals of no length would be pings without end.
#[test]
fn intervals_are_never_zero() {
    let world = World::new(6);
    let mut options = SessionOptions::default();
    options.core.nop_interval = Some(Duration::ZERO);
    options.core.nop_timeout = Duration::ZERO;
    options.core.acknowledge_after = Some(Duration::ZERO);
    let session = world.connect(options);
    assert!(session.options().core.nop_timeout > Duration::ZERO);
    world.sim.block_on(async {
        world.sim.sleep(Duration::from_millis(100)).await;
    });
    assert!(session.stats().pdus_sent <= 20);
}

/// The target need not keep a response for long, though we have nothing to say.
#[test]
fn an_idle_session_acknowledges_and_then_only_keeps_itself_alive() {
    let world = World::new(7);
    let mut options = SessionOptions::default();
    options.core.acknowledge_after = Some(Duration::from_secs(2));
    let session = world.connect(options);
    world.sim.block_on(async {
        assert_pattern(session.execute(read(0, 8)).await, 0);
        let before = world.target.core().counters(0).pdus_in;
        world.sim.sleep(Duration::from_millis(1900)).await;
        assert_eq!(world.target.core().counters(0).pdus_in, before);
        world.sim.sleep(Duration::from_millis(200)).await;
        assert_eq!(world.target.core().counters(0).pdus_in, before + 1);
        world.sim.sleep(Duration::from_millis(2000)).await;
        assert_eq!(world.target.core().counters(0).pdus_in, before + 1);
    });
    world.assert_clean();
}
