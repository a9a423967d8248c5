//! A path that nothing is wrong with is not called not ready.

use mpio::core::{DownReason, Event};

use super::{check::Row, world::World};

impl World {
    /// A device has told something, just now.
    pub(super) fn look_at_readiness(&self, index: usize, event: &Event) {
        let Event::PathDown {
            path,
            reason: DownReason::NotReady,
        } = *event
        else {
            return;
        };
        let plan = &self.plan;
        let (host, unit) = (self.host_of(index), index % plan.units.len());
        self.board.with(|state| {
            let device = state.devices.get(index).and_then(Option::as_ref);
            let snapshot = device.map(mpio::MultipathDevice::snapshot);
            let named = snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.paths().find(|one| one.id == path));
            let Some(name) = named.map(|path| path.name.to_string()) else {
                return;
            };
            let is_it = |at: &u8| name.starts_with(&self.path_name(host, *at));
            let place = (0_u8..).zip(plan.paths()).find(|(at, _)| is_it(at));
            let is_sound = |place| plan.is_sound(host.into(), unit, place);
            if place.is_some_and(|(_, place)| is_sound(place)) {
                let account = format!(
                    "device {index} calls {name} not ready, though nothing is wrong with it at any time"
                );
                state.violate(Row::L2, account);
            }
        });
    }
}
