//! Paths that an operator wants to be the last resort.

use std::time::Duration;

use mpio::core::{
    Config, ConfigBuilder, Event, MarginalCause, MarginalConfig, Outcome, PathGroupingPolicy,
    PathId, PathSelector,
};

use super::harness::{Harness, LOST, S};

fn builder() -> ConfigBuilder {
    Config::builder().path_selector(PathSelector::RoundRobin)
}

fn used(h: &mut Harness) -> Vec<PathId> {
    let mut used: Vec<PathId> = (0..8)
        .map(|at| {
            let io = h.read(at..at + 1);
            let path = h.path_of(io).expect("in flight");
            h.end_io(io, Outcome::Success);
            path
        })
        .collect();
    used.sort();
    used.dedup();
    used
}

fn mark(h: &mut Harness, path: PathId) {
    h.core.mark_marginal(h.now, path);
    h.drain();
}

#[test]
fn a_path_that_is_marked_is_the_last_resort_until_it_is_reinstated() {
    for marginal in [None, Some(MarginalConfig::DEFAULT)] {
        let config = builder().marginal(marginal).build().unwrap();
        let (mut h, [a, b]) = Harness::with_paths(config);
        mark(&mut h, a);
        mark(&mut h, a);
        assert_eq!(used(&mut h), [b]);
        let cause = MarginalCause::Operator;
        assert_eq!(h.saw(|e| *e == Event::PathMarginal { path: a, cause }), 1);
        let snapshot = h.core.snapshot(h.now);
        let path = snapshot.path(a).unwrap();
        assert_eq!((path.marginal, path.probation_left), (Some(cause), None));
        assert_eq!(
            (path.marginal_state(), path.counters.demotions),
            ("marginal", 1)
        );
        assert!(
            path.to_string()
                .ends_with("(marginal: until an operator reinstates it)"),
            "{path}"
        );
        // No probation ends it, no loss either, and it takes I/O where there is nothing else.
        h.pass(24 * 3600 * S, &[]);
        h.down(a, LOST);
        h.up(a);
        assert_eq!(used(&mut h), [b]);
        h.down(b, LOST);
        assert_eq!(used(&mut h), [a]);
        h.up(b);
        assert_eq!(used(&mut h), [b]);
        h.core.reinstate_path(h.now, a);
        h.drain();
        assert_eq!(h.saw(|e| matches!(e, Event::PathSound { .. })), 1);
        assert_eq!(used(&mut h), [a, b]);
    }
}

#[test]
fn settings_do_not_take_it_back() {
    let (mut h, [a, b]) = Harness::with_paths(builder().build().unwrap());
    mark(&mut h, a);
    h.core
        .reconfigure(h.now, builder().marginal(None).build().unwrap());
    h.drain();
    assert_eq!(used(&mut h), [b]);
    h.core.reconfigure(h.now, builder().build().unwrap());
    h.pass(600 * S, &[]);
    assert_eq!(used(&mut h), [b]);
}

/// Whatever made it so before: it is the operator's from then on.
#[test]
fn a_path_on_probation_that_is_marked_is_not_sound_after_it() {
    let minute = Duration::from_secs(60);
    let marginal = MarginalConfig::DEFAULT.losses(2).probation(minute, minute);
    let config = builder().marginal(Some(marginal)).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    h.pass(2 * S, &[]);
    for _ in 0..2 {
        h.down(a, LOST);
        h.pass(2 * S, &[]);
        h.up(a);
        h.pass(3 * S, &[]);
    }
    assert_eq!(used(&mut h), [b]);
    mark(&mut h, a);
    assert_eq!(
        h.core.snapshot(h.now).path(a).unwrap().counters.demotions,
        1
    );
    h.pass(3 * minute, &[]);
    assert_eq!(used(&mut h), [b]);
}

#[test]
fn marks_are_not_checked_more_often_than_other_paths() {
    let (mut h, [a, _]) = Harness::with_paths(builder().build().unwrap());
    mark(&mut h, a);
    h.pass(600 * S, &[]);
    let interval = h.core.snapshot(h.now).path(a).unwrap().check_interval;
    assert_eq!(interval, 20 * S);
}

#[test]
fn all_that_are_marked_are_used_together_when_there_is_nothing_else() {
    let config = builder().path_grouping_policy(PathGroupingPolicy::Multibus);
    let (mut h, [a, b, c]) = Harness::with_paths(config.build().unwrap());
    mark(&mut h, a);
    mark(&mut h, b);
    h.down(c, LOST);
    assert_eq!(used(&mut h), [a, b]);
}
