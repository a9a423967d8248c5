//! What persistent reservations of the device's user change for I/O.

use mpio::core::{
    Config, DownReason, Event, Execution, FailReason, NoPathRetry, Outcome, Registration, Verdict,
};

use super::harness::{Harness, LOST, S};

const FENCED_OUT: Verdict = Verdict::Failed {
    reason: FailReason::Preempted,
    execution: Execution::NotExecuted,
};

#[test]
fn a_device_that_was_fenced_out_reads_and_does_not_write() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let flying = h.write(0..8);
    h.core.set_registration(h.now, Registration::Lost);
    h.drain();
    let (read, write) = (h.read(0..8), h.write(8..16));
    // One that waits for the one in flight, too.
    let overlapping = h.write(0..8);
    assert_eq!(h.verdict(write), Some(FENCED_OUT));
    h.end_io(read, Outcome::Success);
    assert_eq!(h.verdict(overlapping), None);
    h.end_io(flying, Outcome::Success);
    assert_eq!(h.verdict(flying), Some(Verdict::Success));
    assert_eq!(h.verdict(overlapping), Some(FENCED_OUT));
    h.core.set_registration(h.now, Registration::Registered);
    let write = h.write(0..8);
    h.end_io(write, Outcome::Success);
    assert_eq!(h.verdict(write), Some(Verdict::Success));
}

#[test]
fn writes_that_wait_for_a_path_end_when_the_device_was_fenced_out() {
    let config = Config::builder().no_path_retry(NoPathRetry::Queue);
    let (mut h, [a]) = Harness::with_paths(config.build().unwrap());
    h.down(a, LOST);
    let (read, write) = (h.read(0..8), h.write(0..8));
    h.core.set_registration(h.now, Registration::Lost);
    h.drain();
    assert_eq!(h.verdict(write), Some(FENCED_OUT));
    h.up(a);
    h.end_io(read, Outcome::Success);
}

#[test]
fn a_path_without_its_key_takes_no_io_until_it_has_one() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.core.hold_without_key(h.now, a);
    h.drain();
    let reason = DownReason::Unregistered;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: a, reason }), 1);
    for _ in 0..4 {
        let io = h.read(0..8);
        assert_eq!(h.path_of(io), Some(b));
    }
    h.down(b, LOST);
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 1, "it is no path");
    h.core.set_key(h.now, a, Some(7));
    h.drain();
    assert_eq!(h.on(a).len(), 4);
    assert_eq!(h.core.registered_key(a), Some(7));
    // It stays out over a loss of its connection only if the shell says so again.
    h.core.hold_without_key(h.now, a);
    h.down(a, LOST);
    h.up(a);
    assert_eq!(h.on(a).len(), 4);
}

#[test]
fn a_pause_is_not_ended_by_a_user_who_resumes() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let flying = h.read(0..8);
    h.core.pause(h.now);
    let waiting = h.read(0..8);
    h.core.suspend(h.now);
    h.core.resume(h.now);
    h.drain();
    assert!(h.path_of(waiting).is_none() && !h.core.is_suspended());
    assert!(!h.core.is_quiesced());
    h.end_io(flying, Outcome::Success);
    assert!(h.core.is_quiesced());
    h.pass(S, &[]);
    assert!(h.path_of(waiting).is_none());
    h.core.unpause(h.now);
    h.drain();
    h.end_io(waiting, Outcome::Success);
    let wanted = [
        Event::Paused,
        Event::Suspended,
        Event::Resumed,
        Event::Quiesced,
        Event::Unpaused,
    ];
    assert_eq!(h.events, wanted);
}

#[test]
fn a_pause_is_told_in_words_of_its_own() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    h.core.pause(h.now);
    h.core.unpause(h.now);
    h.drain();
    let wanted = [Event::Paused, Event::Quiesced, Event::Unpaused];
    assert_eq!(h.events, wanted);
    let words = h.events.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = [
        "paused for an order about reservations: I/O waits",
        "nothing is in flight any more",
        "the pause is over",
    ];
    assert_eq!(words, wanted);
}

#[test]
fn a_pause_leaves_a_device_that_its_user_has_suspended_suspended() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    h.core.suspend(h.now);
    h.core.pause(h.now);
    h.core.unpause(h.now);
    let io = h.read(0..8);
    assert!(h.path_of(io).is_none() && h.core.is_suspended());
    h.core.resume(h.now);
    h.drain();
    h.end_io(io, Outcome::Success);
    for event in [
        Event::Suspended,
        Event::Paused,
        Event::Unpaused,
        Event::Resumed,
    ] {
        assert_eq!(h.saw(|e| *e == event), 1, "{event}");
    }
}

/// With another path there would be conflicts, of reads as well with some types.
#[test]
fn where_one_nexus_alone_may_do_io_the_others_do_none() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.core.set_sole_nexus(h.now, Some(a));
    h.drain();
    let reason = DownReason::Reserved;
    assert_eq!(h.saw(|e| *e == Event::PathDown { path: b, reason }), 1);
    let late = h.add("late", 1);
    h.up(late);
    let is_told = |e: &Event| *e == Event::StillDown { path: late, reason };
    assert_eq!(h.saw(is_told), 1, "{:?}", h.events);
    let ios: Vec<_> = (0..8).map(|at| h.write(at * 8..at * 8 + 8)).collect();
    assert_eq!(h.on(a).len(), ios.len());
    // It may be back, and with it the right to write.
    h.down(a, LOST);
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 1);
    assert!(ios.iter().all(|&io| h.verdict(io).is_none()));
    h.up(a);
    assert_eq!(h.on(a).len(), ios.len());
    h.core.set_sole_nexus(h.now, None);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::PathUp { path: late }), 1);
    // Once it is gone for good waiting is no use any more.
    h.core.set_sole_nexus(h.now, Some(b));
    h.core.remove_path(h.now, b);
    h.drain();
    let down = |path| h.core.snapshot(h.now).path(path).unwrap().down;
    assert_eq!((down(a), down(late)), (None, None));
}

/// Each of them waits for the one before it.
#[test]
fn writes_that_wait_for_each_other_all_fail_at_once_when_the_registration_is_lost() {
    let (mut h, [_]) = Harness::with_paths(Config::default());
    let first = h.write(0..8);
    let rest: Vec<_> = (0..5).map(|_| h.write(0..8)).collect();
    h.core.set_registration(h.now, Registration::Lost);
    h.drain();
    h.end_io(first, Outcome::Success);
    for io in rest {
        assert_eq!(h.verdict(io), Some(FENCED_OUT));
    }
}
