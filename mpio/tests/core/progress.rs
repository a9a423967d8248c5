//! What the platform says of a silent path's bytes, and what follows.

use mpio::core::{
    Config, Delivery, Event, NetworkProgress, PathId, ProbeKind, ProbeResult, SuspectCause,
};

use super::harness::{Harness, MS, S, TAKEN_BACK};

/// Nothing of 500 bytes is acknowledged; of the others' everything is.
fn swallows(h: &mut Harness, dead: PathId) {
    h.progress = Box::new(move |path, _| {
        let in_flight = if path == dead { 500 } else { 0 };
        Some(NetworkProgress::new(1000, in_flight))
    });
}

fn acknowledges(h: &mut Harness) {
    h.progress = Box::new(|_, _| Some(NetworkProgress::new(1500, 0)));
}

fn deliveries(h: &Harness) -> Vec<(PathId, Delivery)> {
    let deliveries = h.events.iter().filter_map(|event| match *event {
        Event::Delivery { path, delivery } => Some((path, delivery)),
        _ => None,
    });
    deliveries.collect()
}

/// The other one hears from the target between the question and the verdict, and is silent later. To others that says
/// that the target was alive before; where the kernel knows that the network is dead, that it is not all networks.
#[test]
fn a_path_whose_bytes_nothing_acknowledges_is_closed_soon_if_another_was_heard_since_its_question()
{
    for (tells, fences) in [(true, 1), (false, 0)] {
        let (mut h, [a, b]) = Harness::with_paths(Config::default());
        if tells {
            swallows(&mut h, a);
        }
        h.write(0..8);
        h.pass(200 * MS, &[a, b]);
        h.core.handle_activity(h.now, b, h.now);
        h.drain();
        h.pass(549 * MS, &[a, b]);
        assert_eq!(h.fences, []);
        let said = h.core.snapshot(h.now);
        let said = said.path(a).unwrap();
        assert_eq!(said.suspect, Some(SuspectCause::Silence));
        if tells {
            assert_eq!(deliveries(&h), [(a, Delivery::Unacknowledged)]);
            assert_eq!(said.delivery, Some(Delivery::Unacknowledged));
        }
        h.pass(MS, &[a, b]);
        assert_eq!(h.fences.len(), fences);
        assert!(h.progress_asked.len() < 8, "{:?}", h.progress_asked);
    }
}

/// All networks may be out for a while: a switch that is started anew. Then ending one session after the other helps
/// nobody. What was heard before the question says nothing about it.
#[test]
fn a_path_whose_bytes_nothing_acknowledges_has_its_full_time_as_long_as_all_are_silent() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.progress = Box::new(|_, _| Some(NetworkProgress::new(1000, 500)));
    h.write(0..8);
    h.pass(99 * MS, &[a, b]);
    h.core.handle_activity(h.now, b, h.now);
    h.drain();
    h.pass(5_250 * MS, &[a, b]);
    assert!(deliveries(&h).contains(&(a, Delivery::Unacknowledged)));
    assert_eq!(h.fences, []);
    h.pass(MS, &[a, b]);
    assert_eq!(h.fences, [a]);
}

/// Nobody else could hear anything.
#[test]
fn the_only_path_has_its_full_time_whatever_the_platform_says() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    swallows(&mut h, a);
    h.write(0..8);
    h.pass(5_349 * MS, &[a]);
    assert_eq!(deliveries(&h), [(a, Delivery::Unacknowledged)]);
    assert_eq!(h.fences, []);
    h.pass(MS, &[a]);
    assert_eq!(h.fences, [a]);
}

/// The target has the write, and may be executing it: ending the session would make its outcome unknown for nothing.
#[test]
fn a_target_that_acknowledges_keeps_its_session_though_it_answers_elsewhere() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    acknowledges(&mut h);
    let write = h.write(0..8);
    let read = h.read(16..24);
    assert_eq!((h.path_of(write), h.path_of(read)), (Some(a), Some(b)));
    // It hears from the target all the time.
    for _ in 0..107 {
        h.pass(50 * MS - MS, &[a]);
        h.core.handle_activity(h.now, b, h.now);
        h.drain();
        if h.elapsed() < 5_350 * MS {
            assert_eq!(h.fences, [], "{:?}", h.elapsed());
        }
    }
    h.pass(150 * MS, &[a]);
    assert_eq!(deliveries(&h), [(a, Delivery::Acknowledged)]);
    assert_eq!(h.fences, [a], "but not for ever");
    assert_eq!(h.path_of(write), Some(a));
}

#[test]
fn how_long_a_slow_target_keeps_its_session_is_a_setting() {
    let builder = Config::builder().tear_down_if_acknowledged(1200 * MS);
    let (mut h, [a, b]) = Harness::with_paths(builder.build().unwrap());
    acknowledges(&mut h);
    h.write(0..8);
    h.pass(351 * MS, &[a, b]);
    h.answer(b, ProbeKind::Nop, ProbeResult::Ready);
    h.pass(1_198 * MS, &[a]);
    assert_eq!(h.fences, []);
    h.pass(101 * MS, &[a]);
    assert_eq!(h.fences, [a]);
}

/// Reads leave it at the verdict as they would without.
#[test]
fn reads_leave_a_silent_path_that_acknowledges() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    acknowledges(&mut h);
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(a));
    h.pass(350 * MS, &[a, b]);
    h.end_io(read, TAKEN_BACK);
    assert_eq!(h.path_of(read), Some(b));
}

