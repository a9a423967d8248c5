//! Worlds in which paths have spares: logged in beforehand, or when a path has to wait.

use std::{collections::BTreeMap, time::Duration};

use mpio::{
    Spares as Terms,
    core::{PathId, PathSnapshot, Snapshot},
};

use super::plan::Plan;
use crate::sim::Rng;

/// Decides whether paths have spares. From numbers of its own, so that a world without them is what it was.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x59a1_2e00_c01d_0efd);
    plan.device.spares = match (rng.chance(200), rng.chance(600)) {
        (true, _) => Terms::Warm,
        (false, true) => Terms::OnDemand,
        (false, false) => Terms::None,
    };
}

/// For how long one that was opened on demand stays at least.
pub(super) const STAY: Duration = Duration::from_secs(10);

/// Spares that may stay though their paths are back: the one that holds a reservation is not known, and a write that was
/// lost may land for as long as nothing proves it dead.
pub(super) fn tied(plan: &Plan, snapshot: &Snapshot) -> Vec<PathId> {
    let is_tied = snapshot.reservation.is_some() || snapshot.ghosts > 0;
    let is_on_demand = plan.device.spares == Terms::OnDemand;
    let spares = snapshot
        .paths()
        .filter(|path| path.spare.is_some() && is_tied && is_on_demand);
    spares.map(|path| path.id).collect()
}

/// What a spare and the path that it is for were when they were last looked at.
#[derive(Clone, Copy)]
struct Seen {
    principal: PathId,
    principal_is_fit: bool,
    takeovers: u64,
    /// I/Os that succeeded there, and those in flight.
    ios: u64,
}

/// The spares of all devices as they were last looked at, by device, opening and path.
#[derive(Default)]
pub(super) struct Spares(BTreeMap<(usize, u32, PathId), Seen>);

impl Spares {
    /// A spare that was given I/O though it has not taken over since it was last looked at, and the path that it is for
    /// takes I/O as it did then.
    pub(super) fn misused(
        &mut self,
        (device, opening): (usize, u32),
        snapshot: &Snapshot,
    ) -> Option<String> {
        let mut misused = None;
        for spare in snapshot.paths().filter(|path| path.spare.is_some()) {
            let principal = principal_of(snapshot, spare);
            let key = (device, opening, spare.id);
            let Some(principal) = principal else {
                self.0.remove(&key);
                continue;
            };
            let seen = Seen {
                principal: principal.id,
                principal_is_fit: principal.is_usable() && principal.marginal.is_none(),
                takeovers: spare.counters.takeovers,
                ios: spare.counters.ios + u64::from(spare.in_flight),
            };
            let Some(before) = self.0.insert(key, seen) else {
                continue;
            };
            let is_same = before.principal == seen.principal && before.takeovers == seen.takeovers;
            let was_fit = before.principal_is_fit && seen.principal_is_fit;
            if is_same && was_fit && seen.ios > before.ios {
                let more = seen.ios - before.ios;
                misused = Some(format!("{more} I/Os on {spare} though {principal}"));
            }
        }
        misused
    }
}

/// The builder calls it after the path that it is for.
fn principal_of<'a>(snapshot: &'a Snapshot, spare: &PathSnapshot) -> Option<&'a PathSnapshot> {
    snapshot.path_named(spare.name.strip_suffix(" spare")?)
}
