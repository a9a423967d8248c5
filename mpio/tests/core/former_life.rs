//! The writes of a process that died are proven dead before this one writes.

use mpio::core::{
    Config, ConfigBuilder, Event, Execution, FailReason, FencedBy, FormerLife, IoClass,
    TargetProfile, Verdict,
};

use super::harness::{Harness, MS, S};

fn fenced() -> ConfigBuilder {
    Config::builder().former_life(FormerLife::Fence)
}

#[test]
fn by_default_nothing_is_waited_for() {
    let (mut h, [_, _]) = Harness::with_paths(Config::default());
    let write = h.write(0..8);
    assert!(h.path_of(write).is_some());
}

#[test]
fn the_first_write_waits_for_the_quiesce_time_since_the_first_login_and_a_read_does_not() {
    let mut h = Harness::new(fenced().build().unwrap());
    let [a, b] = ["a", "b"].map(|name| h.add(name, 1));
    let early = h.write(0..8);
    h.pass(4 * S, &[]);
    h.up(a);
    assert_eq!(h.saw(|e| *e == Event::FormerLifeFenceStarted), 1);
    h.pass(S, &[]);
    h.up(b);
    let (read, flush) = (h.read(0..8), h.submit(IoClass::flush()));
    assert!(h.path_of(read).is_some() && h.path_of(flush).is_some());
    h.pass(8_999 * MS, &[]);
    assert_eq!(h.path_of(early), None);
    let apart = h.write(1 << 40..1 << 41);
    assert_eq!(
        h.path_of(apart),
        None,
        "nobody knows where the former one wrote"
    );
    h.pass(MS, &[]);
    assert!(h.path_of(early).is_some() && h.path_of(apart).is_some());
    let by = FencedBy::QuietTime;
    assert_eq!(h.saw(|e| *e == Event::FormerLifeFenced { by }), 1);
    let later = h.write(100..108);
    assert!(h.path_of(later).is_some());
}

#[test]
fn on_a_barrier_the_logins_of_all_paths_are_enough_and_elsewhere_they_are_not() {
    for (profile, enough) in [(TargetProfile::LIO, true), (TargetProfile::TGT, false)] {
        let (mut h, [_, _]) =
            Harness::with_paths(fenced().target_profile(profile).build().unwrap());
        let write = h.write(0..8);
        assert_eq!(h.path_of(write), None);
        h.core.handle_former_reinstated(h.now);
        h.drain();
        assert_eq!(h.path_of(write).is_some(), enough, "{profile}");
    }
}

#[test]
fn a_unit_reset_after_its_drain_time_is_enough() {
    let config = fenced().quiet_time(None).unit_reset(Some(2 * S));
    let (mut h, [a, _]) = Harness::with_paths(config.build().unwrap());
    let write = h.write(0..8);
    h.pass(1_999 * MS, &[]);
    assert_eq!(h.resets, []);
    h.pass(MS, &[]);
    let (step, via) = h.resets.remove(0);
    assert_eq!(via, a);
    assert_eq!(h.path_of(write), None);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert!(h.path_of(write).is_some());
}

#[test]
fn what_is_not_proven_within_the_limit_fails_what_waits_and_no_read() {
    let config = fenced()
        .target_profile(TargetProfile::LIO)
        .quiet_time(None)
        .fence_limit(30 * S);
    let (mut h, [_, _]) = Harness::with_paths(config.build().unwrap());
    let write = h.write(0..8);
    h.pass(30 * S, &[]);
    let unfenced = Some(Verdict::Failed {
        reason: FailReason::Unfenced,
        execution: Execution::NotExecuted,
    });
    assert_eq!(h.verdict(write), unfenced);
    let late = h.write(0..8);
    assert_eq!(h.verdict(late), unfenced);
    let read = h.read(0..8);
    assert!(h.path_of(read).is_some());
    // The path that was missing is there at last.
    h.core.handle_former_reinstated(h.now);
    h.drain();
    let write = h.write(0..8);
    assert!(h.path_of(write).is_some());
}

#[test]
fn it_cannot_be_asked_for_where_nothing_proves_anything() {
    let error = fenced().quiet_time(None).build().unwrap_err();
    assert_eq!(error.field, "former_life");
}
