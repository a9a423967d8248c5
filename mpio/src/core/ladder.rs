//! Proving lost writes dead, with the cheapest means first.
//!
//! Each lost path whose writes may still land has a [`Ladder`]. Once its connection is closed
//! abortively, what is allowed is tried in the order of [`FenceRung`]; what fails is tried again after
//! pauses, and the next rung meanwhile. The quiesce time of the target runs all along.
//!
//! A rung proves something of the ghosts that were there when it began and of no later ones: an outcome
//! that comes late may be that of a later connection (see [`Multipath::raise_ghost`]). So ghosts and
//! rungs are numbered.
//!
//! A reset of the logical unit ends what is a task by then, on whatever nexus, and so concerns the ghosts
//! of all paths. But what is still on the wire, or in the target's receive buffer, becomes a task after it
//! and is executed. For that the drain time is: the abortive close came first, so nothing is added to what
//! was on the way then, and what a network and a target's TCP hold is delivered in milliseconds, or never.

use std::time::{Duration, Instant};

use iscsi_proto::planted::Bug;

use super::{
    Action, Attempt, AttemptId, Event, FailReason, FenceRung, FenceStepId, FencedBy, IoState,
    Multipath, PathId, RungStep, SkipReason, earlier,
    fence::{ClaimId, Ghost},
    path::Path,
    rung::Told,
};

/// How long outcomes of a lost connection are waited for before a rung begins without them: it would
/// prove nothing of what comes later, and have to be tried again. They come at once, as a rule.
const GATHER: Duration = Duration::from_millis(50);
/// Before a rung that failed is tried again; doubles with each failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause. A target that has refused so often will do so again; but as long as a range is
/// held, what may set it free is worth a try now and then.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A rung that the shell carries out.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    running: Option<FenceStepId>,
    begun: Option<Instant>,
    via: Option<PathId>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Whether a rung may be begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Running,
    Now,
    /// Not before that; with `None`, when something else has changed.
    Later(Option<Instant>),
}

impl Effort {
    pub(crate) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// The path of the last try.
    pub(crate) const fn via(&self) -> Option<PathId> {
        self.via
    }

    pub(crate) fn turn(&self, now: Instant) -> Turn {
        if self.running.is_some() {
            return Turn::Running;
        }
        match self.not_before {
            Some(at) if at > now => Turn::Later(Some(at)),
            _ => Turn::Now,
        }
    }

    pub(crate) fn begin(&mut self, now: Instant, step: FenceStepId, via: PathId) {
        self.running = Some(step);
        self.begun = Some(now);
        self.via = Some(via);
    }

    /// Whether `step` is this one, which is over then; and when it was begun.
    pub(crate) fn end(&mut self, now: Instant, step: FenceStepId, done: bool) -> Option<Instant> {
        if self.running != Some(step) {
            return None;
        }
        self.running = None;
        if done {
            self.failures = 0;
        } else {
            let pause = PAUSE * (1 << self.failures.min(6));
            self.not_before = Some(now + pause.min(LONGEST_PAUSE));
            self.failures += 1;
        }
        self.begun
    }
}

/// The proof for one lost path.
#[derive(Debug)]
pub(crate) struct Ladder {
    pub(crate) path: PathId,
    told: Told,
    sibling: Effort,
    pub(crate) preemption: Effort,
    look_again: Option<Instant>,
}

impl Ladder {
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.look_again
    }
}

impl Multipath {
    /// A write ended without anybody knowing whether it will land.
    pub(super) fn raise_ghost(&mut self, now: Instant, attempt: AttemptId, ended: &Attempt) {
        let path = self.paths.get(ended.path.0);
        // Not the connection of its dispatch, although it was mostly that one: a caller that was slow
        // to begin the attempt has sent it on whatever connection was there then, and a session may
        // lose one and get another before its shell has told us of either. So it counts as sent on
        // the latest one, and what was proven of an earlier one proves nothing here. For an outcome
        // that merely came late this waits longer than necessary, which is rare and harmless.
        let epoch = path.map_or(ended.epoch, |p| p.epoch);
        // A path is told to be down when it was asked to be, too; the outcome comes from whoever
        // closed the connection, after that was done.
        let closed = path.is_none_or(|p| !p.open).then_some(now);
        if !self.ladders.iter().any(|ladder| ladder.path == ended.path) {
            self.events.push(Event::FenceStarted { path: ended.path });
            self.ladders.push(Ladder {
                path: ended.path,
                told: Told::default(),
                sibling: Effort::default(),
                preemption: Effort::default(),
                look_again: None,
            });
        }
        self.counters.ambiguous_writes += 1;
        let number = self.next_fence_number();
        self.ghosts.push(Ghost {
            attempt,
            path: ended.path,
            epoch,
            nexus: ended.nexus,
            number,
            io: Some(ended.io),
            acknowledged: false,
            overdue: None,
            claim: self.ios.get(ended.io.0).and_then(|io| io.claim),
            since: now,
            closed,
            proof: None,
        });
    }

