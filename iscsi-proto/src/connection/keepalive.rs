//! Is anybody there? NOP-Out pings on an idle connection (RFC 7143 section 11.18).

use core::time::Duration;

use crate::time::Instant;

/// Decides when to ping and when to give up. Anything received counts as life: a target that is
/// busy sending us data need not answer a ping first, and killing it for that is the classic fault
/// of NOP timers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    interval: Option<Duration>,
    /// Pings leave at multiples of so many nanoseconds; zero: whenever they are due.
    beat: u64,
    timeout: Duration,
    /// A ping of any origin went out and nothing has been received since.
    waiting_since: Option<Instant>,
}

impl Keepalive {
    pub(crate) fn new(interval: Option<Duration>, beat: Duration, timeout: Duration) -> Self {
        Self {
            interval,
            beat: u64::try_from(beat.as_nanos()).unwrap_or(u64::MAX),
            timeout,
            waiting_since: None,
        }
    }

    pub(crate) const fn note_received(&mut self) {
        self.waiting_since = None;
    }

    pub(crate) fn note_pinged(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Whether the connection has been silent long enough to ask.
    pub(crate) fn wants_ping(&self, now: Instant, last_receive: Instant) -> bool {
        self.waiting_since.is_none() && self.ping_at(last_receive).is_some_and(|at| now >= at)
    }

    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.waiting_since
            .is_some_and(|since| now >= since.saturating_add(self.timeout))
    }

    pub(crate) fn deadline(&self, last_receive: Instant) -> Option<Instant> {
        match self.waiting_since {
            Some(since) => Some(since.saturating_add(self.timeout)),
            None => self.ping_at(last_receive),
        }
    }

    fn ping_at(&self, last_receive: Instant) -> Option<Instant> {
        let at = last_receive.saturating_add(self.interval?);
        Some(at.last_multiple_of(self.beat))
    }
}
