//! How paths are checked, on which beat, and what idle sessions say.

use std::time::Duration;

use mpio::core::PathChecker;

use super::{
    dice::{pick, small, time},
    plan::{Answered, Fault, MAINTENANCE_IN, Plan, What},
};
use crate::sim::Rng;

const MS: Duration = Duration::from_millis(1);

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

/// Checks that ask for the target port groups: where there are some, where there are none, and where the units refuse, or do
/// not answer, that question for a while. By numbers of its own, after all else.
pub(super) fn draw_port_groups(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0a30_a5c5_1947_0a30);
    if !rng.chance(150) {
        return;
    }
    plan.device.checker = PathChecker::Rtpg;
    match rng.below(8) {
        0 | 1 => {}
        2 => {
            let access = &mut plan.target.access;
            (access.implicit, access.explicit) = (false, false);
        }
        // Nothing else is wrong there that would excuse an error.
        3 | 4 => {
            plan.faults.clear();
            refuse(plan, rng, 4);
        }
        _ => refuse(plan, rng, 1),
    }
}

/// At least `least` times.
fn refuse(plan: &mut Plan, rng: &mut Rng, least: u64) {
    let latest = plan.calm.saturating_sub(Duration::from_secs(5)).as_millis();
    let latest = u64::try_from(latest).unwrap_or(1).max(501);
    for _ in 0..least + rng.below(4) {
        let answers = [
            Answered::Sense(0x05, 0x20, 0x00),
            Answered::Sense(0x05, 0x24, 0x00),
            Answered::Status(0x08),
            Answered::Nothing,
        ];
        let what = What::Answer {
            unit: u16::try_from(rng.below(plan.units.len() as u64)).unwrap_or_default(),
            opcode: MAINTENANCE_IN,
            answer: pick(rng, &answers),
            times: small(rng, 1, 60),
        };
        let at = time(rng, MS, 500, latest);
        let lasts = time(rng, MS, 1000, 25_000).min(plan.calm.saturating_sub(at));
        plan.faults.push(Fault { at, lasts, what });
    }
    plan.faults.sort_by_key(|fault| fault.at);
}
