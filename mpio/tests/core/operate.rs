use mpio::core::{
    Config, DownReason, Event, Execution, Failback, NoPathRetry, Outcome, PathGroupingPolicy,
    PathId, PathSelector, Retry, Scope, Verdict,
};

use super::harness::{Harness, LOST, S, TAKEN_BACK, failed};

fn one_by_one(failback: Failback) -> Config {
    let policy = PathGroupingPolicy::Failover;
    let config = Config::builder().path_grouping_policy(policy);
    config.failback(failback).build().unwrap()
}

fn target(h: &mut Harness) -> PathId {
    let io = h.read(0..1);
    let path = h.path_of(io).unwrap();
    h.end_io(io, Outcome::Success);
    path
}

#[test]
fn a_path_that_was_taken_out_of_use_stays_out_whatever_its_checks_say() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let (reading, writing) = (h.read(0..1), h.write(8..9));
    let other = if h.path_of(reading) == Some(a) { a } else { b };
    h.core.fail_path(h.now, other);
    h.drain();
    let reason = DownReason::Operator;
    assert_eq!(
        h.saw(|e| *e
            == Event::PathDown {
                path: other,
                reason
            }),
        1
    );
    // What can move does; a write ends where it is.
    let (_, attempt, _) = h.flight(reading).unwrap();
    assert_eq!(h.recalled, [attempt]);
    h.end(attempt, TAKEN_BACK);
    assert_ne!(h.path_of(reading), Some(other));
    h.end_io(writing, Outcome::Success);
    h.pass(100 * S, &[]);
    h.down(other, LOST);
    h.up(other);
    for _ in 0..4 {
        assert_ne!(target(&mut h), other);
    }
    h.core.reinstate_path(h.now, other);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::PathUp { path: other }), 1);
    let used: Vec<_> = (0..4).map(|_| target(&mut h)).collect();
    assert!(used.contains(&other));
}

#[test]
fn the_last_path_taken_out_of_use_is_a_device_without_paths() {
    let config = Config::builder().no_path_retry(NoPathRetry::QueueFor(3 * S));
    let (mut h, [a]) = Harness::with_paths(config.build().unwrap());
    h.core.fail_path(h.now, a);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), None);
    h.core.reinstate_path(h.now, a);
    h.drain();
    assert_eq!(h.path_of(io), Some(a));
}

#[test]
fn a_group_that_was_chosen_is_used_until_it_fails_or_the_choice_is_taken_back() {
    let (mut h, [a, b, c]) = Harness::with_paths(one_by_one(Failback::Immediate));
    assert_eq!(target(&mut h), a);
    assert!(h.core.switch_group(h.now, b));
    h.drain();
    assert_eq!(target(&mut h), b);
    h.pass(100 * S, &[]);
    h.down(c, LOST);
    h.up(c);
    assert_eq!(target(&mut h), b, "it is not the best one, and was chosen");
    h.core.fail_back(h.now);
    h.drain();
    assert_eq!(target(&mut h), a);
    assert!(h.core.switch_group(h.now, b));
    h.drain();
    h.down(b, LOST);
    assert_eq!(target(&mut h), a);
    assert!(!h.core.switch_group(h.now, b), "it does not work");
    h.up(b);
    assert_eq!(target(&mut h), a, "the choice is over");
}

#[test]
fn a_suspended_device_lets_finish_what_is_in_flight_and_holds_the_rest() {
    for short_way in [true, false] {
        let config = Config::builder().no_path_retry(NoPathRetry::Fail);
        let (mut h, [a, b]) = Harness::with_paths(config.build().unwrap());
        h.short_way = short_way;
        let (first, second) = (h.read(0..1), h.write(1..2));
        h.core.suspend(h.now);
        h.drain();
        let waits = h.read(2..3);
        assert_eq!(h.path_of(waits), None);
        h.end_io(first, Outcome::Success);
        h.drain();
        assert!(!h.core.is_quiesced());
        assert_eq!(h.saw(|e| *e == Event::Quiesced), 0);
        h.end_io(second, Outcome::Success);
        h.drain();
        assert!(h.core.is_quiesced());
        assert_eq!(h.saw(|e| *e == Event::Quiesced), 1);
        // Not even the loss of all paths, where that means an error.
        h.down(a, LOST);
        h.down(b, LOST);
        assert_eq!(h.verdict(waits), None);
        h.up(b);
        h.core.resume(h.now);
        h.drain();
        assert_eq!(h.path_of(waits), Some(b));
        h.end_io(waits, Outcome::Success);
        assert_eq!(h.verdict(waits), Some(Verdict::Success));
        assert_eq!(h.saw(|e| *e == Event::Resumed), 1);
    }
}

