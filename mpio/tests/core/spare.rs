//! Spares stand by as long as the path that they are for takes I/O, and take over when it does not.

use std::time::Duration;

use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, Failback, FencedBy, IoId, Outcome, PathAttributes,
    PathGroupingPolicy, PathId, PathSelector, PortalGroup, ProbeKind, ProbeResult, SpareState,
    TargetProfile,
    trace::{Considered, Decision},
};

use super::harness::{Harness, LOST, MS, S};

/// Two network devices with a path each, and a spare of each path, all up.
fn pairs(config: Config) -> (Harness, [PathId; 4]) {
    let mut h = Harness::new(config);
    let a = h.add("a", 1);
    let b = h.add("b", 1);
    let spare_a = h.add_with(PathAttributes::new("a spare").with_spare_for("a"));
    let spare_b = h.add_with(PathAttributes::new("b spare").with_spare_for("b"));
    let paths = [a, b, spare_a, spare_b];
    paths.into_iter().for_each(|path| h.up(path));
    h.now += S;
    h.events.clear();
    h.probes.clear();
    (h, paths)
}

/// One path and its spare.
fn pair(config: Config) -> (Harness, [PathId; 2]) {
    let mut h = Harness::new(config);
    let a = h.add("a", 1);
    let spare = h.add_with(PathAttributes::new("a spare").with_spare_for("a"));
    h.up(a);
    h.up(spare);
    h.now += S;
    h.events.clear();
    h.probes.clear();
    (h, [a, spare])
}

fn config() -> ConfigBuilder {
    Config::builder().path_selector(PathSelector::RoundRobin)
}

fn built(config: ConfigBuilder) -> Config {
    config.build().expect("valid")
}

/// Where so many reads go; they stay in flight.
fn reads(h: &mut Harness, count: u64) -> Vec<PathId> {
    let ios: Vec<IoId> = (0..count).map(|at| h.read(at..at + 1)).collect();
    ios.iter().filter_map(|&io| h.path_of(io)).collect()
}

/// Reads are spread over these, evenly, and nothing else.
#[track_caller]
fn shared_by(h: &mut Harness, paths: &[PathId]) {
    let each = 4;
    let went = reads(h, each * paths.len() as u64);
    for path in paths {
        let count = went.iter().filter(|&other| other == path).count();
        assert_eq!(count as u64, each, "{path} of {went:?}");
    }
    let ios: Vec<IoId> = h.flying.iter().map(|&(io, _, _)| io).collect();
    ios.into_iter()
        .for_each(|io| h.end_io(io, Outcome::Success));
}

/// The answer to the question that a spare is asked at a loss.
fn answers(h: &mut Harness, spare: PathId) {
    assert!(h.probes.contains(&(spare, ProbeKind::Nop)), "it is asked");
    h.now += MS;
    h.answer(spare, ProbeKind::Nop, ProbeResult::Ready);
}

fn told(h: &Harness) -> Vec<Event> {
    let of_spares = |event: &&Event| {
        matches!(
            event,
            Event::SpareInUse { .. } | Event::SpareStandsBy { .. }
        )
    };
    h.events.iter().filter(of_spares).copied().collect()
}

fn state(h: &Harness, path: PathId) -> Option<SpareState> {
    h.core.snapshot(h.now).path(path).expect("there").spare
}

#[test]
fn a_spare_takes_no_io_as_long_as_its_path_does() {
    let selectors = [
        PathSelector::RoundRobin,
        PathSelector::QueueLength,
        PathSelector::ServiceTime,
        PathSelector::HistoricalServiceTime,
        PathSelector::PowerOfTwoChoices,
    ];
    for selector in selectors {
        let (mut h, [a, b, spare_a, spare_b]) = pairs(built(config().path_selector(selector)));
        for path in reads(&mut h, 64) {
            assert!(path == a || path == b, "{selector:?}");
        }
        assert_eq!(state(&h, a), None);
        assert_eq!(state(&h, spare_a), Some(SpareState::StandsBy));
        assert_eq!(state(&h, spare_b), Some(SpareState::StandsBy));
        assert_eq!(told(&h), []);
    }
}

