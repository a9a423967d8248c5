//! The path checker: a question at intervals that grow while all is well.

use std::{
    fmt,
    time::{Duration, Instant},
};

use iscsi_client::runtime::Beat;
use iscsi_proto::planted::Bug;

use super::{
    action::{ProbeKind, ProbeResult},
    config::Config,
    event::DownReason,
};

/// What the checker last found, in multipath-tools' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum PathState {
    /// Not checked since it was added or logged in.
    Unchecked,
    /// Ready.
    Up,
    /// Answers, but takes no I/O (standby).
    Ghost,
    /// An I/O failed here, and it is not known yet whether the path is to blame; or its port group is between two
    /// states.
    Shaky,
    /// Not ready, or no logical unit.
    Down,
    /// No answer.
    Timeout,
}

impl fmt::Display for PathState {
    /// As `multipath -ll` prints the checker's state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unchecked => "undef",
            Self::Up => "ready",
            Self::Ghost => "ghost",
            Self::Shaky => "shaky",
            Self::Down => "faulty",
            Self::Timeout => "i/o timeout",
        })
    }
}

/// Between two checks that errors ask for. The first is at once, so a path that is not to blame is
/// back after one round trip; without a pause after it, a device that fails every I/O and answers
/// every TUR would be asked as fast as the network allows.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Checker {
    state: PathState,
    fault: Option<DownReason>,
    interval: Duration,
    next: Option<Instant>,
    /// A check is under way, and this is how long it may take.
    deadline: Option<Instant>,
    /// By which question.
    question: ProbeKind,
    /// What was heard of before does not answer the next one.
    wants_answer: bool,
    doubted: Option<Instant>,
    /// Since when the port group is between two states.
    in_transition: Option<Instant>,
    /// Checks of a path that is well are done on it.
    beat: Option<Beat>,
}

impl Checker {
    pub(crate) const fn new(beat: Option<Beat>) -> Self {
        Self {
            state: PathState::Unchecked,
            fault: None,
            interval: Duration::ZERO,
            next: None,
            deadline: None,
            question: ProbeKind::Tur,
            wants_answer: false,
            doubted: None,
            in_transition: None,
            beat,
        }
    }

    /// The path is connected and has shown its identity, which counts as a first good check.
    /// `phase` (0 to 255) spreads the checks of many devices over the interval.
    pub(crate) fn start(&mut self, now: Instant, config: &Config, phase: u8) {
        self.state = PathState::Up;
        self.fault = None;
        self.deadline = None;
        self.in_transition = None;
        self.interval = config.polling_interval;
        let first = self.interval / 2 + self.interval * u32::from(phase) / 512;
        self.next = Some(self.on_beat(now + first, first));
    }

    /// The connection is gone: nothing to ask.
    pub(crate) fn stop(&mut self) {
        self.state = PathState::Down;
        self.fault = None;
        self.next = None;
        self.deadline = None;
    }

    pub(crate) const fn state(&self) -> PathState {
        self.state
    }

    /// Why the path is out, if the checker says so.
    pub(crate) const fn fault(&self) -> Option<DownReason> {
        self.fault
    }

    pub(crate) const fn is_in_transition(&self) -> bool {
        self.in_transition.is_some()
    }

    pub(crate) const fn is_asking(&self) -> bool {
        self.deadline.is_some()
    }

    /// Whether an answer to `kind` is about the unit, or what the check under way waits for.
    pub(crate) fn heeds(&self, kind: ProbeKind) -> bool {
        kind != ProbeKind::Nop || (self.is_asking() && self.question == kind)
    }

    /// The check under way asks for port groups.
    pub(crate) fn awaits_groups(&self) -> bool {
        self.is_asking() && self.question == ProbeKind::Rtpg
    }

    /// An answer that says nothing about an error that came after the question: the unit is asked whether it is ready.
    /// True if that is so.
    pub(crate) fn asks_again(&mut self, now: Instant, kind: ProbeKind) -> bool {
        let is_no_proof = matches!(kind, ProbeKind::Nop | ProbeKind::Rtpg);
        let is_awaited = self.is_asking() && self.question == kind;
        let asks = is_no_proof && is_awaited && self.state != PathState::Up;
        if asks {
            self.deadline = None;
            self.next = Some(now);
        }
        asks
    }

    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn next_check_in(&self, now: Instant) -> Option<Duration> {
        self.next.map(|at| at.saturating_duration_since(now))
    }

