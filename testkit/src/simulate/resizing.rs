//! Devices that do not follow their unit in size, or do when they are asked to; and what they make of a new size.

use std::{sync::Arc, time::Duration};

use mpio::core::{AutoResize, Event};

use super::{
    check::size::{self, Resized},
    dice::pick,
    finding::Finding,
    plan::{Fault, Plan, What},
    world::World,
};
use crate::sim::Rng;

const MS: Duration = Duration::from_millis(1);

/// Decides what devices do about a new size, and whether they are asked to take it.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x51fe_0fa1_1d15_c5b1);
    let policies = [
        AutoResize::GrowShrink,
        AutoResize::GrowOnly,
        AutoResize::Never,
    ];
    plan.device.auto_resize = pick(rng, &policies);
    if !rng.chance(250) {
        return;
    }
    let resizes = plan.faults.iter().filter_map(|fault| match fault.what {
        What::Resize { unit, .. } => Some((unit, fault.at + fault.lasts / 2)),
        _ => None,
    });
    let mut more = Vec::new();
    for (unit, at) in resizes {
        let host = u8::try_from(rng.below(plan.hosts.into())).unwrap_or_default();
        let what = What::Rescan { host, unit };
        more.push(Fault {
            at,
            lasts: MS,
            what,
        });
    }
    plan.faults.extend(more);
    plan.faults.sort_by_key(|fault| fault.at);
}

/// A device is asked to take the size that its paths tell.
pub(super) fn rescan(world: &Arc<World>, index: usize) {
    let device = world.board.with(|state| {
        let device = state.devices[index].clone()?;
        state.asked.entry(index).or_default().begin();
        Some(device)
    });
    let Some(device) = device else { return };
    let task = Arc::clone(world);
    world.spawn_on(world.host_of(index), async move {
        // Paths that disagree, or cannot be asked, are no fault of the device.
        _ = device.resize().await;
        let now = task.now();
        task.board
            .with(|state| state.asked.entry(index).or_default().end(now));
    });
}

impl World {
    /// A device has told something, just now.
    pub(super) fn look_at_size(&self, index: usize, event: &Event) {
        let Event::Resized { from, to } = *event else {
            return;
        };
        let now = self.now();
        self.board.with(|state| {
            let Some(device) = state.devices[index].clone() else {
                return;
            };
            let asked = state.asked.get(&index).copied().unwrap_or_default();
            let snapshot = device.snapshot();
            let usable = snapshot.paths().filter(|path| path.is_usable());
            let told = usable.filter_map(|path| {
                let unit = device.path(path.id)?;
                let size = iscsi_client::device::BlockDevice::info(&*unit).size;
                // One without access to the medium as yet knows no size.
                (size > 0).then(|| (path.name.to_string(), size))
            });
            let judged = size::is_taken_as_configured(&Resized {
                device: format!("device {index}"),
                policy: self.plan.device.auto_resize,
                is_asked: asked.is_asked(now),
                from,
                to,
                told: told.collect(),
            });
            if let Err(violation) = judged {
                state.find(Finding::Rule(violation));
            }
        });
    }
}