#[test]
fn it_takes_the_place_of_a_lost_path_when_it_has_answered_and_gives_it_back() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    h.down(a, LOST);
    shared_by(&mut h, &[b]);
    answers(&mut h, spare_a);
    shared_by(&mut h, &[b, spare_a]);
    assert_eq!(
        told(&h),
        [Event::SpareInUse {
            path: spare_a,
            instead_of: a
        }],
        "once, and not for each I/O"
    );
    assert_eq!(state(&h, spare_a), Some(SpareState::InUse));

    let went = reads(&mut h, 2);
    assert!(went.contains(&spare_a));
    h.up(a);
    assert_eq!(
        h.on(spare_a).len(),
        1,
        "what is in flight there may end there"
    );
    assert_eq!(h.recalled, []);
    let ios: Vec<IoId> = h.flying.iter().map(|&(io, _, _)| io).collect();
    ios.into_iter()
        .for_each(|io| h.end_io(io, Outcome::Success));
    shared_by(&mut h, &[a, b]);
    assert_eq!(told(&h)[1..], [Event::SpareStandsBy { path: spare_a }]);
    let snapshot = h.core.snapshot(h.now);
    assert_eq!(snapshot.counters.takeovers, 1);
    assert_eq!(snapshot.path(spare_a).unwrap().counters.takeovers, 1);
    assert_eq!(snapshot.path(a).unwrap().counters.takeovers, 0);
}

#[test]
fn what_was_lost_while_it_stood_by_is_no_failover() {
    let (mut h, [a, _, spare_a, _]) = pairs(built(config()));
    h.down(a, LOST);
    answers(&mut h, spare_a);
    reads(&mut h, 2);
    h.up(a);
    let ios: Vec<IoId> = h.flying.iter().map(|&(io, _, _)| io).collect();
    ios.into_iter()
        .for_each(|io| h.end_io(io, Outcome::Success));
    h.events.clear();
    h.down(spare_a, LOST);
    reads(&mut h, 2);
    assert_eq!(h.saw(|e| matches!(e, Event::Failover { .. })), 0);
    assert_eq!(told(&h), []);
}

#[test]
fn a_spare_that_does_not_answer_does_not_take_over_while_there_are_others() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    h.down(a, LOST);
    h.pass(30 * MS, &[spare_a]);
    shared_by(&mut h, &[b]);
    h.pass(2 * S, &[spare_a]);
    let shown = h.core.snapshot(h.now);
    let shown = shown.path(spare_a).unwrap();
    assert!(!shown.is_usable(), "its silence is noticed: {shown}");
    assert_eq!(told(&h), []);
}

#[test]
fn without_another_path_in_its_group_it_takes_over_at_once() {
    let (mut h, [a, spare]) = pair(built(config()));
    let io = h.read(0..1);
    h.down(a, LOST);
    assert_eq!(h.path_of(io), Some(spare), "it moves at the loss");
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 0);
    assert_eq!(
        h.saw(|e| matches!(e, Event::Failover { from, to } if (*from, *to) == (a, spare))),
        1
    );
}

#[test]
fn the_group_of_a_lost_path_stays_in_use_by_its_spare() {
    for policy in [
        PathGroupingPolicy::Failover,
        PathGroupingPolicy::GroupByPriority,
        PathGroupingPolicy::Manual,
    ] {
        let mut h = Harness::new(built(config().path_grouping_policy(policy)));
        let best = |name: &str| PathAttributes::new(name).with_priority(50).with_group(1);
        let a = h.add_with(best("a"));
        let b = h.add("b", 10);
        let spare = h.add_with(best("a spare").with_spare_for("a"));
        [a, b, spare].into_iter().for_each(|path| h.up(path));
        let snapshot = h.core.snapshot(h.now);
        let shown: Vec<Vec<PathId>> = snapshot
            .groups
            .iter()
            .map(|group| group.paths.iter().map(|path| path.id).collect())
            .collect();
        assert_eq!(shown, [vec![a, spare], vec![b]], "{policy:?}");
        assert_eq!(reads(&mut h, 1), [a]);
        h.events.clear();
        h.down(a, LOST);
        assert_eq!(h.on(spare).len(), 1, "{policy:?}");
        assert_eq!(h.saw(|e| matches!(e, Event::GroupSwitched { .. })), 0);
    }
}

/// The network of a silent path is gone, and its spare's is the same one.
#[test]
fn the_spare_of_a_silent_path_takes_over_only_if_it_was_heard_of_since() {
    for answered in [false, true] {
        let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
        let went = reads(&mut h, 2);
        assert_eq!(went, [a, b]);
        h.end_io(h.on(b)[0].0, Outcome::Success);
        h.pass(110 * MS, &[a, spare_a]);
        assert!(h.probes.contains(&(a, ProbeKind::Nop)), "it is silent");
        answers_if(&mut h, spare_a, answered);
        h.pass(260 * MS, &[a, spare_a]);
        let snapshot = h.core.snapshot(h.now);
        assert!(snapshot.path(a).unwrap().suspect.is_some());
        let went = reads(&mut h, 8);
        assert_eq!(went.contains(&spare_a), answered, "{went:?}");
        assert_eq!(told(&h).len(), usize::from(answered));
    }
}

