//! A cable that is plugged in again.

use std::{sync::Arc, time::Duration};

use super::{Driver, Phase};
use crate::{
    links::{LinkListener, Subscription},
    login_rate::Pace,
};

/// A carrier that comes back more often than this is heeded so often: the intervals between attempts do the
/// rest, and a target is not to pay for a loose contact.
const LINK_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    /// The carrier is back: who is down need not wait for the next attempt. After that the back-off is what it
    /// was, and one that comes and goes is heeded now and then only.
    pub(super) fn link_up(&mut self) {
        let now = self.now();
        let heeded = self.heeded_link;
        if heeded.is_some_and(|at| now.saturating_duration_since(at) < LINK_PAUSE) {
            return;
        }
        match &self.phase {
            Phase::Waiting(_) if self.nexus.is_taken() => return,
            Phase::Waiting(until) => {
                let until = (*until).min(self.not_before).max(now);
                self.pace = Pace::Again;
                self.phase = Phase::Waiting(until);
            }
            Phase::Dialing(_) => self.connector.nudge(),
            Phase::Up(_) | Phase::Closing(_) | Phase::Done => return,
        }
        self.heeded_link = Some(now);
    }

    /// Follows the carrier of the device that has come to be used. Where it cannot be found out, as while an address
    /// is being moved, the one of before is followed.
    pub(super) fn follow_link(&mut self) {
        let Some((links, device)) = self.connector.link() else {
            return;
        };
        let followed = self.link.as_ref().map(Subscription::device);
        if followed != Some(&device) {
            let shared: Arc<dyn LinkListener> = Arc::clone(&self.ops.shared) as _;
            self.link = Some(links.subscribe(device, Arc::downgrade(&shared)));
        }
    }
}
