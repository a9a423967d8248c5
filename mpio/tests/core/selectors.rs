use mpio::core::{Config, Outcome, PathSelector};

use super::harness::{Harness, MS};

#[test]
fn round_robin_spreads_evenly_and_goes_on_without_a_lost_path() {
    let config = Config::builder()
        .path_selector(PathSelector::RoundRobin)
        .build()
        .unwrap();
    let (mut h, [a, b, c]) = Harness::with_paths(config);
    for i in 0..9 {
        h.read(i..i + 1);
    }
    assert_eq!([a, b, c].map(|p| h.on(p).len()), [3, 3, 3]);
    h.down(b, super::harness::LOST);
    for i in 9..18 {
        h.read(i..i + 1);
    }
    assert_eq!([a, b, c].map(|p| h.on(p).len()), [9, 0, 9]);
}

#[test]
fn a_path_that_gets_nothing_done_is_fed_no_more() {
    for selector in [
        PathSelector::QueueLength,
        PathSelector::ServiceTime,
        PathSelector::HistoricalServiceTime,
    ] {
        feeds_the_path_that_gets_things_done(selector);
    }
}

fn feeds_the_path_that_gets_things_done(selector: PathSelector) {
    let config = Config::builder().path_selector(selector).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    // The first path completes nothing, the second one everything.
    for i in 0..100 {
        h.read(i..i + 1);
        for (_, attempt, _) in h.on(b) {
            h.end(attempt, Outcome::Success);
        }
    }
    assert_eq!(h.on(a).len(), 1);
}

#[test]
fn at_depth_one_equal_paths_take_turns() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let mut counts = [0, 0];
    for i in 0..10 {
        let io = h.read(i..i + 1);
        let path = h.path_of(io).unwrap();
        counts[usize::from(path == b)] += 1;
        h.end_io(io, Outcome::Success);
    }
    assert_eq!(counts, [5, 5], "between {a} and {b}");
}

/// One path takes a millisecond for each I/O, the other one four: what they get, in per cent.
fn shares(selector: PathSelector, depth: usize) -> [usize; 2] {
    let config = Config::builder().path_selector(selector).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    // When each path is done with what it has, one I/O after the other.
    let mut free = [h.now; 2];
    let mut due = Vec::new();
    let mut counts = [0, 0];
    for i in 0..4000 {
        while due.len() == depth {
            let first = due
                .iter()
                .enumerate()
                .min_by_key(|(_, (at, _))| *at)
                .unwrap()
                .0;
            let (at, io) = due.swap_remove(first);
            h.now = h.now.max(at);
            h.end_io(io, Outcome::Success);
        }
        let io = h.read(i..i + 1);
        let at = usize::from(h.path_of(io) == Some(b));
        free[at] = free[at].max(h.now) + [MS, 4 * MS][at];
        due.push((free[at], io));
        counts[at] += usize::from(i >= 400);
    }
    assert_eq!(h.on(a).len() + h.on(b).len(), depth);
    counts.map(|count| count * 100 / 3600)
}

#[test]
fn selectors_by_latency_give_the_slower_path_less() {
    for (selector, depth, least, most) in [
        // At depth one the fast path alone is best, but for a look at the other one now and then.
        (PathSelector::HistoricalServiceTime, 1, 95, 100),
        // At full load four to one.
        (PathSelector::HistoricalServiceTime, 16, 75, 85),
        (PathSelector::PowerOfTwoChoices, 1, 95, 100),
        (PathSelector::PowerOfTwoChoices, 16, 75, 85),
    ] {
        let [fast, slow] = shares(selector, depth);
        assert!(
            (least..=most).contains(&fast),
            "{selector:?} at {depth}: {fast} {slow}"
        );
    }
}
