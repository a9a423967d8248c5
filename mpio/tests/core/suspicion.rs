use std::time::Duration;

use mpio::core::{Config, Event, Outcome, ProbeKind, ProbeResult, SuspectCause, Verdict};

use super::harness::{Harness, LOST, MS, S, TAKEN_BACK};

#[test]
fn a_silent_path_is_asked_and_left_if_it_does_not_answer() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(a));
    h.pass(99 * MS, &[a]);
    assert_eq!(h.probes, []);
    h.pass(MS, &[a, b]);
    assert!(h.probes.contains(&(a, ProbeKind::Nop)));
    h.pass(249 * MS, &[a, b]);
    assert_eq!(
        h.recalled,
        [],
        "nothing was heard from the other one either"
    );
    h.pass(MS, &[a, b]);
    assert_eq!(h.recalled.len(), 1);
    assert_eq!(h.detached, h.recalled, "it may be merely slow");
    let cause = SuspectCause::Silence;
    assert_eq!(h.saw(|e| *e == Event::Suspect { path: a, cause }), 1);

    h.end_io(read, TAKEN_BACK);
    assert_eq!(h.path_of(read), Some(b));
    assert_eq!(
        h.elapsed(),
        350 * MS,
        "the whole stall of a blackholed read"
    );
    for i in 0..4 {
        let io = h.read(i..i + 1);
        assert_eq!(h.path_of(io), Some(b), "no new I/O on a suspect");
    }
    assert_eq!(h.saw(|e| *e == Event::Failover { from: a, to: b }), 1);
}

#[test]
fn a_slow_target_that_answers_keeps_its_io() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    h.pass(4 * S, &[]);
    assert_eq!(h.path_of(read), Some(a));
    assert_eq!(h.saw(|e| matches!(e, Event::Suspect { .. })), 0);
    h.end_io(read, Outcome::Success);
    assert_eq!(h.verdict(read), Some(Verdict::Success));
}

#[test]
fn a_connection_on_which_data_flows_is_not_even_asked() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    h.read(0..1);
    for _ in 0..50 {
        h.pass(50 * MS, &[a]);
        h.core.handle_activity(h.now, a, h.now);
    }
    assert_eq!(h.probes, []);
}

#[test]
fn any_byte_after_the_question_clears_the_suspicion() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.pass(400 * MS, &[a]);
    assert_eq!(h.path_of(write), Some(a), "a write stays");
    let elsewhere = h.read(0..1);
    assert_eq!(h.path_of(elsewhere), Some(b));

    // What came before the question was asked (at 100 ms) is no answer to it.
    h.core.handle_activity(h.now, a, h.now - 350 * MS);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 0);

    h.core.handle_activity(h.now, a, h.now);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::Cleared { path: a }), 1);
    h.end_io(write, Outcome::Success);
    h.end_io(elsewhere, Outcome::Success);
    let mut seen = [h.read(0..1), h.read(1..2)].map(|io| h.path_of(io));
    seen.sort();
    assert_eq!(seen, [Some(a), Some(b)]);
}

#[test]
fn the_only_path_keeps_its_reads_and_new_io_waits_for_the_verdict() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    let old = h.read(0..1);
    h.pass(350 * MS, &[a]);
    let new = h.read(1..2);
    assert_eq!(h.recalled, [], "nowhere to go");
    assert_eq!((h.path_of(new), h.verdict(new)), (None, None));
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.path_of(new), Some(a));
    assert_eq!(h.path_of(old), Some(a));
}

#[test]
fn reads_leave_a_suspect_as_soon_as_another_path_is_back() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.down(b, LOST);
    h.read(0..1);
    h.pass(350 * MS, &[a]);
    assert_eq!(h.recalled.len(), 0);
    h.up(b);
    assert_eq!(h.recalled.len(), 1);
}

#[test]
fn a_suspect_that_stays_silent_is_torn_down() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.write(0..8);
    h.pass(5_349 * MS, &[a, b]);
    assert_eq!(h.fences, []);
    h.pass(MS, &[a, b]);
    assert_eq!(h.fences, [a]);
}

#[test]
fn a_slow_path_is_asked_later_but_not_much_later() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    for (took, asked_after) in [(40 * MS, 160 * MS), (300 * MS, 500 * MS)] {
        for i in 0..200 {
            let io = h.read(i..i + 1);
            h.now += took;
            h.end_io(io, Outcome::Success);
        }
        h.pass(Duration::ZERO, &[]); // the checks that are due
        let io = h.read(0..1);
        let asked = h.core.poll_timeout().unwrap() - h.now;
        assert!(
            asked >= asked_after && asked <= asked_after * 5 / 4,
            "{asked:?}"
        );
        h.end_io(io, Outcome::Success);
    }
    assert!(h.saw(|e| matches!(e, Event::Suspect { path, .. } if *path == a)) == 0);
}

