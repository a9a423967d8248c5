use mpio::core::{
    Config, DownReason, Event, NoPathRetry, Outcome, PathId, ProbeKind, ProbeResult, SuspectCause,
};

use super::harness::{Harness, S};

/// Waits for the next TUR of the path; seconds until it came, rounded.
fn next_tur(h: &mut Harness, path: PathId) -> u64 {
    let before = h.now;
    for _ in 0..1000 {
        let at = h.core.poll_timeout().expect("a check is planned");
        h.now = h.now.max(at);
        h.core.handle_timeout(h.now);
        h.drain();
        if h.probes.contains(&(path, ProbeKind::Tur)) {
            return (h.now - before).as_millis().div_ceil(1000) as u64;
        }
        for (path, kind) in h.probes.clone() {
            h.answer(path, kind, ProbeResult::Ready);
        }
    }
    panic!("no TUR");
}

#[test]
fn the_interval_doubles_while_all_is_well() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let first = next_tur(&mut h, a);
    assert!(first <= 5, "the first one is spread over the interval");
    let mut intervals = Vec::new();
    for _ in 0..4 {
        h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
        intervals.push(next_tur(&mut h, a));
    }
    assert_eq!(intervals, [10, 20, 20, 20]);
    h.answer(a, ProbeKind::Tur, ProbeResult::NotReady);
    assert_eq!(next_tur(&mut h, a), 5);
}

#[test]
fn the_checker_takes_a_path_out_and_brings_it_back() {
    for (result, reason) in [
        (ProbeResult::NotReady, DownReason::NotReady),
        (ProbeResult::Ghost, DownReason::Ghost),
        (ProbeResult::Disconnected, DownReason::Disconnected),
    ] {
        let (mut h, [a, b]) = Harness::with_paths(Config::default());
        next_tur(&mut h, a);
        h.answer(a, ProbeKind::Tur, result);
        assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
        for i in 0..4 {
            let io = h.read(i..i + 1);
            assert_eq!(h.path_of(io), Some(b));
        }
        next_tur(&mut h, a);
        h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
        assert_eq!(h.saw(|e| *e == Event::PathUp { path: a }), 1);
    }
}

/// Between two states a path is not dead: with no other, I/O waits, and goes on at once.
#[test]
fn a_port_group_between_two_states_is_asked_again_for_a_minute() {
    let config = Config::builder()
        .no_path_retry(NoPathRetry::Fail)
        .polling_interval(5 * S, 5 * S);
    let (mut h, [a]) = Harness::with_paths(config.build().unwrap());
    next_tur(&mut h, a);
    h.answer(a, ProbeKind::Tur, ProbeResult::Transitioning);
    let cause = SuspectCause::Transition;
    assert_eq!(h.saw(|e| *e == Event::Suspect { path: a, cause }), 1);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), None, "it waits");
    assert_eq!(next_tur(&mut h, a), 1, "asked soon");
    h.answer(a, ProbeKind::Tur, ProbeResult::Transitioning);
    assert_eq!(h.saw(|e| matches!(e, Event::PathDown { .. })), 0);
    assert_eq!(next_tur(&mut h, a), 1);
    h.answer(a, ProbeKind::Tur, ProbeResult::Ready);
    assert_eq!(h.path_of(io), Some(a));
    h.end_io(io, Outcome::Success);
    next_tur(&mut h, a);
    let begun = h.now;
    for _ in 0..100 {
        h.answer(a, ProbeKind::Tur, ProbeResult::Transitioning);
        if h.saw(|e| matches!(e, Event::PathDown { .. })) > 0 {
            break;
        }
        next_tur(&mut h, a);
    }
    let reason = DownReason::NotReady;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
    assert_eq!((h.now - begun).as_secs(), 60);
}

#[test]
fn a_tur_that_hangs_while_nops_are_answered_times_out() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    next_tur(&mut h, a);
    for _ in 0..300 {
        h.now += S / 10;
        h.core.handle_activity(h.now, a, h.now);
        h.core.handle_timeout(h.now);
        h.drain();
    }
    let reason = DownReason::CheckerTimeout;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
}

#[test]
fn a_report_for_an_earlier_connection_is_not_believed() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    next_tur(&mut h, a);
    h.down(a, super::harness::LOST);
    h.up(a);
    h.events.clear();
    h.answer(a, ProbeKind::Tur, ProbeResult::NotReady);
    assert_eq!(h.events, []);
}
