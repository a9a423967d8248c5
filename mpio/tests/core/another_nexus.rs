//! A login that another portal group takes is on another nexus, and reinstates nothing.

use mpio::core::{
    Config, Event, FenceRung, FencedBy, PathAttributes, PortalGroup, RungStep, SkipReason,
};

use super::harness::{Harness, LOST, MS, S};

fn group(tag: u16) -> PortalGroup {
    let target = "iqn.2026-01.example:disk".into();
    PortalGroup { target, tag }
}

#[test]
fn only_a_login_on_the_same_nexus_is_a_reinstatement() {
    // How often the group has changed by the time of the login.
    for (changes, counts) in [(0, true), (1, false), (2, false)] {
        let config = Config::builder().reinstatement_is_barrier(true);
        let config = config.quiet_time(Some(7 * S)).build().unwrap();
        let (mut h, [a, _]) = Harness::with_paths(config);
        let write = h.write(0..8);
        assert_eq!(h.path_of(write), Some(a));
        h.down(a, LOST);
        let later = h.write(4..12);
        assert_eq!(h.path_of(later), None, "held");
        h.core.handle_nexus(a, None, changes);
        h.up(a);
        let by = FencedBy::Reinstated;
        let done = h.saw(|e| *e == Event::FenceDone { path: a, by });
        assert_eq!(done, usize::from(counts), "{changes}");
        // What is proven is proven; else the quiet time has to pass.
        h.pass(8 * S, &[]);
        assert!(h.core.snapshot(h.now).ghosts == 0);
    }
}

#[test]
fn a_sibling_of_another_nexus_is_not_asked_and_does_not_count() {
    for late in [false, true] {
        let config = Config::builder().reinstatement_is_barrier(true);
        let mut h = Harness::new(config.build().unwrap());
        let [a, b] = [0, 1].map(|index| {
            let path = PathAttributes::new(format!("path{index}")).with_portal_group(group(1));
            h.core.add_path(h.now, path)
        });
        h.drain();
        [a, b].into_iter().for_each(|path| h.up(path));
        h.write(0..8);
        if !late {
            // It has moved on before it is lost, and nobody knows on which side the write is.
            h.core.handle_nexus(a, Some(group(1)), 2);
        }
        h.down(a, LOST);
        if !late {
            assert_eq!(h.reinstatements, []);
            let step = RungStep::Skipped(SkipReason::OtherNexus);
            let rung = FenceRung::SiblingReinstatement;
            let path = Some(a);
            assert_eq!(h.saw(|e| *e == Event::FenceStep { path, rung, step }), 1);
            continue;
        }
        let [(step, ..)] = h.reinstatements[..] else {
            panic!("{:?}", h.reinstatements);
        };
        h.core.handle_nexus(a, Some(group(1)), 2);
        h.core.handle_fence_step(h.now, step, true);
        h.drain();
        assert_eq!(h.core.snapshot(h.now).ghosts, 1);
        h.pass(100 * MS, &[]);
        assert_eq!(h.reinstatements.len(), 1, "and it is not asked for ever");
    }
}
