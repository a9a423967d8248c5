//! Whether what was sent on a silent connection is acknowledged: telling a dead network from a slow target.
//!
//! Silence is the same from both. But the TCP of a target that is slow, or hung, acknowledges what comes, and nothing
//! acknowledges what a dead network has swallowed. The platform knows that of a connection, and is asked while a path is
//! in doubt: at the question, when it stays unanswered, and before the connection is torn down. Two answers between which
//! nothing was acknowledged though something was in flight need no clock but ours; the kernel's own time may be longer.
//!
//! * **Unacknowledged**: reads need not wait until another path was heard from. The connection ends as early as with a
//!   witness, which it needs too: another path that was heard from since this one was asked. Where all are silent, all
//!   networks may be out for a moment, and ending sessions would help nobody.
//! * **Acknowledged**: the target has what it was sent, and may be executing it. Reads move all the same and new I/O goes
//!   elsewhere, but ending the session early would make writes of an unknown outcome for nothing, so it has its full time.
//! * **Unknown** (no such platform, too early to tell): all is judged by what other paths hear.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use super::{Action, PathId, config::SuspicionConfig};

/// Whether what was sent on a silent path has arrived, as the path's platform tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Delivery {
    /// All of it: the peer's TCP has it, and the target is slow, or hung.
    Acknowledged,
    /// Not for longer than [`unacknowledged_after`](SuspicionConfig::unacknowledged_after): the network is dead there.
    /// The connection is closed early for it only if another path of the device was heard from since this one was asked.
    Unacknowledged,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acknowledged => "acknowledged, so its target is slow",
            Self::Unacknowledged => "not acknowledged, so its network is dead",
        })
    }
}

/// How far the bytes of a path's connection have come, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkProgress {
    /// Bytes that the peer has acknowledged since the connection began.
    pub acked: u64,
    /// Bytes that were sent and are not acknowledged. Those that our side has not sent do not count.
    pub in_flight: u64,
    /// For so long at least, nothing was acknowledged though something waits for it; zero if nothing does, or if
    /// that is not known.
    pub unacknowledged_for: Duration,
    /// A round trip; zero if it is not known.
    pub rtt: Duration,
}

impl NetworkProgress {
    /// So many bytes acknowledged, and so many under way.
    #[must_use]
    pub fn new(acked: u64, in_flight: u64) -> Self {
        Self {
            acked,
            in_flight,
            ..Self::default()
        }
    }

    /// Sets what the platform knows of the time.
    #[must_use]
    pub const fn since(mut self, unacknowledged_for: Duration) -> Self {
        self.unacknowledged_for = unacknowledged_for;
        self
    }

    /// Sets the round trip.
    #[must_use]
    pub const fn with_rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }
}

/// Questions in a row without an answer, after which a connection's platform is not asked any more: it may lack memory
/// for one of them, or for some, and whoever never knows is not to be asked for ever.
const MAX_UNTOLD: u8 = 8;

/// What is known of a path in doubt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deliveries {
    /// So many questions in a row its platform had no answer to.
    untold: u8,
    /// Asked, and not answered.
    is_asked: bool,
    /// When it last told.
    last: Option<Instant>,
    /// So much was acknowledged then, and not more since, though more was in flight.
    stuck: Option<(Instant, u64)>,
    delivery: Option<Delivery>,
    told: Option<Delivery>,
}

impl Deliveries {
    pub(super) const fn new() -> Self {
        Self {
            untold: 0,
            is_asked: false,
            last: None,
            stuck: None,
            delivery: None,
            told: None,
        }
    }

    /// The doubt is over.
    pub(super) const fn calm(&mut self) {
        *self = Self {
            untold: self.untold,
            ..Self::new()
        };
    }

    /// Whether to ask now; it is asked, if so.
    pub(super) const fn ask(&mut self) -> bool {
        let asks = self.untold < MAX_UNTOLD && !self.is_asked;
        self.is_asked |= asks;
        asks
    }

    pub(super) fn ask_of(&mut self, path: PathId, actions: &mut VecDeque<Action>) {
        if self.ask() {
            actions.push_back(Action::AskProgress { path });
        }
    }

    /// Whether another answer can tell more than the last one.
    pub(super) fn is_worth_asking(&self, now: Instant, config: &SuspicionConfig) -> bool {
        let after = config.unacknowledged_after;
        let is_due = |(since, _): (Instant, u64)| now.saturating_duration_since(since) >= after;
        self.delivery.is_none() && self.stuck.is_some_and(is_due)
    }

    pub(super) const fn delivery(&self) -> Option<Delivery> {
        self.delivery
    }

    pub(super) fn take(
        &mut self,
        now: Instant,
        progress: Option<NetworkProgress>,
        config: &SuspicionConfig,
    ) {
        self.is_asked = false;
        self.delivery = None;
        let Some(progress) = progress else {
            self.untold = self.untold.saturating_add(1);
            return;
        };
        self.untold = 0;
        // A machine that stood still has acknowledgements unread, as we may have.
        let longest = config.nop_timeout + config.tear_down_if_others_answer;
        let last = self.last.replace(now);
        let overslept = last.is_some_and(|last| now.saturating_duration_since(last) > 2 * longest);
        if progress.in_flight == 0 && progress.unacknowledged_for.is_zero() {
            self.stuck = None;
            self.delivery = Some(Delivery::Acknowledged);
            return;
        }
        let before = self.stuck.filter(|&(_, acked)| acked == progress.acked);
        let before = before.filter(|_| !overslept);
        let since = before.map_or(now, |(since, _)| since);
        self.stuck = Some((since, progress.acked));
        if overslept {
            return;
        }
        let lasted = now.saturating_duration_since(since);
        let lasted = lasted.max(progress.unacknowledged_for);
        let limit = config
            .unacknowledged_after
            .max(progress.rtt.saturating_mul(4));
        self.delivery = (lasted >= limit).then_some(Delivery::Unacknowledged);
    }

    /// What is to be told of it, which is told once as long as it stays so. That a target is slow is worth it only once
    /// that is held against it.
    pub(super) fn news(&mut self, is_suspect: bool) -> Option<Delivery> {
        let wanted = |delivery: &Delivery| is_suspect || *delivery == Delivery::Unacknowledged;
        let news = self.delivery.filter(wanted);
        let news = news.filter(|delivery| self.told != Some(*delivery));
        self.told = news.or(self.told);
        news
    }
}
