//! Which worlds have orders, and which ones.

use std::time::Duration;

use iscsi_proto::scsi::ReservationType;

use super::Orders;
use crate::{
    sim::Rng,
    simulate::{
        dice::{pick, time},
        plan::{Fault, Plan, What},
    },
};

const MS: Duration = Duration::from_millis(1);

/// Decides whether a world has orders: where no fence has keys, and nobody from outside reserves anything. From numbers of
/// its own, so that all else in a world is as it was without this.
pub(in crate::simulate) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0bde_55e5_e27e_d00d);
    let has_others =
        |fault: &Fault| matches!(fault.what, What::Reserve { .. } | What::Clear { .. });
    let is_taken = plan.device.fence.preempt.is_some() || plan.faults.iter().any(has_others);
    if rng.below(5) != 0 || is_taken {
        return;
    }
    let kinds = [
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];
    let longest = pick(rng, &[200, 2000, 8000]);
    plan.orders = Some(Orders {
        per_path: rng.chance(400),
        kind: pick(rng, &kinds),
        pause: time(rng, MS, 50, longest),
        rivals: rng.chance(700),
        ends: rng.chance(500),
    });
    // A controller that is replaced knows no registrations. What comes through it may be refused for that.
    if rng.chance(300) {
        let latest = plan.calm.saturating_sub(Duration::from_secs(5)).as_millis();
        let latest = u64::try_from(latest).unwrap_or(1);
        for _ in 0..1 + rng.below(4) {
            let what = What::Forget {
                unit: u16::try_from(rng.below(plan.units.len() as u64)).unwrap_or_default(),
                group: pick(rng, &plan.portals),
            };
            let at = time(rng, MS, 500, latest);
            plan.faults.push(Fault {
                at,
                lasts: MS,
                what,
            });
        }
        plan.faults.sort_by_key(|fault| fault.at);
    }
}
