//! Reads leave a silent path when it is asked, if another one like it is heard from, and within a budget.

use mpio::core::{
    Config, Event, HedgeConfig, IoId, Outcome, PathGroupingPolicy, PathId, PathSelector, ProbeKind,
    ProbeResult, Verdict,
};

use super::harness::{Harness, LOST, MS, S, TAKEN_BACK};

fn budget(burst: u32, percent: u32) -> Config {
    let hedge = Some(HedgeConfig::new(burst, percent));
    let config = Config::builder().path_selector(PathSelector::RoundRobin);
    config.hedge(hedge).build().expect("in range")
}

/// So many reads in flight on `path`, a millisecond apart; those that go elsewhere are done at once.
fn reads_on(h: &mut Harness, path: PathId, count: usize) -> Vec<IoId> {
    let mut on = Vec::new();
    for at in 0..1000 {
        if on.len() == count {
            break;
        }
        let read = h.read(at..at + 1);
        if h.path_of(read) == Some(path) {
            on.push(read);
            h.now += MS;
        } else {
            h.end_io(read, Outcome::Success);
        }
    }
    assert_eq!(on.len(), count);
    on
}

/// The path is heard from.
fn hear(h: &mut Harness, path: PathId) {
    h.core.handle_activity(h.now, path, h.now);
    h.drain();
}

#[test]
fn a_read_leaves_at_the_question_if_another_path_is_heard_from() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(a));
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    assert_eq!(h.recalled, []);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 1, "and it is not aborted");
    let (moved, denied) = (1, 0);
    let hedged = Event::Hedged {
        path: a,
        moved,
        denied,
    };
    assert_eq!(h.saw(|e| *e == hedged), 1);
    h.end_io(read, TAKEN_BACK);
    assert_eq!(h.path_of(read), Some(b));
    assert_eq!(h.elapsed(), 100 * MS, "the whole stall");

    // The verdict comes as before, with nothing in flight there.
    h.pass(250 * MS, &[a]);
    assert_eq!(
        h.saw(|e| matches!(e, Event::Suspect { path, .. } if *path == a)),
        1
    );
}

#[test]
fn an_idle_path_is_asked_so_that_it_is_heard_from() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    h.pass(100 * MS, &[a, b]);
    assert_eq!(h.probes, [(a, ProbeKind::Nop), (b, ProbeKind::Nop)]);
    assert_eq!(h.recalled, []);
    h.now += MS;
    h.answer(b, ProbeKind::Nop, ProbeResult::Ready);
    h.pass(3 * MS, &[a]);
    assert_eq!(h.recalled, []);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 1);
    h.end_io(read, TAKEN_BACK);
    assert_eq!(h.path_of(read), Some(b));
}

#[test]
fn an_idle_path_is_asked_once_for_each_question() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.read(0..1);
    h.pass(340 * MS, &[a, b]);
    assert_eq!(h.probes, [(a, ProbeKind::Nop), (b, ProbeKind::Nop)]);
    assert_eq!(h.recalled, []);
}

#[test]
fn a_busy_path_that_is_heard_from_after_the_question_is_seen_soon() {
    let (mut h, [a, b]) = Harness::with_paths(budget(64, 5));
    let stuck = reads_on(&mut h, a, 1);
    let busy = reads_on(&mut h, b, 1);
    hear(&mut h, a);
    h.pass(100 * MS, &[a, b]);
    hear(&mut h, b);
    h.pass(4 * MS, &[a, b]);
    assert_eq!(h.recalled, []);
    h.pass(MS, &[a, b]);
    assert_eq!(h.detached.len(), 1);
    h.end_io(stuck[0], TAKEN_BACK);
    assert_eq!(h.path_of(stuck[0]), Some(b));
    assert_eq!(h.path_of(busy[0]), Some(b));
}

/// That may be the target's awakening, of which the other path is about to hear.
#[test]
fn what_is_heard_late_has_to_hold_for_a_while() {
    for awakes in [false, true] {
        let (mut h, [a, b]) = Harness::with_paths(Config::default());
        h.read(0..1);
        h.pass(200 * MS, &[a, b]);
        h.answer(b, ProbeKind::Nop, ProbeResult::Ready);
        // Looks are 25 ms apart, the first one 5 ms after the question.
        h.pass(5 * MS, &[a]);
        assert_eq!(h.recalled, []);
        if awakes {
            h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
        }
        h.pass(24 * MS, &[a]);
        assert_eq!(h.recalled, []);
        h.pass(MS, &[a]);
        assert_eq!(h.detached.len(), usize::from(!awakes));
    }
}

