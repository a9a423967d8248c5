//! Many random walks.

use iscsi_proto::planted::Planted;
use mpio::core::FenceRung;

use super::walk::{Dice, Walk};

struct XorShift(u64);

impl XorShift {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Dice for XorShift {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn every_io_ends_once_and_no_write_flies_over_a_ghost() {
    let (mut checked, mut ghosts) = (0, 0);
    let mut rungs = Vec::from_iter(FenceRung::ALL.iter().map(|&rung| (rung, 0)));
    for seed in 1..=400 {
        let mut walk = Walk::new(XorShift::new(seed), Planted::NONE);
        for _ in 0..400 {
            walk.step();
        }
        checked += walk.checked;
        let counters = walk.h.core.snapshot(walk.h.now).counters;
        ghosts += counters.ambiguous_writes;
        for (rung, done) in &mut rungs {
            *done += counters.fence.of(*rung).done;
        }
        walk.heal();
    }
    assert!(checked > 20_000, "{checked} writes looked at");
    assert!(ghosts > 1_000, "{ghosts} ghosts");
    for (rung, done) in rungs {
        assert!(done > 100, "{rung}: {done}");
    }
}

#[test]
fn the_same_holds_while_carriers_come_and_go() {
    let (mut checked, mut ghosts) = (0, 0);
    for seed in 1..=200 {
        let mut walk = Walk::new(XorShift::new(seed), Planted::NONE);
        let mut carriers = XorShift::new(seed ^ 0xcab1e);
        for _ in 0..400 {
            walk.step();
            if carriers.below(6) == 0 {
                walk.carriers(carriers.below(8));
            }
        }
        checked += walk.checked;
        ghosts += walk.h.core.snapshot(walk.h.now).counters.ambiguous_writes;
        walk.carriers(7);
        walk.heal();
    }
    assert!(checked > 5_000, "{checked} writes looked at");
    assert!(ghosts > 500, "{ghosts} ghosts");
}

#[test]
fn the_same_holds_with_a_spare() {
    let (mut checked, mut ghosts, mut takeovers) = (0, 0, 0);
    for seed in 1..=200 {
        let mut walk = Walk::new(XorShift::new(seed), Planted::NONE);
        walk.spare();
        for _ in 0..400 {
            walk.step();
        }
        checked += walk.checked;
        let counters = walk.h.core.snapshot(walk.h.now).counters;
        ghosts += counters.ambiguous_writes;
        takeovers += counters.takeovers;
        walk.heal();
    }
    assert!(checked > 5_000, "{checked} writes looked at");
    assert!(ghosts > 500, "{ghosts} ghosts");
    assert!(takeovers > 500, "{takeovers} takeovers");
}
