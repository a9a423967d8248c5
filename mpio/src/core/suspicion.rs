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
//! For the same reason some reads need not wait for the verdict (`hedge.rs`); what that has to remember of a question
//! is here.
//!
//! The numbers: 100 ms is above what a busy LAN target needs and below what a guest notices; four
//! times the 99th percentile keeps slow targets from being asked all the time, and 500 ms ends that
//! courtesy, since one NOP per half second costs nothing and the sum of both waits must stay under a
//! second; 250 ms is just above Linux' smallest retransmission timeout (200 ms), so one lost segment
//! does not convict. A target that serves one connection and not the other would lose one after the other
//! that way, so a path that was torn down early has its full time for [`EARLY_PAUSE`] after it.

use std::time::{Duration, Instant};

use super::{
    config::SuspicionConfig,
    delivery::{Deliveries, Delivery},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calm,
    Asked {
        at: Instant,
        deadline: Instant,
        /// The wait was started again once because we ourselves had overslept.
        extended: bool,
        hedge: Hedge,
    },
    Suspect {
        asked: Instant,
        since: Instant,
        /// When to look again whether it is to be torn down; never once it was.
        look: Option<Instant>,
        /// It was looked for, and the platform is asked first.
        weighs: bool,
    },
}

/// What a question means for the reads that are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hedge {
    /// Others that were heard from after this are evidence.
    evidence_since: Instant,
    /// Nothing moves before.
    from: Instant,
    /// When to look for evidence again. At the question itself whoever asks looks.
    look: Option<Instant>,
    /// When evidence that came late was first seen.
    seen: Option<Instant>,
    confirmed: bool,
    others_asked: bool,
    told: bool,
    /// Reads that have moved.
    moved: u32,
}

/// How long a path that was torn down early is not again.
const EARLY_PAUSE: Duration = Duration::from_secs(10);

/// Looks at a path whose question is not answered: so many in the time that its answer has.
const LOOKS: u32 = 10;
/// But the first one comes after such a part of a step, since an idle path that was asked answers at once.
const PROMPT: u32 = 5;

/// What follows for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Ask the connection.
    Probe,
    /// Look whether others were heard from since it was asked.
    Look,
    /// Stop new I/O, move reads.
    Suspect,
    /// Ask the platform how far the bytes have come, and [weigh](Suspicion::weigh) that.
    Ask,
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
    /// Reads that moved at a question that was answered in time after all.
    wasted: u64,
    /// What the platform says while it is in doubt.
    deliveries: Deliveries,
}