/// All paths of a target that stalls fall silent within a moment, and one of them is the last.
#[test]
fn where_all_are_silent_nothing_moves() {
    let (mut h, [a, b]) = Harness::with_paths(budget(64, 5));
    let (on_a, on_b) = (reads_on(&mut h, a, 4), reads_on(&mut h, b, 4));
    h.now += 10 * MS;
    hear(&mut h, a);
    h.now += 20 * MS;
    hear(&mut h, b);
    h.pass(300 * MS, &[a, b]);
    assert_eq!(h.recalled, []);
    hear(&mut h, a);
    hear(&mut h, b);
    h.pass(50 * MS, &[]);
    for read in on_a.into_iter().chain(on_b) {
        h.end_io(read, Outcome::Success);
        assert_eq!(h.verdict(read), Some(Verdict::Success));
    }
    let counters = h.core.snapshot(h.now).counters;
    assert_eq!((counters.reads_hedged, counters.hedges_denied), (0, 0));
    assert_eq!(
        h.saw(|e| matches!(e, Event::Suspect { .. } | Event::Hedged { .. })),
        0
    );
}

#[test]
fn new_io_prefers_a_path_that_is_not_being_asked_until_that_answers() {
    let (mut h, [a, b]) = Harness::with_paths(budget(64, 5));
    let stuck = h.write(1000..1008);
    assert_eq!(h.path_of(stuck), Some(a));
    hear(&mut h, a);
    h.pass(100 * MS, &[a]);
    assert!(h.core.snapshot(h.now).paths().any(|path| path.is_silent));
    for at in 0..8 {
        for io in [h.read(at..at + 1), h.write(at * 8..at * 8 + 8)] {
            assert_eq!(h.path_of(io), Some(b));
            h.end_io(io, Outcome::Success);
        }
    }
    assert_eq!(h.path_of(stuck), Some(a), "a write stays");
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    assert!(!h.core.snapshot(h.now).paths().any(|path| path.is_silent));
    let both = [h.read(0..1), h.read(1..2)].map(|io| h.path_of(io));
    assert!(both.contains(&Some(a)), "{both:?}");
}

#[test]
fn new_io_takes_a_path_that_is_being_asked_if_there_is_no_other_one() {
    let (mut h, [a]) = Harness::with_paths(Config::default());
    h.read(0..1);
    h.pass(100 * MS, &[a]);
    let new = h.read(1..2);
    assert_eq!(h.path_of(new), Some(a));
}

#[test]
fn the_oldest_move_and_the_rest_waits_for_the_verdict() {
    let (mut h, [a, b]) = Harness::with_paths(budget(3, 0));
    let reads = reads_on(&mut h, a, 8);
    hear(&mut h, a);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(MS, &[a]);
    let oldest: Vec<_> = reads[..3]
        .iter()
        .map(|&read| h.flight(read).unwrap().1)
        .collect();
    assert_eq!(h.detached, oldest);
    let (moved, denied) = (3, 5);
    let hedged = Event::Hedged {
        path: a,
        moved,
        denied,
    };
    assert_eq!(h.saw(|e| *e == hedged), 1);
    let snapshot = h.core.snapshot(h.now);
    assert_eq!(snapshot.hedge_tokens, 0);
    assert_eq!(
        (
            snapshot.counters.reads_hedged,
            snapshot.counters.hedges_denied
        ),
        (3, 5)
    );
    h.pass(249 * MS, &[a]);
    assert_eq!(h.detached.len(), 3, "denied once, and for this question");
    assert_eq!(h.saw(|e| matches!(e, Event::Hedged { .. })), 1);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 8);
}

#[test]
fn tokens_come_back_with_the_reads_that_succeed() {
    let (mut h, [a, b]) = Harness::with_paths(budget(4, 5));
    reads_on(&mut h, a, 4);
    hear(&mut h, a);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 4);
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 0);
    for at in 0..40 {
        let read = h.read(at..at + 1);
        h.end_io(read, Outcome::Success);
    }
    for at in 0..40 {
        let write = h.write(at * 8..at * 8 + 8);
        h.end_io(write, Outcome::Success);
    }
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 2, "5 % of 40 reads");
}

