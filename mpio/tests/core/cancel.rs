use mpio::core::{Config, Execution, FailReason, FenceResult, Outcome, Verdict, WriterMode};

use super::harness::{Harness, LOST, S, TAKEN_BACK};

const fn cancelled(execution: Execution) -> Option<Verdict> {
    Some(Verdict::Failed {
        reason: FailReason::Cancelled,
        execution,
    })
}

#[test]
fn what_waits_is_gone_at_once() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    h.down(a, LOST);
    let io = h.read(0..1);
    h.core.cancel(h.now, io);
    h.drain();
    assert_eq!(h.verdict(io), cancelled(Execution::NotExecuted));
    h.up(a);
    assert_eq!(h.flying, []);
}

#[test]
fn what_is_in_flight_is_recalled_first() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.core.cancel(h.now, io);
    h.drain();
    assert_eq!(h.recalled.len(), 1);
    assert_eq!(h.verdict(io), None);
    h.end_io(io, TAKEN_BACK);
    assert_eq!(h.verdict(io), cancelled(Execution::Unknown));
}

#[test]
fn a_success_that_came_first_is_told_as_such() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let io = h.write(0..8);
    h.core.cancel(h.now, io);
    h.drain();
    h.end_io(io, Outcome::Success);
    assert_eq!(h.verdict(io), Some(Verdict::Success));
}

#[test]
fn a_cancelled_write_goes_on_to_guard_its_range() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let io = h.write(0..8);
    h.core.cancel(h.now, io);
    h.drain();
    h.end_io(io, TAKEN_BACK);
    assert_eq!(h.verdict(io), cancelled(Execution::Unknown));
    let next = h.write(4..12);
    assert_eq!(h.path_of(next), None);
    // Nobody confirms: the connection is closed to make sure, and the quiet time passes.
    h.pass(10 * S, &[]);
    assert_eq!(h.fences, [a]);
    h.core.handle_fenced(h.now, a, FenceResult::Closed);
    h.drain();
    h.up(a);
    h.pass(9 * S, &[]);
    assert_eq!(h.path_of(next), None);
    h.pass(S, &[]);
    assert_eq!(h.path_of(next), Some(a));
}

#[test]
fn a_write_that_waits_for_its_fence_can_be_cancelled() {
    let config = Config::builder().writer_mode(WriterMode::Shared);
    let (mut h, [a, b]) = Harness::with_paths(config.build().unwrap());
    let io = h.write(0..8);
    h.down(a, LOST);
    h.core.cancel(h.now, io);
    h.drain();
    assert_eq!(h.verdict(io), cancelled(Execution::Unknown));
    let next = h.write(0..8);
    assert_eq!(h.path_of(next), None);
    h.pass(10 * S, &[]);
    assert_eq!(h.path_of(next), Some(b));
}
