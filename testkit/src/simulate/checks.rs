//! How paths are checked, on which beat, and what idle sessions say.

use std::time::Duration;

use mpio::core::PathChecker;

use super::{dice::pick, plan::Plan};
use crate::sim::Rng;

/// By numbers of its own, so that what else a seed draws stays as it was; and the seeds that are recorded for planted
/// bugs draw nothing of it.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0bea_7ed0_c001_3e67);
    if !rng.chance(250) {
        return;
    }
    plan.acknowledge_after = pick(rng, &[None, Some(Duration::from_secs(10))]);
    plan.beat = rng.chance(500);
    let checkers = [PathChecker::Tur, PathChecker::Read, PathChecker::Nop];
    plan.device.checker = pick(rng, &checkers);
}
