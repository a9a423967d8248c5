//! Worlds in which all paths stand by at once, and the target does not always do what it is asked for.

use std::{collections::BTreeSet, time::Duration};

use super::{
    dice::{pick, small, time},
    plan::{Answered, Fault, Plan, What},
};
use crate::{sim::Rng, target::PortState};

const MS: Duration = Duration::from_millis(1);

/// SET TARGET PORT GROUPS.
const MAINTENANCE_OUT: u8 = 0xa4;

/// Decides whether there are such times: where groups can be asked to become active, and are. From numbers of its own, so
/// that all else in a world is as it was without this.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0xac71_7a7e_0a11_0b57);
    let asks = plan.target.access.explicit && plan.device.activate.is_some();
    if !asks || rng.below(3) != 0 {
        return;
    }
    let groups: BTreeSet<u16> = plan.portals.iter().copied().collect();
    let latest = plan
        .calm
        .saturating_sub(Duration::from_secs(12))
        .as_millis();
    let latest = u64::try_from(latest).unwrap_or(1).max(501);
    for _ in 0..1 + rng.below(3) {
        let at = time(rng, MS, 500, latest);
        let lasts = time(rng, MS, 2000, 10_000);
        let state = pick(
            rng,
            &[
                PortState::Standby,
                PortState::Standby,
                PortState::Unavailable,
            ],
        );
        for &group in &groups {
            let what = What::PortState { group, state };
            plan.faults.push(Fault { at, lasts, what });
        }
        let answers = [
            Answered::Sense(0x05, 0x24, 0x00),
            Answered::Sense(0x09, 0x67, 0x0a),
            Answered::Status(0x08),
        ];
        let what = What::Answer {
            unit: u16::try_from(rng.below(plan.units.len() as u64)).unwrap_or_default(),
            opcode: MAINTENANCE_OUT,
            answer: pick(rng, &answers),
            times: small(rng, 1, 4),
        };
        plan.faults.push(Fault { at, lasts, what });
    }
    plan.faults.sort_by_key(|fault| fault.at);
}
