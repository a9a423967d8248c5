use mpio::core::{Config, Event, Outcome, PathGroupingPolicy, Verdict};

use super::harness::{Harness, LOST, UNSENT};

#[test]
fn the_reads_of_a_lost_path_go_to_another_one() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let ios: Vec<_> = (0..4).map(|i| h.read(i..i + 1)).collect();
    assert_eq!(h.on(a).len(), 2);
    h.down(a, LOST);
    assert_eq!(h.on(a).len(), 0);
    assert_eq!(h.on(b).len(), 4);
    for io in ios {
        h.end_io(io, Outcome::Success);
        assert_eq!(h.verdict(io), Some(Verdict::Success));
    }
    assert_eq!(h.saw(|e| *e == Event::Failover { from: a, to: b }), 1);
    assert_eq!(h.core.snapshot(h.now).counters.failovers, 1);
}

#[test]
fn a_write_that_was_never_sent_moves_at_once() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let first = h.write(0..8);
    assert_eq!(h.path_of(first), Some(a));
    h.down(a, UNSENT);
    assert_eq!(h.path_of(first), Some(b));
}

#[test]
fn an_outcome_may_come_before_the_news_of_the_lost_connection() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.end_io(io, LOST);
    assert_eq!(h.path_of(io), Some(b));
    h.down(a, LOST);
    h.end_io(io, Outcome::Success);
    assert_eq!(h.verdict(io), Some(Verdict::Success));
    let failovers = h.saw(|e| matches!(e, Event::Failover { .. }));
    assert_eq!(failovers, 1, "one loss, told once");
}

#[test]
fn with_one_path_per_group_the_others_stand_by_until_it_is_lost() {
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .build()
        .unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    for i in 0..3 {
        h.read(i..i + 1);
    }
    assert_eq!((h.on(a).len(), h.on(b).len()), (3, 0));
    h.down(a, LOST);
    assert_eq!(h.on(b).len(), 3);
    let switched = Event::GroupSwitched {
        from: Some(a),
        to: b,
    };
    assert_eq!(h.saw(|e| *e == switched), 1);
}

#[test]
fn a_path_that_was_idle_is_no_failover() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.down(a, LOST);
    h.read(0..1);
    assert_eq!(h.saw(|e| matches!(e, Event::Failover { .. })), 0);
}
