use mpio::core::{
    Config, DownReason, Event, Execution, FailReason, IoClass, Outcome, SubmitError, Verdict,
};

use super::harness::{Harness, LOST};

#[test]
fn a_removed_path_ends_its_io_first() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.core.remove_path(h.now, a);
    h.drain();
    assert_eq!(h.closes, []);
    let other = h.read(1..2);
    assert_eq!(h.path_of(other), Some(b));
    h.end_io(io, Outcome::Success);
    assert_eq!(h.closes, [a]);
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::PathRemoved { path: a }), 1);
    assert_eq!(h.core.snapshot(h.now).paths().count(), 1);
}

#[test]
fn a_lost_path_can_be_removed_while_its_write_is_a_ghost() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.core.remove_path(h.now, a);
    h.drain();
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    h.pass(10 * super::harness::S, &[]);
    assert_eq!(h.path_of(write), Some(b));
}

#[test]
fn closing_ends_what_waits_and_lets_finish_what_runs() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let running = h.write(0..8);
    let held = h.write(0..8);
    h.core.close(h.now);
    h.drain();
    let closed = Verdict::Failed {
        reason: FailReason::Closed,
        execution: Execution::NotExecuted,
    };
    assert_eq!(h.verdict(held), Some(closed));
    assert_eq!(h.verdict(running), None);
    let refused = h.core.submit(h.now, IoClass::read(0..1));
    assert_eq!(refused, Err(SubmitError::Closed));
    h.end_io(running, Outcome::Success);
    assert_eq!(h.verdict(running), Some(Verdict::Success));
    assert_eq!(h.closes, [a]);
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    assert_eq!(h.core.poll_timeout(), None, "nothing left to do");
}

#[test]
fn more_than_the_limit_is_refused() {
    let config = Config::builder().queue_limit(2).build().unwrap();
    let (mut h, [_]) = Harness::with_paths(config);
    h.read(0..1);
    let io = h.read(1..2);
    let full = h.core.submit(h.now, IoClass::read(2..3));
    assert_eq!(full, Err(SubmitError::QueueFull));
    h.end_io(io, Outcome::Success);
    h.read(2..3);
}
