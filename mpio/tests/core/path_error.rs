use mpio::core::{
    Config, DownReason, Event, Execution, Outcome, ProbeKind, ProbeResult, Retry, Scope,
    SuspectCause,
};

use super::harness::{Harness, S, failed};

const PATH_ERROR: Outcome = failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath);

#[test]
fn one_error_makes_a_path_doubtful_until_a_tur_clears_it() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.end_io(io, PATH_ERROR);
    assert_eq!(h.path_of(io), Some(b));
    let cause = SuspectCause::PathError;
    assert_eq!(h.saw(|e| *e == Event::Suspect { path: a, cause }), 1);
    h.pass(std::time::Duration::ZERO, &[a]);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)], "asked at once");
    h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 1);
}

#[test]
fn a_tur_that_confirms_the_error_takes_the_path_out() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.end_io(io, PATH_ERROR);
    h.pass(std::time::Duration::ZERO, &[a]);
    h.answer(a, ProbeKind::Tur, ProbeResult::NotReady);
    let reason = DownReason::NotReady;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
}

#[test]
fn a_path_that_answers_turs_and_fails_io_is_not_asked_without_pause() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    let mut seconds = 0;
    while h.verdict(io).is_none() {
        if h.flight(io).is_some() {
            h.end_io(io, PATH_ERROR);
        }
        h.pass(S, &[]);
        seconds += 1;
    }
    assert!((10..30).contains(&seconds), "given up after {seconds} s");
}
