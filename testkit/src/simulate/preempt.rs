//! Worlds whose devices preempt the commands of a lost path by its key.

use std::time::Duration;

use mpio::core::{PathKeys, PreemptAndAbort};

use super::plan::Plan;
use crate::sim::Rng;

/// Which hosts use the units in this way.
const FAMILY: u16 = 0x5331;

/// Decides whether the devices of a world do it. Where a login proves nothing, and something else does if
/// this fails; drawn after everything else, and from numbers of its own, so that a world that does not do it
/// is what it was without this.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0e7a_b047_5f05_0005);
    let fence = &mut plan.device.fence;
    let by_time = fence.quiesce.is_some() || fence.unit_reset.is_some();
    if fence.barrier || !by_time || !rng.chance(450) {
        return;
    }
    let millis = 100 + rng.below(400);
    fence.preempt = Some(Duration::from_millis(millis));
}

/// As a configuration has it. All hosts say that they are the same one: their names tell them apart.
pub(super) fn terms(drain: Duration) -> Option<PreemptAndAbort> {
    let keys = PathKeys::new(FAMILY, 1)?;
    Some(PreemptAndAbort { keys, drain })
}