#[test]
fn it_never_goes_to_a_lower_group() {
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::GroupByPriority);
    let mut h = Harness::new(config.build().unwrap());
    let (good, lower) = (h.add("good", 50), h.add("lower", 10));
    h.up(good);
    h.up(lower);
    let read = h.read(0..1);
    assert_eq!(h.path_of(read), Some(good));
    h.pass(99 * MS, &[good]);
    hear(&mut h, lower);
    h.pass(200 * MS, &[good]);
    hear(&mut h, lower);
    h.pass(50 * MS, &[good]);
    assert_eq!(h.recalled, []);
    assert!(
        !h.probes.contains(&(lower, ProbeKind::Nop)),
        "nor is it asked"
    );
    h.pass(MS, &[good]);
    assert_eq!(h.recalled.len(), 1, "the verdict is another thing");
}

/// Where groups are made of unequal paths, some of them are no place to flee to.
#[test]
fn nor_to_a_lesser_path_of_its_group() {
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::Multibus);
    let mut h = Harness::new(
        config
            .path_selector(PathSelector::RoundRobin)
            .build()
            .unwrap(),
    );
    let (good, lower) = (h.add("good", 50), h.add("lower", 10));
    h.up(good);
    h.up(lower);
    reads_on(&mut h, good, 1);
    hear(&mut h, good);
    h.pass(99 * MS, &[good]);
    hear(&mut h, lower);
    h.pass(100 * MS, &[good]);
    assert_eq!(h.recalled, []);
}

/// The one that was heard from is gone when the read comes back: it does not go down a group for that.
#[test]
fn it_goes_back_rather_than_to_a_lower_group() {
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::GroupByPriority);
    let mut h = Harness::new(
        config
            .path_selector(PathSelector::RoundRobin)
            .build()
            .unwrap(),
    );
    let [a, b, lower] = [("a", 50), ("b", 50), ("lower", 10)].map(|(name, prio)| h.add(name, prio));
    [a, b, lower].into_iter().for_each(|path| h.up(path));
    let reads = reads_on(&mut h, a, 2);
    hear(&mut h, a);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 2);
    h.down(b, LOST);
    h.end_io(reads[0], TAKEN_BACK);
    assert_eq!(h.path_of(reads[0]), Some(a));
    h.down(a, LOST);
    assert_eq!(h.path_of(reads[1]), Some(lower), "unless there is no other");
}

#[test]
fn flushes_and_writes_stay() {
    let (mut h, [a, b]) = Harness::with_paths(budget(64, 5));
    let write = h.write(0..8);
    assert_eq!(h.path_of(write), Some(a));
    let elsewhere = h.read(0..1);
    h.end_io(elsewhere, Outcome::Success);
    let flush = h.submit(mpio::core::IoClass::flush());
    assert_eq!(h.path_of(flush), Some(a));
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(200 * MS, &[a]);
    assert_eq!(h.recalled, []);
}

#[test]
fn it_can_be_switched_off() {
    let config = Config::builder().hedge(None).build().unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    h.read(0..1);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(250 * MS, &[a]);
    assert_eq!(h.recalled, []);
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 0);
    h.pass(MS, &[a]);
    assert_eq!(h.recalled.len(), 1);
}

/// A path that answers in time after all was merely slow: that is counted, and it is used again.
#[test]
fn what_was_read_twice_is_counted() {
    let (mut h, [a, b]) = Harness::with_paths(budget(64, 5));
    let read = reads_on(&mut h, a, 1)[0];
    hear(&mut h, a);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(50 * MS, &[a]);
    h.end_io(read, TAKEN_BACK);
    h.answer(a, ProbeKind::Nop, ProbeResult::Ready);
    let path = |h: &Harness, id| {
        let snapshot = h.core.snapshot(h.now);
        snapshot
            .paths()
            .find(|path| path.id == id)
            .unwrap()
            .counters
    };
    let counters = path(&h, a);
    assert_eq!(
        (counters.hedged, counters.hedges_wasted, counters.recalled),
        (1, 1, 1)
    );
    assert_eq!((counters.errors, counters.suspicions), (0, 0));
    h.end_io(read, Outcome::Success);

    // One that does not answer is none of those.
    let stuck = reads_on(&mut h, a, 1);
    hear(&mut h, a);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(S, &[a]);
    h.end_io(stuck[0], TAKEN_BACK);
    h.down(a, LOST);
    let counters = path(&h, a);
    assert_eq!((counters.hedged, counters.hedges_wasted), (2, 1));
}

