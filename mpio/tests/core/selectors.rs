use mpio::core::{Config, Outcome, PathSelector};

use super::harness::Harness;

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
    for selector in [PathSelector::QueueLength, PathSelector::ServiceTime] {
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
