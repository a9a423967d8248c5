//! Worlds whose devices preempt the commands of a lost path by its key.

use std::time::Duration;

use super::plan::{Fault, Plan, What};
use crate::sim::Rng;

/// Decides whether the devices of a world do it. Where a login proves nothing, and something else does if
/// this fails; drawn after everything else, and from numbers of its own, so that a world that does not do it
/// is what it was without this.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0e7a_b047_5f05_0005);
    // Of a unit that others reserve its paths are not registered.
    let reserves = |fault: &Fault| matches!(fault.what, What::Reserve { .. });
    if plan.faults.iter().any(reserves) {
        return;
    }
    let fence = &mut plan.device.fence;
    let by_time = fence.quiesce.is_some() || fence.unit_reset.is_some();
    if fence.barrier || !by_time || !rng.chance(450) {
        return;
    }
    let millis = 100 + rng.below(400);
    fence.preempt = Some(Duration::from_millis(millis));
    // An order against a key that is gone is a conflict, and proves nothing.
    for _ in 0..rng.below(4) {
        let unit = u16::try_from(rng.below(plan.units.len() as u64)).unwrap_or_default();
        let latest = plan.calm.saturating_sub(Duration::from_secs(5)).as_micros();
        let latest = u64::try_from(latest).unwrap_or(1);
        let at = Duration::from_micros(500_000 + rng.below(latest));
        let what = What::Clear { unit };
        let lasts = Duration::from_millis(1);
        plan.faults.push(Fault { at, lasts, what });
    }
    plan.faults.sort_by_key(|fault| fault.at);
}
