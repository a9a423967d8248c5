use mpio::core::{Config, Event, Execution, FailReason, NoPathRetry, Outcome, Verdict};

use super::harness::{Harness, LOST, S};

fn config(policy: NoPathRetry) -> Config {
    Config::builder().no_path_retry(policy).build().unwrap()
}

const NO_PATH: Verdict = Verdict::Failed {
    reason: FailReason::NoPath,
    execution: Execution::Unknown,
};

const NO_PATH_UNSENT: Verdict = Verdict::Failed {
    reason: FailReason::NoPath,
    execution: Execution::NotExecuted,
};

#[test]
fn fail_means_at_once() {
    let (mut h, [a, b]) = Harness::with_paths(config(NoPathRetry::Fail));
    let before = h.read(0..1);
    let lost_write = h.write(0..8);
    h.down(a, LOST);
    h.down(b, LOST);
    assert_eq!(h.verdict(before), Some(NO_PATH));
    assert_eq!(h.verdict(lost_write), Some(NO_PATH));
    let after = h.read(1..2);
    assert_eq!(h.verdict(after), Some(NO_PATH_UNSENT));
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 1);
    assert_eq!(h.saw(|e| matches!(e, Event::Queueing { .. })), 0);
}

#[test]
fn queue_for_ten_seconds_and_an_outage_of_fifteen_make_one_error_per_io() {
    let (mut h, [a, b]) = Harness::with_paths(config(NoPathRetry::QueueFor(10 * S)));
    let before: Vec<_> = (0..8).map(|i| h.read(i..i + 1)).collect();
    let write = h.write(100..200);
    let behind = h.write(150..160);
    h.down(a, LOST);
    h.down(b, LOST);
    h.pass(5 * S, &[]);
    let during = h.read(9..10);
    assert!(h.finished.is_empty(), "still waiting");
    h.pass(10 * S, &[]);
    for io in before.into_iter().chain([write]) {
        assert_eq!(h.verdict(io), Some(NO_PATH), "{io}");
    }
    for io in [behind, during] {
        assert_eq!(h.verdict(io), Some(NO_PATH_UNSENT), "{io}");
    }
    assert_eq!(h.finished.len(), 11, "one each");
    assert_eq!(h.saw(|e| *e == Event::QueueingExpired), 1);

    let late = h.read(0..1);
    assert_eq!(h.verdict(late), Some(NO_PATH_UNSENT), "the limit is over");

    h.up(b);
    assert_eq!(h.saw(|e| *e == Event::Restored), 1);
    let again = h.read(0..1);
    h.end_io(again, Outcome::Success);
    assert_eq!(h.verdict(again), Some(Verdict::Success));
}

#[test]
fn an_outage_shorter_than_the_limit_goes_unnoticed() {
    let (mut h, [a, b]) = Harness::with_paths(config(NoPathRetry::QueueFor(10 * S)));
    let io = h.read(0..1);
    h.down(a, LOST);
    h.down(b, LOST);
    h.pass(9 * S, &[]);
    h.up(a);
    assert_eq!(h.path_of(io), Some(a));
    // The clock starts anew with each outage.
    h.down(a, LOST);
    h.pass(9 * S, &[]);
    h.up(b);
    h.end_io(io, Outcome::Success);
    assert_eq!(h.verdict(io), Some(Verdict::Success));
}

#[test]
fn queue_waits_for_ever() {
    let (mut h, [a, b]) = Harness::with_paths(config(NoPathRetry::Queue));
    let io = h.read(0..1);
    h.down(a, LOST);
    h.down(b, LOST);
    h.pass(100_000 * S, &[]);
    assert_eq!(h.verdict(io), None);
    h.up(b);
    assert_eq!(h.path_of(io), Some(b));
}
