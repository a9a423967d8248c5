//! What a check asks.

use std::time::Duration;

use mpio::core::{
    Config, DownReason, Event, Execution, LatencyClasses, PathChecker, Prioritizer, ProbeKind,
    ProbeResult, Retry, Scope,
};

use super::harness::{Harness, S, failed};

fn with(checker: PathChecker) -> Config {
    let config = Config::builder().path_checker(checker);
    config.build().unwrap()
}

/// Lets time pass to the next question.
fn next_question(h: &mut Harness) -> ProbeKind {
    for _ in 0..1000 {
        h.now = h
            .now
            .max(h.core.poll_timeout().expect("a check is planned"));
        h.core.handle_timeout(h.now);
        h.drain();
        if let Some((_, kind)) = h.probes.first() {
            return *kind;
        }
    }
    panic!("nothing is asked");
}

#[test]
fn each_checker_has_a_question_of_its_own() {
    for (checker, question) in [
        (PathChecker::Tur, ProbeKind::Tur),
        (PathChecker::Read, ProbeKind::Read),
        // These paths know no asymmetric access.
        (PathChecker::Rtpg, ProbeKind::Tur),
        (PathChecker::Nop, ProbeKind::Nop),
    ] {
        let (mut h, [a]) = Harness::with_paths(with(checker));
        assert_eq!(next_question(&mut h), question);
        h.answer(a, question, ProbeResult::Ready);
        assert_eq!(next_question(&mut h), question);
    }
}

#[test]
fn the_read_of_a_check_counts_as_its_answer() {
    let (mut h, [a, _]) = Harness::with_paths(with(PathChecker::Read));
    while !h.probes.contains(&(a, ProbeKind::Read)) {
        let at = h.core.poll_timeout().unwrap();
        h.now = h.now.max(at);
        h.core.handle_timeout(h.now);
        h.drain();
    }
    h.answer(a, ProbeKind::Read, ProbeResult::NotReady);
    let reason = DownReason::NotReady;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
}

/// One ping of the session is enough for all units behind it.
#[test]
fn a_connection_that_was_heard_of_is_not_asked() {
    let (mut h, [a]) = Harness::with_paths(with(PathChecker::Nop));
    for _ in 0..60 {
        h.now += 2 * S;
        h.core.handle_activity(h.now, a, h.now);
        h.core.handle_timeout(h.now);
        h.drain();
        assert_eq!(h.probes, [], "others keep it alive");
    }
    assert_eq!(next_question(&mut h), ProbeKind::Nop);
}

/// What was heard of before somebody had reason to ask is no answer.
#[test]
fn a_path_that_is_to_be_asked_at_once_is_asked_though_it_was_heard_of() {
    let (mut h, [a]) = Harness::with_paths(with(PathChecker::Nop));
    h.pass(10 * S, &[]);
    h.core.handle_activity(h.now, a, h.now);
    h.core.reinstate_path(h.now, a);
    h.core.handle_timeout(h.now);
    h.drain();
    assert_eq!(h.probes, [(a, ProbeKind::Nop)]);
}

/// Nothing is measured where nothing is sent.
#[test]
fn where_latency_ranks_paths_they_are_asked_though_they_were_heard_of() {
    let config = Config::builder()
        .path_checker(PathChecker::Nop)
        .prioritizer(Prioritizer::PathLatency(LatencyClasses::default()));
    let (mut h, [a]) = Harness::with_paths(config.build().unwrap());
    for _ in 0..100 {
        h.now += S / 10;
        h.core.handle_activity(h.now, a, h.now);
        h.core.handle_timeout(h.now);
        h.drain();
        if h.probes.contains(&(a, ProbeKind::Nop)) {
            return;
        }
    }
    panic!("it is never asked");
}

/// A connection that is alive says nothing about a unit that fails.
#[test]
fn after_an_error_the_unit_is_asked() {
    let (mut h, [a]) = Harness::with_paths(with(PathChecker::Nop));
    let io = h.read(0..1);
    let error = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);
    h.end_io(io, error);
    h.pass(Duration::ZERO, &[a]);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)]);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 0);
    h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 1);
}

/// The question was sent before the error, so its answer says nothing about that.
#[test]
fn the_answer_of_a_connection_that_was_asked_before_an_error_clears_nothing() {
    let (mut h, [a]) = Harness::with_paths(with(PathChecker::Nop));
    assert_eq!(next_question(&mut h), ProbeKind::Nop);
    let io = h.read(0..1);
    let error = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);
    h.end_io(io, error);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 0);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)]);
    h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 1);
}

/// Connections are asked for other reasons as well.
#[test]
fn an_answer_of_the_connection_does_not_begin_a_check_anew() {
    let (mut h, [a]) = Harness::with_paths(with(PathChecker::Tur));
    let io = h.read(0..1);
    let error = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);
    h.end_io(io, error);
    h.pass(Duration::ZERO, &[a]);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)]);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)], "it is under way");
}
