use iscsi_proto::scsi::{AccessState, TargetPortGroup, TargetPortGroups, inquiry::Tpgs};
use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, NoPathRetry, Outcome, PathAttributes, PathId,
    PortalGroup, Prioritizer, ProbeKind, ProbeResult, SuspectCause, TargetPort,
};

use super::harness::{Harness, LOST, MS, S};

use AccessState::{ActiveNonOptimized, ActiveOptimized, Offline, Standby, Transitioning};

/// A target with two port groups and two paths to each.
pub(crate) struct Array {
    pub(crate) h: Harness,
    pub(crate) paths: [PathId; 4],
    pub(crate) states: [AccessState; 2],
    preferred: Option<u16>,
    transition_time: Option<u8>,
}

fn attributes(name: &str) -> PathAttributes {
    let group = PortalGroup {
        target: "iqn.2026-01.example:array".into(),
        tag: 1,
    };
    PathAttributes::new(name).with_portal_group(group)
}

impl Array {
    pub(crate) fn new(config: ConfigBuilder, tpgs: Tpgs, states: [AccessState; 2]) -> Self {
        let mut h = Harness::new(config.build().unwrap());
        let paths = ["a0", "a1", "b0", "b1"].map(|name| h.add_with(attributes(name)));
        let mut array = Self {
            h,
            paths,
            states,
            preferred: None,
            transition_time: None,
        };
        for (path, group) in array.paths.into_iter().zip([1, 1, 2, 2]) {
            let port = TargetPort { group, tpgs };
            array.h.core.handle_target_port(path, Some(port));
            array.h.up(path);
            array.answer();
        }
        array.pass(S);
        array.h.events.clear();
        array
    }

    fn report(&self) -> TargetPortGroups {
        let groups = (1..)
            .zip(self.states)
            .map(|(group, state)| TargetPortGroup {
                group,
                state,
                preferred: self.preferred == Some(group),
                ..TargetPortGroup::default()
            });
        TargetPortGroups {
            groups: groups.collect(),
            implicit_transition_time: self.transition_time,
            ..TargetPortGroups::default()
        }
    }

    /// The answer to a check by a report.
    pub(crate) fn tell(&mut self, path: PathId) {
        let (now, report) = (self.h.now, self.report());
        self.h.core.handle_port_groups(now, path, Some(&report));
        self.h.answer(path, ProbeKind::Rtpg, ProbeResult::Ready);
    }

    /// Answers whatever is asked for states; how often that was.
    fn answer(&mut self) -> usize {
        let report = self.report();
        let asked = std::mem::take(&mut self.h.reports);
        for path in &asked {
            let now = self.h.now;
            self.h.core.handle_port_groups(now, *path, Some(&report));
            self.h.drain();
        }
        asked.len()
    }

    /// Time passes; all questions are answered truly.
    pub(crate) fn pass(&mut self, time: std::time::Duration) -> usize {
        self.h.drain();
        let (end, mut asked) = (self.h.now + time, self.answer());
        for _ in 0..10_000 {
            for (path, kind) in std::mem::take(&mut self.h.probes) {
                let group = usize::from(self.paths[2..].contains(&path));
                let result = match self.states[group] {
                    _ if kind == ProbeKind::Nop => ProbeResult::Ready,
                    state if state.is_active() => ProbeResult::Ready,
                    Transitioning => ProbeResult::Transitioning,
                    _ => ProbeResult::Ghost,
                };
                if kind == ProbeKind::Rtpg {
                    self.tell(path);
                    continue;
                }
                self.h.answer(path, kind, result);
            }
            asked += self.answer();
            let Some(at) = self.h.core.poll_timeout().filter(|&at| at <= end) else {
                self.h.now = end;
                return asked;
            };
            self.h.now = self.h.now.max(at);
            self.h.core.handle_timeout(self.h.now);
            self.h.drain();
        }
        panic!("timers that do not get done");
    }

    /// On which paths I/O goes.
    pub(crate) fn used(&mut self) -> Vec<&'static str> {
        let mut used = Vec::new();
        for i in 0..16 {
            let io = self.h.read(i..i + 1);
            let Some(path) = self.h.path_of(io) else {
                self.h.core.cancel(self.h.now, io);
                self.h.drain();
                return Vec::new();
            };
            let at = self.paths.iter().position(|other| *other == path).unwrap();
            used.push(["a0", "a1", "b0", "b1"][at]);
            self.h.end_io(io, Outcome::Success);
        }
        used.sort_unstable();
        used.dedup();
        used
    }
}

