//! The commands of a lost path are aborted by its key.

use std::time::Duration;

use mpio::core::{
    Config, ConfigBuilder, DownReason, Event, FenceRung, FencedBy, IdentityCheck, KeyRefusal,
    NoPathRetry, PathId, PathKeys, PreemptAndAbort, Preempted, Registered, RungStep, SkipReason,
    TargetProfile, WriterMode,
};

use super::harness::{Harness, LOST, MS, Preemption, S};

const DRAIN: Duration = Duration::from_millis(500);
const RUNG: FenceRung = FenceRung::PreemptAndAbort;

fn keys() -> PathKeys {
    PathKeys::new(0x4d50, 1).unwrap()
}

fn key(nexus: u32) -> u64 {
    keys().key(nexus)
}

fn config() -> ConfigBuilder {
    Config::builder()
        .preempt_and_abort(Some(PreemptAndAbort {
            keys: keys(),
            drain: DRAIN,
        }))
        .quiet_time(Some(10 * S))
        .writer_mode(WriterMode::Shared)
}

fn register(h: &mut Harness, path: PathId, nexus: u32) {
    let registered = Registered::With(key(nexus));
    h.core.handle_registered(h.now, path, registered);
    h.drain();
}

/// Paths that are registered, path n with key n.
fn with_paths<const N: usize>(config: ConfigBuilder) -> (Harness, [PathId; N]) {
    let mut h = Harness::new(config.build().unwrap());
    let paths = std::array::from_fn(|index| h.add(&format!("path{index}"), 1));
    for (nexus, path) in (0..).zip(paths) {
        register(&mut h, path, nexus);
        h.up(path);
    }
    h.events.clear();
    (h, paths)
}

fn end(h: &mut Harness, order: Preemption, result: Preempted) {
    h.core.handle_preempted(h.now, order.step, result);
    h.drain();
}

fn skipped(h: &Harness, path: PathId, why: SkipReason) -> usize {
    let wanted = Event::FenceStep {
        path: Some(path),
        rung: RUNG,
        step: RungStep::Skipped(why),
    };
    h.saw(|event| *event == wanted)
}

fn down(h: &Harness, path: PathId) -> Option<DownReason> {
    let snapshot = h.core.snapshot(h.now);
    snapshot.paths().find(|p| p.id == path).unwrap().down
}

#[test]
fn the_key_of_the_lost_path_is_preempted_through_another_after_the_drain_time() {
    let (mut h, [a, b]) = with_paths(config());
    let write = h.write(0..8);
    assert_eq!(h.path_of(write), Some(a));
    h.down(a, LOST);
    h.pass(DRAIN - MS, &[]);
    assert_eq!(h.preemptions, []);
    h.pass(MS, &[]);
    let order = h.preemptions.remove(0);
    assert_eq!((order.dead, order.via), (a, b));
    assert_eq!((order.victim, order.own), (key(0), key(1)));
    assert_eq!(h.path_of(write), None);
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.path_of(write), Some(b));
    let by = FencedBy::Preempted;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
    let counters = h.core.snapshot(h.now).counters.fence.of(RUNG);
    assert_eq!((counters.started, counters.done), (1, 1));
}

#[test]
fn what_fails_proves_nothing_and_the_next_rung_is_tried() {
    let (mut h, [a, _]) = with_paths(config().unit_reset(Some(DRAIN)));
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    assert_eq!(h.resets, [], "one after the other");
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Failed);
    assert_eq!(h.path_of(write), None);
    assert_eq!(h.resets.len(), 1);
    // A late answer is none.
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.path_of(write), None);
}

#[test]
fn a_path_that_is_back_waits_until_it_was_preempted_and_is_registered_again() {
    let (mut h, [a, b]) = with_paths(config());
    let write = h.write(0..8);
    h.down(a, LOST);
    register(&mut h, a, 0);
    h.up(a);
    assert_eq!(down(&h, a), Some(DownReason::Preempting));
    h.pass(DRAIN, &[a]);
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.path_of(write), Some(b));
    assert_eq!(h.to_register, [a]);
    assert_eq!(down(&h, a), Some(DownReason::Registering));
    register(&mut h, a, 0);
    assert_eq!(down(&h, a), None);
    assert_eq!(h.saw(|e| *e == Event::PathUp { path: a }), 1);
}

