//! Paths that work, and are too bad to be used while a sound one can be.

use std::time::Duration;

use iscsi_proto::scsi::{AccessState, inquiry::Tpgs};
use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, Execution, Failback, IoClass, IoId, LatencyLimit,
    MarginalCause, MarginalConfig, Outcome, PathChecker, PathGroupingPolicy, PathId, PathSelector,
    PathSnapshot, ProbeKind, ProbeResult, Retry, Scope,
};

use super::{
    asymmetric_access::Array,
    harness::{Harness, LOST, MS, S, failed},
};

const LIMIT: LatencyLimit = LatencyLimit::DEFAULT
    .above(4, Duration::from_millis(10))
    .sustained(Duration::from_secs(5), 64);

const MARGINAL: MarginalConfig = MarginalConfig::DEFAULT
    .losses(3)
    .errors(5)
    .window(Duration::from_secs(60))
    .probation(Duration::from_secs(10), Duration::from_secs(40))
    .latency(Some(LIMIT));

fn builder() -> ConfigBuilder {
    Config::builder()
        .path_selector(PathSelector::RoundRobin)
        .marginal(Some(MARGINAL))
}

fn config() -> Config {
    builder().build().unwrap()
}

/// A device whose paths have been up for a while.
fn with_paths<const N: usize>(config: Config) -> (Harness, [PathId; N]) {
    let (mut h, paths) = Harness::with_paths(config);
    h.pass(2 * S, &[]);
    (h, paths)
}

/// With a probation that outlasts the test.
fn for_long() -> ConfigBuilder {
    let probation = Duration::from_secs(600);
    builder().marginal(Some(MARGINAL.probation(probation, probation)))
}

/// The connection is lost, and is back two seconds later.
fn flap(h: &mut Harness, path: PathId) {
    h.down(path, LOST);
    h.pass(2 * S, &[]);
    h.up(path);
    h.pass(3 * S, &[]);
}

fn make_marginal(h: &mut Harness, path: PathId) {
    for _ in 0..3 {
        assert!(!is_marginal(h, path));
        flap(h, path);
    }
    assert!(is_marginal(h, path));
}

fn shown(h: &Harness, path: PathId) -> PathSnapshot {
    let snapshot = h.core.snapshot(h.now);
    snapshot
        .paths()
        .find(|shown| shown.id == path)
        .unwrap()
        .clone()
}

fn is_marginal(h: &Harness, path: PathId) -> bool {
    shown(h, path).marginal.is_some()
}

/// On which paths eight reads go.
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

fn became_marginal(h: &Harness) -> usize {
    h.saw(|event| matches!(event, Event::PathMarginal { .. }))
}

/// It has to show how long it takes to answer, so it is asked though it was heard of.
#[test]
fn a_checker_that_leaves_well_alone_asks_a_marginal_path_all_the_same() {
    let config = builder().path_checker(PathChecker::Nop);
    let (mut h, [a, b]) = with_paths(config.build().unwrap());
    make_marginal(&mut h, a);
    for _ in 0..60 {
        h.pass(S / 2, &[]);
        for path in [a, b] {
            h.core.handle_activity(h.now, path, h.now);
        }
    }
    assert!(!is_marginal(&h, a), "after a probation of ten seconds");
}

#[test]
fn a_path_that_flaps_is_joined_and_used_as_the_last_resort_only() {
    let (mut h, [a, b]) = with_paths(config());
    assert_eq!(used(&mut h), [a, b]);
    flap(&mut h, a);
    flap(&mut h, a);
    assert_eq!(used(&mut h), [a, b], "twice is not too often");
    flap(&mut h, a);

    let told = h.events.iter().find_map(|event| match event {
        Event::PathMarginal { path, cause } if *path == a => Some(*cause),
        _ => None,
    });
    let within = 12 * S;
    assert_eq!(told, Some(MarginalCause::Flapping { losses: 3, within }));
    let path = shown(&h, a);
    assert!(path.is_usable(), "{path}");
    assert_eq!((path.marginal, path.counters.demotions), (told, 1));
    assert_eq!(
        path.probation_left,
        Some(7 * S),
        "it has been up for three seconds"
    );
    assert_eq!(used(&mut h), [b]);

    h.down(b, LOST);
    assert_eq!(used(&mut h), [a], "better than none");
    h.up(b);
    assert_eq!(used(&mut h), [b], "and no longer than that");
}