fn implicit(states: [AccessState; 2]) -> Array {
    Array::new(Config::builder(), Tpgs::Implicit, states)
}

#[test]
fn optimized_paths_are_used_and_the_others_are_there() {
    let mut array = implicit([ActiveOptimized, ActiveNonOptimized]);
    assert_eq!(array.used(), ["a0", "a1"]);
    let snapshot = array.h.core.snapshot(array.h.now);
    let priorities: Vec<_> = snapshot.groups.iter().map(|group| group.priority).collect();
    assert_eq!(priorities, [50, 10]);
    assert_eq!(snapshot.hwhandler(), "1 alua");
    let (a0, a1) = (array.paths[0], array.paths[1]);
    array.h.down(a0, LOST);
    assert_eq!(array.used(), ["a1"]);
    array.h.down(a1, LOST);
    assert_eq!(array.used(), ["b0", "b1"]);
    array.h.up(a0);
    assert_eq!(
        array.used(),
        ["a0"],
        "the array says that it is better, so at once"
    );
}

/// One path asks for all of a target, whatever their number.
#[test]
fn one_report_tells_of_all_paths() {
    let mut array = implicit([ActiveOptimized, ActiveNonOptimized]);
    let asked = array.pass(200 * S);
    assert!((9..=11).contains(&asked), "every 20 s: {asked}");
}

#[test]
fn a_path_that_stands_by_gets_no_io() {
    for state in [Standby, AccessState::Unavailable, Offline] {
        let mut array = implicit([ActiveOptimized, state]);
        array.pass(S);
        array.h.down(array.paths[0], LOST);
        array.h.down(array.paths[1], LOST);
        assert_eq!(array.used(), [""; 0], "{state}");
        let snapshot = array.h.core.snapshot(array.h.now);
        let down = snapshot
            .paths()
            .filter(|p| p.down == Some(DownReason::Ghost));
        assert_eq!(down.count(), 2, "{state}");
    }
}

/// The unit says so, and is asked at once; what it says then holds at once.
#[test]
fn a_change_that_is_told_takes_effect_at_once() {
    let mut array = implicit([ActiveOptimized, Standby]);
    array.pass(S);
    array.states = [Standby, ActiveOptimized];
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[0]);
    array.h.drain();
    assert_eq!(array.answer(), 1);
    array.pass(MS);
    assert_eq!(array.used(), ["b0", "b1"]);
    let changed = |e: &Event| matches!(e, Event::AccessChanged { .. });
    assert_eq!(array.h.saw(changed), 4);
    assert_eq!(array.h.saw(|e| *e == Event::AllPathsDown), 0);
}

#[test]
fn a_change_that_is_told_while_the_answer_is_on_its_way_is_asked_for_again() {
    let mut array = implicit([ActiveOptimized, Standby]);
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[0]);
    array.h.drain();
    let old = array.report();
    let asked = std::mem::take(&mut array.h.reports);
    array.states = [Standby, ActiveOptimized];
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[2]);
    array
        .h
        .core
        .handle_port_groups(array.h.now, asked[0], Some(&old));
    assert_eq!(array.pass(100 * MS), 1);
    assert_eq!(array.used(), ["b0", "b1"]);
}

/// A command meets the change first. Even where a device without paths fails at once, I/O waits for the report.
#[test]
fn io_waits_for_the_report_when_a_command_was_refused() {
    let config = Config::builder().no_path_retry(NoPathRetry::Fail);
    let mut array = Array::new(config, Tpgs::Implicit, [ActiveOptimized, Standby]);
    array.pass(S);
    array.states = [Standby, ActiveOptimized];
    let io = array.h.read(0..1);
    let refused = super::harness::failed(
        mpio::core::Scope::Path,
        mpio::core::Execution::NotExecuted,
        true,
        mpio::core::Retry::OtherPath,
    );
    array.h.end_io(io, refused);
    // On the other path to the same group.
    array.h.end_io(io, refused);
    assert_eq!(array.h.path_of(io), None);
    array.pass(MS);
    let path = array.h.path_of(io).expect("it goes on");
    assert!(array.paths[2..].contains(&path));
    assert_eq!(array.h.saw(|e| *e == Event::AllPathsDown), 0);
}

