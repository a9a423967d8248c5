//! Several writers: a lost write is tried again only after its ghost is known to be dead.

use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, Execution, FailReason, FenceResult, FencedBy,
    Outcome, Retry, Scope, Verdict, WriterMode,
};

use super::harness::{Harness, LOST, MS, S, failed};

const UNKNOWN: Verdict = Verdict::Failed {
    reason: FailReason::Unfenced,
    execution: Execution::Unknown,
};

fn shared() -> ConfigBuilder {
    Config::builder().writer_mode(WriterMode::Shared)
}

#[test]
fn the_quiet_time_starts_with_the_abortive_close() {
    let (mut h, [a, b]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    // The outcome comes first; nothing is known of the connection yet.
    h.end_io(write, LOST);
    h.pass(2 * S, &[]);
    h.down(a, LOST);
    h.pass(9_999 * MS, &[]);
    assert_eq!(h.path_of(write), None);
    h.pass(MS, &[]);
    assert_eq!(h.path_of(write), Some(b));
    let by = FencedBy::QuietTime;
    assert_eq!(h.saw(|e| *e == Event::FenceStarted { path: a }), 1);
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
    h.end_io(write, Outcome::Success);
    assert_eq!(h.verdict(write), Some(Verdict::Success));
}

#[test]
fn reinstatement_alone_proves_nothing_unless_the_target_is_a_barrier() {
    let (mut h, [a, _]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.up(a);
    h.pass(9 * S, &[]);
    assert_eq!(h.path_of(write), None);
    h.pass(S, &[]);
    assert!(h.path_of(write).is_some());
}

#[test]
fn on_a_barrier_the_login_is_enough() {
    let config = shared().reinstatement_is_barrier(true).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.down(a, LOST);
    assert_eq!(h.path_of(write), None);
    h.pass(20 * MS, &[]);
    h.core.handle_fenced(h.now, a, FenceResult::Reinstated);
    h.drain();
    assert_eq!(h.path_of(write), Some(b));
}

/// The attempt may have been sent on a later connection than the one of its dispatch: its caller was
/// slow to begin it. Then the reinstatement that was seen is not that of its nexus.
#[test]
fn an_outcome_from_a_later_connection_is_not_fenced_by_the_login_that_opened_it() {
    for barrier in [false, true] {
        let config = shared().reinstatement_is_barrier(barrier).build().unwrap();
        let (mut h, [a, _]) = Harness::with_paths(config);
        let write = h.write(0..8);
        h.core
            .handle_path_down(h.now, a, DownReason::ConnectionLost);
        h.up(a);
        h.pass(12 * S, &[]);
        // The second connection is lost; the caller learns it before the shell does.
        h.end_io(write, LOST);
        assert_eq!(h.path_of(write), None, "barrier {barrier}");
        h.core
            .handle_path_down(h.now, a, DownReason::ConnectionLost);
        h.drain();
        h.pass(if barrier { MS } else { 9_999 * MS }, &[]);
        assert_eq!(h.path_of(write), None, "barrier {barrier}");
        h.up(a);
        h.pass(MS, &[]);
        assert!(h.path_of(write).is_some(), "barrier {barrier}");
    }
}

/// A path may say that it is down when it was merely asked to be. The outcome, which comes from
/// whoever closed the connection, does not come before that is done.
#[test]
fn the_quiet_time_does_not_start_before_the_outcome() {
    let (mut h, [a, b]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    h.core.handle_path_down(h.now, a, DownReason::Fenced);
    h.drain();
    h.pass(12 * S, &[]);
    h.end_io(write, LOST);
    h.pass(9_999 * MS, &[]);
    assert_eq!(h.path_of(write), None);
    h.pass(MS, &[]);
    assert_eq!(h.path_of(write), Some(b));
}

/// Nobody can tell such an outcome from one of the new connection, so that one has to go as well.
#[test]
fn an_outcome_that_comes_after_the_reinstatement_costs_the_new_connection() {
    let config = shared().reinstatement_is_barrier(true).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.core
        .handle_path_down(h.now, a, DownReason::ConnectionLost);
    h.up(a);
    h.end_io(write, LOST);
    h.pass(9_999 * MS, &[]);
    assert_eq!((h.path_of(write), h.fences.len()), (None, 0));
    h.pass(MS, &[]);
    assert_eq!(h.fences, [a]);
    h.core.handle_fenced(h.now, a, FenceResult::Closed);
    h.core.handle_fenced(h.now, a, FenceResult::Reinstated);
    h.drain();
    assert_eq!(h.path_of(write), Some(b));
}

#[test]
fn a_barrier_whose_path_stays_away_ends_the_write_as_unknown() {
    let config = shared()
        .reinstatement_is_barrier(true)
        .quiet_time(None)
        .fence_limit(30 * S)
        .build()
        .unwrap();
    let (mut h, [a, _]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(29 * S, &[]);
    assert_eq!(h.verdict(write), None);
    h.pass(S, &[]);
    assert_eq!(h.verdict(write), Some(UNKNOWN));
}

#[test]
fn with_neither_means_the_caller_is_told_at_once() {
    let config = shared().quiet_time(None).build().unwrap();
    let (mut h, [a, _]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.end_io(write, LOST);
    assert_eq!(h.verdict(write), Some(UNKNOWN));
    // Until the old connection is closed, even that range is not written.
    let next = h.write(0..8);
    assert_eq!(h.path_of(next), None);
    h.down(a, LOST);
    assert!(h.path_of(next).is_some());
}

#[test]
fn the_targets_word_that_it_is_dead_needs_no_fence() {
    let dead = failed(Scope::Path, Execution::Unknown, true, Retry::OtherPath);
    let (mut h, [_, b]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    h.end_io(write, dead);
    assert_eq!(h.path_of(write), Some(b));
    assert_eq!(h.saw(|e| matches!(e, Event::FenceStarted { .. })), 0);
}

#[test]
fn a_write_that_timed_out_on_a_living_path_waits_for_its_abort() {
    let timeout = failed(Scope::Request, Execution::Unknown, false, Retry::OtherPath);
    let (mut h, [a, b]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    let (_, attempt, _) = h.flight(write).unwrap();
    h.end_io(write, timeout);
    h.pass(S, &[]);
    assert_eq!(h.path_of(write), None);
    h.core.handle_attempt_dead(h.now, attempt);
    h.drain();
    assert_eq!(h.path_of(write), Some(b));
    assert_eq!(h.fences, []);
    let by = FencedBy::Confirmed;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
}

#[test]
fn a_target_that_does_not_confirm_loses_its_connection() {
    let timeout = failed(Scope::Request, Execution::Unknown, false, Retry::OtherPath);
    let (mut h, [a, b]) = Harness::with_paths(shared().build().unwrap());
    let write = h.write(0..8);
    h.end_io(write, timeout);
    h.pass(10 * S, &[]);
    assert_eq!(h.fences, [a]);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(b), "a path that is being fenced is out");
    h.core.handle_fenced(h.now, a, FenceResult::Closed);
    h.drain();
    h.pass(10 * S, &[]);
    assert_eq!(h.path_of(write), Some(b));
}

#[test]
fn a_flush_and_a_read_wait_for_nothing() {
    let (mut h, [a, b]) = Harness::with_paths(shared().build().unwrap());
    h.write(0..8);
    h.down(a, LOST);
    let read = h.read(0..8);
    let flush = h.submit(mpio::core::IoClass::flush());
    assert_eq!(h.path_of(read), Some(b));
    assert_eq!(h.path_of(flush), Some(b));
}