/// A device whose paths fall silent in turn, again and again, fails no read for it.
#[test]
fn a_flapping_device_uses_up_no_moves() {
    let config = Config::builder().max_moves(1).max_retries(0);
    let (mut h, paths) = Harness::with_paths::<2>(config.build().unwrap());
    let read = h.read(0..1);
    for _ in 0..4 {
        let on = h.path_of(read).unwrap();
        let [a, b] = paths;
        let other = if on == a { b } else { a };
        h.pass(99 * MS, &[on]);
        hear(&mut h, other);
        h.pass(MS, &[on]);
        h.end_io(read, TAKEN_BACK);
        assert_eq!(h.path_of(read), Some(other));
        h.answer(on, ProbeKind::Nop, ProbeResult::Ready);
    }
    // After that it stays until there is a verdict: it may be the read that silences paths.
    let on = h.path_of(read).unwrap();
    h.recalled.clear();
    h.pass(99 * MS, &[on]);
    for path in paths.into_iter().filter(|path| *path != on) {
        hear(&mut h, path);
    }
    h.pass(250 * MS, &[on]);
    assert_eq!(h.recalled, []);
    h.pass(MS, &[on]);
    assert_eq!(h.recalled.len(), 1);
    h.end_io(read, TAKEN_BACK);
    h.end_io(read, Outcome::Success);
    assert_eq!(h.verdict(read), Some(Verdict::Success));
}

/// What came while we slept lies unread in the sockets, and one of them is read first.
#[test]
fn a_process_that_overslept_moves_nothing_at_once() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.read(0..1);
    h.now += 3 * S;
    hear(&mut h, b);
    h.core.handle_timeout(h.now);
    h.drain();
    h.answer(b, ProbeKind::Nop, ProbeResult::Ready);
    assert_eq!(h.recalled, []);
    h.pass(24 * MS, &[a]);
    assert_eq!(h.recalled, []);
    hear(&mut h, b);
    h.pass(MS, &[a]);
    assert_eq!(h.detached.len(), 1, "it had its turn");
}

#[test]
fn a_read_that_is_cancelled_after_it_was_hedged_ends() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(MS, &[a]);
    h.core.cancel(h.now, read);
    h.drain();
    h.end_io(read, TAKEN_BACK);
    assert!(matches!(h.verdict(read), Some(Verdict::Failed { .. })));
    assert_eq!(h.flying, []);
}

#[test]
fn nothing_moves_while_the_device_is_suspended() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let read = h.read(0..1);
    h.core.suspend(h.now);
    h.drain();
    h.pass(99 * MS, &[a]);
    hear(&mut h, b);
    h.pass(200 * MS, &[a]);
    assert_eq!(h.recalled, []);
    assert_eq!(h.path_of(read), Some(a));
}

#[test]
fn ranges_are_checked() {
    let field = |burst, percent| {
        let hedge = Some(HedgeConfig::new(burst, percent));
        Config::builder()
            .hedge(hedge)
            .build()
            .err()
            .map(|e| e.field)
    };
    assert_eq!(field(0, 5), Some("hedge.burst"));
    assert_eq!(field(65_537, 5), Some("hedge.burst"));
    assert_eq!(field(1, 101), Some("hedge.percent"));
    assert_eq!(field(1, 0), None);
    assert_eq!(field(65_536, 100), None);
}

#[test]
fn another_budget_counts_from_the_moment_that_it_is_set() {
    let (mut h, [_, _]) = Harness::with_paths(budget(4, 5));
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 4);
    h.core.reconfigure(h.now, budget(9, 5));
    h.drain();
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 9);
    h.core
        .reconfigure(h.now, Config::builder().hedge(None).build().unwrap());
    assert_eq!(h.core.snapshot(h.now).hedge_tokens, 0);
}