#[test]
fn a_transition_is_waited_for_and_ends_within_the_targets_own_time() {
    for (time, limit) in [(None, 60), (Some(7), 7)] {
        let config = Config::builder().no_path_retry(NoPathRetry::Fail);
        let mut array = Array::new(config, Tpgs::Implicit, [ActiveOptimized, Standby]);
        (array.states, array.transition_time) = ([Transitioning, Standby], time);
        array
            .h
            .core
            .handle_access_changed(array.h.now, array.paths[0]);
        array.pass(S);
        let cause = SuspectCause::Transition;
        let path = array.paths[0];
        assert_eq!(array.h.saw(|e| *e == Event::Suspect { path, cause }), 1);
        let io = array.h.read(0..1);
        let asked = array.pass((limit - 3) * S);
        assert!(
            asked as u32 >= (limit - 3) * 2 - 2,
            "twice a second: {asked}"
        );
        assert_eq!(array.h.path_of(io), None);
        assert_eq!(array.h.verdict(io), None, "it waits");
        array.pass(3 * S);
        assert!(
            array.h.verdict(io).is_some(),
            "on its way for ever is nowhere"
        );
        // It arrives after all.
        array.states = [ActiveOptimized, Standby];
        array.pass(2 * S);
        assert_eq!(array.used(), ["a0", "a1"]);
    }
}

#[test]
fn a_question_that_is_not_answered_is_put_to_another_path() {
    let mut array = implicit([ActiveOptimized, ActiveNonOptimized]);
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[0]);
    array.h.drain();
    let [first] = array.h.reports[..] else {
        panic!("one path asks: {:?}", array.h.reports)
    };
    array.h.reports.clear();
    array.h.core.handle_port_groups(array.h.now, first, None);
    array.h.drain();
    let second = *array.h.reports.first().expect("another one is asked");
    assert_ne!(first, second);
    // Its connection is lost with the question.
    array.h.reports.clear();
    array.h.down(second, LOST);
    let third = *array.h.reports.first().expect("and the next");
    assert!(![first, second].contains(&third));
}

#[test]
fn the_preferred_group_is_told_from_an_equal_one_only_if_that_is_asked_for() {
    for (exclusive_pref_bit, used) in [
        (false, &["a0", "a1", "b0", "b1"][..]),
        (true, &["b0", "b1"]),
    ] {
        let config = Config::builder().prioritizer(Prioritizer::Alua { exclusive_pref_bit });
        let mut array = Array::new(config, Tpgs::Implicit, [ActiveOptimized, ActiveOptimized]);
        array.preferred = Some(2);
        array
            .h
            .core
            .handle_access_changed(array.h.now, array.paths[0]);
        array.pass(MS);
        assert_eq!(array.used(), used);
    }
}

#[test]
fn a_group_is_asked_to_become_active_when_nothing_else_is_left() {
    let config = Config::builder()
        .no_path_retry(NoPathRetry::Fail)
        .activate_groups(Some(2 * S));
    let mut array = Array::new(
        config,
        Tpgs::ImplicitAndExplicit,
        [ActiveOptimized, Standby],
    );
    array.pass(S);
    assert_eq!(array.h.activations, [], "as long as there is an active one");
    // What is only reset is back in time.
    let io = array.h.read(0..1);
    for _ in 0..3 {
        array.h.down(array.paths[0], LOST);
        array.h.down(array.paths[1], LOST);
        array.pass(S);
        assert_eq!(array.h.verdict(io), None, "it waits for what comes of it");
        array.h.up(array.paths[0]);
        array.pass(S);
        assert!(array.h.path_of(io).is_some());
    }
    assert_eq!(array.h.activations, []);
    array.h.down(array.paths[0], LOST);
    array.pass(3 * S);
    let [(path, 2)] = array.h.activations[..] else {
        panic!("{:?}", array.h.activations)
    };
    assert!(array.paths[2..].contains(&path));
    assert_eq!(array.h.verdict(io), None, "it waits for what comes of it");
    array.states = [Standby, ActiveOptimized];
    array.h.core.handle_activated(array.h.now, path, true);
    array.h.drain();
    array.pass(300 * MS);
    assert!(
        array
            .h
            .path_of(io)
            .is_some_and(|path| array.paths[2..].contains(&path))
    );
    assert_eq!(array.h.saw(|e| *e == Event::AllPathsDown), 0);
}

