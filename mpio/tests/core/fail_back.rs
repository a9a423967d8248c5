use mpio::core::{Config, Event, Failback, Outcome, PathGroupingPolicy, PathId};

use super::harness::{Harness, LOST, S};

/// One path per group, the first one preferred; it was lost, the second one works.
fn on_the_second_path(failback: Failback) -> (Harness, PathId, PathId) {
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .failback(failback)
        .build()
        .unwrap();
    let mut h = Harness::new(config);
    let a = h.add("preferred", 50);
    let b = h.add("other", 10);
    h.up(b);
    h.up(a);
    assert_eq!(target(&mut h), a, "the order of logins does not decide");
    h.down(a, LOST);
    assert_eq!(target(&mut h), b);
    h.up(a);
    (h, a, b)
}

fn target(h: &mut Harness) -> PathId {
    let io = h.read(0..1);
    let path = h.path_of(io).unwrap();
    h.end_io(io, Outcome::Success);
    path
}

#[test]
fn manual_failback_waits_for_the_operator() {
    let (mut h, a, b) = on_the_second_path(Failback::Manual);
    h.pass(100 * S, &[]);
    assert_eq!(target(&mut h), b);
    h.core.fail_back(h.now);
    assert_eq!(target(&mut h), a);
}

#[test]
fn immediate_failback_is_immediate() {
    let (mut h, a, b) = on_the_second_path(Failback::Immediate);
    assert_eq!(target(&mut h), a);
    h.drain();
    let back = Event::GroupSwitched {
        from: Some(b),
        to: a,
    };
    assert_eq!(h.saw(|e| *e == back), 1);
}

/// Another host may have made the other group the better one, and would do so again.
#[test]
fn followover_goes_back_when_paths_come_back_and_not_when_priorities_change() {
    let (mut h, a, _) = on_the_second_path(Failback::FollowOver);
    assert_eq!(target(&mut h), a);
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .failback(Failback::FollowOver)
        .build()
        .unwrap();
    let mut h = Harness::new(config);
    let first = h.add("first", 10);
    h.up(first);
    assert_eq!(target(&mut h), first);
    let better = h.add("better", 50);
    h.up(better);
    assert_eq!(target(&mut h), better, "it was not there before");
}

#[test]
fn delayed_failback_wants_the_path_to_last() {
    let (mut h, a, b) = on_the_second_path(Failback::After(10 * S));
    h.pass(9 * S, &[]);
    assert_eq!(target(&mut h), b);
    h.down(a, LOST);
    h.up(a);
    h.pass(9 * S, &[]);
    assert_eq!(target(&mut h), b, "the delay starts again");
    h.pass(S, &[]);
    assert_eq!(target(&mut h), a);
}