/// Nobody was heard from, but it is known that this network is dead, so reads need not wait for the verdict.
#[test]
fn reads_leave_a_dead_network_for_an_idle_path_before_the_verdict() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    swallows(&mut h, a);
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(a));
    h.pass(299 * MS, &[a, b]);
    assert_eq!(h.recalled, []);
    h.pass(26 * MS, &[a, b]);
    assert_eq!(h.recalled.len(), 1, "before 350 ms");
    assert_eq!(h.saw(|e| matches!(e, Event::Suspect { .. })), 0);
    h.end_io(read, TAKEN_BACK);
    assert_eq!(h.path_of(read), Some(b));
}

/// What moves goes to somebody who is not silent as well.
#[test]
fn reads_stay_where_the_other_path_has_been_asked_too() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.progress = Box::new(|_, _| Some(NetworkProgress::new(1000, 500)));
    let (on_a, on_b) = (h.read(0..1), h.read(1..2));
    h.pass(349 * MS, &[a, b]);
    assert_eq!(h.recalled, []);
    assert_eq!((h.path_of(on_a), h.path_of(on_b)), (Some(a), Some(b)));
}

/// A kernel that acknowledges a little at a time is alive, however much is in flight.
#[test]
fn progress_is_no_dead_network() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let mut acked = 0;
    h.progress = Box::new(move |_, _| {
        acked += 10;
        Some(NetworkProgress::new(acked, 500))
    });
    h.write(0..8);
    h.pass(5_349 * MS, &[a, b]);
    assert_eq!(deliveries(&h), []);
    assert_eq!(h.fences, []);
}

/// What the kernel knows of the time counts, and what is far away has four round trips.
#[test]
fn the_kernel_s_time_and_the_round_trip_count() {
    for (rtt, is_dead) in [(100, true), (130, false)] {
        let (mut h, [a, b]) = Harness::with_paths(Config::default());
        h.progress = Box::new(move |_, _| {
            let progress = NetworkProgress::new(1000, 500);
            Some(progress.since(500 * MS).with_rtt(rtt * MS))
        });
        h.write(0..8);
        h.pass(360 * MS, &[a, b]);
        assert_eq!(deliveries(&h).len(), usize::from(is_dead), "{rtt}");
    }
}

/// The process and its machine stood still, and so did the acknowledgements.
#[test]
fn a_machine_that_stood_still_does_not_convict() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    swallows(&mut h, a);
    h.write(0..8);
    h.pass(100 * MS, &[a, b]);
    h.now += 3 * S;
    h.core.handle_timeout(h.now);
    h.drain();
    h.pass(251 * MS, &[a, b]);
    assert_eq!(deliveries(&h), []);
    assert_eq!(h.saw(|e| matches!(e, Event::Suspect { .. })), 1);
    assert_eq!(h.fences, []);
}

/// Whoever never knows is not asked for ever, and all is as it was.
#[test]
fn a_platform_that_does_not_tell_is_not_asked_again() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.write(0..8);
    h.pass(5_349 * MS, &[a, b]);
    assert_eq!(h.fences, []);
    let of_a = |h: &Harness| {
        let asked = h.progress_asked.iter().filter(|(_, path)| *path == a);
        asked.count()
    };
    assert_eq!(of_a(&h), 8);
    h.pass(MS, &[a, b]);
    assert_eq!(h.fences, [a]);
}

/// It lacked memory for a moment: that question is lost, and the connection is not given up as one that nobody knows of.
#[test]
fn a_question_that_fails_is_asked_again() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let mut asked = 0;
    h.progress = Box::new(move |path, _| {
        asked += u32::from(path == a);
        let is_told = path == a && asked > 2;
        is_told.then(|| NetworkProgress::new(1000, 500))
    });
    h.write(0..8);
    h.pass(1_149 * MS, &[a, b]);
    assert_eq!(deliveries(&h), [(a, Delivery::Unacknowledged)]);
}

/// What a doubt has cost does not count in the next one, if there was an answer between.
#[test]
fn questions_that_fail_now_and_then_are_forgiven() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let mut asked = 0;
    h.progress = Box::new(move |_, _| {
        asked += 1;
        (asked % 4 == 0).then(|| NetworkProgress::new(1000, 0))
    });
    h.write(0..8);
    for _ in 0..20 {
        h.pass(400 * MS, &[a, b]);
        h.core.handle_activity(h.now, a, h.now);
        h.drain();
    }
    h.progress_asked.clear();
    h.pass(400 * MS, &[a, b]);
    assert!(h.progress_asked.iter().any(|(_, path)| *path == a));
}

#[test]
fn a_byte_takes_what_was_known_back() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    swallows(&mut h, a);
    h.write(0..8);
    h.pass(400 * MS, &[a, b]);
    assert_eq!(deliveries(&h).len(), 1);
    h.core.handle_activity(h.now, a, h.now);
    h.drain();
    assert_eq!(h.core.snapshot(h.now).path(a).unwrap().delivery, None);
    h.pass(400 * MS, &[a, b]);
    assert_eq!(deliveries(&h).len(), 2, "and so it is told again");
}

#[test]
fn settings_out_of_range_are_refused() {
    let builder = Config::builder().tear_down_if_acknowledged(9 * MS);
    let error = builder.build().unwrap_err();
    assert_eq!(error.field, "tear_down_if_acknowledged");
    let builder = Config::builder().unacknowledged_after(61 * S);
    assert_eq!(builder.build().unwrap_err().field, "unacknowledged_after");
}