impl Suspicion {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            state: State::Calm,
            silent_since: now,
            heard: now,
            patient_until: None,
            wasted: 0,
            deliveries: Deliveries::new(),
        }
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        *self = Self {
            patient_until: self.patient_until,
            wasted: self.wasted,
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
                weighs: false,
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
                self.calm_down();
            }
            _ => {}
        }
    }

    /// The probe was answered: whatever the clock says, that is activity.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.silent_since = self.silent_since.max(now);
        self.heard = self.heard.max(now);
        self.calm_down();
    }

    fn calm_down(&mut self) {
        // So it is at the end of nearly every I/O.
        if self.is_calm() {
            return;
        }
        self.deliveries.calm();
        if let State::Asked { hedge, .. } = std::mem::replace(&mut self.state, State::Calm) {
            self.wasted += u64::from(hedge.moved);
        }
    }

    /// When the question was asked that is not answered.
    pub(crate) const fn asked_at(&self) -> Option<Instant> {
        match self.state {
            State::Calm => None,
            State::Asked { at, .. } => Some(at),
            State::Suspect { asked, .. } => Some(asked),
        }
    }

    /// Nothing was asked that is not answered.
    pub(crate) const fn is_calm(&self) -> bool {
        matches!(self.state, State::Calm)
    }

    /// What the platform says of its bytes, while it is in doubt.
    pub(crate) const fn delivery(&self) -> Option<Delivery> {
        self.deliveries.delivery()
    }

    pub(super) const fn deliveries_mut(&mut self) -> &mut Deliveries {
        &mut self.deliveries
    }

    /// It was asked, and its answer is not overdue yet.
    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked { .. })
    }

    pub(crate) const fn wasted(&self) -> u64 {
        self.wasted
    }

    /// Since when another path must have been heard from for this one's reads to move, if they may move now.
    pub(crate) fn evidence_since(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Asked { hedge, .. } if now >= hedge.from => Some(hedge.evidence_since),
            _ => None,
        }
    }

    /// Others were heard from: whether reads may move for that. What comes at once tells that the target was alive all
    /// the time. What comes late may be its awakening, which this path is about to hear of as well, so it has
    /// to be true for another step.
    pub(crate) fn confirms(&mut self, now: Instant, config: &SuspicionConfig) -> bool {
        let State::Asked { hedge, .. } = &mut self.state else {
            return false;
        };
        let step = look_step(config);
        let is_prompt = now <= hedge.from + 2 * (step / PROMPT);
        let seen = *hedge.seen.get_or_insert(now);
        hedge.confirmed |= is_prompt || now >= seen + step;
        hedge.confirmed
    }

    /// There may be something to see later: soon after the question, and then at every step.
    pub(crate) fn look_again(&mut self, now: Instant, config: &SuspicionConfig) {
        if let State::Asked { hedge, .. } = &mut self.state {
            let step = look_step(config);
            let soon = hedge.from + step / PROMPT;
            hedge.look = Some(if now < soon { soon } else { now + step });
        }
    }

    /// There is nothing more to see.
    pub(crate) const fn look_no_more(&mut self) {
        if let State::Asked { hedge, .. } = &mut self.state {
            hedge.look = None;
        }
    }

    /// Whether others were asked on behalf of this question; they are from now on.
    pub(crate) const fn others_were_asked(&mut self) -> bool {
        match &mut self.state {
            State::Asked { hedge, .. } => std::mem::replace(&mut hedge.others_asked, true),
            _ => true,
        }
    }

    /// Reads have moved, or were denied it. True if that is to be told, which it is once for each question.
    pub(crate) const fn hedged(&mut self, moved: u32, denied: u32) -> bool {
        match &mut self.state {
            State::Asked { hedge, .. } if moved > 0 || denied > 0 => {
                hedge.moved = hedge.moved.saturating_add(moved);
                !std::mem::replace(&mut hedge.told, true)
            }
            _ => false,
        }
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
            State::Asked {
                deadline, hedge, ..
            } => Some(hedge.look.map_or(deadline, |look| look.min(deadline))),
            State::Suspect { look, .. } => look,
        }
    }

    /// The question is asked at `now`, and was `due` before.
    fn hedge(&self, now: Instant, due: Instant, config: &SuspicionConfig) -> Hedge {
        let silence = now.saturating_duration_since(self.silent_since);
        // A process that overslept finds the silence long, with what came meanwhile unread in its sockets: what it hears
        // from now on counts, and not before all of them had their turn.
        let step = look_step(config);
        let is_late = now.saturating_duration_since(due) > step;
        let (evidence_since, from, look) = match is_late {
            true => (now, now + step, Some(now + step)),
            false => (self.silent_since + silence / 2, now, None),
        };
        Hedge {
            evidence_since,
            look,
            from,
            seen: None,
            confirmed: false,
            others_asked: false,
            told: false,
            moved: 0,
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
                    hedge: self.hedge(now, due, config),
                };
                Step::Probe
            }
            State::Asked { deadline, .. } if now < deadline => {
                self.look_no_more();
                Step::Look
            }
            // A process that was stopped or starved for a while finds every deadline passed, with
            // the answers unread in its sockets. It then has to wait once more, not to convict.
            State::Asked {
                at,
                extended: false,
                deadline,
                hedge,
            } if now.saturating_duration_since(deadline) > config.nop_timeout / 2 => {
                self.state = State::Asked {
                    at,
                    deadline: now + config.nop_timeout,
                    extended: true,
                    hedge: Hedge {
                        look: Some(now + look_step(config)),
                        from: now + look_step(config),
                        evidence_since: now,
                        seen: None,
                        confirmed: false,
                        ..hedge
                    },
                };
                Step::Nothing
            }
            State::Asked { at, .. } => {
                self.state = State::Suspect {
                    asked: at,
                    since: now,
                    look: Some(now + config.tear_down.min(config.tear_down_if_others_answer)),
                    weighs: false,
                };
                Step::Suspect
            }
            State::Suspect { asked, since, .. } => {
                let end = since + config.tear_down;
                let next = now + config.tear_down_if_others_answer / 4;
                let asks = now < end && self.deliveries.ask();
                self.state = State::Suspect {
                    asked,
                    since,
                    look: Some(next.min(end.max(now))),
                    weighs: true,
                };
                match asks {
                    true => Step::Ask,
                    false => self.weigh(now, config, others_heard),
                }
            }
        }
    }

    /// Whether a suspect that was looked for is to be torn down, by what is known by now.
    pub(crate) fn weigh(
        &mut self,
        now: Instant,
        config: &SuspicionConfig,
        others_heard: Option<Instant>,
    ) -> Step {
        let State::Suspect {
            asked,
            since,
            weighs: true,
            look: Some(next),
        } = self.state
        else {
            return Step::Nothing;
        };
        let is_patient = self.patient_until.is_some_and(|until| since < until);
        let others_answer = others_heard.is_some_and(|at| at > since) && !is_patient;
        let is_early = match self.delivery() {
            // The target has no part in that, so it may have answered elsewhere before this one's time was over. But if
            // nobody has heard anything since the question, all networks may be out for a moment.
            Some(Delivery::Unacknowledged) => {
                others_heard.is_some_and(|at| at > asked) && !is_patient
            }
            Some(Delivery::Acknowledged) => {
                others_answer && now >= since + config.tear_down_if_acknowledged
            }
            None => others_answer,
        };
        let is_over = now >= since + config.tear_down;
        if is_early && !is_over {
            self.patient_until = Some(now + EARLY_PAUSE);
        }
        let is_condemned = is_early || is_over;
        self.state = State::Suspect {
            asked,
            since,
            look: (!is_condemned).then_some(next),
            weighs: false,
        };
        match is_condemned {
            true => Step::Condemn,
            false => Step::Nothing,
        }
    }
}

/// Between two looks at a path that was asked.
fn look_step(config: &SuspicionConfig) -> Duration {
    (config.nop_timeout / LOOKS).max(Duration::from_millis(1))
}

fn threshold(config: &SuspicionConfig, p99: Duration) -> Duration {
    (p99 * config.factor).max(config.floor).min(config.ceiling)
}
