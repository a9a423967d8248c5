//! What is used of a group that an operator has chosen when some of its paths are marginal.

use mpio::core::{Config, Outcome, PathGroupingPolicy, PathId};

use super::harness::{Harness, LOST};

/// Paths of priorities 50, 10 and 10, and the lower group is chosen.
fn chosen() -> (Harness, [PathId; 3]) {
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::GroupByPriority);
    let mut h = Harness::new(config.build().unwrap());
    let paths = [50, 10, 10].map(|priority| h.add("path", priority));
    for path in paths {
        h.up(path);
    }
    switch(&mut h, paths[1]);
    (h, paths)
}

fn switch(h: &mut Harness, path: PathId) {
    assert!(h.core.switch_group(h.now, path));
    h.drain();
}

fn mark(h: &mut Harness, path: PathId) {
    h.core.mark_marginal(h.now, path);
    h.drain();
}

fn used(h: &mut Harness) -> PathId {
    let io = h.read(0..1);
    let path = h.path_of(io).expect("in flight");
    h.end_io(io, Outcome::Success);
    path
}

#[test]
fn a_sound_path_that_was_away_is_used_when_it_is_back() {
    let (mut h, [_, b, c]) = chosen();
    h.down(c, LOST);
    mark(&mut h, b);
    assert_eq!(used(&mut h), b, "it is the operator's choice");
    h.up(c);
    assert_eq!(used(&mut h), c);
    h.down(c, LOST);
    assert_eq!(used(&mut h), b);
}

#[test]
fn the_choice_ends_when_all_of_the_group_are_out() {
    let (mut h, [a, b, c]) = chosen();
    mark(&mut h, b);
    h.down(b, LOST);
    assert_eq!(used(&mut h), c);
    h.down(c, LOST);
    assert_eq!(used(&mut h), a);
    h.up(c);
    assert_eq!(used(&mut h), a);
}

#[test]
fn a_group_that_was_marginal_when_it_was_chosen_is_meant_as_it_is() {
    let (mut h, [_, b, c]) = chosen();
    mark(&mut h, b);
    switch(&mut h, b);
    assert_eq!(used(&mut h), b);
    h.down(c, LOST);
    h.up(c);
    assert_eq!(used(&mut h), b);
}