fn answers_if(h: &mut Harness, spare: PathId, answered: bool) {
    match answered {
        true => answers(h, spare),
        false => assert!(h.probes.contains(&(spare, ProbeKind::Nop)), "it is asked"),
    }
}

#[test]
fn a_spare_that_is_silent_too_is_no_way_out_after_the_connection_was_closed() {
    let (mut h, [a, b, spare_a, spare_b]) = pairs(built(config()));
    reads(&mut h, 2);
    h.end_io(h.on(b)[0].0, Outcome::Success);
    h.pass(360 * MS, &[a, spare_a]);
    h.core.handle_path_down(h.now, a, DownReason::Fenced);
    h.drain();
    for at in 0..16 {
        let io = h.read(at..at + 1);
        assert_ne!(h.path_of(io), Some(spare_a));
        h.end_io(io, Outcome::Success);
    }
    // And where nothing else is left, to try it is as good as to ask it.
    h.down(b, LOST);
    h.down(spare_b, LOST);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(spare_a));
}

#[test]
fn reads_that_are_hedged_go_to_another_network_device_and_never_to_a_spare() {
    let (mut h, [a, b, spare_a, spare_b]) = pairs(built(config()));
    reads(&mut h, 8);
    for (io, _, _) in h.on(b) {
        h.end_io(io, Outcome::Success);
    }
    let ios: Vec<IoId> = h.on(a).into_iter().map(|(io, _, _)| io).collect();
    // All others are heard of during the silence.
    h.pass(90 * MS, &[a]);
    for path in [b, spare_a, spare_b] {
        h.core.handle_activity(h.now, path, h.now);
    }
    h.pass(60 * MS, &[a]);
    assert_eq!((ios.len(), h.detached.len()), (4, 4), "the reads move");
    for attempt in h.detached.clone() {
        h.end(attempt, super::harness::TAKEN_BACK);
    }
    for io in ios {
        assert_eq!(h.path_of(io), Some(b));
    }
}

#[test]
fn a_spare_alone_is_no_evidence_that_moves_reads() {
    let (mut h, [a, spare]) = pair(built(config()));
    let io = h.read(0..1);
    h.pass(110 * MS, &[a, spare]);
    answers(&mut h, spare);
    h.pass(100 * MS, &[a, spare]);
    assert_eq!((h.detached.len(), h.path_of(io)), (0, Some(a)));
}

/// One connection is stuck, and the network and the target are not.
#[test]
fn a_silent_path_is_closed_soon_if_its_spare_hears_from_the_target() {
    for answers in [false, true] {
        let (mut h, [a, spare]) = pair(built(config()));
        let io = h.read(0..1);
        let dumb = [a, spare];
        h.pass(1200 * MS, if answers { &dumb[..1] } else { &dumb });
        assert_eq!(h.fences == [a], answers);
        if answers {
            assert_eq!(h.recalled.len(), 1);
            h.end(h.recalled[0], super::harness::TAKEN_BACK);
            assert_eq!(h.path_of(io), Some(spare));
        }
    }
}

#[test]
fn it_takes_over_from_a_marginal_path_as_long_as_it_is_sound_itself() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    for _ in 0..5 {
        h.down(a, LOST);
        h.up(a);
        h.pass(3 * S, &[]);
    }
    let snapshot = h.core.snapshot(h.now);
    assert!(snapshot.path(a).unwrap().marginal.is_some(), "{snapshot}");
    shared_by(&mut h, &[b, spare_a]);
    // A network that is bad is bad for both.
    for _ in 0..5 {
        h.down(spare_a, LOST);
        h.up(spare_a);
        h.pass(3 * S, &[]);
    }
    shared_by(&mut h, &[b]);
    h.down(b, LOST);
    let b_spare_too = h.core.snapshot(h.now);
    let sound = b_spare_too
        .paths()
        .find(|path| path.spare.is_some() && path.marginal.is_none() && path.is_usable());
    let sound = sound.expect("the spare of b").id;
    h.pass(MS, &[]);
    shared_by(&mut h, &[sound]);
    h.down(sound, LOST);
    shared_by(&mut h, &[a]);
}

