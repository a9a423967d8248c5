//! Paths that are ranked by how long their checks take.

use std::time::{Duration, Instant};

use iscsi_proto::scsi::{AccessState, TargetPortGroup, TargetPortGroups, inquiry::Tpgs};
use mpio::core::{
    Config, Event, Failback, LatencyClasses, PathGroupingPolicy, PathId, Prioritizer, ProbeKind,
    ProbeResult, TargetPort,
};

use super::harness::{Harness, LOST, MS, S};

const US: Duration = Duration::from_micros(1);

fn config(classes: LatencyClasses) -> Config {
    Config::builder()
        .prioritizer(Prioritizer::PathLatency(classes))
        .failback(Failback::Immediate)
        .build()
        .unwrap()
}

/// Lets time pass; each check is answered after as long as `times` says of its path.
fn pass(h: &mut Harness, time: Duration, times: &[(PathId, Duration)]) {
    let end = h.now + time;
    let mut answers: Vec<(Instant, PathId)> = Vec::new();
    loop {
        for (path, kind) in std::mem::take(&mut h.probes) {
            let took = times.iter().find(|(other, _)| *other == path);
            match kind {
                ProbeKind::Tur => answers.push((h.now + took.expect("a time").1, path)),
                _ => h.answer(path, kind, ProbeResult::Ready),
            }
        }
        let answer = answers.iter().copied().min();
        let timer = h.core.poll_timeout();
        let timer = timer.filter(|&at| at <= end);
        // What was asked until then is waited for.
        let next = answer.map(|(at, _)| at).into_iter().chain(timer).min();
        let Some(next) = next else {
            break;
        };
        h.now = h.now.max(next);
        match answer.filter(|&(at, _)| at <= h.now) {
            Some((at, path)) => {
                answers.retain(|&other| other != (at, path));
                h.answer(path, ProbeKind::Tur, ProbeResult::Ready);
            }
            None => {
                h.core.handle_timeout(h.now);
                h.drain();
            }
        }
    }
    h.now = h.now.max(end);
}

/// The names of the groups' paths, best first.
fn groups(h: &Harness) -> Vec<Vec<String>> {
    let snapshot = h.core.snapshot(h.now);
    let names = |group: &mpio::core::GroupSnapshot| {
        let paths = group.paths.iter();
        paths.map(|path| path.name.to_string()).collect()
    };
    snapshot.groups.iter().map(names).collect()
}

fn priority(h: &Harness, path: PathId) -> u32 {
    h.core.snapshot(h.now).path(path).unwrap().priority
}

fn ranked(h: &Harness) -> usize {
    h.saw(|event| matches!(event, Event::PathRanked { .. }))
}

#[test]
fn the_quicker_paths_are_the_better_ones_and_nearly_equal_ones_are_one_group() {
    let (mut h, [far, a, b]) = Harness::with_paths(config(LatencyClasses::DEFAULT));
    assert_eq!(groups(&h).len(), 1, "nothing is known yet");
    // 1024 us would be the limit of a class if they were not counted from the quickest path.
    let times = [(far, 8 * MS), (a, 1000 * US), (b, 1040 * US)];
    pass(&mut h, 5 * S, &times);
    assert_eq!(groups(&h), [vec!["path1", "path2"], vec!["path0"]]);
    assert_eq!(priority(&h, a), priority(&h, b));
    assert!(priority(&h, a) > priority(&h, far));
    let io = h.read(0..1);
    assert!([Some(a), Some(b)].contains(&h.path_of(io)));
    let snapshot = h.core.snapshot(h.now);
    assert_eq!(snapshot.path(far).unwrap().round_trip, Some(8 * MS));
    assert_eq!(ranked(&h), 3);
    // It is there for when no quicker one is.
    h.down(a, LOST);
    h.down(b, LOST);
    let io = h.read(1..2);
    assert_eq!(h.path_of(io), Some(far));
}

#[test]
fn one_check_that_takes_long_is_no_latency() {
    let (mut h, [a, b]) = Harness::with_paths(config(LatencyClasses::DEFAULT));
    let good = [(a, 300 * US), (b, 300 * US)];
    pass(&mut h, 60 * S, &good);
    let before = ranked(&h);
    for _ in 0..10 {
        // Nine in twenty.
        pass(&mut h, 60 * S, &good);
        pass(&mut h, 7 * S, &[(a, 90 * MS), (b, 300 * US)]);
        pass(&mut h, 60 * S, &good);
    }
    assert_eq!(ranked(&h), before);
    assert_eq!(groups(&h).len(), 1);
}

#[test]
fn a_class_changes_when_another_one_has_held() {
    let classes = LatencyClasses::DEFAULT.hold(60 * S);
    let (mut h, [a, b]) = Harness::with_paths(config(classes));
    let good = [(a, 300 * US), (b, 300 * US)];
    pass(&mut h, 5 * S, &good);
    let bad = [(a, 30 * MS), (b, 300 * US)];
    // It is noticed by the next check, which may be 20 s away, and then looked at each second.
    pass(&mut h, 60 * S, &bad);
    assert_eq!(groups(&h).len(), 1, "not yet");
    pass(&mut h, 60 * S, &bad);
    assert_eq!(groups(&h), [["path1"], ["path0"]]);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(b));
    pass(&mut h, 150 * S, &good);
    assert_eq!(groups(&h).len(), 1, "and back");
}

