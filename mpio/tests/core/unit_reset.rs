//! The logical unit is reset, after the drain time.

use mpio::core::{
    Config, ConfigBuilder, Event, Execution, FailReason, FenceRung, FencedBy, Verdict, WriterMode,
};

use super::harness::{Harness, LOST, MS, S};

fn reset_after(drain: std::time::Duration) -> ConfigBuilder {
    Config::builder()
        .unit_reset(Some(drain))
        .quiet_time(None)
        .fence_limit(30 * S)
        .writer_mode(WriterMode::Shared)
}

#[test]
fn a_reset_lays_ghosts_and_is_not_sent_before_the_drain_time() {
    let (mut h, [a, b]) = Harness::with_paths(reset_after(2 * S).build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(1_999 * MS, &[]);
    assert_eq!(h.resets, []);
    h.pass(MS, &[]);
    let (step, via) = h.resets.remove(0);
    assert_eq!(via, b);
    h.pass(S, &[]);
    assert_eq!(h.path_of(write), None);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert_eq!(h.path_of(write), Some(b));
    let by = FencedBy::UnitReset;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
}

/// It ends what every nexus has in the unit, but not what had no time to arrive there.
#[test]
fn one_reset_serves_all_paths_whose_drain_time_is_over() {
    let (mut h, [a, b, c]) = Harness::with_paths(reset_after(2 * S).build().unwrap());
    let writes = [h.write(0..8), h.write(100..108), h.write(200..208)];
    let on = |h: &Harness, path| h.on(path)[0].0;
    let (on_a, on_b) = (on(&h, a), on(&h, b));
    h.down(a, LOST);
    h.pass(S, &[]);
    h.down(b, LOST);
    h.pass(S, &[]);
    let (step, via) = h.resets.remove(0);
    assert_eq!(via, c);
    h.pass(500 * MS, &[]);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert_eq!(h.path_of(on_a), Some(c));
    assert_eq!(
        h.path_of(on_b),
        None,
        "its second half may have come after the reset"
    );
    h.pass(500 * MS, &[]);
    let (step, _) = h.resets.remove(0);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert!(writes.iter().all(|&write| h.path_of(write) == Some(c)));
}

#[test]
fn a_target_that_refuses_it_leaves_the_limit() {
    let (mut h, [a, _]) = Harness::with_paths(reset_after(2 * S).build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(2 * S, &[]);
    for pause in [1, 2, 4, 8, 16] {
        let (step, _) = h.resets.remove(0);
        h.core.handle_fence_step(h.now, step, false);
        h.drain();
        assert_eq!(h.verdict(write), None);
        h.pass(pause * S, &[]);
    }
    let wanted = Verdict::Failed {
        reason: FailReason::Unfenced,
        execution: Execution::Unknown,
    };
    assert_eq!(h.verdict(write), Some(wanted));
    let counters = h.core.snapshot(h.now).counters.fence;
    assert_eq!(counters.of(FenceRung::UnitReset).failed, 5);
    assert_eq!(counters.of(FenceRung::OutcomeUnknown).done, 1);
}

#[test]
fn it_waits_for_a_path_to_go_through() {
    let (mut h, [a]) = Harness::with_paths(reset_after(2 * S).build().unwrap());
    let write = h.write(0..8);
    h.down(a, LOST);
    h.pass(5 * S, &[]);
    assert_eq!(h.resets, []);
    h.up(a);
    let (step, via) = h.resets.remove(0);
    assert_eq!(via, a, "the new connection is another one");
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert_eq!(h.path_of(write), Some(a));
}

#[test]
fn it_is_not_sent_unless_it_is_allowed() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.write(0..8);
    h.down(a, LOST);
    h.pass(20 * S, &[]);
    assert_eq!(h.resets, []);
}
