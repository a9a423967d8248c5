//! The decision core of multipath I/O: path events and I/O in any order.

// The shell and the walk of the core's own tests. They are one source: what a random walk must hold, a
// fuzzer's must.
#[path = "../../../mpio/tests/core/harness.rs"]
#[expect(dead_code, reason = "the core's tests use more of it")]
mod harness;
#[expect(dead_code, reason = "some of it is for other walks")]
#[path = "../../../mpio/tests/core/walk.rs"]
mod walk;

use iscsi_proto::planted::Planted;

use self::walk::{Dice, Walk};
use crate::Script;

impl Dice for Script<'_> {
    fn below(&mut self, n: u64) -> u64 {
        Script::below(self, n as usize) as u64
    }
}

/// Most steps of a walk, so that one input stays a matter of milliseconds.
const MAX_STEPS: usize = 500;

/// The bytes are the dice. Oracles: each I/O ends once, also after everything heals; no I/O to a path that
/// is cut, leads to another unit (I7) or stands by (I8); what the device refused is not tried again (I9);
/// attempts are bounded (L4); no write flies over one that may still land.
///
/// # Panics
///
/// Where they do not hold.
pub fn multipath(input: &[u8]) {
    multipath_with(input, Planted::NONE);
}

/// As [`multipath`], with a bug switched on, for the proof that the oracles see it.
///
/// # Panics
///
/// Where they do.
pub fn multipath_with(input: &[u8], planted: Planted) {
    let mut walk = Walk::new(Script::new(input), planted);
    for _ in 0..MAX_STEPS {
        if walk.random.is_over() {
            break;
        }
        walk.step();
    }
    walk.heal();
}
