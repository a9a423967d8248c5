//! Asymmetric access (SPC-4 section 5.15): in which state the port group of each path is, and when to ask.
//!
//! One REPORT TARGET PORT GROUPS tells of all groups of a target, so one path asks for all that lead to that
//! target. It is asked when a path has come up, at the checker's longest interval, when the unit says that states
//! have changed or a command found a state that takes none, and every [`TRANSITION_PAUSE`] while a group is between
//! two states.
//!
//! The checker asks the unit itself whether it is ready, and both have to agree before a path is used: a report can
//! be older than a command that was just refused, and a TEST UNIT READY is let through in some states that take no
//! other command.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_proto::scsi::{AccessState, TargetPortGroups, inquiry::Tpgs};

use super::{action::ProbeResult, arena::PathId};

/// Between two questions while a group is between two states.
const TRANSITION_PAUSE: Duration = Duration::from_millis(500);
/// Before the next question after one that was not answered; doubles from one to the next, five times.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two questions that errors ask for. I/O may wait for the answer.
const DOUBT_PAUSE: Duration = Duration::from_millis(100);
/// How long a group may be between two states where the target does not say: as long as Linux allows. One that is
/// on its way for ever is taken for one that stands by.
const LONGEST_TRANSITION: Duration = Duration::from_secs(60);

/// Where a path ends within the SCSI device: the target port group of its port, and who changes the states of
/// groups. Not to be confused with [`PortalGroup`](super::PortalGroup), which is iSCSI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetPort {
    /// TARGET PORT GROUP, of the Device Identification page.
    pub group: u16,
    /// TPGS, of the standard INQUIRY data.
    pub tpgs: Tpgs,
}

impl TargetPort {
    /// Whether states can be asked for (SET TARGET PORT GROUPS).
    pub(crate) const fn is_explicit(self) -> bool {
        matches!(self.tpgs, Tpgs::Explicit | Tpgs::ImplicitAndExplicit)
    }
}

/// What is known of the access through one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) state: AccessState,
    pub(crate) preferred: bool,
}

/// What the state of its group lets a path do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allows {
    Everything,
    /// Nothing yet.
    Wait,
    Nothing,
}

/// Of one path.
#[derive(Debug)]
pub(crate) struct PathAccess {
    /// `None`: the unit knows no asymmetric access, or cannot say where the path ends.
    pub(crate) port: Option<TargetPort>,
    pub(crate) known: Option<Known>,
    /// Since when its group is between two states, and how long it may be.
    in_transition: Option<Instant>,
    longest_transition: Duration,
    /// Its group was asked to become active.
    pub(crate) activating: bool,
    /// What is known is probably wrong, and is being asked for.
    pub(crate) doubted: bool,
    due: Option<Instant>,
    /// This path was asked, and this is how long the answer may take.
    asked_until: Option<Instant>,
    last_asked: Option<Instant>,
    /// Doubted since it was asked.
    again: bool,
    /// Questions in a row that were not answered.
    failures: u32,
    /// By a planted bug.
    is_forgotten: bool,
}

impl PathAccess {
    pub(crate) const fn new() -> Self {
        Self {
            port: None,
            known: None,
            in_transition: None,
            longest_transition: LONGEST_TRANSITION,
            activating: false,
            doubted: false,
            due: None,
            asked_until: None,
            last_asked: None,
            again: false,
            failures: 0,
            is_forgotten: false,
        }
    }

    /// The path is up, and ends here.
    pub(crate) fn start(&mut self, now: Instant) {
        self.asked_until = None;
        self.again = false;
        self.failures = 0;
        self.due = self.port.map(|_| now);
    }

    /// There is no connection to ask through. What is known stays: the group has not moved with it.
    pub(crate) const fn stop(&mut self) {
        self.asked_until = None;
        self.due = None;
        self.activating = false;
        self.doubted = false;
    }

    /// For a planted bug.
    pub(crate) const fn forget_to_ask(&mut self) {
        self.due = None;
        self.is_forgotten = true;
    }

    /// Where the path ends, as of its last login.
    pub(crate) fn set_port(&mut self, port: Option<TargetPort>) {
        if self.port != port {
            self.port = port;
            self.known = None;
            self.in_transition = None;
        }
    }