    /// An I/O failed on this path with an error of the path: ask now, or soon if we just did.
    pub(crate) fn doubt(&mut self, now: Instant) {
        if self.state == PathState::Up {
            self.state = PathState::Shaky;
        }
        if self.deadline.is_none() {
            let earliest = self.doubted.map_or(now, |t| t + DOUBT_PAUSE).max(now);
            self.next = Some(self.next.map_or(earliest, |at| at.min(earliest)));
        }
    }

    /// There is reason to think that the last answer holds no more.
    pub(crate) const fn ask_now(&mut self, now: Instant) {
        if self.deadline.is_none() && self.next.is_some() {
            self.next = Some(now);
            self.wants_answer = true;
        }
    }

    /// The next check comes no later than this from now on.
    pub(crate) fn hurry(&mut self, now: Instant, pause: Duration) {
        if let Some(next) = self.next.filter(|&at| at > now + pause) {
            self.interval = pause;
            self.next = Some(next.min(now + pause));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.or(self.next)
    }

    /// What is to be asked now; also notices a question that took too long. `heard` is when the connection last was,
    /// if that is an answer; `tells_groups`, whether the unit can be asked for its port groups.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        config: &Config,
        heard: Option<Instant>,
        tells_groups: bool,
    ) -> Option<ProbeKind> {
        if self.deadline.is_some_and(|at| at <= now) {
            // Asking again on top of an unanswered question would only pile up commands.
            self.state = PathState::Timeout;
            self.fault = Some(DownReason::CheckerTimeout);
            self.deadline = None;
            self.interval = config.polling_interval;
            self.next = Some(now + self.interval);
        } else if self.deadline.is_none() && self.next.is_some_and(|at| at <= now) {
            self.next = None;
            self.deadline = Some(now + config.checker_timeout);
            self.question = config
                .path_checker
                .question(self.state == PathState::Up, tells_groups);
            if matches!(self.state, PathState::Shaky | PathState::Ghost) {
                self.doubted = Some(now);
            }
            let wants_answer = std::mem::take(&mut self.wants_answer);
            let is_recent = |at| now.saturating_duration_since(at) < self.interval;
            if self.question == ProbeKind::Nop && !wants_answer && heard.is_some_and(is_recent) {
                self.judge(now, ProbeResult::Ready, config, Duration::ZERO);
                return None;
            }
            return Some(self.question);
        }
        None
    }

    /// Judges a report. One that nobody waits for any more is ignored: it belongs to an
    /// earlier connection, or came after its timeout.
    /// `longest` is how long a transition may take.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        result: ProbeResult,
        config: &Config,
        longest: Duration,
    ) {
        if self.deadline.take().is_none() {
            return;
        }
        let since = self.in_transition.take().unwrap_or(now);
        let (state, fault) = match result {
            ProbeResult::Transitioning => {
                self.in_transition = Some(since);
                if now.saturating_duration_since(since) < longest {
                    // I/O waits, or takes another path.
                    (PathState::Shaky, None)
                } else {
                    (PathState::Down, Some(DownReason::NotReady))
                }
            }
            ProbeResult::Ready => (PathState::Up, None),
            ProbeResult::Ghost if config.planted.has(Bug::StandbyUsed) => (PathState::Up, None),
            ProbeResult::Ghost => (PathState::Ghost, Some(DownReason::Ghost)),
            ProbeResult::NotReady => (PathState::Down, Some(DownReason::NotReady)),
            ProbeResult::Disconnected => (PathState::Down, Some(DownReason::Disconnected)),
            ProbeResult::ConnectionLost => {
                // The session will say so itself. If it does not, ask again.
                self.next = Some(now + DOUBT_PAUSE);
                return;
            }
        };
        self.interval = if state == PathState::Up && self.state == PathState::Up {
            (self.interval * 2).min(config.max_polling_interval)
        } else if state == PathState::Shaky {
            config.polling_interval.min(DOUBT_PAUSE)
        } else {
            config.polling_interval
        };
        self.state = state;
        self.fault = fault;
        self.next = match config.planted.has(Bug::ChecksWithoutPause) {
            true => Some(now),
            false if state == PathState::Up => {
                Some(self.on_beat(now + self.interval, self.interval))
            }
            false => Some(now + self.interval),
        };
    }

    fn on_beat(&self, at: Instant, period: Duration) -> Instant {
        self.beat.map_or(at, |beat| beat.up_to(at, period))
    }
}
