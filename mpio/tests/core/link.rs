//! Cables that are pulled, and plugged in again.

use mpio::core::{
    Config, DownReason, Event, Outcome, PathId, ProbeKind, ProbeResult, SuspectCause, Verdict,
};

use super::harness::{Harness, LOST, MS, S};

const CAUSE: SuspectCause = SuspectCause::LinkDown;

fn links<const N: usize>(h: &mut Harness, links: [(PathId, bool); N]) {
    h.core.handle_links(h.now, links);
    h.drain();
}

fn suspect(path: PathId) -> Event {
    Event::Suspect { path, cause: CAUSE }
}

#[test]
fn a_lost_carrier_moves_reads_and_writes_at_once() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(a));
    let write = h.write(8..16);
    let on_b = h.path_of(write) == Some(b);
    let write = if on_b { h.write(16..24) } else { write };
    assert_eq!(h.path_of(write), Some(a));
    let began = h.now;

    links(&mut h, [(a, false)]);
    assert_eq!(h.fences, [a], "the connection is closed at once");
    let told: Vec<_> = h.events.iter().filter(|e| **e == suspect(a)).collect();
    assert_eq!(told.len(), 1);
    let reason = DownReason::Fenced;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
    // Whoever looks sees why.
    let shown = |h: &Harness, path| {
        let snapshot = h.core.snapshot(h.now);
        let mut paths = snapshot.paths();
        paths
            .find(|one| one.id == path)
            .expect("it is there")
            .to_string()
    };
    let words = "(no carrier; closed to fence its writes)";
    assert!(shown(&h, a).ends_with(words), "{}", shown(&h, a));
    assert!(!shown(&h, b).contains("carrier"), "{}", shown(&h, b));

    h.down(a, LOST);
    for io in [read, write] {
        assert_eq!(h.path_of(io), Some(b), "repeated elsewhere");
    }
    assert_eq!(h.now, began, "without any wait");
    assert_eq!(h.saw(|e| *e == Event::FenceStarted { path: a }), 1);
    // As after any other loss: what overlaps it waits for the proof.
    let overlapping = h.write(16..20);
    h.end_io(write, Outcome::Success);
    assert_eq!(h.path_of(overlapping), None);
}

#[test]
fn without_a_carrier_a_path_takes_no_io() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    links(&mut h, [(a, false)]);
    for i in 0..6 {
        let io = h.read(i..i + 1);
        assert_eq!(h.path_of(io), Some(b));
    }
}

#[test]
fn the_only_path_is_left_alone_and_may_survive() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let old = h.write(0..8);
    links(&mut h, [(a, false)]);
    assert_eq!((h.recalled.len(), h.fences.len()), (0, 0));
    let new = h.read(8..16);
    assert_eq!((h.path_of(new), h.verdict(new)), (None, None), "it waits");
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 0);

    h.pass(200 * MS, &[a]);
    h.probes.clear();
    links(&mut h, [(a, true)]);
    assert_eq!(h.probes, [(a, ProbeKind::Nop)], "asked at once");
    assert_eq!(h.path_of(new), None, "and believed when it has answered");
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.path_of(new), Some(a));
    assert_eq!(h.path_of(old), Some(a));
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 1);
    h.end_io(old, Outcome::Success);
    assert_eq!(h.verdict(old), Some(Verdict::Success));
}

#[test]
fn paths_of_one_device_are_no_way_out_for_each_other() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.write(0..8);
    links(&mut h, [(a, false), (b, false)]);
    assert_eq!((h.recalled.len(), h.fences.len()), (0, 0));
    assert_eq!(h.saw(|e| matches!(e, Event::PathDown { .. })), 0);
    links(&mut h, [(a, true), (b, true)]);
    for path in [a, b] {
        h.answer(path, ProbeKind::Nop, ProbeResult::Ready);
    }
    assert_eq!(h.fences, []);
}

#[test]
fn it_is_closed_as_soon_as_there_is_another_path() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.down(b, LOST);
    let write = h.write(0..8);
    links(&mut h, [(a, false)]);
    assert_eq!(h.fences, []);
    h.up(b);
    assert_eq!(h.fences, [a]);
    h.down(a, LOST);
    assert_eq!(h.path_of(write), Some(b));
}

#[test]
fn one_that_survived_and_does_not_answer_is_torn_down_like_any_silent_one() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    h.write(0..8);
    links(&mut h, [(a, false)]);
    links(&mut h, [(a, true)]);
    h.pass(6 * S, &[a]);
    assert_eq!(h.fences, [a]);
}

#[test]
fn a_path_without_a_carrier_that_was_lost_comes_back_with_its_carrier_and_its_login() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    links(&mut h, [(a, false)]);
    h.down(a, LOST);
    h.events.clear();
    links(&mut h, [(a, true)]);
    assert_eq!(h.probes, [], "there is nobody to be asked");
    h.up(a);
    assert_eq!(h.saw(|e| *e == Event::PathUp { path: a }), 1);
    h.down(b, LOST);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(a));
}

#[test]
fn what_is_told_twice_happens_once() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    for _ in 0..3 {
        links(&mut h, [(a, false)]);
    }
    assert_eq!(h.fences, [a]);
    assert_eq!(h.saw(|e| *e == suspect(a)), 1);
}

#[test]
fn a_path_that_fails_its_checks_stays_out_whatever_its_carrier_does() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.pass(6 * S, &[a, b]);
    h.answer(a, ProbeKind::Tur, ProbeResult::Disconnected);
    h.answer(b, ProbeKind::Tur, ProbeResult::Disconnected);
    h.events.clear();
    links(&mut h, [(a, false)]);
    assert_eq!(h.saw(|e| matches!(e, Event::Suspect { .. })), 0);
    let shown = h.core.snapshot(h.now);
    let path = shown.paths().find(|path| path.id == a).unwrap();
    assert_eq!((path.suspect, path.down.is_some()), (None, true));
}

/// Nothing is in flight there, so nobody waits for anything, and what comes goes nowhere.
#[test]
fn an_idle_path_without_a_carrier_is_asked_at_once_and_given_up_when_it_is_silent() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    h.probes.clear();
    links(&mut h, [(a, false)]);
    assert_eq!(h.probes, [(a, ProbeKind::Tur)]);
    let waits = h.read(0..8);
    h.pass(7 * S, &[a]);
    assert_eq!(h.fences, [a], "like any silent one");
    h.down(a, LOST);
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 1);
    assert_eq!(
        h.verdict(waits),
        None,
        "the no-path policy has begun to count"
    );
}