    /// How long a transition may take.
    pub(crate) const fn longest_transition(&self) -> Duration {
        self.longest_transition
    }

    pub(crate) const fn is_asking(&self) -> bool {
        self.asked_until.is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let transition = self.transition_ends();
        let ask = self.asked_until.or(self.due);
        [ask, transition].into_iter().flatten().min()
    }

    fn transition_ends(&self) -> Option<Instant> {
        let since = self.in_transition?;
        let is_over = self
            .known
            .is_none_or(|known| known.state != AccessState::Transitioning);
        (!is_over).then(|| since + self.longest_transition)
    }

    /// What is known is probably wrong: ask now, or soon if that was just done. Until the answer is there, I/O that
    /// has no path waits.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.recheck(now);
        self.doubted = self.due.is_some();
    }

    /// As [`doubt`](Self::doubt), but what is known counts until then.
    pub(crate) fn recheck(&mut self, now: Instant) {
        if self.port.is_some() && !self.is_forgotten {
            // The answer that is on its way may be older than the doubt.
            self.again = self.is_asking();
            let earliest = self
                .last_asked
                .map_or(now, |at| (at + DOUBT_PAUSE).max(now));
            self.due = Some(self.due.map_or(earliest, |at| at.min(earliest)));
        }
    }

    /// Whether it is time to ask; the caller sees whether this path may.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_asking() && self.due.is_some_and(|at| at <= now)
    }

    /// Until when an answer is waited for.
    pub(crate) const fn asked_until(&self) -> Option<Instant> {
        self.asked_until
    }

    /// Whether a check can ask for the states as well: not twice at a time, nor while they are refused.
    pub(crate) const fn can_be_checked(&self) -> bool {
        self.port.is_some() && !self.is_asking() && self.failures == 0 && !self.is_forgotten
    }

    pub(crate) fn ask(&mut self, now: Instant, timeout: Duration) {
        self.due = None;
        self.last_asked = Some(now);
        self.asked_until = Some(now + timeout);
    }

    /// Another path asks for this one; should it get no answer, this one is next.
    pub(crate) const fn put_off(&mut self, until: Instant) {
        self.due = Some(until);
    }

    /// True if something has taken too long: the answer, or a transition.
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        if self.asked_until.is_some_and(|at| at <= now) {
            self.unanswered(now);
        }
        let over = self.transition_ends().is_some_and(|at| at <= now);
        if over {
            self.known = self.known.map(|known| Known {
                state: AccessState::Standby,
                ..known
            });
        }
        over
    }

    /// The question has failed. What was known counts again.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.asked_until = None;
        self.doubted = false;
        self.due = Some(now + PAUSE * (1 << self.failures.min(5)));
        self.failures += 1;
    }

    /// Whoever was asked instead has not answered: this one is next, unless it has failed itself.
    pub(crate) fn take_turn(&mut self, now: Instant) {
        self.doubted = false;
        if self.due.is_some() && self.failures == 0 {
            self.due = Some(now);
        }
    }

    /// A doubt has come since this path was asked.
    pub(crate) const fn is_doubted_again(&self) -> bool {
        self.again
    }

    /// A report that came by way of this path, or of one to the same target; `is_older` than a doubt. True if it is
    /// news.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        report: &TargetPortGroups,
        interval: Duration,
        is_older: bool,
    ) -> bool {
        let Some(port) = self.port else { return false };
        self.failures = 0;
        self.asked_until = None;
        // What was doubted after the question is still in doubt after such an answer.
        self.doubted &= is_older;
        let group = report.groups.iter().find(|group| group.group == port.group);
        let moving = report
            .groups
            .iter()
            .any(|group| group.state == AccessState::Transitioning);
        let pause = match moving {
            _ if std::mem::take(&mut self.again) || is_older => DOUBT_PAUSE,
            true => TRANSITION_PAUSE,
            false => interval,
        };
        self.due = Some(now + pause);
        self.longest_transition = report
            .implicit_transition_time
            .map_or(LONGEST_TRANSITION, |time| Duration::from_secs(time.into()));
        // A group that is not in the report, as of a target that is starting, is where it was.
        let told = group.map(|group| Known {
            state: group.state,
            preferred: group.preferred,
        });
        let mut known = told.or(self.known);
        match &mut known {
            Some(known) if known.state == AccessState::Transitioning => {
                let since = *self.in_transition.get_or_insert(now);
                if now.saturating_duration_since(since) >= self.longest_transition {
                    known.state = AccessState::Standby;
                }
            }
            _ => self.in_transition = None,
        }
        std::mem::replace(&mut self.known, known) != known
    }

    pub(crate) const fn allows(&self) -> Allows {
        let Some(known) = self.known else {
            return Allows::Everything;
        };
        match known.state {
            AccessState::ActiveOptimized
            | AccessState::ActiveNonOptimized
            | AccessState::LogicalBlockDependent => Allows::Everything,
            AccessState::Transitioning => Allows::Wait,
            AccessState::Standby | AccessState::Unavailable | AccessState::Offline => {
                Allows::Nothing
            }
            // A state of a later standard: the unit itself will say what it takes.
            _ => Allows::Everything,
        }
    }

    /// What a TEST UNIT READY would have found, going by what was just reported.
    pub(crate) const fn as_answer(&self) -> ProbeResult {
        match self.allows() {
            Allows::Everything => ProbeResult::Ready,
            Allows::Wait => ProbeResult::Transitioning,
            Allows::Nothing => ProbeResult::Ghost,
        }
    }

    /// It may take I/O in a moment.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.doubted || self.activating
    }

    /// It could become active if the target were asked.
    pub(crate) fn can_be_activated(&self) -> bool {
        let stands_by = self.known.is_some_and(|known| {
            matches!(known.state, AccessState::Standby | AccessState::Unavailable)
        });
        stands_by && self.port.is_some_and(TargetPort::is_explicit)
    }
}