    /// A write of `path` had not left the process when its connection was lost.
    pub(super) fn count_unsent(&mut self, path: PathId) {
        let fence = &mut self.counters.fence;
        fence.count(FenceRung::Accounting, RungStep::Done);
        let path_entry = self.paths.get_mut(path.0);
        let told = path_entry.map(|p| std::mem::replace(&mut p.told_unsent, true));
        if told == Some(false) {
            self.events.push(Event::FenceStep {
                path: Some(path),
                rung: FenceRung::Accounting,
                step: RungStep::Done,
            });
        }
    }

    /// What became of a rung that an action asked for; one that is over is ignored.
    pub fn handle_fence_step(&mut self, now: Instant, step: FenceStepId, done: bool) {
        let done = done || self.config.planted.has(Bug::FailedRungProves);
        let result = if done {
            RungStep::Done
        } else {
            RungStep::Failed
        };
        let sibling =
            |ladder: &mut Ladder| Some((ladder.path, ladder.sibling.end(now, step, done)?));
        if let Some((path, _)) = self.ladders.iter_mut().find_map(sibling) {
            self.tell_step(Some(path), FenceRung::SiblingReinstatement, result);
            let nexus = self.paths.get(path.0).map(|p| p.nexus);
            // It was begun only because the target is a barrier.
            for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
                let same = Some(ghost.nexus) == nexus;
                if done && same && ghost.number < step.0 && ghost.closed.is_some() {
                    _ = ghost.proof.get_or_insert(FencedBy::SiblingReinstated);
                }
            }
        } else if let Some(begun) = self.reset.end(now, step, done) {
            self.tell_step(None, FenceRung::UnitReset, result);
            if let (true, Some(drain)) = (done, self.config.fence.unit_reset) {
                self.unit_was_reset(step, begun, drain);
            }
        }
        self.settle(now);
    }

    fn unit_was_reset(&mut self, step: FenceStepId, begun: Instant, drain: Duration) {
        let drained = |since: Option<Instant>| since.is_some_and(|since| since + drain <= begun);
        for ghost in &mut self.ghosts {
            if ghost.number < step.0 && drained(ghost.closed) {
                _ = ghost.proof.get_or_insert(FencedBy::UnitReset);
            }
        }
        if let Some(former) = &mut self.former {
            if drained(former.since) {
                _ = former.proof.get_or_insert(FencedBy::UnitReset);
            }
        }
    }

    /// Whether a claim is that of a write that may still land.
    pub(super) fn is_haunted(&self, claim: ClaimId) -> bool {
        self.former.as_ref().is_some_and(|f| f.claim == claim)
            || self.ghosts.iter().any(|ghost| ghost.claim == Some(claim))
    }

    /// Whether a write waits for a proof that has not come within its limit.
    pub(super) fn is_hopeless(&self, claim: Option<ClaimId>) -> bool {
        let overdue = |blocker| {
            let ghost =
                |g: &Ghost| g.claim == Some(blocker) && g.acknowledged && g.overdue.is_some();
            let former = self.former.as_ref();
            former.is_some_and(|f| f.claim == blocker && f.overdue) || self.ghosts.iter().any(ghost)
        };
        let blockers = claim.into_iter().flat_map(|c| self.writes.blockers_of(c));
        (!self.ghosts.is_empty() || self.former.is_some()) && blockers.into_iter().any(overdue)
    }

    pub(super) fn ghost_deadline(&self, ghost: &Ghost) -> Option<Instant> {
        let living = self.paths.get(ghost.path.0).is_some_and(Path::is_open);
        if ghost.closed.is_none() && !living {
            // Being closed already: the next word is the shell's.
            return None;
        }
        ghost.deadline(&self.config.fence)
    }

    /// Lets go the writes whose ghosts are dead, and presses for those that hang on.
    pub(super) fn lay_ghosts(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(ghost) = self.ghosts.get(index) {
            let Some(by) = ghost.laid_by(now, &self.config.fence, self.config.planted) else {
                let impatient = ghost.closed.is_none()
                    && self.ghost_deadline(ghost).is_some_and(|at| at <= now);
                let path = ghost.path;
                if impatient {
                    self.fence(path);
                }
                index += 1;
                continue;
            };
            if by == FencedBy::Unfenced && self.has_to_stay(index) {
                index += 1;
                continue;
            }
            let ghost = self.ghosts.swap_remove(index);
            self.lay(&ghost, by);
            if !self.ghosts.iter().any(|g| g.path == ghost.path) {
                self.end_ladder(ghost.path, by);
            }
        }
    }

    /// Of a ghost of which nothing is known after the limit: whether its range is still to be held,
    /// because its caller does not know that it may land.
    fn has_to_stay(&mut self, index: usize) -> bool {
        let Some(ghost) = self.ghosts.get_mut(index) else {
            return false;
        };
        let io = ghost.io.and_then(|io| self.ios.get(io.0));
        let waits = io.is_some_and(|io| io.state == IoState::Fencing);
        if waits || (io.is_none() && !ghost.acknowledged) {
            return false;
        }
        let told = ghost.overdue.get_or_insert(false);
        if ghost.acknowledged && !std::mem::replace(told, true) {
            // Those that wait for it are to be told.
            self.released = true;
            let path = ghost.path;
            self.tell_step(Some(path), FenceRung::OutcomeUnknown, RungStep::Started);
        }
        true
    }

    /// A ghost is dead, or nobody can say any more.
    fn lay(&mut self, ghost: &Ghost, by: FencedBy) {
        match ghost.io {
            Some(io) if by == FencedBy::Unfenced => self.give_up(io, FailReason::Unfenced),
            Some(io) => {
                let forgotten = self.config.planted.has(Bug::SecondGhostForgotten);
                let haunted = self.ghosts.iter().any(|g| g.io == Some(io)) && !forgotten;
                if let Some(entry) = self.ios.get_mut(io.0) {
                    if entry.state == IoState::Fencing && !haunted {
                        entry.state = IoState::Pending;
                        self.pending.push_back(io);
                    }
                }
            }
            None => {
                // All ghosts of one write have to go.
                let forgotten = self.config.planted.has(Bug::SecondGhostForgotten);
                let haunted = self.ghosts.iter().any(|g| g.claim == ghost.claim) && !forgotten;
                if let (Some(claim), false) = (ghost.claim, haunted) {
                    self.writes.release(claim);
                    self.released = !self.config.planted.has(Bug::HeldNotReleased);
                }
            }
        }
    }

    fn end_ladder(&mut self, path: PathId, by: FencedBy) {
        let ladder = self.ladders.iter().position(|ladder| ladder.path == path);
        let ladder = ladder.map(|at| self.ladders.swap_remove(at));
        match by {
            FencedBy::Reinstated => {
                self.tell_step(Some(path), FenceRung::Reinstatement, RungStep::Done);
            }
            FencedBy::QuietTime => {
                let told = ladder.is_some_and(|mut l| !l.told.first(FenceRung::TimedWait));
                if !told {
                    self.tell_step(Some(path), FenceRung::TimedWait, RungStep::Started);
                }
                self.tell_step(Some(path), FenceRung::TimedWait, RungStep::Done);
            }
            _ => {}
        }
        if self.ladders.is_empty() && self.former.is_none() {
            self.reset = Effort::default();
        }
        // A path that is being removed is closed only now.
        self.restless = true;
        self.events.push(Event::FenceDone { path, by });
    }

    /// Begins what is to be tried next.
    pub(super) fn climb(&mut self, now: Instant) {
        for index in 0..self.ladders.len() {
            if let Some(ladder) = self.ladders.get_mut(index) {
                ladder.look_again = None;
                let path = ladder.path;
                if let Some(closed) = self.closed_since(path) {
                    self.climb_one(now, index, path, closed);
                }
            }
        }
    }

    /// When the last connection was closed on which a ghost of the path may have been sent, if all are.
    fn closed_since(&self, path: PathId) -> Option<Instant> {
        let mut ghosts = self.ghosts.iter().filter(|g| g.path == path);
        let first = ghosts.next()?.closed?;
        ghosts.try_fold(first, |latest, ghost| Some(latest.max(ghost.closed?)))
    }

    fn climb_one(&mut self, now: Instant, index: usize, path: PathId, closed: Instant) {
        use SkipReason::{NotAllowed, NotBarrier};
        self.tell_once(index, FenceRung::AbortiveClose, RungStep::Done);
        if self.config.fence.target.is_barrier() {
            self.tell_once(index, FenceRung::Reinstatement, RungStep::Started);
            if self.climb_sibling(now, index, path, closed) {
                return;
            }
        } else {
            let step = RungStep::Skipped(NotBarrier);
            self.tell_once(index, FenceRung::Reinstatement, step);
        }
        if self.climb_preemption(now, index, path, closed) {
            return;
        }
        if let Some(drain) = self.config.fence.unit_reset {
            match self.climb_reset(now, closed + drain) {
                Turn::Running | Turn::Now => return,
                Turn::Later(at) => self.look_again(index, at),
            }
        } else {
            let step = RungStep::Skipped(NotAllowed);
            self.tell_once(index, FenceRung::UnitReset, step);
        }
        let step = match self.config.fence.target.quiesce {
            Some(_) => RungStep::Started,
            None => RungStep::Skipped(NotAllowed),
        };
        self.tell_once(index, FenceRung::TimedWait, step);
    }

    /// True while there is something to be expected of it.
    fn climb_sibling(&mut self, now: Instant, index: usize, path: PathId, closed: Instant) -> bool {
        const RUNG: FenceRung = FenceRung::SiblingReinstatement;
        if !self.config.fence.sibling_reinstatement {
            self.tell_once(index, RUNG, RungStep::Skipped(SkipReason::NotAllowed));
            return false;
        }
        // Once it is open again, the login that opened it has proven what can be proven.
        let Some(dead) = self.paths.get(path.0).filter(|dead| !dead.open) else {
            return false;
        };
        let (in_flight, nexus) = (dead.in_flight > 0, dead.nexus);
        if !self
            .ghosts
            .iter()
            .any(|g| g.path == path && g.nexus == nexus)
        {
            // Its session's name and group are those of another nexus by now.
            self.tell_once(index, RUNG, RungStep::Skipped(SkipReason::OtherNexus));
            return false;
        }
        let Some(ladder) = self.ladders.get(index) else {
            return false;
        };
        match ladder.sibling.turn(now) {
            Turn::Running => return true,
            Turn::Now => {}
            Turn::Later(at) => {
                self.look_again(index, at);
                return false;
            }
        }
        if in_flight && now < closed + GATHER {
            self.look_again(index, Some(closed + GATHER));
            return true;
        }
        let Some(via) = self.sibling_of(path, ladder.sibling.via) else {
            self.tell_once(index, RUNG, RungStep::Skipped(SkipReason::NoSibling));
            return false;
        };
        let step = FenceStepId(self.next_fence_number());
        if let Some(ladder) = self.ladders.get_mut(index) {
            ladder.sibling.begin(now, step, via);
        }
        self.tell_step(Some(path), RUNG, RungStep::Started);
        let dead = path;
        self.actions
            .push_back(Action::Reinstate { step, dead, via });
        true
    }

    /// A usable path to the portal group of `dead`; another one than `not` if there is one.
    fn sibling_of(&self, dead: PathId, not: Option<PathId>) -> Option<PathId> {
        let group = self.paths.get(dead.0)?.portal_group.as_ref()?;
        let siblings = self.paths.iter().filter_map(|(key, path)| {
            let id = PathId(key);
            let same = path.portal_group.as_ref() == Some(group);
            (same && id != dead && path.is_usable()).then_some(id)
        });
        siblings.min_by_key(|&id| (Some(id) == not, id))
    }

    /// A reset that is due at `due`, for whichever path asks first. `Later` while nothing is to be
    /// expected of it.
    pub(super) fn climb_reset(&mut self, now: Instant, due: Instant) -> Turn {
        match self.reset.turn(now) {
            Turn::Now if due > now => return Turn::Later(Some(due)),
            Turn::Now => {}
            other => return other,
        }
        let usable = self.paths.iter().filter(|(_, path)| path.is_usable());
        let Some(via) = usable.map(|(key, _)| PathId(key)).min_by_key(|&id| {
            let in_vain = Some(id) == self.reset.via && self.reset.failures > 0;
            (in_vain, id)
        }) else {
            return Turn::Later(None);
        };
        let step = FenceStepId(self.next_fence_number());
        self.reset.begin(now, step, via);
        self.tell_step(None, FenceRung::UnitReset, RungStep::Started);
        self.actions.push_back(Action::ResetUnit { step, via });
        Turn::Now
    }

    pub(super) fn look_again(&mut self, index: usize, at: Option<Instant>) {
        if let Some(ladder) = self.ladders.get_mut(index) {
            ladder.look_again = earlier(ladder.look_again, at);
        }
    }

    pub(super) fn tell_once(&mut self, index: usize, rung: FenceRung, step: RungStep) {
        if let Some(ladder) = self.ladders.get_mut(index) {
            let path = ladder.path;
            if ladder.told.first(rung) {
                self.tell_step(Some(path), rung, step);
            }
        }
    }

    pub(super) fn tell_step(&mut self, path: Option<PathId>, rung: FenceRung, step: RungStep) {
        self.counters.fence.count(rung, step);
        self.events.push(Event::FenceStep { path, rung, step });
    }

    pub(super) const fn next_fence_number(&mut self) -> u64 {
        self.fence_number += 1;
        self.fence_number
    }

    fn fence(&mut self, path: PathId) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if entry.is_open() {
            entry.set_fencing(true);
            self.restless = true;
            self.actions.push_back(Action::Fence { path });
        }
    }
}
