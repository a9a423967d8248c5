//! One path's faults, and its way out of being marginal.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    event::MarginalCause,
    marginal_config::{MOST_FAULTS, MarginalConfig},
};

/// Faults of two paths that are no further apart than this may be one fault.
pub(crate) const TOGETHER: Duration = Duration::from_secs(1);
/// How long another path may take to show that it was no fault of all.
const UNDECIDED: Duration = Duration::from_secs(30);
/// Between two checks of a path on probation, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// And at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Checks in a probation that is short.
const CHECKS: u32 = 16;

/// What a path has lost its standing by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It went down, or was silent.
    Loss,
    /// An I/O failed there.
    Error,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    at: Instant,
    kind: FaultKind,
    /// Another path was not hit by it.
    is_its_own: bool,
    /// Idle paths were asked whether they were.
    has_asked: bool,
}

/// It is marginal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demotion {
    pub(crate) cause: MarginalCause,
    since: Instant,
    /// Since when it has been usable without a fault, if it is.
    clean_since: Option<Instant>,
    probation: Duration,
}

#[derive(Debug)]
pub(crate) struct Marginal {
    /// The oldest first, at most [`MOST_FAULTS`].
    faults: VecDeque<Fault>,
    usable_since: Option<Instant>,
    demotion: Option<Demotion>,
    /// When it became sound the last time, and after what probation.
    promoted: Option<(Instant, Duration)>,
    /// When the check that is under way was sent.
    check_sent: Option<Instant>,
    /// How long the last one took.
    check_took: Option<Duration>,
}

impl Marginal {
    pub(crate) const fn new() -> Self {
        Self {
            faults: VecDeque::new(),
            usable_since: None,
            demotion: None,
            promoted: None,
            check_sent: None,
            check_took: None,
        }
    }

    pub(crate) const fn demotion(&self) -> Option<&Demotion> {
        self.demotion.as_ref()
    }

    /// An operator has said so.
    pub(crate) const fn is_marked(&self) -> bool {
        match &self.demotion {
            Some(demotion) => demotion.is_marked(),
            None => false,
        }
    }