#[test]
fn a_login_that_was_registered_before_the_order_is_registered_once_more() {
    let (mut h, [a, _]) = with_paths(config());
    h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    // Its registration is under way, and the target has it before the order, or after it.
    end(&mut h, order, Preempted::Done);
    register(&mut h, a, 0);
    h.up(a);
    assert_eq!(h.to_register, [a]);
    assert_eq!(down(&h, a), Some(DownReason::Registering));
    register(&mut h, a, 0);
    assert_eq!(down(&h, a), None);
    assert_eq!(h.to_register, [a], "once");
}

#[test]
fn without_another_path_it_is_used_at_once_and_not_preempted_any_more() {
    let (mut h, [a, b]) = with_paths(config());
    let write = h.write(0..8);
    h.down(b, LOST);
    h.down(a, LOST);
    register(&mut h, a, 0);
    h.up(a);
    assert_eq!(down(&h, a), None);
    register(&mut h, b, 1);
    h.up(b);
    h.pass(5 * S, &[]);
    assert_eq!(h.preemptions, []);
    assert_eq!(skipped(&h, a, SkipReason::InUse), 1);
    h.pass(5 * S, &[]);
    assert!(h.path_of(write).is_some(), "after the quiet time");
}

#[test]
fn the_only_other_path_is_lost_while_one_waits() {
    let (mut h, [a, b]) = with_paths(config());
    h.write(0..8);
    h.down(a, LOST);
    register(&mut h, a, 0);
    h.up(a);
    assert_eq!(down(&h, a), Some(DownReason::Preempting));
    h.down(b, LOST);
    assert_eq!(down(&h, a), None, "the only one is better than none");
}

#[test]
fn a_refusal_lets_it_in_again_registered_anew() {
    let (mut h, [a, _]) = with_paths(config());
    h.write(0..8);
    h.down(a, LOST);
    register(&mut h, a, 0);
    h.up(a);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Failed);
    assert_eq!(h.to_register, [a], "nobody knows what came of it");
    register(&mut h, a, 0);
    assert_eq!(down(&h, a), None);
    h.pass(5 * S, &[]);
    assert_eq!(h.preemptions, []);
}

#[test]
fn where_others_use_reservations_nothing_is_preempted_and_the_paths_work() {
    let (mut h, [a, b]) = with_paths(config());
    for (path, why) in [(a, KeyRefusal::OthersRegistered), (b, KeyRefusal::Reserved)] {
        let not = Registered::Not(why);
        h.core.handle_registered(h.now, path, not);
        h.core.handle_registered(h.now, path, not);
        h.drain();
        assert_eq!(h.saw(|e| *e == Event::KeyRefused { path, why }), 1);
        assert_eq!(down(&h, path), None);
    }
    h.write(0..8);
    h.down(a, LOST);
    h.pass(5 * S, &[]);
    assert_eq!(h.preemptions, []);
    assert_eq!(skipped(&h, a, SkipReason::NotRegistered), 1);
}

#[test]
fn others_that_have_come_since_are_left_alone() {
    let (mut h, [a, b]) = with_paths(config());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Others(KeyRefusal::Reserved));
    assert_eq!(skipped(&h, a, SkipReason::OthersReserve), 1);
    h.pass(10 * S, &[]);
    assert_eq!(h.path_of(write), Some(b), "after the quiet time");
}

/// What was registered is the nexus of before, and its key means nothing for the commands of another.
#[test]
fn another_nexus_has_another_key_and_the_old_writes_are_not_its() {
    let (mut h, [a, _]) = with_paths(config());
    h.write(0..8);
    h.down(a, LOST);
    h.core.handle_nexus(a, None, 1);
    register(&mut h, a, 7);
    h.up(a);
    assert_eq!(down(&h, a), None);
    h.pass(5 * S, &[]);
    assert_eq!(h.preemptions, []);
    assert_eq!(skipped(&h, a, SkipReason::OtherNexus), 1);
}