#[test]
fn it_is_shown_with_its_reason_in_a_group_of_its_own() {
    let (mut h, [a, _]) = with_paths(config());
    make_marginal(&mut h, a);
    let shown = h.core.snapshot(h.now).to_string();
    let expected = "\
|-+- policy='round-robin 0' prio=1 status=active
| `- path1 active ready running
`-+- policy='round-robin 0' prio=1 status=enabled marginal
  `- path0 active ready running (marginal: lost 3 times in 12 s)
";
    assert_eq!(shown, expected);
    let told = h
        .events
        .iter()
        .find(|event| matches!(event, Event::PathMarginal { .. }));
    assert!(
        told.unwrap()
            .to_string()
            .ends_with("is marginal: lost 3 times in 12 s")
    );
}

#[test]
fn losses_that_all_paths_share_count_for_none() {
    let (mut h, [a, b]) = with_paths(config());
    for round in 0..10_u32 {
        let apart = 90 * MS * round;
        h.down(a, LOST);
        h.pass(apart, &[]);
        h.down(b, LOST);
        h.pass(2 * S, &[]);
        h.up(a);
        h.up(b);
        h.pass(2 * S, &[]);
    }
    assert_eq!(became_marginal(&h), 0);
    make_marginal(&mut h, a);
}

/// It shows only when that one is asked.
#[test]
fn a_loss_that_is_noticed_later_on_an_idle_path_is_shared_too() {
    let (mut h, [a, b]) = with_paths(config());
    for _ in 0..10 {
        h.down(a, LOST);
        h.pass(8 * S, &[a, b]);
        h.probes.clear();
        h.down(b, LOST);
        h.pass(S, &[]);
        h.up(a);
        h.up(b);
        h.pass(2 * S, &[]);
    }
    assert_eq!(became_marginal(&h), 0);
}

#[test]
fn without_another_path_that_works_there_is_nothing_to_tell_by() {
    let (mut h, [only]) = with_paths(config());
    for _ in 0..10 {
        flap(&mut h, only);
    }
    let (mut one_is_dead, [a, b]) = with_paths(config());
    one_is_dead.down(b, LOST);
    for _ in 0..10 {
        flap(&mut one_is_dead, a);
    }
    assert_eq!(became_marginal(&h) + became_marginal(&one_is_dead), 0);
}

/// One controller of two is restarted, then the other one, for an update; and one comes up at the third attempt.
#[test]
fn by_default_restarts_of_controllers_make_no_path_marginal() {
    let (mut h, [a, b]) = with_paths(Config::default());
    for path in [a, b, a, b] {
        h.down(path, LOST);
        h.pass(90 * S, &[]);
        h.up(path);
        h.pass(60 * S, &[]);
    }
    for _ in 0..3 {
        h.down(a, LOST);
        h.pass(5 * S, &[]);
        h.up(a);
        h.pass(5 * S, &[]);
    }
    assert_eq!(became_marginal(&h), 0);
}

#[test]
fn what_the_target_or_an_operator_asks_for_is_no_fault() {
    let (mut h, [a, _]) = with_paths(config());
    for _ in 0..10 {
        h.core.handle_path_down(h.now, a, DownReason::TargetRequest);
        h.pass(2 * S, &[]);
        h.up(a);
        h.pass(2 * S, &[]);
        h.core.fail_path(h.now, a);
        h.pass(2 * S, &[]);
        h.core.reinstate_path(h.now, a);
        h.pass(2 * S, &[]);
    }
    assert_eq!(became_marginal(&h), 0);
}

#[test]
fn faults_that_are_too_far_apart_do_not_add_up() {
    let (mut h, [a, _]) = with_paths(config());
    for _ in 0..10 {
        flap(&mut h, a);
        h.pass(30 * S, &[]);
    }
    assert_eq!(became_marginal(&h), 0);
}

const PATH_ERROR: Outcome = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);

/// Reads until one is in flight there.
fn read_on(h: &mut Harness, path: PathId) -> IoId {
    for at in 0..16 {
        let io = h.read(at..at + 1);
        if h.path_of(io) == Some(path) {
            return io;
        }
        h.end_io(io, Outcome::Success);
    }
    panic!("no I/O goes there");
}

#[test]
fn errors_of_ios_that_come_again_and_again_make_a_path_marginal() {
    let (mut h, [a, b]) = with_paths(config());
    for _ in 0..5 {
        assert!(!is_marginal(&h, a));
        let io = read_on(&mut h, a);
        h.end_io(io, PATH_ERROR);
        assert_eq!(h.path_of(io), Some(b));
        h.end_io(io, Outcome::Success);
        h.pass(4 * S, &[]);
    }
    let cause = shown(&h, a).marginal;
    let within = 18 * S;
    assert_eq!(cause, Some(MarginalCause::PathErrors { errors: 5, within }));
    assert_eq!(used(&mut h), [b]);
}

#[test]
fn what_fails_at_once_is_one_error() {
    let (mut h, [a, b]) = with_paths(config());
    for _ in 0..4 {
        for at in 0..64 {
            h.read(at..at + 1);
        }
        for (_, attempt, _) in h.on(a) {
            h.end(attempt, PATH_ERROR);
        }
        for (_, attempt, _) in h.on(b) {
            h.end(attempt, Outcome::Success);
        }
        h.pass(4 * S, &[]);
    }
    assert!(shown(&h, a).counters.errors > 100);
    assert_eq!(became_marginal(&h), 0);
}

/// I/Os that take so long on the first and on the second path, eight at a time, until `time` is over.
fn run(h: &mut Harness, paths: [PathId; 2], took: [Duration; 2], time: Duration) {
    let end = h.now + time;
    while h.now < end {
        for at in 0..8 {
            h.read(at * 4096..(at + 1) * 4096);
        }
        let began = h.now;
        for which in if took[0] <= took[1] { [0, 1] } else { [1, 0] } {
            h.pass(took[which].saturating_sub(h.now - began), &[]);
            for (_, attempt, _) in h.on(paths[which]) {
                h.end(attempt, Outcome::Success);
            }
        }
    }
}

#[test]
fn a_path_that_is_many_times_slower_for_a_while_is_marginal() {
    let (mut h, [a, b]) = with_paths(config());
    run(&mut h, [a, b], [MS, MS], 5 * S);
    run(&mut h, [a, b], [MS, 50 * MS], 4 * S);
    assert_eq!(became_marginal(&h), 0, "not yet");
    run(&mut h, [a, b], [MS, MS], 4 * S);
    run(&mut h, [a, b], [MS, 50 * MS], 4 * S);
    assert_eq!(became_marginal(&h), 0, "it was good in between");
    run(&mut h, [a, b], [MS, 50 * MS], 4 * S);
    let told = shown(&h, b).marginal;
    let Some(MarginalCause::Latency { mean, best }) = told else {
        panic!("{told:?}");
    };
    assert_eq!((mean, best), (50 * MS, MS));
    assert_eq!(used(&mut h), [a]);
    assert_eq!(shown(&h, a).marginal, None);
}

#[test]
fn paths_that_are_all_slow_or_differ_by_little_are_sound() {
    let slow = [
        [60 * MS, 50 * MS],
        // Many times as slow, and still quick.
        [MS / 10, 5 * MS],
        // Slower by more than that, and not many times as slow.
        [20 * MS, 60 * MS],
    ];
    for took in slow {
        let (mut h, [a, b]) = with_paths(config());
        run(&mut h, [a, b], took, 30 * S);
        assert_eq!(became_marginal(&h), 0, "{took:?}");
    }
}

/// A program that reads and writes in turns, on paths that take turns.
#[test]
fn reads_are_not_compared_with_writes_nor_short_with_long_ones() {
    let short = IoClass::read(0..4096);
    let others = [
        IoClass::write(1 << 20..(1 << 20) + 4096),
        IoClass::read(0..4 << 20),
        IoClass::flush(),
    ];
    for other in others {
        let (mut h, _) = with_paths::<2>(config());
        let end = h.now + 30 * S;
        let mut on = Vec::new();
        while h.now < end {
            for (class, took) in [(&short, MS), (&other, 80 * MS)] {
                let io = h.submit(class.clone());
                on.push(h.path_of(io).unwrap());
                h.pass(took, &[]);
                h.end_io(io, Outcome::Success);
            }
        }
        assert!(on.chunks(2).all(|two| two[0] != two[1] && two[0] == on[0]));
        assert_eq!(became_marginal(&h), 0, "{other:?}");
    }
}

#[test]
fn too_little_io_says_nothing() {
    let (mut h, [a, b]) = with_paths(config());
    for (rounds, expected) in [(14, 0), (6, 1)] {
        for _ in 0..rounds {
            // Four on each.
            run(&mut h, [a, b], [MS, 100 * MS], MS);
            h.pass(S, &[]);
        }
        assert_eq!(became_marginal(&h), expected, "after {rounds} s");
    }
}

#[test]
fn an_idle_device_is_not_woken_for_it() {
    let off = Config::builder().marginal(None).build().unwrap();
    let due = [off, Config::default()].map(|config| {
        let (mut h, [a, b]) = with_paths(config);
        run(&mut h, [a, b], [MS, MS], 100 * MS);
        h.pass(3 * S, &[]);
        h.core.poll_timeout().map(|at| at - h.now)
    });
    assert_eq!(due[0], due[1]);
}

#[test]
fn a_path_is_sound_again_after_its_probation_of_checks() {
    let (mut h, [a, b]) = with_paths(config());
    make_marginal(&mut h, a);
    h.pass(6 * S, &[]);
    assert!(is_marginal(&h, a), "it has been up for nine seconds");
    assert_eq!(used(&mut h), [b]);
    h.pass(2 * S, &[]);
    assert!(!is_marginal(&h, a));
    let told = h.saw(|event| matches!(event, Event::PathSound { path, .. } if *path == a));
    assert_eq!(told, 1);
    assert_eq!(used(&mut h), [a, b]);
    assert_eq!(h.core.snapshot(h.now).groups.len(), 1);
}

#[test]
fn it_is_checked_often_meanwhile() {
    let (mut h, [a, _]) = with_paths(config());
    make_marginal(&mut h, a);
    let mut checks = 0;
    for _ in 0..60 {
        h.pass(100 * MS, &[a]);
        checks += h.probes.len();
        for (path, kind) in h.probes.clone() {
            h.answer(path, kind, ProbeResult::Ready);
        }
    }
    assert!(
        (9..=11).contains(&checks),
        "{checks} in six seconds, sixteen in ten"
    );
}

#[test]
fn a_probation_begins_anew_with_each_fault_and_ends_with_an_answer() {
    let (mut h, [a, _]) = with_paths(config());
    make_marginal(&mut h, a);
    h.pass(5 * S, &[]);
    flap(&mut h, a);
    h.pass(5 * S, &[]);
    assert!(is_marginal(&h, a), "eight seconds since it came back");
    // The first answer after ten seconds ends it, and nothing else.
    let mut up = 8 * S;
    while up < 10 * S {
        while h.probes.is_empty() {
            h.pass(10 * MS, &[a]);
            up += 10 * MS;
        }
        assert!(is_marginal(&h, a), "it has not answered");
        h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
        assert_eq!(is_marginal(&h, a), up < 10 * S, "up for {up:?}");
    }
}

/// From being marginal to being sound.
fn probation(h: &mut Harness, path: PathId) -> Duration {
    let from = h.now;
    while is_marginal(h, path) {
        h.pass(100 * MS, &[]);
        assert!(h.now - from < 1000 * S, "for ever");
    }
    h.now - from + 3 * S
}

#[test]
fn each_probation_soon_after_another_is_twice_as_long_up_to_the_longest() {
    let (mut h, [a, _]) = with_paths(config());
    for seconds in [10, 20, 40, 40] {
        make_marginal(&mut h, a);
        let took = probation(&mut h, a);
        let expected = S * seconds;
        assert!(
            (expected..=expected + S).contains(&took),
            "{took:?} of {expected:?}"
        );
    }
    h.pass(120 * S, &[]);
    make_marginal(&mut h, a);
    let took = probation(&mut h, a);
    assert!(
        (10 * S..=11 * S).contains(&took),
        "{took:?}: it was good for long"
    );
}

#[test]
fn a_slow_path_has_to_answer_quickly_again() {
    let (mut h, [a, b]) = with_paths(config());
    run(&mut h, [a, b], [MS, 50 * MS], 10 * S);
    assert!(is_marginal(&h, b));
    // Its checks take 30 ms.
    let answer_late = |h: &mut Harness, time: Duration, late: Duration| {
        let end = h.now + time;
        while h.now < end {
            h.pass(5 * MS, &[b]);
            if !h.probes.is_empty() {
                h.pass(late, &[b]);
                h.answer(b, ProbeKind::Tur, ProbeResult::Ready);
            }
        }
    };
    answer_late(&mut h, 60 * S, 30 * MS);
    assert!(is_marginal(&h, b));
    answer_late(&mut h, 11 * S, MS);
    assert!(!is_marginal(&h, b));
    assert_eq!(used(&mut h), [a, b]);
}

#[test]
fn an_operator_reinstates_it_at_once_and_settings_without_it_reinstate_all() {
    let (mut h, [a, b, c]) = with_paths(for_long().build().unwrap());
    make_marginal(&mut h, a);
    make_marginal(&mut h, b);
    assert_eq!(used(&mut h), [c]);
    h.core.reinstate_path(h.now, a);
    h.drain();
    assert_eq!(used(&mut h), [a, c]);
    let told = h.saw(|event| matches!(event, Event::PathSound { path, .. } if *path == a));
    assert_eq!(told, 1);
    h.core
        .reconfigure(h.now, builder().marginal(None).build().unwrap());
    h.drain();
    assert_eq!(used(&mut h), [a, b, c]);
    for _ in 0..20 {
        flap(&mut h, a);
    }
    assert_eq!(became_marginal(&h), 2, "it is off");
}

/// One path per group, the first one preferred.
fn failover(failback: Failback) -> (Harness, [PathId; 3]) {
    let config = builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .failback(failback);
    let mut h = Harness::new(config.build().unwrap());
    let paths = [30, 20, 10].map(|priority| h.add(&format!("prio{priority}"), priority));
    for path in paths {
        h.up(path);
    }
    h.pass(2 * S, &[]);
    (h, paths)
}

#[test]
fn io_leaves_a_marginal_path_for_a_sound_group_at_once_whatever_failback_says() {
    for failback in [
        Failback::Manual,
        Failback::After(900 * S),
        Failback::FollowOver,
    ] {
        let (mut h, [a, b, c]) = failover(failback);
        assert_eq!(used(&mut h), [a]);
        make_marginal(&mut h, a);
        assert_eq!(used(&mut h), [b], "{failback:?}");
        h.down(b, LOST);
        h.down(c, LOST);
        assert_eq!(used(&mut h), [a], "{failback:?}");
        h.up(c);
        assert_eq!(
            used(&mut h),
            [c],
            "{failback:?}: the worst is better than that"
        );
    }
}

#[test]
fn going_back_to_a_path_that_has_become_sound_is_a_failback() {
    let (mut manual, [a, b, _]) = failover(Failback::Manual);
    make_marginal(&mut manual, a);
    assert_eq!(used(&mut manual), [b]);
    probation(&mut manual, a);
    assert_eq!(used(&mut manual), [b]);
    let (mut immediate, [a, b, _]) = failover(Failback::Immediate);
    make_marginal(&mut immediate, a);
    assert_eq!(used(&mut immediate), [b]);
    probation(&mut immediate, a);
    assert_eq!(used(&mut immediate), [a]);
}

#[test]
fn a_group_that_an_operator_has_chosen_is_used_though_it_is_marginal() {
    let (mut h, [a, b, c]) = failover(Failback::Immediate);
    assert!(h.core.switch_group(h.now, c));
    h.drain();
    for _ in 0..3 {
        flap(&mut h, c);
        assert!(h.core.switch_group(h.now, c));
    }
    assert!(is_marginal(&h, c));
    assert_eq!(used(&mut h), [c]);
    h.core.fail_back(h.now);
    h.drain();
    assert_eq!(used(&mut h), [a]);
    assert!(!is_marginal(&h, a) && !is_marginal(&h, b));
}

#[test]
fn of_a_group_that_an_operator_has_chosen_the_sound_paths_are_used() {
    let config = builder().path_grouping_policy(PathGroupingPolicy::GroupByPriority);
    let mut h = Harness::new(config.build().unwrap());
    let [a, b, c] = [50, 10, 10].map(|priority| h.add(&format!("prio{priority}"), priority));
    for path in [a, b, c] {
        h.up(path);
    }
    assert!(h.core.switch_group(h.now, b));
    h.drain();
    assert_eq!(used(&mut h), [b, c]);
    make_slow(&mut h, b, c);
    assert_eq!(
        used(&mut h),
        [c],
        "the path that it was chosen by is not what counts"
    );
    probation(&mut h, b);
    assert_eq!(used(&mut h), [b, c]);
}

/// Slow beside the other one, and so without a loss.
fn make_slow(h: &mut Harness, slow: PathId, quick: PathId) {
    run(h, [quick, slow], [MS, 50 * MS], 10 * S);
    assert!(is_marginal(h, slow));
}

#[test]
fn two_marginal_paths_are_used_together_when_they_are_all_there_is() {
    let (mut h, [a, b, c]) = with_paths(for_long().build().unwrap());
    make_marginal(&mut h, a);
    make_marginal(&mut h, b);
    assert_eq!(used(&mut h), [c]);
    h.down(c, LOST);
    assert_eq!(used(&mut h), [a, b]);
}

#[test]
fn a_marginal_optimized_path_loses_to_a_sound_non_optimized_one_and_never_to_standby() {
    let optimized = AccessState::ActiveOptimized;
    for (other, expected) in [
        (AccessState::ActiveNonOptimized, ["b0", "b1"]),
        (AccessState::Standby, ["a0", "a1"]),
    ] {
        let mut array = Array::new(for_long(), Tpgs::ImplicitAndExplicit, [optimized, other]);
        let [a0, a1, ..] = array.paths;
        assert_eq!(array.used(), ["a0", "a1"]);
        for path in [a0, a1] {
            for _ in 0..3 {
                array.h.down(path, LOST);
                array.pass(2 * S);
                array.h.up(path);
                array.pass(3 * S);
            }
            assert!(is_marginal(&array.h, path), "{other}");
        }
        assert_eq!(array.used(), expected, "{other}");
        assert!(
            array.h.activations.is_empty(),
            "nobody is asked to take over"
        );
    }
}

#[test]
fn settings_out_of_range_are_named_with_their_range() {
    let marginal = MarginalConfig::DEFAULT;
    let limit = LatencyLimit::DEFAULT;
    let wrong = [
        ("marginal.losses", marginal.losses(1)),
        ("marginal.losses", marginal.losses(33)),
        ("marginal.errors", marginal.errors(0)),
        ("marginal.window", marginal.window(MS)),
        ("marginal.probation", marginal.probation(Duration::ZERO, S)),
        ("marginal.max_probation", marginal.probation(2 * S, S)),
        (
            "marginal.max_probation",
            marginal.probation(S, Duration::MAX),
        ),
        (
            "marginal.latency.factor",
            marginal.latency(Some(limit.above(1, S))),
        ),
        (
            "marginal.latency.floor",
            marginal.latency(Some(limit.above(2, Duration::ZERO))),
        ),
        (
            "marginal.latency.time",
            marginal.latency(Some(limit.sustained(Duration::MAX, 64))),
        ),
        (
            "marginal.latency.samples",
            marginal.latency(Some(limit.sustained(S, 0))),
        ),
    ];
    for (field, marginal) in wrong {
        let error = Config::builder()
            .marginal(Some(marginal))
            .build()
            .unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().contains(error.range), "{error}");
    }
}