    /// Between two checks of its probation, if it is in one.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let demotion = self.demotion.as_ref();
        let demotion = demotion.filter(|demotion| !demotion.is_marked());
        demotion.map(Demotion::pause)
    }

    pub(crate) const fn is_sound(&self) -> bool {
        self.demotion.is_none()
    }

    /// It takes I/O from now on.
    pub(crate) const fn is_usable_from(&mut self, now: Instant) {
        self.usable_since = Some(now);
        if let Some(demotion) = &mut self.demotion {
            demotion.clean_since = Some(now);
        }
    }

    /// It takes none any more; `fault`: for a reason that says something of it.
    pub(crate) fn is_lost(&mut self, now: Instant, fault: Option<FaultKind>) {
        self.usable_since = None;
        if let Some(demotion) = &mut self.demotion {
            demotion.clean_since = None;
        }
        let Some(kind) = fault.filter(|_| self.demotion.is_none()) else {
            return;
        };
        if self.faults.len() == MOST_FAULTS {
            self.faults.pop_front();
        }
        self.faults.push_back(Fault {
            at: now,
            kind,
            is_its_own: false,
            has_asked: false,
        });
    }

    /// What began with an error of an I/O was the loss of the path.
    pub(crate) fn is_worse(&mut self) {
        if let Some(last) = self.faults.back_mut() {
            last.kind = FaultKind::Loss;
        }
    }

    /// Whether it has shown that a fault of another path at `at` was not one of both. `heard`: when it was last heard of.
    pub(crate) fn vouches(&self, at: Instant, heard: Instant) -> bool {
        let was_there = self
            .usable_since
            .is_some_and(|since| since + TOGETHER <= at);
        was_there && heard >= at + TOGETHER
    }

    /// Of which faults it is not known yet whose they are.
    pub(crate) fn undecided(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        let faults = self.faults.iter().enumerate();
        faults
            .filter(|(_, fault)| !fault.is_its_own)
            .map(|(index, fault)| (index, fault.at))
    }

    pub(crate) fn count(&mut self, index: usize) {
        if let Some(fault) = self.faults.get_mut(index) {
            fault.is_its_own = true;
        }
    }

    /// True once for each fault.
    pub(crate) fn may_ask(&mut self, index: usize) -> bool {
        let fault = self.faults.get_mut(index);
        fault.is_some_and(|fault| !std::mem::replace(&mut fault.has_asked, true))
    }

    /// Forgets what is too old to count, or to become known.
    pub(crate) fn forget(&mut self, now: Instant, config: &MarginalConfig) {
        self.faults.retain(|fault| {
            let age = now.saturating_duration_since(fault.at);
            match fault.is_its_own {
                true => age <= config.window,
                false => age <= UNDECIDED,
            }
        });
    }

    /// Whether there are too many of them.
    pub(crate) fn verdict(&self, now: Instant, config: &MarginalConfig) -> Option<MarginalCause> {
        if self.demotion.is_some() {
            return None;
        }
        let own = || self.faults.iter().filter(|fault| fault.is_its_own);
        let within = now.saturating_duration_since(own().next()?.at);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let losses = count(own().filter(|fault| fault.kind == FaultKind::Loss).count());
        let errors = count(own().count());
        if losses >= config.losses {
            Some(MarginalCause::Flapping { losses, within })
        } else if errors >= config.errors {
            Some(MarginalCause::PathErrors { errors, within })
        } else {
            None
        }
    }

    pub(crate) fn demote(&mut self, now: Instant, config: &MarginalConfig, cause: MarginalCause) {
        let is_soon = |&(at, took): &(Instant, Duration)| {
            now.saturating_duration_since(at) <= config.window.max(took)
        };
        let last = self.promoted.filter(is_soon);
        let probation = last.map_or(config.probation, |(_, took)| took.saturating_mul(2));
        self.demotion = Some(Demotion {
            cause,
            since: now,
            clean_since: self.usable_since.map(|_| now),
            probation: probation.clamp(config.probation, config.max_probation),
        });
    }

    /// An operator wants it to be, until he says otherwise.
    pub(crate) fn mark(&mut self, now: Instant) {
        let since = self.demotion.map_or(now, |demotion| demotion.since);
        self.demotion = Some(Demotion {
            cause: MarginalCause::Operator,
            since,
            clean_since: None,
            probation: Duration::ZERO,
        });
    }

    /// For how long it was marginal, if it was: from now on it is sound, and nothing of before counts.
    pub(crate) fn promote(&mut self, now: Instant) -> Option<Duration> {
        let demotion = self.demotion.take()?;
        self.faults.clear();
        self.promoted = Some((now, demotion.probation));
        Some(now.saturating_duration_since(demotion.since))
    }

    /// As if it had never been marginal.
    pub(crate) fn forgive(&mut self, now: Instant) -> Option<Duration> {
        self.faults.clear();
        let after = self.promote(now);
        self.promoted = None;
        after
    }

    /// A check was sent.
    pub(crate) const fn asked(&mut self, now: Instant) {
        self.check_sent = Some(now);
    }

    /// It was answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        let sent = self.check_sent.take();
        self.check_took = sent.map(|sent| now.saturating_duration_since(sent));
    }

    pub(crate) const fn check_took(&self) -> Option<Duration> {
        self.check_took
    }

    /// A check was answered well, or too slowly. True if that was the last one of its probation.
    pub(crate) fn is_proven(&mut self, now: Instant, is_quick: bool) -> bool {
        let Some(demotion) = &mut self.demotion else {
            return false;
        };
        let Some(since) = demotion.clean_since.filter(|_| !demotion.is_marked()) else {
            return false;
        };
        if !is_quick {
            demotion.clean_since = Some(now);
        }
        is_quick && now.saturating_duration_since(since) >= demotion.probation
    }
}

impl Demotion {
    const fn is_marked(&self) -> bool {
        matches!(self.cause, MarginalCause::Operator)
    }

    /// Between two checks.
    fn pause(&self) -> Duration {
        (self.probation / CHECKS).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// When it can be sound again by itself at the earliest, from now on.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let passed = self
            .clean_since
            .map(|since| now.saturating_duration_since(since));
        let left = self.probation.saturating_sub(passed.unwrap_or_default());
        (!self.is_marked()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any start serves for virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn faults_are_kept_in_bounded_memory() {
        let mut now = start();
        let mut path = Marginal::new();
        for _ in 0..10_000 {
            path.is_usable_from(now);
            path.is_lost(now, Some(FaultKind::Error));
            path.is_worse();
            now += TOGETHER;
        }
        assert_eq!(path.faults.len(), MOST_FAULTS);
        assert!(path.faults.capacity() <= 2 * MOST_FAULTS);
        path.forget(now + UNDECIDED, &MarginalConfig::DEFAULT);
        assert_eq!(path.faults.len(), 0, "nobody vouched in time");
    }

    #[test]
    fn whoever_vouches_was_there_before_and_is_heard_of_after() {
        let from = start();
        let mut other = Marginal::new();
        assert!(
            !other.vouches(from, from + 10 * TOGETHER),
            "it is not usable"
        );
        other.is_usable_from(from);
        let fault = from + 5 * TOGETHER;
        assert!(other.vouches(fault, fault + TOGETHER));
        assert!(!other.vouches(fault, fault + TOGETHER / 2), "not heard of");
        assert!(
            !other.vouches(from + TOGETHER / 2, fault),
            "it came up with it"
        );
        other.is_lost(fault, None);
        other.is_usable_from(fault + TOGETHER);
        assert!(!other.vouches(fault, fault + 2 * TOGETHER), "lost as well");
    }
}