#[test]
fn a_process_that_overslept_does_not_convict() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.read(0..1);
    h.pass(100 * MS, &[a, b]);
    // Stopped for three seconds; the answer lies unread in the socket.
    h.now += 3 * S;
    h.core.handle_timeout(h.now);
    h.drain();
    assert_eq!(h.recalled, []);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    h.pass(50 * MS, &[a]);
    assert_eq!(h.saw(|e| matches!(e, Event::Suspect { .. })), 0);
}

#[test]
fn an_idle_path_is_found_out_by_its_checker() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.pass(5 * S, &[a]);
    assert!(h.probes.contains(&(a, ProbeKind::Tur)));
    h.pass(350 * MS, &[a]);
    assert_eq!(
        h.saw(|e| matches!(e, Event::Suspect { path, .. } if *path == a)),
        1
    );
}

/// It takes no new I/O for another reason already; that is none to leave reads where nobody answers.
#[test]
fn reads_leave_a_silent_path_that_is_being_removed_too() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..8);
    let from = h.path_of(read).unwrap();
    h.core.remove_path(h.now, from);
    h.drain();
    h.pass(S, &[a, b]);
    assert_eq!(h.recalled.len(), 1);
    h.end_io(read, TAKEN_BACK);
    let to = h.path_of(read).expect("on its way again");
    assert_ne!(to, from);
    assert_eq!(h.closes, [from]);
}

/// An answer to another command takes the question back, and with it the wait for its answer: the next
/// question may be due before that would have ended.
#[test]
fn after_an_answer_the_silence_is_timed_anew() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    for at in 0..200 {
        let quick = h.read(at..at + 1);
        h.end_io(quick, Outcome::Success);
    }
    let (first, _) = (h.read(0..1), h.read(1..2));
    h.pass(101 * MS, &[a]);
    assert_eq!(h.probes, [(a, ProbeKind::Nop)]);
    // The harness checks that its timer is armed early enough for the second read.
    h.end_io(first, Outcome::Success);
    assert_eq!(h.core.poll_timeout(), Some(h.now + 100 * MS));
}

/// The target answers elsewhere, so it is the network that is dead.
#[test]
fn a_silent_path_is_closed_soon_if_another_one_hears_from_the_target() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    h.pass(350 * MS, &[a, b]);
    let asked = (b, ProbeKind::Nop);
    assert!(h.saw(|e| matches!(e, Event::Suspect { path, .. } if *path == a)) == 1);
    assert!(
        h.probes.contains(&asked),
        "the idle one is asked: {:?}",
        h.probes
    );
    h.pass(MS, &[a, b]);
    h.answer(b, ProbeKind::Nop, ProbeResult::Ready);
    h.pass(398 * MS, &[a]);
    assert_eq!(h.fences, []);
    h.pass(MS, &[a]);
    assert_eq!(h.fences, [a]);
    h.down(a, LOST);
    assert_eq!(h.path_of(write), Some(b));
    h.end_io(write, Outcome::Success);

    // It is back, and silent again: a target that serves one of two connections at a time looks like that.
    h.up(a);
    h.fences.clear();
    let mut blocks = (100..).step_by(8);
    let write = loop {
        let at = blocks.next().unwrap();
        let write = h.write(at..at + 8);
        if h.path_of(write) == Some(a) {
            break write;
        }
        h.end_io(write, Outcome::Success);
    };
    h.pass(350 * MS, &[a]);
    h.pass(4990 * MS, &[a]);
    assert_eq!(h.fences, [], "once in ten seconds");
    h.pass(10 * MS, &[a]);
    assert_eq!(h.fences, [a]);
    assert_eq!(h.verdict(write), None);
}

#[test]
fn where_all_are_silent_it_is_the_target_and_it_has_its_time() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let first = h.write(0..8);
    let second = h.write(8..16);
    assert_ne!(h.path_of(first), h.path_of(second));
    h.pass(5340 * MS, &[a, b]);
    assert_eq!(h.fences, []);
    h.core.handle_activity(h.now, a, h.now);
    h.core.handle_activity(h.now, b, h.now);
    h.pass(50 * MS, &[a, b]);
    assert_eq!(h.fences, [], "and it has come back in time");
}
