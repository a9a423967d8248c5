//! The nexus of a lost path is reinstated through another portal of its group.

use mpio::core::{
    Config, ConfigBuilder, Event, FenceRung, FencedBy, IdentityCheck, Outcome, PathAttributes,
    PathId, PortalGroup, RungStep, SkipReason, WriterMode,
};

use super::harness::{Harness, LOST, MS, S};

const RUNG: FenceRung = FenceRung::SiblingReinstatement;

fn barrier() -> ConfigBuilder {
    Config::builder()
        .reinstatement_is_barrier(true)
        .writer_mode(WriterMode::Shared)
}

/// Paths to portal groups of these tags.
fn paths<const N: usize>(config: Config, tags: [u16; N]) -> (Harness, [PathId; N]) {
    let mut h = Harness::new(config);
    let paths = tags.map(|tag| {
        let target = "iqn.2026-01.example:disk".into();
        let group = PortalGroup { target, tag };
        let path = PathAttributes::new(format!("portal of {tag}")).with_portal_group(group);
        h.core.add_path(h.now, path)
    });
    h.drain();
    paths.iter().for_each(|&path| h.up(path));
    h.events.clear();
    (h, paths)
}

fn steps(h: &Harness, of: Option<PathId>, of_rung: FenceRung) -> Vec<RungStep> {
    let step = |event: &Event| match *event {
        Event::FenceStep { path, rung, step } if (path, rung) == (of, of_rung) => Some(step),
        _ => None,
    };
    h.events.iter().filter_map(step).collect()
}

#[test]
fn a_sibling_lays_the_ghosts_of_a_path_that_stays_away() {
    let (mut h, [a, other, b]) = paths(barrier().build().unwrap(), [1, 2, 1]);
    let write = h.write(0..8);
    let lost = h.path_of(write).unwrap();
    assert_eq!(lost, a);
    h.down(a, LOST);
    let [(step, dead, via)] = h.reinstatements[..] else {
        panic!("{:?}", h.reinstatements);
    };
    assert_eq!(
        (dead, via),
        (a, b),
        "not {other}, which is of another group"
    );
    assert_eq!(h.path_of(write), None);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert!(h.path_of(write).is_some());
    let by = FencedBy::SiblingReinstated;
    assert_eq!(h.saw(|e| *e == Event::FenceDone { path: a, by }), 1);
    assert_eq!(
        steps(&h, Some(a), RUNG),
        [RungStep::Started, RungStep::Done]
    );
    let counters = h.core.snapshot(h.now).counters.fence;
    assert_eq!((counters.of(RUNG).started, counters.of(RUNG).done), (1, 1));
    assert_eq!(counters.of(FenceRung::AbortiveClose).done, 1);
}

#[test]
fn it_is_not_tried_where_it_proves_nothing_is_not_allowed_or_has_no_way() {
    let skipped = |why| [RungStep::Skipped(why)];
    let cases = [
        (
            barrier().sibling_reinstatement(false),
            [1, 1],
            SkipReason::NotAllowed,
        ),
        (barrier(), [1, 2], SkipReason::NoSibling),
    ];
    for (config, tags, why) in cases {
        let (mut h, [a, _]) = paths(config.build().unwrap(), tags);
        h.write(0..8);
        h.down(a, LOST);
        assert_eq!(h.reinstatements, []);
        assert_eq!(steps(&h, Some(a), RUNG), skipped(why));
    }
    let unknown = Config::builder().writer_mode(WriterMode::Shared);
    for config in [unknown.clone(), unknown.reinstatement_is_barrier(false)] {
        let (mut h, [a, _]) = paths(config.build().unwrap(), [1, 1]);
        h.write(0..8);
        h.down(a, LOST);
        assert_eq!(h.reinstatements, []);
        let own = FenceRung::Reinstatement;
        assert_eq!(steps(&h, Some(a), own), skipped(SkipReason::NotBarrier));
    }
}