#[test]
fn a_loss_of_both_is_one_fault_of_each() {
    let (mut h, [a, _, spare_a, _]) = pairs(built(config()));
    for round in 0..5 {
        let snapshot = h.core.snapshot(h.now);
        for path in [a, spare_a] {
            let marginal = snapshot.path(path).unwrap().marginal;
            assert_eq!(marginal, None, "after {round} losses");
        }
        h.down(a, LOST);
        h.down(spare_a, LOST);
        h.up(spare_a);
        h.up(a);
        h.pass(3 * S, &[]);
    }
    let snapshot = h.core.snapshot(h.now);
    assert!(snapshot.path(a).unwrap().marginal.is_some());
    assert!(snapshot.path(spare_a).unwrap().marginal.is_some());
}

#[test]
fn without_a_carrier_both_are_out() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    h.core.handle_links(h.now, [(a, false), (spare_a, false)]);
    h.drain();
    assert_eq!(h.fences, [a, spare_a]);
    shared_by(&mut h, &[b]);
    assert_eq!(told(&h), []);
}

#[test]
fn an_operator_takes_both_out_of_use_and_brings_both_back() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    h.core.fail_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[b]);
    let snapshot = h.core.snapshot(h.now);
    for path in [a, spare_a] {
        let down = snapshot.path(path).unwrap().down;
        assert_eq!(down, Some(DownReason::Operator));
    }
    // One that joins meanwhile is no way around it.
    let late = h.add_with(PathAttributes::new("late").with_spare_for("a"));
    h.up(late);
    shared_by(&mut h, &[b]);
    h.core.reinstate_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[a, b]);
    assert_eq!(state(&h, spare_a), Some(SpareState::StandsBy));

    for spare in [spare_a, late] {
        h.core.fail_path(h.now, spare);
        h.drain();
    }
    shared_by(&mut h, &[a, b]);
    h.down(a, LOST);
    h.pass(MS, &[]);
    shared_by(&mut h, &[b]);
}

#[test]
fn the_spare_of_a_path_that_is_removed_is_used_like_any_other_until_one_is_there_again() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    h.core.remove_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[b, spare_a]);
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::PathRemoved { path: a }), 1);
    shared_by(&mut h, &[b, spare_a]);

    let a = h.add("a", 1);
    shared_by(&mut h, &[b, spare_a]);
    h.up(a);
    shared_by(&mut h, &[a, b]);
    assert_eq!(state(&h, spare_a), Some(SpareState::StandsBy));
}

/// Whom the operator has taken out of use was that path, and it is not there any more.
#[test]
fn a_spare_that_was_failed_with_its_path_is_used_again_once_that_is_removed() {
    let (mut h, [a, b, spare_a, _]) = pairs(built(config()));
    let late = h.add_with(PathAttributes::new("late").with_spare_for("a"));
    h.up(late);
    h.core.fail_path(h.now, late);
    h.core.fail_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[b]);
    h.core.remove_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[b, spare_a]);
    h.core.handle_path_down(h.now, a, DownReason::Removed);
    h.drain();
    shared_by(&mut h, &[b, spare_a]);
    let down = h.core.snapshot(h.now).path(late).unwrap().down;
    assert_eq!(down, Some(DownReason::Operator), "that one by itself");

    let a = h.add("a", 1);
    h.up(a);
    shared_by(&mut h, &[a, b]);
    h.core.fail_path(h.now, a);
    h.core.fail_path(h.now, spare_a);
    h.core.remove_path(h.now, a);
    h.drain();
    shared_by(&mut h, &[b]);
}

#[test]
fn a_spare_that_was_failed_by_itself_is_used_again_with_its_path() {
    let (mut h, [a, _, spare_a, _]) = pairs(built(config()));
    h.core.fail_path(h.now, spare_a);
    h.core.fail_path(h.now, a);
    h.core.reinstate_path(h.now, a);
    h.drain();
    assert_eq!(h.core.snapshot(h.now).path(spare_a).unwrap().down, None);
}

#[test]
fn a_spare_that_joins_first_is_used_until_its_path_is_there() {
    let mut h = Harness::new(built(config()));
    let spare = h.add_with(PathAttributes::new("a spare").with_spare_for("a"));
    h.up(spare);
    shared_by(&mut h, &[spare]);
    let a = h.add("a", 1);
    shared_by(&mut h, &[spare]);
    h.up(a);
    shared_by(&mut h, &[a]);
}

