//! Noticing within a fraction of a second that a connection is dead, without taking a slow target
//! for a dead network.
//!
//! A command that is late says nothing: arrays pause for hundreds of milliseconds. A command that is
//! late on a connection from which *nothing at all* came since it was sent is worth one NOP-Out,
//! which a target answers without touching its back end. Only if that too stays unanswered is the
//! path suspected, and that is a mild verdict: no new I/O there, reads move, writes stay, and any
//! byte that arrives takes it back. The connection itself is torn down seconds later; or in a fraction
//! of one, if another path hears from the target meanwhile: then it is the network that is dead, and
//! what is silent with it would be so for long. Where all are silent it is the target that is slow.
//!
//! The numbers: 100 ms is above what a busy LAN target needs and below what a guest notices; four
//! times the 99th percentile keeps slow targets from being asked all the time, and 500 ms ends that
//! courtesy, since one NOP per half second costs nothing and the sum of both waits must stay under a
//! second; 250 ms is just above Linux' smallest retransmission timeout (200 ms), so one lost segment
//! does not convict. A target that serves one connection and not the other would lose one after the other
//! that way, so a path that was torn down early has its full time for [`EARLY_PAUSE`] after it.

use std::time::{Duration, Instant};

use super::config::SuspicionConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calm,
    Asked {
        at: Instant,
        deadline: Instant,
        /// The wait was started again once because we ourselves had overslept.
        extended: bool,
    },
    Suspect {
        asked: Instant,
        since: Instant,
        /// When to look again whether it is to be torn down; never once it was.
        look: Option<Instant>,
    },
}

/// How long a path that was torn down early is not again.
const EARLY_PAUSE: Duration = Duration::from_secs(10);

/// What follows for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Ask the connection.
    Probe,
    /// Stop new I/O, move reads.
    Suspect,
    /// Tear the connection down.
    Condemn,
}

#[derive(Debug)]
pub(crate) struct Suspicion {
    state: State,
    /// Since when we wait for the connection in silence; meaningless while nothing is in flight.
    silent_since: Instant,
    /// When it was last heard of.
    heard: Instant,
    /// Until when others have no say in whether it is torn down.
    patient_until: Option<Instant>,
}

impl Suspicion {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            state: State::Calm,
            silent_since: now,
            heard: now,
            patient_until: None,
        }
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        let patient_until = self.patient_until;
        *self = Self {
            patient_until,
            ..Self::new(now)
        };
    }

    pub(crate) const fn heard(&self) -> Instant {
        self.heard
    }

    /// It is asked now, and believed when it has answered: its cable was out.
    pub(crate) fn doubt(&mut self, now: Instant, config: &SuspicionConfig) {
        if !self.is_suspect() {
            self.state = State::Suspect {
                asked: now,
                since: now,
                look: Some(now + config.tear_down.min(config.tear_down_if_others_answer)),
            };
        }
    }

    /// The first command after none.
    pub(crate) fn started(&mut self, now: Instant) {
        self.silent_since = self.silent_since.max(now);
    }

    /// Something arrived at `at`. A byte that came before the question proves nothing about after.
    pub(crate) fn activity(&mut self, at: Instant) {
        self.silent_since = self.silent_since.max(at);
        self.heard = self.heard.max(at);
        match self.state {
            State::Asked { at: asked, .. } | State::Suspect { asked, .. } if at > asked => {
                self.state = State::Calm;
            }
            _ => {}
        }
    }

    /// The probe was answered: whatever the clock says, that is activity.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.silent_since = self.silent_since.max(now);
        self.heard = self.heard.max(now);
        self.state = State::Calm;
    }

    /// Nothing was asked that is not answered.
    pub(crate) const fn is_calm(&self) -> bool {
        matches!(self.state, State::Calm)
    }

    pub(crate) const fn is_suspect(&self) -> bool {
        matches!(self.state, State::Suspect { .. })
    }

    pub(crate) fn deadline(
        &self,
        config: &SuspicionConfig,
        p99: Duration,
        waiting: bool,
    ) -> Option<Instant> {
        match self.state {
            State::Calm => waiting.then(|| self.silent_since + threshold(config, p99)),
            State::Asked { deadline, .. } => Some(deadline),
            State::Suspect { look, .. } => look,
        }
    }

    /// `others_heard`: when another path that is in use was last heard of.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        config: &SuspicionConfig,
        p99: Duration,
        waiting: bool,
        others_heard: Option<Instant>,
    ) -> Step {
        let Some(due) = self.deadline(config, p99, waiting).filter(|&t| t <= now) else {
            return Step::Nothing;
        };
        match self.state {
            State::Calm => {
                self.state = State::Asked {
                    at: now,
                    deadline: now + config.nop_timeout,
                    extended: false,
                };
                Step::Probe
            }
            // A process that was stopped or starved for a while finds every deadline passed, with
            // the answers unread in its sockets. It then has to wait once more, not to convict.
            State::Asked {
                at,
                extended: false,
                ..
            } if now.saturating_duration_since(due) > config.nop_timeout / 2 => {
                self.state = State::Asked {
                    at,
                    deadline: now + config.nop_timeout,
                    extended: true,
                };
                Step::Nothing
            }
            State::Asked { at, .. } => {
                let is_patient = self.patient_until.is_some_and(|until| now < until);
                let wait = match is_patient {
                    true => config.tear_down,
                    false => config.tear_down.min(config.tear_down_if_others_answer),
                };
                self.state = State::Suspect {
                    asked: at,
                    since: now,
                    look: Some(now + wait),
                };
                Step::Suspect
            }
            State::Suspect { asked, since, .. } => {
                let end = since + config.tear_down;
                let others_answer = others_heard.is_some_and(|at| at > since);
                let is_condemned = now >= end || others_answer;
                if now < end && others_answer {
                    self.patient_until = Some(now + EARLY_PAUSE);
                }
                let next = now + config.tear_down_if_others_answer / 4;
                self.state = State::Suspect {
                    asked,
                    since,
                    look: (!is_condemned).then_some(next.min(end)),
                };
                match is_condemned {
                    true => Step::Condemn,
                    false => Step::Nothing,
                }
            }
        }
    }
}

fn threshold(config: &SuspicionConfig, p99: Duration) -> Duration {
    (p99 * config.factor).max(config.floor).min(config.ceiling)
}