#[test]
fn groups_do_not_flap_with_a_latency_that_does() {
    let classes = LatencyClasses::DEFAULT.hold(60 * S);
    let (mut h, [a, b]) = Harness::with_paths(config(classes));
    pass(&mut h, 5 * S, &[(a, 300 * US), (b, 300 * US)]);
    h.events.clear();
    // Shorter than the time that a class has to hold.
    for round in 0..100 {
        let time = if round % 2 == 0 { 30 * MS } else { 300 * US };
        pass(&mut h, 45 * S, &[(a, time), (b, 300 * US)]);
    }
    assert_eq!(ranked(&h), 0, "{:?}", h.events);
    // And with one that lasts as long, they change once in that time at most.
    for round in 0..50 {
        let time = if round % 2 == 0 { 30 * MS } else { 300 * US };
        pass(&mut h, 90 * S, &[(a, time), (b, 300 * US)]);
    }
    let changes = ranked(&h);
    assert!((10..=50).contains(&changes), "{changes}");
}

#[test]
fn a_path_without_measurements_is_taken_for_as_quick_as_the_quickest() {
    let (mut h, [a]) = Harness::with_paths(config(LatencyClasses::DEFAULT));
    pass(&mut h, 5 * S, &[(a, 300 * US)]);
    let late = h.add("late", 1);
    h.up(late);
    assert_eq!(groups(&h).len(), 1);
    pass(&mut h, 5 * S, &[(a, 300 * US), (late, 20 * MS)]);
    assert_eq!(
        groups(&h),
        [["path0"], ["late"]],
        "its first class is its own"
    );
    // One that comes back has the class that it had, until it is measured.
    h.down(late, LOST);
    h.up(late);
    assert_eq!(groups(&h).len(), 2);
    pass(&mut h, 100 * S, &[(a, 300 * US), (late, 300 * US)]);
    assert_eq!(groups(&h).len(), 1);
}

#[test]
fn access_states_come_before_latency_and_latency_among_equals() {
    let mut h = Harness::new(config(LatencyClasses::DEFAULT));
    let states = [
        AccessState::ActiveOptimized,
        AccessState::ActiveNonOptimized,
    ];
    let groups_of_ports = (1..).zip(states);
    let report = TargetPortGroups {
        groups: groups_of_ports
            .map(|(group, state)| TargetPortGroup {
                group,
                state,
                ..TargetPortGroup::default()
            })
            .collect(),
        ..TargetPortGroups::default()
    };
    let [near, far, other] = [("near", 1), ("far", 1), ("other", 2)].map(|(name, group)| {
        let path = h.add(name, 1);
        let tpgs = Tpgs::Implicit;
        h.core
            .handle_target_port(path, Some(TargetPort { group, tpgs }));
        h.up(path);
        for path in std::mem::take(&mut h.reports) {
            h.core.handle_port_groups(h.now, path, Some(&report));
            h.drain();
        }
        path
    });
    let times = [(near, 300 * US), (far, 20 * MS), (other, 200 * US)];
    pass(&mut h, 5 * S, &times);
    assert_eq!(groups(&h), [["near"], ["far"], ["other"]]);
    let [near, far, other] = [near, far, other].map(|path| priority(&h, path));
    assert!(near > far && far > other, "{near} {far} {other}");
}

#[test]
fn settings_that_rank_otherwise_count_at_once() {
    let (mut h, [a, b]) = Harness::with_paths(config(LatencyClasses::DEFAULT));
    let times = [(a, 300 * US), (b, 9 * MS)];
    pass(&mut h, 5 * S, &times);
    assert_eq!(groups(&h).len(), 2);
    h.core.reconfigure(h.now, Config::default());
    assert_eq!(groups(&h).len(), 1);
    assert_eq!(h.core.snapshot(h.now).path(a).unwrap().round_trip, None);
    h.core
        .reconfigure(h.now, config(LatencyClasses::DEFAULT.base_tenths(100)));
    h.drain();
    pass(&mut h, 30 * S, &times);
    assert_eq!(groups(&h).len(), 2, "thirty times as long");
    h.core.reconfigure(
        h.now,
        Config::builder()
            .prioritizer(Prioritizer::PathLatency(LatencyClasses::DEFAULT))
            .path_grouping_policy(PathGroupingPolicy::Multibus)
            .build()
            .unwrap(),
    );
    h.drain();
    pass(&mut h, 30 * S, &times);
    assert_eq!(groups(&h).len(), 1, "whatever their priorities are");
}

#[test]
fn parameters_out_of_range_are_errors_that_say_so() {
    let classes = LatencyClasses::DEFAULT;
    for (classes, text) in [
        (
            classes.io_num(19),
            "path_latency.io_num is out of range: 20 to 200",
        ),
        (
            classes.io_num(201),
            "path_latency.io_num is out of range: 20 to 200",
        ),
        (
            classes.base_tenths(10),
            "path_latency.base_tenths is out of range: 11 to 100",
        ),
        (
            classes.base_tenths(101),
            "path_latency.base_tenths is out of range: 11 to 100",
        ),
        (
            classes.hold(Duration::ZERO),
            "path_latency.hold is out of range: 1 s to 1 h",
        ),
    ] {
        let config = Config::builder().prioritizer(Prioritizer::PathLatency(classes));
        assert_eq!(config.build().unwrap_err().to_string(), text);
    }
}