/// A caller may be slow to tell that its attempt was lost, and that may be one of a later connection.
#[test]
fn a_ghost_that_came_after_the_login_began_is_not_laid_by_it() {
    let (mut h, [a, b]) = paths(barrier().build().unwrap(), [1, 1]);
    let writes = [h.write(0..8), h.write(100..108), h.write(200..208)];
    let on_a: Vec<_> = h.on(a);
    assert_eq!(on_a.len(), 2);
    h.core
        .handle_path_down(h.now, a, mpio::core::DownReason::ConnectionLost);
    h.drain();
    h.end(on_a[0].1, LOST);
    assert_eq!(h.reinstatements, [], "the other outcome is waited for");
    h.pass(50 * MS, &[]);
    assert_eq!(h.reinstatements.len(), 1, "but not for long");
    h.end(on_a[1].1, LOST);
    let (step, ..) = h.reinstatements.remove(0);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert_eq!(h.path_of(on_a[0].0), Some(b));
    assert_eq!(h.path_of(on_a[1].0), None);
    let (step, ..) = h.reinstatements.remove(0);
    h.core.handle_fence_step(h.now, step, true);
    h.drain();
    assert!(writes.iter().all(|&write| h.path_of(write) == Some(b)));
}

#[test]
fn one_that_fails_is_tried_again_after_growing_pauses_until_time_has_done_it() {
    let (mut h, [a, b, c]) = paths(barrier().build().unwrap(), [1, 1, 1]);
    let write = h.write(0..8);
    h.down(a, LOST);
    let mut through = Vec::new();
    for pause in [1, 2, 4] {
        let (step, _, via) = h.reinstatements.remove(0);
        through.push(via);
        h.core.handle_fence_step(h.now, step, false);
        h.drain();
        h.pass(pause * S - MS, &[]);
        assert_eq!(h.reinstatements, []);
        h.pass(MS, &[]);
        assert_eq!(h.path_of(write), None);
    }
    assert_eq!(through, [b, c, b], "not twice the same way in a row");
    h.pass(2_999 * MS, &[]);
    assert_eq!(h.path_of(write), None);
    h.pass(MS, &[]);
    assert!(h.path_of(write).is_some());
    let counters = h.core.snapshot(h.now).counters.fence;
    assert_eq!(counters.of(RUNG).failed, 3);
    assert_eq!(counters.of(FenceRung::TimedWait).done, 1);
}

#[test]
fn a_login_of_the_lost_path_itself_makes_it_needless() {
    let (mut h, [a, b]) = paths(barrier().build().unwrap(), [1, 1]);
    let write = h.write(0..8);
    h.down(a, LOST);
    let (old, ..) = h.reinstatements.remove(0);
    h.up(a);
    assert!(h.path_of(write).is_some());
    h.end_io(write, Outcome::Success);

    // Lost again: what is left of the first login proves nothing of the second connection.
    h.down(b, LOST);
    let again = h.write(0..8);
    assert_eq!(h.path_of(again), Some(a));
    h.core.handle_path_up(h.now, b, IdentityCheck::Verified);
    h.drain();
    h.down(a, LOST);
    h.core.handle_fence_step(h.now, old, true);
    h.drain();
    assert_eq!(h.path_of(again), None);
    let (new, dead, _) = h.reinstatements.remove(0);
    assert_eq!(dead, a);
    h.core.handle_fence_step(h.now, new, true);
    h.drain();
    assert_eq!(h.path_of(again), Some(b));
}

#[test]
fn it_begins_as_soon_as_there_is_a_sibling() {
    let (mut h, [a, b]) = paths(barrier().build().unwrap(), [1, 1]);
    h.write(0..8);
    h.down(b, LOST);
    h.down(a, LOST);
    assert_eq!(h.reinstatements, []);
    h.up(b);
    assert_eq!(h.reinstatements.len(), 1);
}