/// The time to ask comes while a report is awaited, which may tell that it is needless.
#[test]
fn an_activation_that_is_due_waits_for_a_report_that_is_on_its_way() {
    let config = Config::builder().activate_groups(Some(2 * S));
    let mut array = Array::new(config, Tpgs::Explicit, [ActiveOptimized, ActiveOptimized]);
    array.states = [Standby, Standby];
    let first = array.paths[0];
    array.h.core.handle_access_changed(array.h.now, first);
    array.pass(2 * S - 50 * MS);
    array.h.core.handle_access_changed(array.h.now, first);
    array.h.drain();
    // Nothing is answered, and the timers get done all the same.
    let end = array.h.now + 10 * S;
    let mut timers = 0;
    while let Some(at) = array.h.core.poll_timeout().filter(|&at| at <= end) {
        array.h.now = array.h.now.max(at);
        array.h.core.handle_timeout(array.h.now);
        array.h.drain();
        timers += 1;
        assert!(timers < 1000, "a timer that does not get done");
    }
    array.pass(30 * S);
    assert!(!array.h.activations.is_empty());
}

#[test]
fn an_activation_that_is_due_does_not_keep_a_device_from_closing() {
    let config = Config::builder().activate_groups(Some(2 * S));
    let mut array = Array::new(config, Tpgs::Explicit, [Standby, Standby]);
    assert!(array.h.activations.is_empty(), "it is not due yet");
    let now = array.h.now;
    array.h.core.close(now);
    array.pass(10 * S);
    assert!(array.h.activations.is_empty());
}

#[test]
fn a_refused_activation_is_tried_again_with_pauses_that_grow() {
    let explicit = Tpgs::Explicit;
    let mut array = Array::new(Config::builder(), explicit, [Standby, Standby]);
    let (mut groups, mut at) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        for (path, group) in std::mem::take(&mut array.h.activations) {
            groups.push(group);
            at.push(array.h.elapsed().as_secs());
            array.h.core.handle_activated(array.h.now, path, false);
            array.h.drain();
        }
        array.pass(S / 2);
    }
    let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses.is_sorted() && pauses[0] >= 2 && pauses[pauses.len() - 1] >= 30,
        "{pauses:?}"
    );
    assert_eq!(groups[..4], [1, 2, 1, 2], "each in turn");
}

/// The wait for a path is limited, however often that is tried in vain.
#[test]
fn activations_in_vain_do_not_prolong_the_wait_for_a_path() {
    let config = Config::builder().no_path_retry(NoPathRetry::QueueFor(20 * S));
    let mut array = Array::new(config, Tpgs::Explicit, [Standby, Standby]);
    let io = array.h.read(0..1);
    let begun = array.h.now;
    while array.h.verdict(io).is_none() {
        for (path, _) in std::mem::take(&mut array.h.activations) {
            array.h.core.handle_activated(array.h.now, path, false);
            array.h.drain();
        }
        array.pass(S / 2);
        assert!(array.h.now - begun < 30 * S, "it waits for ever");
    }
}

#[test]
fn a_target_that_never_reports_is_asked_seldom_and_used() {
    let mut h = Harness::new(Config::default());
    let paths = ["a", "b", "c"].map(|name| h.add_with(attributes(name)));
    for path in paths {
        let (group, tpgs) = (1, Tpgs::Implicit);
        h.core
            .handle_target_port(path, Some(TargetPort { group, tpgs }));
        h.up(path);
    }
    let mut asked = 0;
    for _ in 0..600 {
        for path in std::mem::take(&mut h.reports) {
            h.core.handle_port_groups(h.now, path, None);
            h.drain();
            asked += 1;
        }
        h.pass(S / 10, &[]);
    }
    assert!((3..=25).contains(&asked), "in a minute: {asked}");
    let io = h.read(0..1);
    assert!(h.path_of(io).is_some());
}

#[test]
fn nothing_is_activated_where_that_is_not_wanted_or_not_possible() {
    let never = Config::builder().activate_groups(None);
    for (config, tpgs) in [(never, Tpgs::Explicit), (Config::builder(), Tpgs::Implicit)] {
        let mut array = Array::new(config, tpgs, [Standby, Standby]);
        array.pass(20 * S);
        assert_eq!(array.h.activations, []);
    }
}

