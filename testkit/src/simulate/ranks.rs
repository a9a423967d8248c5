//! Worlds in which paths are ranked by their latency.

use std::time::Duration;

use mpio::core::{LatencyClasses, PathGroupingPolicy, Prioritizer};

use super::{dice::pick, plan::Plan};
use crate::sim::Rng;

/// By numbers of its own, so that what else a seed draws stays as it was. Where checks are frequent and classes change
/// soon: else no world lasts long enough.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x1a7e_0c1a_55e5_02a4);
    if !rng.chance(125) {
        return;
    }
    let classes = LatencyClasses::DEFAULT
        .base_tenths(pick(rng, &[11, 15, 25, 40]))
        .hold(Duration::from_secs(pick(rng, &[1, 2, 5])));
    let often = Duration::from_millis(pick(rng, &[100, 250, 500]));
    let policies = [
        PathGroupingPolicy::Detect,
        PathGroupingPolicy::GroupByPriority,
        PathGroupingPolicy::GroupByTargetPortGroup,
    ];
    let device = &mut plan.device;
    device.prioritizer = Prioritizer::PathLatency(classes);
    device.grouping = pick(rng, &policies);
    device.polling = (often, often);
}
