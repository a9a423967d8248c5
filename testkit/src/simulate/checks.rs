//! How paths are checked, and on which beat.

use mpio::core::PathChecker;

use super::{dice::pick, plan::Plan};
use crate::sim::Rng;

/// By numbers of its own, so that what else a seed draws stays as it was.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0bea_7ed0_c4ec_5a11);
    plan.beat = rng.chance(500);
    let checkers = [
        PathChecker::Tur,
        PathChecker::Tur,
        PathChecker::Read,
        PathChecker::Nop,
    ];
    plan.device.checker = pick(rng, &checkers);
}
