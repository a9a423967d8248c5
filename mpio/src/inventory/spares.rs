//! Spares: a second session beside each ([`core::spare`](crate::core::SpareState) says what for).

use std::{collections::BTreeMap, sync::Arc};

use iscsi_proto::scsi::Lun;

use super::{
    event::Removal,
    ids::RouteId,
    job::Report,
    keeper::{Keeper, Link, RouteEntry},
    route::{Endpoint, Seat},
};
use crate::{
    backoff::sleep,
    spares::{STAY, Spares},
};

impl Keeper {
    /// Logs in once more beside a session that has told its units: by then all sessions that were to be opened with it
    /// have their places, and a device has had the time to begin with another path. From then on the spare is a route
    /// like any other. It is not closed because its principal is: it may be what carries the I/O.
    pub(super) fn open_warm_spare(&mut self, id: RouteId) {
        if self.plan.spares == Spares::Warm {
            self.open_spare(id);
        }
    }

    /// Logs in once more beside a session that has to wait before it may log in again, if there is room for that.
    pub(super) fn open_spare_on_demand(&mut self, id: RouteId) {
        let has_room = self.routes.len() < self.plan.limits.sessions;
        if self.plan.spares != Spares::OnDemand || !has_room {
            return;
        }
        let Some(entry) = self.routes.get(&id) else {
            return;
        };
        let mut devices = entry.units.values().filter_map(|unit| {
            let (wwid, _) = unit.path()?;
            Some(&self.disks.get(&wwid)?.device)
        });
        // Nobody misses a session without a path.
        let is_of_use = devices.any(|device| !device.keeps_spares_out());
        if is_of_use {
            if let Some(spare) = self.open_spare(id) {
                self.look_after_spare_later(spare);
            }
        }
    }

    fn open_spare(&mut self, id: RouteId) -> Option<RouteId> {
        let entry = self.routes.get(&id)?;
        let (end, seat) = (entry.end.clone(), entry.seat);
        let is_wanted =
            !seat.is_spare && self.known.get(&end).is_some_and(|known| !known.is_gone());
        if !is_wanted || self.index.contains_key(&(end.clone(), seat.spare())) {
            return None;
        }
        let route = entry.route.spare();
        self.open_route(&end, seat.spare(), route);
        self.index.get(&(end, seat.spare())).copied()
    }

    fn look_after_spare_later(&self, id: RouteId) {
        let runtime = self.runtime();
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, STAY).await;
            Report::SpareStayed(id)
        }));
    }

    /// The session of one was closed, and it begins anew under another number.
    pub(super) fn go_on_looking_after(&self, id: RouteId, seat: Seat) {
        if seat.is_spare && self.plan.spares == Spares::OnDemand {
            self.look_after_spare_later(id);
        }
    }

    /// One that was opened on demand has been there for a while: it leaves as soon as it is not needed.
    pub(super) fn look_after_spare(&mut self, id: RouteId) {
        let Some(entry) = self.routes.get(&id) else {
            return;
        };
        let principal = self.index.get(&(entry.end.clone(), entry.seat.principal()));
        let principal = principal.and_then(|principal| self.routes.get(principal));
        let is_open = |entry: &RouteEntry| matches!(entry.link, Link::Open { up: true, .. });
        // Without a connection on either side it helps nobody: it is the network, or the target.
        let is_of_use = is_open(entry) && !principal.is_some_and(is_open);
        let is_busy = entry.listing || !entry.todo.is_empty() || entry.active > 0;
        let mut paths = entry.units.values().filter_map(|unit| {
            let (wwid, path) = unit.path()?;
            Some((&self.disks.get(&wwid)?.device, path))
        });
        let is_needed = paths.any(|(device, path)| !device.may_spare_leave(path));
        if is_of_use || is_busy || is_needed {
            self.look_after_spare_later(id);
            return;
        }
        self.take_paths(id, Removal::SpareNotNeeded);
        self.remove_route(id);
        self.dirty = true;
    }

    /// Every place that a session may have at a portal.
    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        let principals = (0..self.plan.binds.len()).map(Seat::at);
        principals.clone().chain(principals.map(Seat::spare))
    }
}

/// What the program has removed in the place of this unit: a spare that is opened on demand has that of its principal.
pub(super) fn removal<'a>(
    removed: &'a BTreeMap<(Endpoint, Seat, Lun), Arc<str>>,
    spares: Spares,
    place: &(Endpoint, Seat, Lun),
) -> Option<&'a Arc<str>> {
    let (end, seat, lun) = place;
    removed.get(place).or_else(|| match spares {
        Spares::OnDemand => removed.get(&(end.clone(), seat.principal(), *lun)),
        Spares::None | Spares::Warm => None,
    })
}
