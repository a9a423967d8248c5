//! What happens to I/O while there is no path.

use std::time::{Duration, Instant};

use super::config::NoPathRetry;

/// The clock of the no-path policy. It is the device's, not the I/O's: as in multipath-tools, what
/// comes after the limit fails at once until a path is back, instead of waiting in turn.
#[derive(Debug)]
pub(crate) struct NoPath {
    policy: NoPathRetry,
    since: Option<Instant>,
    expired: bool,
}

impl NoPath {
    pub(crate) const fn new(now: Instant, policy: NoPathRetry) -> Self {
        Self {
            policy,
            since: Some(now),
            expired: matches!(policy, NoPathRetry::Fail),
        }
    }

    pub(crate) const fn is_down(&self) -> bool {
        self.since.is_some()
    }

    /// The last path went.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.since = Some(now);
        self.expired = self.policy == NoPathRetry::Fail;
    }

    /// A path came back.
    pub(crate) fn restored(&mut self) {
        self.since = None;
        self.expired = false;
    }

    /// Whether I/O without a path fails.
    pub(crate) const fn is_failing(&self) -> bool {
        self.since.is_some() && self.expired
    }

    /// How long I/O is queued: `None` not at all, `Some(None)` without limit.
    pub(crate) const fn limit(&self) -> Option<Option<Duration>> {
        match self.policy {
            NoPathRetry::Fail => None,
            NoPathRetry::QueueFor(limit) => Some(Some(limit)),
            NoPathRetry::Queue => Some(None),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.policy {
            NoPathRetry::QueueFor(limit) if !self.expired => Some(self.since? + limit),
            _ => None,
        }
    }

    /// True once, when the limit is reached.
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        self.expired |= due;
        due
    }
}