/// What is known is of the target that told it: numbers of groups mean nothing at another one.
#[test]
fn groups_of_two_targets_with_one_number_are_two() {
    let mut array = implicit([ActiveOptimized, Standby]);
    let other = PortalGroup {
        target: "iqn.2026-01.example:other".into(),
        tag: 1,
    };
    let attributes = PathAttributes::new("c").with_portal_group(other);
    let c = array.h.add_with(attributes);
    let (group, tpgs) = (2, Tpgs::Implicit);
    array
        .h
        .core
        .handle_target_port(c, Some(TargetPort { group, tpgs }));
    array.h.up(c);
    assert_eq!(array.h.reports, [c], "asked for itself");
    array.h.reports.clear();
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[0]);
    array.h.now += 100 * MS;
    array.h.core.handle_timeout(array.h.now);
    array.h.drain();
    array.answer();
    let snapshot = array.h.core.snapshot(array.h.now);
    let c = snapshot.paths().find(|path| path.id == c).unwrap();
    assert_eq!((c.access, c.is_usable()), (None, true));
}

/// Without activations nothing is left to hope for, and the policy for a device without a path counts.
#[test]
fn a_device_that_may_not_ask_any_more_hopes_for_nothing() {
    let policy = || Config::builder().no_path_retry(NoPathRetry::Fail);
    let config = policy().activate_groups(Some(4 * S));
    let mut array = Array::new(config, Tpgs::Explicit, [ActiveOptimized, Standby]);
    array.h.down(array.paths[0], LOST);
    array.h.down(array.paths[1], LOST);
    let io = array.h.read(0..1);
    array.pass(S);
    assert_eq!(array.h.verdict(io), None, "a group may still become active");
    let config = policy().activate_groups(None).build().unwrap();
    array.h.core.reconfigure(array.h.now, config);
    array.h.drain();
    assert!(array.h.verdict(io).is_some());
    assert_eq!(array.h.activations, []);
}

#[test]
fn an_operator_who_wants_no_waiting_gets_none_while_a_group_may_become_active() {
    let config = Config::builder().activate_groups(Some(4 * S));
    let mut array = Array::new(config, Tpgs::Explicit, [ActiveOptimized, Standby]);
    array.h.down(array.paths[0], LOST);
    array.h.down(array.paths[1], LOST);
    let io = array.h.read(0..1);
    array.pass(S);
    array.h.core.disable_queueing(array.h.now);
    array.h.drain();
    assert!(array.h.verdict(io).is_some());
}

#[test]
fn a_path_that_an_operator_took_out_is_not_asked_to_take_over() {
    let config = Config::builder().activate_groups(Some(S));
    let mut array = Array::new(config, Tpgs::Explicit, [ActiveOptimized, Standby]);
    for path in &array.paths[2..] {
        array.h.core.fail_path(array.h.now, *path);
    }
    array.h.down(array.paths[0], LOST);
    array.h.down(array.paths[1], LOST);
    array.pass(20 * S);
    assert_eq!(array.h.activations, []);
}

#[test]
fn a_suspended_device_asks_no_group_to_become_active() {
    let config = Config::builder().activate_groups(Some(S));
    let mut array = Array::new(config, Tpgs::Explicit, [ActiveOptimized, Standby]);
    array.h.core.suspend(array.h.now);
    array.states = [Standby, Standby];
    array.pass(60 * S);
    assert_eq!(array.h.activations, []);
    array.h.core.resume(array.h.now);
    array.pass(5 * S);
    assert_eq!(array.h.activations.len(), 1);
}

/// The path that was told of the change is asked, not the first one, which may be dead without anybody knowing.
#[test]
fn who_tells_of_a_change_is_asked_for_it() {
    let mut array = Array::new(
        Config::builder(),
        Tpgs::Implicit,
        [ActiveOptimized, Standby],
    );
    array.h.reports.clear();
    let told = array.paths[3];
    array.h.core.handle_access_changed(array.h.now, told);
    array.h.drain();
    assert_eq!(array.h.reports, [told]);
    // It falls silent itself: another one is asked as soon as that is suspected.
    array.h.pass(S, &[told]);
    let asked = array.h.reports.clone();
    assert!(asked.len() > 1 && asked[1] != told, "{asked:?}");
}

#[test]
fn a_report_without_a_group_leaves_it_where_it_was() {
    let mut array = Array::new(
        Config::builder(),
        Tpgs::Implicit,
        [ActiveOptimized, Standby],
    );
    array
        .h
        .core
        .handle_access_changed(array.h.now, array.paths[0]);
    array.h.drain();
    let asked = array.h.reports.pop().unwrap();
    let empty = TargetPortGroups::default();
    array
        .h
        .core
        .handle_port_groups(array.h.now, asked, Some(&empty));
    array.h.drain();
    assert_eq!(array.used(), ["a0", "a1"]);
}
