//! What follows for a path in doubt from what its platform tells of its bytes.

use std::time::{Duration, Instant};

use iscsi_proto::planted::Bug;

use super::{
    Action, Event, Multipath, PathId,
    delivery::{Delivery, NetworkProgress},
    suspicion::Step,
};

impl Multipath {
    /// How far the bytes of the path's connection have come; the answer to
    /// [`AskProgress`](Action::AskProgress). `None` if nobody knows at the moment; after eight of these in a row it is not
    /// asked again before the next connection.
    pub fn handle_progress(
        &mut self,
        now: Instant,
        path: PathId,
        progress: Option<NetworkProgress>,
    ) {
        let mut others_heard = self.others_heard(path);
        let config = &self.config;
        let progress = match config.planted.has(Bug::AcknowledgedIsDead) {
            true => progress.map(|progress| progress.since(Duration::MAX)),
            false => progress,
        };
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if !entry.is_connected() || entry.suspicion.is_calm() {
            return;
        }
        let is_suspect = entry.suspicion.is_suspect();
        let deliveries = entry.suspicion.deliveries_mut();
        deliveries.take(now, progress, &config.suspicion);
        let is_dead = deliveries.delivery() == Some(Delivery::Unacknowledged);
        if let Some(delivery) = deliveries.news(is_suspect) {
            self.events.push(Event::Delivery { path, delivery });
        }
        if is_dead && config.planted.has(Bug::NoWitnessNeeded) {
            others_heard = Some(now);
        }
        let step = entry.suspicion.weigh(now, &config.suspicion, others_heard);
        if step == Step::Condemn {
            entry.set_fencing(true);
            self.actions.push_back(Action::Fence { path });
            self.restless = true;
        }
        if is_dead && !is_suspect {
            self.look_at_asked(now);
        }
        self.settle(now);
    }

    /// When another usable path was last heard of, if there is one.
    fn others_heard(&self, than: PathId) -> Option<Instant> {
        let heard = self.last_heard();
        let mut heard = heard.iter().flatten();
        heard.find(|(other, _)| *other != than).map(|(_, at)| *at)
    }
}