#[test]
fn an_order_that_was_under_way_when_the_nexus_changed_proves_nothing() {
    let (mut h, [a, _]) = with_paths(config());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    h.core.handle_nexus(a, None, 1);
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.path_of(write), None);
}

/// A ghost that came after the order was sent may have been on its way, too.
#[test]
fn a_late_ghost_is_not_among_those_that_were_aborted() {
    let (mut h, [a, b]) = with_paths(config());
    let one = h.write(0..8);
    let two = h.write(100..108);
    assert_eq!((h.path_of(one), h.path_of(two)), (Some(a), Some(b)));
    let three = h.write(200..208);
    assert_eq!(h.path_of(three), Some(a));
    h.core
        .handle_path_down(h.now, a, DownReason::ConnectionLost);
    h.drain();
    h.end_io(one, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    h.end_io(three, LOST);
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.path_of(one), Some(b));
    assert_eq!(h.path_of(three), None);
}

#[test]
fn a_path_stays_out_while_an_order_is_under_way_that_is_not_needed_any_more() {
    let (mut h, [a, b]) = with_paths(config().quiet_time(Some(S)));
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    h.pass(S, &[]);
    assert_eq!(h.path_of(write), Some(b), "after the quiet time");
    register(&mut h, a, 0);
    h.up(a);
    assert_eq!(down(&h, a), Some(DownReason::Preempting));
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.to_register, [a]);
    register(&mut h, a, 0);
    assert_eq!(down(&h, a), None);
}

/// A path that was taken out with a ghost, and added again: its session and its key are the same.
#[test]
fn the_key_of_a_path_that_was_added_again_is_not_preempted_for_the_old_one() {
    let (mut h, [a, _]) = with_paths(config());
    h.write(0..8);
    h.core.remove_path(h.now, a);
    h.drain();
    h.down(a, LOST);
    let again = h.add("path0 again", 1);
    register(&mut h, again, 0);
    h.up(again);
    assert_eq!(down(&h, again), None);
    h.pass(5 * S, &[]);
    assert_eq!(h.preemptions, []);
    assert_eq!(skipped(&h, a, SkipReason::InUse), 1);
}

#[test]
fn it_is_not_used_unless_it_is_allowed() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.write(0..8);
    h.down(a, LOST);
    h.pass(20 * S, &[]);
    assert_eq!(h.preemptions, []);
    assert_eq!(skipped(&h, a, SkipReason::NotAllowed), 1);
    assert_eq!(h.core.registered_key(a), None);
}

#[test]
fn its_times_have_a_range() {
    let terms = |drain| PreemptAndAbort {
        keys: keys(),
        drain,
    };
    let build = |drain| {
        Config::builder()
            .preempt_and_abort(Some(terms(drain)))
            .build()
    };
    assert!(build(100 * MS).is_ok());
    let error = build(99 * MS).unwrap_err();
    assert_eq!(error.field, "preempt_and_abort");
    assert!(build(10 * S).is_ok());
    assert!(
        build(10 * S + MS).is_err(),
        "a path that is back stays out for as long"
    );
    // Nobody preempts the keys of a former process.
    let former = Config::builder()
        .preempt_and_abort(Some(terms(S)))
        .quiet_time(None)
        .former_life(mpio::core::FormerLife::Fence)
        .build();
    assert_eq!(former.unwrap_err().field, "former_life");
}

#[test]
fn a_mismatch_is_not_registered_and_changes_nothing() {
    let (mut h, [a, b]) = with_paths(config());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.core.handle_path_up(h.now, a, IdentityCheck::Mismatch);
    h.drain();
    h.pass(DRAIN, &[]);
    // Its connection is not to the unit, and the nexus of the old one stays what it was; but as long as it
    // is open nobody can tell what is sent there.
    assert_eq!(h.preemptions, []);
    h.pass(10 * S, &[]);
    assert_eq!(h.path_of(write), Some(b));
}

