//! Spares: a second session beside each ([`core::spare`](crate::core::SpareState) says what for).

use super::{ids::RouteId, keeper::Keeper, route::Seat};

impl Keeper {
    /// Logs in once more beside a session that has told its units: by then all sessions that were to be opened with it
    /// have their places, and a device has had the time to begin with another path. From then on the spare is a route
    /// like any other. It is not closed because its principal is: it may be what carries the I/O.
    pub(super) fn open_spare(&mut self, id: RouteId) {
        let Some(entry) = self.routes.get(&id).filter(|_| self.plan.spares) else {
            return;
        };
        let (end, seat) = (entry.end.clone(), entry.seat);
        let is_wanted =
            !seat.is_spare && self.known.get(&end).is_some_and(|known| !known.is_gone());
        if is_wanted && !self.index.contains_key(&(end.clone(), seat.spare())) {
            let route = entry.route.spare();
            self.open_route(&end, seat.spare(), route);
        }
    }

    /// Every place that a session may have at a portal.
    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        let principals = (0..self.plan.binds.len()).map(Seat::at);
        principals.clone().chain(principals.map(Seat::spare))
    }
}