#[test]
fn an_idle_device_is_quiesced_at_once_and_closing_ends_the_wait() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    h.core.suspend(h.now);
    h.core.suspend(h.now);
    h.drain();
    assert_eq!(
        h.saw(|e| matches!(e, Event::Suspended | Event::Quiesced)),
        2
    );
    let io = h.read(0..1);
    h.core.close(h.now);
    h.drain();
    assert!(matches!(h.verdict(io), Some(Verdict::Failed { .. })));
}

#[test]
fn queueing_that_is_disabled_ends_the_wait_of_all_and_can_be_restored() {
    let config = Config::builder().no_path_retry(NoPathRetry::Queue);
    let (mut h, [a]) = Harness::with_paths(config.build().unwrap());
    h.down(a, LOST);
    let waits = h.read(0..1);
    h.pass(1000 * S, &[]);
    assert_eq!(h.verdict(waits), None);
    h.core.disable_queueing(h.now);
    h.drain();
    assert!(h.verdict(waits).is_some());
    let comes = h.read(0..1);
    assert!(h.verdict(comes).is_some());
    assert_eq!(h.core.snapshot(h.now).features(), "0");
    h.core.restore_queueing(h.now);
    let waits = h.read(0..1);
    assert_eq!(h.verdict(waits), None);
    h.up(a);
    assert_eq!(h.path_of(waits), Some(a));
}

#[test]
fn settings_change_while_io_goes_on() {
    let (mut h, [a, b]) = Harness::with_paths(one_by_one(Failback::Manual));
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(a));
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Multibus)
        .path_selector(PathSelector::RoundRobin)
        .no_path_retry(NoPathRetry::Fail);
    h.core.reconfigure(h.now, config.build().unwrap());
    h.drain();
    let used: Vec<_> = (0..4).map(|_| target(&mut h)).collect();
    assert!(used.contains(&a) && used.contains(&b));
    h.end_io(io, Outcome::Success);
    h.down(a, LOST);
    h.down(b, LOST);
    let io = h.read(0..1);
    assert!(h.verdict(io).is_some(), "fails at once, as it is told now");
    let queue = Config::builder().no_path_retry(NoPathRetry::Queue);
    h.core.reconfigure(h.now, queue.build().unwrap());
    let io = h.read(0..1);
    assert_eq!(h.verdict(io), None);
}

/// Whatever makes the groups be formed anew.
#[test]
fn a_group_that_was_chosen_outlives_new_paths_settings_and_doubts() {
    let config = || Config::builder().path_grouping_policy(PathGroupingPolicy::Failover);
    let (mut h, [_, b, c]) = Harness::with_paths(config().build().unwrap());
    assert!(h.core.switch_group(h.now, c));
    let on_c = |h: &mut Harness| {
        let io = h.read(0..1);
        let path = h.path_of(io);
        h.end_io(io, Outcome::Success);
        path == Some(c)
    };
    assert!(on_c(&mut h));
    let d = h.add("d", 0);
    h.up(d);
    assert!(on_c(&mut h), "a path came");
    h.core
        .reconfigure(h.now, config().max_retries(7).build().unwrap());
    assert!(on_c(&mut h), "other settings");
    h.core.remove_path(h.now, b);
    h.drain();
    h.down(b, LOST);
    assert!(on_c(&mut h), "a path went");
    // One error, and then its check is good.
    let io = h.read(0..1);
    h.end_io(
        io,
        failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath),
    );
    assert_ne!(h.path_of(io), Some(c));
    h.end_io(io, Outcome::Success);
    h.pass(S, &[]);
    assert!(on_c(&mut h), "a doubt has passed");
    h.down(c, LOST);
    h.up(c);
    assert!(!on_c(&mut h), "until it has failed");
}
