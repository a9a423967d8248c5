//! Worlds in which paths that fail too often, or are slow, are used as the last resort.

use std::{sync::Arc, time::Duration};

use mpio::core::{GroupStatus, LatencyLimit, MarginalConfig, PathSnapshot, Snapshot, SpareState};

use super::{
    calm::{LOOK, devices},
    check::Row,
    dice::{between, pick, time},
    plan::Plan,
    world::World,
};
use crate::sim::Rng;

const MS: Duration = Duration::from_millis(1);

/// Decides what makes a path marginal. From numbers of its own, so that all else in a world is as it was without this.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x3a26_17a1_9a75_0006);
    if rng.chance(250) {
        return;
    }
    let probation = time(rng, MS, 1000, 6000);
    let limit = LatencyLimit::DEFAULT
        .above(pick(rng, &[2, 5, 20]), time(rng, MS, 20, 100))
        .sustained(time(rng, MS, 1000, 8000), pick(rng, &[16, 50]));
    let count = |rng: &mut Rng, most| u32::try_from(between(rng, 2, most)).unwrap_or(2);
    plan.device.marginal = Some(
        MarginalConfig::DEFAULT
            .losses(count(rng, 4))
            .errors(count(rng, 8))
            .window(time(rng, MS, 2000, 40_000))
            .probation(probation, probation * pick(rng, &[1, 4]))
            .latency(rng.chance(800).then_some(limit)),
    );
}

/// What takes I/O though it should not.
pub(super) fn misused(snapshot: &Snapshot) -> Option<&PathSnapshot> {
    // A spare has to have answered before it takes over, and may be without a network like its path.
    let is_there =
        |path: &&PathSnapshot| path.is_usable() && path.spare != Some(SpareState::StandsBy);
    let mut usable = snapshot.paths().filter(is_there);
    if !usable.any(|path| path.marginal.is_none()) {
        return None;
    }
    let mut groups = snapshot.groups.iter();
    let active = groups.find(|group| group.status == GroupStatus::Active)?;
    let mut paths = active.paths.iter().filter(is_there);
    paths.find(|path| path.marginal.is_some())
}

/// Every path has stood its probation.
pub(super) async fn paths_are_sound(world: &Arc<World>) {
    let Some(config) = world.plan.device.marginal else {
        return;
    };
    // One more for a last look at times of before the calm.
    let probations = config.max_probation * 2;
    let until = world.handle.elapsed().max(world.plan.calm) + world.plan.patience() + probations;
    for (index, device) in devices(world).into_iter().enumerate() {
        loop {
            let snapshot = device.snapshot();
            if snapshot.paths().all(|path| path.marginal.is_none()) {
                break;
            }
            if world.handle.elapsed() > until {
                let account = format!(
                    "device {index} has marginal paths after {until:?}:\n{}",
                    device.topology()
                );
                world.board.with(|state| state.violate(Row::L5, account));
                break;
            }
            world.handle.sleep(LOOK).await;
        }
    }
}