#[test]
fn a_spare_is_for_the_path_of_that_name_to_its_own_target() {
    let mut h = Harness::new(built(config()));
    let to = |name: &str, target: &str| {
        let target = target.into();
        PathAttributes::new(name).with_portal_group(PortalGroup { target, tag: 1 })
    };
    let one = h.add_with(to("a", "iqn.one"));
    let two = h.add_with(to("a", "iqn.two"));
    let spare = h.add_with(to("a spare", "iqn.two").with_spare_for("a"));
    [one, two, spare].into_iter().for_each(|path| h.up(path));
    h.now += S;
    h.down(one, LOST);
    h.pass(MS, &[]);
    shared_by(&mut h, &[two]);
    h.up(one);
    h.down(two, LOST);
    h.pass(MS, &[]);
    shared_by(&mut h, &[one, spare]);
}

/// That the spare lives says nothing of what the lost nexus may still do.
#[test]
fn a_write_that_was_lost_is_a_ghost_until_its_own_nexus_is_back() {
    let profile = TargetProfile::LIO;
    let (mut h, [a, spare]) = pair(built(config().target_profile(profile)));
    let write = h.write(0..8);
    assert_eq!(h.path_of(write), Some(a));
    h.down(a, LOST);
    assert_eq!(h.path_of(write), Some(spare), "repeated at once");
    h.end_io(write, Outcome::Success);
    let overlapping = h.write(0..8);
    assert_eq!(h.path_of(overlapping), None);
    assert_eq!(h.core.snapshot(h.now).ghosts, 1);
    h.up(a);
    assert_eq!(h.path_of(overlapping), Some(a));
    let by = FencedBy::Reinstated;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
}

#[test]
fn what_is_to_be_tried_again_on_the_same_path_leaves_a_spare_that_stands_by() {
    use mpio::core::{Execution, Retry, Scope};
    let (mut h, [a, spare]) = pair(built(config()));
    h.down(a, LOST);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(spare));
    h.up(a);
    let again = super::harness::failed(
        Scope::Request,
        Execution::NotExecuted,
        true,
        Retry::SamePath,
    );
    h.end_io(io, again);
    assert_eq!(h.path_of(io), Some(a));
}

#[test]
fn the_trace_and_the_topology_say_that_it_stands_by() {
    let (mut h, [a, spare]) = pair(built(config().decision_trace(16)));
    h.read(0..1);
    let trace = h.core.trace();
    let considered = trace
        .entries
        .iter()
        .find_map(|entry| match &entry.decision {
            Decision::Dispatched { candidates, .. } => candidates.iter().find(|c| c.path == spare),
            _ => None,
        });
    let considered = considered.expect("it was looked at");
    assert_eq!(considered.result, Considered::StandsBy);
    assert!(considered.to_string().ends_with("stands by"));
    let shown = h.core.snapshot(h.now).to_string();
    assert!(
        shown.contains("a spare active ready running (spare)\n"),
        "{shown}"
    );
    h.down(a, LOST);
    let shown = h.core.snapshot(h.now).to_string();
    assert!(
        shown.contains("a spare active ready running (spare, in use)\n"),
        "{shown}"
    );
}

#[test]
fn without_spares_nothing_is_asked_at_a_loss() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.now += Duration::from_secs(1);
    h.probes.clear();
    h.down(a, LOST);
    assert_eq!(h.probes, []);
}

/// A spare that stands by and may be as silent does not keep a group in use, nor from being used again.
#[test]
fn the_group_of_a_silent_path_is_left_and_followed_over_to_again() {
    let mut h = Harness::new(built(
        config()
            .path_grouping_policy(PathGroupingPolicy::Failover)
            .failback(Failback::FollowOver),
    ));
    let best = |name: &str| PathAttributes::new(name).with_priority(50);
    let a = h.add_with(best("a"));
    let b = h.add("b", 10);
    let spare = h.add_with(best("a spare").with_spare_for("a"));
    [a, b, spare].into_iter().for_each(|path| h.up(path));
    h.now += S;
    h.probes.clear();
    assert_eq!(reads(&mut h, 1), [a]);
    h.pass(360 * MS, &[a, spare]);
    assert_eq!(reads(&mut h, 1), [b]);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(reads(&mut h, 1), [a]);
    assert_eq!(told(&h), []);
}

/// What an operator says of a network device is not undone by the spare from the same one.
#[test]
fn a_path_that_is_marked_as_marginal_takes_its_spare_along() {
    let (mut h, [a, b, _, _]) = pairs(built(config()));
    h.core.mark_marginal(h.now, a);
    h.drain();
    let paths = h.probes.clone();
    paths
        .into_iter()
        .for_each(|(path, kind)| h.answer(path, kind, ProbeResult::Ready));
    shared_by(&mut h, &[b]);
}