/// Its I/O waits for the order rather than fails: a moment later the path takes it.
#[test]
fn the_only_other_path_is_lost_while_an_order_is_under_way() {
    let (mut h, [a, b]) = with_paths(config().no_path_retry(NoPathRetry::Fail));
    h.write(0..8);
    h.down(a, LOST);
    register(&mut h, a, 0);
    h.up(a);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    assert_eq!((order.dead, order.via), (a, b));
    h.down(b, LOST);
    let later = h.write(100..108);
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 0);
    assert_eq!(h.verdict(later), None);
    end(&mut h, order, Preempted::Failed);
    assert_eq!(h.verdict(later), None);
    assert_eq!(h.to_register, [a]);
    register(&mut h, a, 0);
    assert_eq!(h.path_of(later), Some(a));
    // One that is down is not there, whatever its key.
    h.down(a, LOST);
    assert_eq!(h.saw(|e| *e == Event::AllPathsDown), 1);
}

#[test]
fn keys_that_are_not_at_the_target_are_registered_again_and_no_path_stays_out_for_it() {
    let (mut h, [a, b, c]) = with_paths(config());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Unregistered);
    assert_eq!(h.path_of(write), None, "no proof");
    assert_eq!(h.to_register, [b, c]);
    assert_eq!((down(&h, b), down(&h, c)), (None, None));
    let counters = h.core.snapshot(h.now).counters.fence.of(RUNG);
    assert_eq!((counters.done, counters.failed), (0, 1));
}

#[test]
fn registrations_that_somebody_has_ended_are_made_again() {
    let (mut h, [a, b]) = with_paths(config());
    h.down(b, LOST);
    h.core.handle_registrations_lost();
    h.drain();
    assert_eq!(
        h.to_register,
        [a],
        "the other one is registered by its login"
    );
    assert_eq!(down(&h, a), None);
    let (mut h, _) = Harness::with_paths::<2>(Config::default());
    h.core.handle_registrations_lost();
    h.drain();
    assert_eq!(h.to_register, []);
}

/// A ghost that comes after the order is not preempted again by a key that nobody has any more.
#[test]
fn a_key_that_was_preempted_is_gone() {
    let (mut h, [a, _]) = with_paths(config());
    h.write(0..8);
    h.down(a, LOST);
    h.pass(DRAIN, &[]);
    let order = h.preemptions.remove(0);
    end(&mut h, order, Preempted::Done);
    assert_eq!(h.core.registered_key(a), None);
    register(&mut h, a, 0);
    assert_eq!(h.core.registered_key(a), Some(key(0)));
}

/// What the login proves, and the checks of the path, do not wait for the key.
#[test]
fn a_path_whose_registration_is_not_known_is_up_and_takes_no_io() {
    let (mut h, [a, b]) = with_paths(config().reinstatement_is_barrier(true));
    let write = h.write(0..8);
    h.down(a, LOST);
    h.core.handle_unregistered(a);
    h.up(a);
    let by = FencedBy::Reinstated;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
    assert_eq!(h.path_of(write), Some(b));
    assert_eq!(down(&h, a), Some(DownReason::Registering));
    let why = KeyRefusal::Unknown;
    h.core.handle_registered(h.now, a, Registered::Not(why));
    h.drain();
    assert_eq!(down(&h, a), None);
    assert_eq!(h.saw(|e| *e == Event::KeyRefused { path: a, why }), 1);
    // One that takes I/O goes on.
    h.core.handle_unregistered(a);
    assert_eq!(down(&h, a), None);
}

/// It says GOOD and aborts nothing of a nexus that is merely registered.
#[test]
fn it_is_refused_for_a_target_that_is_known_not_to_abort() {
    let build = |profile| config().target_profile(profile).build();
    let error = build(TargetProfile::LIO).unwrap_err();
    assert_eq!(error.field, "preempt_and_abort");
    assert!(build(TargetProfile::UNKNOWN).is_ok());
}

/// A path that is used again before it was preempted has no other hope.
#[test]
fn it_is_no_proof_that_can_be_the_only_one() {
    let alone = config().quiet_time(None);
    assert_eq!(alone.build().unwrap_err().field, "preempt_and_abort");
    let with = |more: fn(ConfigBuilder) -> ConfigBuilder| more(config().quiet_time(None)).build();
    assert!(with(|c| c.unit_reset(Some(S))).is_ok());
    assert!(with(|c| c.reinstatement_is_barrier(true)).is_ok());
}
