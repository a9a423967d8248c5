//! Checks by REPORT TARGET PORT GROUPS: one answer for the path and for the states.

use iscsi_proto::scsi::{AccessState, inquiry::Tpgs};
use mpio::core::{
    Config, DownReason, Event, Execution, PathChecker, PathId, PathState, ProbeKind, ProbeResult,
    Retry, Scope,
};

use super::{
    asymmetric_access::Array,
    harness::{S, failed},
};

use AccessState::{ActiveNonOptimized, ActiveOptimized, Standby, Transitioning};

fn array(states: [AccessState; 2]) -> Array {
    let config = Config::builder().path_checker(PathChecker::Rtpg);
    Array::new(config, Tpgs::Implicit, states)
}

/// What the path is asked at a check that is due now.
fn ask(array: &mut Array, path: PathId) -> ProbeKind {
    let h = &mut array.h;
    h.core.reinstate_path(h.now, path);
    h.core.handle_timeout(h.now);
    h.drain();
    let asked = h.probes.iter().find(|(asked, _)| *asked == path);
    asked.expect("it is asked").1
}

fn state_of(array: &Array, path: PathId) -> Option<AccessState> {
    let snapshot = array.h.core.snapshot(array.h.now);
    let mut paths = snapshot.groups.iter().flat_map(|group| &group.paths);
    paths.find(|other| other.id == path).unwrap().access
}

#[test]
fn one_answer_shows_that_the_path_works_and_tells_of_all_groups() {
    let mut array = array([ActiveOptimized, ActiveNonOptimized]);
    assert_eq!(array.pass(600 * S), 0, "reports beside those of the checks");
    let path = array.paths[0];
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
    assert_eq!(array.h.reports, [], "though its states are due as well");
    array.states = [ActiveNonOptimized, ActiveOptimized];
    array.tell(path);
    for (path, state) in array.paths.into_iter().zip([0, 0, 1, 1]) {
        assert_eq!(state_of(&array, path), Some(array.states[state]));
    }
    assert_eq!(array.used(), ["b0", "b1"]);
}

#[test]
fn a_path_stands_by_or_waits_as_its_group_does() {
    let mut array = array([ActiveOptimized, ActiveNonOptimized]);
    let path = array.paths[0];
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
    array.states = [Standby, Standby];
    array.tell(path);
    let reason = DownReason::Ghost;
    assert_eq!(array.h.saw(|e| *e == Event::PathDown { path, reason }), 1);
    let snapshot = array.h.core.snapshot(array.h.now);
    assert_eq!(snapshot.path(path).unwrap().checker, PathState::Ghost);
    assert_eq!(array.used(), [""; 0]);
    array.states = [Transitioning, Transitioning];
    array.pass(25 * S);
    assert_eq!(array.used(), [""; 0]);
    array.states = [ActiveOptimized, ActiveOptimized];
    array.pass(25 * S);
    assert_eq!(array.used().len(), 4);
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
    array.states = [Transitioning, Transitioning];
    array.tell(path);
    let snapshot = array.h.core.snapshot(array.h.now);
    assert_eq!(snapshot.path(path).unwrap().checker, PathState::Shaky);
}

/// Two are asked at once, and the first answer is older than the change.
#[test]
fn a_report_counts_though_that_of_another_path_came_first() {
    let mut array = array([ActiveOptimized, ActiveNonOptimized]);
    let [first, second, ..] = array.paths;
    assert_eq!(ask(&mut array, first), ProbeKind::Rtpg);
    assert_eq!(ask(&mut array, second), ProbeKind::Rtpg);
    array.tell(first);
    array.states = [ActiveNonOptimized, ActiveOptimized];
    array.tell(second);
    assert_eq!(array.used(), ["b0", "b1"]);
}

#[test]
fn a_unit_that_refuses_is_asked_whether_it_is_ready() {
    let mut array = array([ActiveOptimized, ActiveNonOptimized]);
    let path = array.paths[0];
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
    let now = array.h.now;
    array.h.core.handle_port_groups(now, path, None);
    array.h.probes.clear();
    array.h.answer(path, ProbeKind::Tur, ProbeResult::Ready);
    let is_down = |e: &Event| matches!(e, Event::PathDown { path: down, .. } if *down == path);
    assert_eq!(array.h.saw(is_down), 0);
    assert_eq!(ask(&mut array, path), ProbeKind::Tur);
    array.h.answer(path, ProbeKind::Tur, ProbeResult::Ready);
    // It is asked for its states by themselves from time to time, and has to answer.
    assert_ne!(array.pass(60 * S), 0);
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
}

/// The question was sent before the error, so its answer says nothing about that.
#[test]
fn a_report_that_was_asked_for_before_an_error_clears_nothing() {
    let mut array = array([ActiveOptimized, ActiveOptimized]);
    let path = array.paths[0];
    assert_eq!(ask(&mut array, path), ProbeKind::Rtpg);
    let io = loop {
        let io = array.h.read(0..1);
        if array.h.path_of(io) == Some(path) {
            break io;
        }
    };
    let error = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);
    array.h.end_io(io, error);
    array.tell(path);
    assert_eq!(array.h.saw(|e| *e == Event::Cleared { path }), 0);
    assert!(array.h.probes.contains(&(path, ProbeKind::Tur)));
    array.h.answer(path, ProbeKind::Tur, ProbeResult::Ready);
    assert_eq!(array.h.saw(|e| *e == Event::Cleared { path }), 1);
}
