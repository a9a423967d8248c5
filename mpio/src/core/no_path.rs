//! What happens to I/O while there is no path.

use std::time::{Duration, Instant};

use super::config::NoPathRetry;

/// The clock of the no-path policy. It is the device's, not the I/O's: as in multipath-tools, what
/// comes after the limit fails at once until a path is back, instead of waiting in turn.
#[derive(Debug)]
pub(crate) struct NoPath {
    policy: NoPathRetry,
    queueing: Queueing,
    /// Since when there is no path, or since when the policy counts.
    since: Option<Instant>,
    expired: bool,
}

/// What an operator says of the wait for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queueing {
    AsConfigured,
    Disabled,
}

impl NoPath {
    pub(crate) const fn new(now: Instant, policy: NoPathRetry) -> Self {
        Self {
            policy,
            queueing: Queueing::AsConfigured,
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
        self.expired = self.in_force() == NoPathRetry::Fail;
    }

    pub(crate) const fn policy(&self) -> NoPathRetry {
        self.policy
    }

    /// An operator does not want I/O to wait.
    pub(crate) const fn is_disabled(&self) -> bool {
        matches!(self.queueing, Queueing::Disabled)
    }

    /// The policy that counts.
    pub(crate) const fn in_force(&self) -> NoPathRetry {
        match self.queueing {
            Queueing::AsConfigured => self.policy,
            Queueing::Disabled => NoPathRetry::Fail,
        }
    }

    pub(crate) fn set(&mut self, now: Instant, queueing: Queueing) {
        self.queueing = queueing;
        self.restart(now);
    }

    pub(crate) fn set_policy(&mut self, now: Instant, policy: NoPathRetry) {
        self.policy = policy;
        self.restart(now);
    }

    fn restart(&mut self, now: Instant) {
        if self.is_down() {
            self.lost(now);
        }
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
        match self.in_force() {
            NoPathRetry::Fail => None,
            NoPathRetry::QueueFor(limit) => Some(Some(limit)),
            NoPathRetry::Queue => Some(None),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.in_force() {
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
