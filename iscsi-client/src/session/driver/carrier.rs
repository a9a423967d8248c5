//! What the carrier of the device says of logins: when one is futile, and when it is no more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Driver, Phase};
use crate::{
    links::{LinkListener, Subscription},
    login_rate::Pace,
    session::state::Journal,
};

/// A carrier that comes back more often than this is heeded so often: the intervals between attempts do the
/// rest, and a target is not to pay for a loose contact.
const LINK_PAUSE: Duration = Duration::from_secs(1);

/// How much later a login begins that has no carrier: whoever tells of carriers may be wrong, and nobody stays down for
/// that.
const WITHOUT_CARRIER: Duration = Duration::from_secs(30);

/// For how long after a carrier is back the kernel may still give up for a question that it has asked before.
const LEFTOVERS: Duration = Duration::from_secs(4);

impl Driver {
    /// When a login begins at the latest that is due at `at`, by what is known now. Without a carrier there is nobody to
    /// ask, and to try does harm: the kernel asks for the target's hardware address once a second, and whoever tries anew
    /// in between, with the cable plugged in again, waits for the next time.
    pub(super) fn begins(&self, at: Instant) -> Instant {
        match self.has_carrier() {
            true => at,
            false => at + WITHOUT_CARRIER,
        }
    }

    /// Nothing says that the device has none. What is bound to none has no need of it, as where the portal is an address
    /// of this host.
    fn has_carrier(&self) -> bool {
        let look = |journal: &mut Journal| journal.status().has_carrier;
        !self.is_on_device || self.shared().with_journal(look)
    }

    /// When a login that is due at `at` is to be thought of; and tells when it begins.
    pub(super) fn next_look(&self, at: Instant) -> Instant {
        let begins = self.begins(at);
        self.shared()
            .with_journal(|journal| journal.set_next_attempt(Some(begins)));
        let later = self.looks_at.filter(|_| begins > at);
        later.unwrap_or(at)
    }

    /// Puts a login off that is due at `at`, if it is futile now; whether it is.
    pub(super) fn put_off(&mut self, at: Instant) -> bool {
        let (now, begins) = (self.now(), self.begins(at));
        let is_put_off = now < begins && !self.has_moved();
        let next = (now + self.options.reconnect_interval).min(begins);
        self.looks_at = is_put_off.then_some(next);
        is_put_off
    }

    /// Whether an attempt that nobody has answered is repeated at once, which is so one time for each carrier. What was sent in vain just before, the reset of the
    /// connection at least, makes the kernel give up for the attempt that comes when the carrier is back, and start afresh
    /// for the next one.
    pub(super) fn take_repetition(&mut self) -> bool {
        let now = self.now();
        let back = self.carrier_back.take();
        back.is_some_and(|at| now.saturating_duration_since(at) < LEFTOVERS)
    }

    /// Whether the local end is known to be at another device by now, as its address was moved, or the device has come
    /// back under another name; and not known to be without a carrier there as well.
    fn has_moved(&self) -> bool {
        let followed = self.link.as_ref().map(Subscription::device);
        let now = self.connector.link();
        now.is_some_and(|(links, device)| {
            followed != Some(&device) && links.has_carrier(&device) != Some(false)
        })
    }

    /// The carrier is gone: what nobody has answered by now is not answered any more, and who waits for his turn, or for
    /// credentials, need not ask.
    pub(super) fn link_down(&mut self) {
        let is_unanswered =
            matches!(self.phase, Phase::Dialing(_)) && !self.connector.is_answered();
        if is_unanswered && !self.has_carrier() && !self.has_moved() {
            let due = self.dialled + LINK_PAUSE;
            self.looks_at = None;
            self.phase = Phase::Waiting(due.max(self.not_before));
        }
    }

    /// The carrier is back, since `since`: who is down need not wait for the next attempt. After that the back-off is what it
    /// was, and one that comes and goes is heeded now and then only.
    pub(super) fn link_up(&mut self, since: Instant) {
        let now = self.now();
        let heeded = self.heeded_link;
        // Lost again since.
        if !self.has_carrier() {
            return;
        }
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
            // What was said without a carrier was said to nobody, and is repeated after seconds only.
            Phase::Dialing(_) if self.dialled <= since && self.connector.is_unanswered() => {
                self.dial(Pace::Again);
            }
            Phase::Dialing(_) | Phase::Up(_) | Phase::Closing(_) | Phase::Done => return,
        }
        self.heeded_link = Some(now);
        self.carrier_back = Some(now);
    }

    /// Notes whether the device has a carrier, now that a login has succeeded that began after so many `losses`. Whoever
    /// has logged in has one, whatever was told before; unless it was lost meanwhile, and the answer had come before. Returns
    /// the device whose loss nobody has told yet.
    pub(super) fn note_carrier(&self, losses: u64) -> Option<Arc<str>> {
        let links = self.connector.link_monitor();
        let device = self.link.as_ref().map(Subscription::device);
        self.shared().with_journal(|journal| {
            // Within this lock, which whoever tells of a loss takes after it: none is missed.
            let lost = links
                .zip(device)
                .filter(|(links, device)| links.is_lost_since(device, losses));
            let was_told = !journal.status().has_carrier;
            journal.set_carrier(lost.is_none());
            lost.filter(|_| !was_told)
                .map(|(_, device)| Arc::clone(device))
        })
    }

    /// Follows the carrier of the device that has come to be used. Where it cannot be found out, as while an address
    /// is being moved, the one of before is followed.
    pub(super) fn follow_link(&mut self) {
        let Some((links, device)) = self.connector.link() else {
            return;
        };
        let followed = self.link.as_ref().map(Subscription::device);
        if followed != Some(&device) {
            // What others are told of the one of before, from now on, is nothing to us.
            self.shared()
                .with_journal(|journal| journal.follow(Arc::clone(&device)));
            let shared: Arc<dyn LinkListener> = Arc::clone(&self.ops.shared) as _;
            self.link = Some(links.subscribe(device, Arc::downgrade(&shared)));
        }
    }
}