/// I/O does not wait longer than this for an activation to begin.
const LONGEST_HOPE: Duration = Duration::from_secs(5);

/// Of the whole device: asking a group to become active.
#[derive(Debug, Default)]
pub(crate) struct Activation {
    pub(crate) under_way: Option<PathId>,
    /// Since when nothing but paths that stand by is left.
    wanted_since: Option<Instant>,
    /// It was asked for since then, and nothing has come of it.
    was_in_vain: bool,
    /// It will be asked for so soon that I/O can wait for it.
    is_soon: bool,
    /// Not before this.
    not_before: Option<Instant>,
    /// When to look again.
    pub(crate) due: Option<Instant>,
    failures: u32,
    /// Whom it was asked of last, so that it is another one's turn.
    last: Option<(Option<Arc<str>>, u16)>,
}

impl Activation {
    /// There is a path that works.
    pub(crate) const fn is_needless(&mut self) {
        self.wanted_since = None;
        self.was_in_vain = false;
        self.is_soon = false;
        self.due = None;
    }

    /// Whether it is time to ask, with `patience` for paths that may come back.
    pub(crate) fn is_due(&mut self, now: Instant, patience: Duration) -> bool {
        let since = *self.wanted_since.get_or_insert(now);
        let at = self
            .not_before
            .map_or(since + patience, |at| at.max(since + patience));
        self.due = (at > now).then_some(at);
        self.is_soon = at <= since + patience.min(LONGEST_HOPE);
        at <= now
    }

    /// I/O without a path may hope for it.
    pub(crate) const fn is_promising(&self) -> bool {
        self.under_way.is_some() || (self.is_soon && !self.was_in_vain)
    }

    pub(crate) fn begin(&mut self, path: PathId, target: Option<Arc<str>>, group: u16) {
        self.under_way = Some(path);
        self.last = Some((target, group));
    }

    pub(crate) fn was_last(&self, target: Option<&Arc<str>>, group: Option<u16>) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|(of, last)| of.as_ref() == target && Some(*last) == group)
    }

    /// For a planted bug.
    pub(crate) const fn forget_pause(&mut self) {
        self.not_before = None;
        self.was_in_vain = false;
    }

    /// What came of it.
    pub(crate) fn ended(&mut self, now: Instant, succeeded: bool) {
        self.under_way = None;
        self.was_in_vain = true;
        self.failures = if succeeded { 0 } else { self.failures + 1 };
        // Linux waits two seconds (pg_init_delay_msecs). Two hosts that pull a unit to and fro are kept apart by
        // it as well, so it also follows a success.
        self.not_before = Some(now + Duration::from_secs(1 << (1 + self.failures.min(5))));
    }
}
