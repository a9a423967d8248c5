//! One writer: a lost write is tried again at once, and its range is held until its ghost is dead.

use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, Execution, FailReason, FenceRung, FencedBy, IoClass,
    IoKind, Outcome, Retry, RungStep, Scope, Verdict,
};

use super::harness::{Harness, LOST, MS, S, failed};

const REFUSED: Outcome = failed(Scope::Request, Execution::NotExecuted, true, Retry::Never);

fn unfenced(execution: Execution) -> Option<Verdict> {
    let reason = FailReason::Unfenced;
    Some(Verdict::Failed { reason, execution })
}

fn barrier_only() -> ConfigBuilder {
    Config::builder()
        .reinstatement_is_barrier(true)
        .quiet_time(None)
        .fence_limit(30 * S)
}

#[test]
fn a_lost_write_is_done_elsewhere_at_once_and_what_overlaps_it_waits_for_its_ghost() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.down(a, LOST);
    assert_eq!(h.path_of(write), Some(b));
    h.end_io(write, Outcome::Success);
    assert_eq!(h.verdict(write), Some(Verdict::Success));

    let (over, apart) = (h.write(4..12), h.write(8..16));
    assert_eq!(h.path_of(over), None);
    assert_eq!(h.path_of(apart), None, "behind the one that waits");
    assert_eq!(h.saw(|e| *e == Event::WriteHeld { io: over }), 1);
    let elsewhere = h.write(100..108);
    assert_eq!(h.path_of(elsewhere), Some(b));
    h.pass(9_999 * MS, &[]);
    assert_eq!(h.path_of(over), None);
    h.pass(MS, &[]);
    assert_eq!(h.path_of(over), Some(b));
    let by = FencedBy::QuietTime;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
}

#[test]
fn everything_that_modifies_waits_for_a_ghost() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.end_io(write, Outcome::Success);
    for idempotent in [true, false] {
        let other = h.submit(IoClass {
            kind: IoKind::Other { idempotent },
            ..IoClass::write(0..1)
        });
        assert_eq!(h.path_of(other), None, "idempotent {idempotent}");
    }
    let read = h.read(0..8);
    assert!(h.path_of(read).is_some(), "a read waits for nothing");
}

#[test]
fn a_repetition_that_is_lost_too_leaves_a_second_ghost_and_both_have_to_be_dead() {
    let (mut h, [a, b, c]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    let first = h.path_of(write).unwrap();
    h.down(first, LOST);
    let second = h.path_of(write).unwrap();
    h.pass(5 * S, &[]);
    h.down(second, LOST);
    let third = h.path_of(write).unwrap();
    assert_eq!(
        [a, b, c].map(|p| [first, second, third].contains(&p)),
        [true; 3]
    );
    h.end_io(write, Outcome::Success);
    assert_eq!(h.core.snapshot(h.now).ghosts, 2);

    let over = h.write(0..1);
    h.pass(5 * S, &[]);
    assert_eq!(
        h.core.snapshot(h.now).ghosts,
        1,
        "the first one's time is over"
    );
    assert_eq!(h.path_of(over), None);
    h.pass(5 * S, &[]);
    assert!(h.path_of(over).is_some());
}

#[test]
fn a_repetition_that_fails_for_good_is_unknown_and_leaves_its_range_to_the_ghost() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.end_io(write, REFUSED);
    let wanted = Verdict::Failed {
        reason: FailReason::Error,
        execution: Execution::Unknown,
    };
    assert_eq!(h.verdict(write), Some(wanted));
    let over = h.write(0..1);
    assert_eq!(h.path_of(over), None);
    h.pass(10 * S, &[]);
    assert!(h.path_of(over).is_some());
}

#[test]
fn what_is_not_idempotent_is_not_repeated_and_its_range_is_held() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    let caw = h.submit(IoClass {
        kind: IoKind::Other { idempotent: false },
        ..IoClass::write(0..8)
    });
    h.down(a, LOST);
    assert!(matches!(
        h.verdict(caw),
        Some(Verdict::Failed {
            execution: Execution::Unknown,
            ..
        })
    ));
    let over = h.write(0..1);
    assert_eq!(h.path_of(over), None);
    h.pass(10 * S, &[]);
    assert!(h.path_of(over).is_some());
}

/// Repeated and completed, its range would have to be held for ever.
#[test]
fn with_nothing_that_proves_anything_the_caller_is_told_at_once_and_nothing_is_repeated() {
    let config = Config::builder().quiet_time(None).build().unwrap();
    let (mut h, [a, _]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.down(a, LOST);
    assert_eq!(h.verdict(write), unfenced(Execution::Unknown));
    let over = h.write(0..1);
    assert!(h.path_of(over).is_some(), "its caller knows");
}

/// The caller was told that the write is done, so nothing may be written over it as long as it may land;
/// and nothing waits for ever.
#[test]
fn after_the_limit_writes_over_an_unproven_ghost_fail_until_the_proof_comes() {
    let (mut h, [a, b]) = Harness::with_paths(barrier_only().build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.end_io(write, Outcome::Success);
    let waiting = h.write(0..1);
    h.pass(29 * S, &[]);
    assert_eq!((h.verdict(waiting), h.path_of(waiting)), (None, None));
    h.pass(S, &[]);
    assert_eq!(h.verdict(waiting), unfenced(Execution::NotExecuted));
    let late = h.write(7..9);
    assert_eq!(h.verdict(late), unfenced(Execution::NotExecuted));
    let (rung, step) = (FenceRung::OutcomeUnknown, RungStep::Started);
    let path = Some(a);
    assert_eq!(h.saw(|e| *e == Event::FenceStep { path, rung, step }), 1);
    let apart = h.write(8..9);
    assert_eq!(h.path_of(apart), Some(b));
    h.pass(100 * S, &[]);

    h.up(a);
    let at_last = h.write(0..1);
    assert!(h.path_of(at_last).is_some());
}

/// Nobody was told that it is done, so nobody is deceived.
#[test]
fn after_the_limit_a_write_whose_caller_was_told_unknown_holds_nothing() {
    let (mut h, [a, _]) = Harness::with_paths(barrier_only().build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.end_io(write, REFUSED);
    let waiting = h.write(0..1);
    h.pass(30 * S, &[]);
    assert!(h.path_of(waiting).is_some());
    assert_eq!(h.core.snapshot(h.now).ghosts, 0);
}

#[test]
fn a_ghost_on_a_living_connection_is_laid_by_the_answer_to_its_abort() {
    let timeout = failed(Scope::Request, Execution::Unknown, false, Retry::OtherPath);
    let (mut h, [_, b]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    let (_, attempt, _) = h.flight(write).unwrap();
    h.end_io(write, timeout);
    assert_eq!(h.path_of(write), Some(b));
    h.end_io(write, Outcome::Success);
    let over = h.write(0..8);
    assert_eq!(h.path_of(over), None);
    h.core.handle_attempt_dead(h.now, attempt);
    h.drain();
    assert!(h.path_of(over).is_some());
}

#[test]
fn the_last_path_repeats_it_when_it_is_back() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(2 * S, &[]);
    h.up(a);
    assert_eq!(
        h.path_of(write),
        Some(a),
        "the quiet time is not waited for"
    );
    h.end_io(write, Outcome::Success);
    let over = h.write(0..8);
    assert_eq!(h.path_of(over), None);
    h.pass(8 * S, &[]);
    assert_eq!(h.path_of(over), Some(a));
}

/// Its next login may be the only proof that there will ever be.
#[test]
fn a_path_that_is_removed_stays_until_its_ghosts_are_laid() {
    let (mut h, [a, _]) = Harness::with_paths(barrier_only().build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.end_io(write, Outcome::Success);
    h.core.remove_path(h.now, a);
    h.drain();
    assert_eq!(h.closes, []);
    h.up(a);
    assert_eq!(h.closes, [a]);
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    let over = h.write(0..8);
    assert!(h.path_of(over).is_some());
}
