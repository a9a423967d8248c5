//! The life of an I/O: choosing its path, what follows its attempts, its end.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Action, Attempt, AttemptId, ClaimId, Event, Execution, FailReason, FenceRung, IoId, IoKind,
    IoState, Multipath, PathId, RungStep, Steer, TakenBack, Verdict, WriterMode, earlier,
    hedge::leave_out_asked,
    path::Path,
    retry::{Disposition, Wish},
};

impl Multipath {
    /// Carries out what the table decided.
    pub(super) fn dispose(&mut self, now: Instant, ended: &Attempt, disposition: Disposition) {
        let Some(io) = self.ios.get_mut(ended.io.0) else {
            return;
        };
        match disposition {
            Disposition::Succeed => self.finish(ended.io, Verdict::Success),
            Disposition::Fail(reason) => self.give_up(ended.io, reason),
            Disposition::Fence if !self.config.fence.can_fence() => {
                self.give_up(ended.io, FailReason::Unfenced);
            }
            Disposition::Fence => {
                io.steer = Steer::Avoid(ended.path);
                let at_once = self.config.planted.has(Bug::SharedRepeatsAtOnce);
                match self.config.fence.mode {
                    WriterMode::Shared if !at_once => io.state = IoState::Fencing,
                    _ => {
                        io.state = IoState::Pending;
                        self.pending.push_back(ended.io);
                    }
                }
            }
            Disposition::Again(wish) => {
                io.steer = match wish {
                    Wish::Same => Steer::Prefer(ended.path),
                    Wish::Other => Steer::Avoid(ended.path),
                    Wish::Equal => Steer::Leave(ended.path),
                };
                io.state = IoState::Pending;
                self.pending.push_back(ended.io);
            }
            Disposition::After(delay) => {
                io.state = IoState::Delayed;
                self.delayed.push((now + delay, ended.io));
            }
        }
    }

    /// Parks a write behind an earlier one.
    pub(super) fn hold(&mut self, io: IoId) {
        let claim = self.ios.get(io.0).and_then(|io| io.claim);
        if self.is_hopeless(claim) {
            self.give_up(io, FailReason::Unfenced);
            return;
        }
        let mut blockers = claim.into_iter().flat_map(|c| self.writes.blockers_of(c));
        if blockers.any(|blocker| self.is_haunted(blocker)) {
            self.counters.writes_held += 1;
            self.events.push(Event::WriteHeld { io });
        }
        if let Some(entry) = self.ios.get_mut(io.0) {
            entry.state = IoState::Held;
        }
        self.held.push_back(io);
    }

    /// Lets go whatever waits for nobody any more.
    pub(super) fn release_held(&mut self) {
        for _ in 0..self.held.len() {
            let Some(io) = self.held.pop_front() else {
                break;
            };
            let Some(entry) = self.ios.get_mut(io.0) else {
                continue;
            };
            let claim = entry.claim;
            if claim.is_none_or(|claim| self.writes.blockers_of(claim).next().is_none()) {
                entry.state = IoState::Pending;
                self.pending.push_back(io);
            } else if self.is_hopeless(claim) {
                self.give_up(io, FailReason::Unfenced);
            } else {
                self.held.push_back(io);
            }
        }
    }

    /// Sends out what can go.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.stopped && self.holds_back() {
            return;
        }
        while let Some(&io) = self.pending.front() {
            if self.ios.get(io.0).is_none() {
                self.pending.pop_front();
                continue;
            }
            let Some(path) = self.choose(now, io) else {
                if self.events.trace.is_some() {
                    self.trace_no_path(io);
                }
                break;
            };
            self.pending.pop_front();
            if let Some(attempt) = self.dispatch(now, io, path) {
                let go = Action::Dispatch { io, attempt, path };
                self.actions.push_back(go);
            }
        }
    }

    pub(super) fn choose(&mut self, now: Instant, io: IoId) -> Option<PathId> {
        let entry = self.ios.get(io.0)?;
        let avoid = match entry.steer {
            Steer::Prefer(path) if self.is_on_duty(path) => return Some(path),
            Steer::Any | Steer::Prefer(_) => None,
            Steer::Avoid(path) => Some(path),
            Steer::Leave(path) => return self.choose_equal(now, io, path),
        };
        let active = self.groups.active_index();
        let others = (0..self.groups.list().len()).filter(|&index| index != active);
        for index in std::iter::once(active).chain(others) {
            let Some(group) = self.groups.list().get(index) else {
                continue;
            };
            self.candidates.clear();
            for &id in &group.on_duty {
                if let Some(path) = self.paths.get(id.0).filter(|path| path.is_usable()) {
                    if Some(id) != avoid {
                        self.candidates.push(path.as_candidate(now, id));
                    }
                }
            }
            if self.asking {
                leave_out_asked(&mut self.candidates, &self.paths);
            }
            if let [only] = self.candidates[..] {
                return Some(only.path);
            }
            if !self.candidates.is_empty() {
                return self.selector.select(&self.candidates, &entry.class);
            }
        }
        // Where it failed is better than nowhere: the fault may have been the network's.
        avoid.filter(|&path| self.is_usable(path))
    }

    pub(crate) fn is_usable(&self, path: PathId) -> bool {
        self.paths.get(path.0).is_some_and(Path::is_usable)
    }

    /// It is usable, and no spare that stands by.
    pub(super) fn is_on_duty(&self, path: PathId) -> bool {
        let path = self.paths.get(path.0);
        path.is_some_and(|path| path.is_usable() && !path.rests())
    }

    /// Books an attempt; the shell is to be told.
    pub(super) fn dispatch(&mut self, now: Instant, io: IoId, to: PathId) -> Option<AttemptId> {
        if self.events.trace.is_some() {
            self.trace_dispatch(now, io, to);
        }
        let entry = self.ios.get_mut(io.0)?;
        let path = self.paths.get_mut(to.0)?;
        let attempt = AttemptId(self.attempts.insert(Attempt {
            io,
            path: to,
            epoch: path.epoch,
            nexus: path.nexus,
            started: now,
            taken_back: TakenBack::No,
            denied: false,
        }));
        if path.started(now, &entry.class) {
            self.sooner = earlier(self.sooner, path.deadline(&self.config));
        }
        self.group_used = true;
        entry.state = IoState::InFlight(attempt);
        entry.steer = Steer::Any;
        if self.is_comparing && self.look_at.is_none() {
            self.look_soon(now);
        }
        if self.failing_over {
            self.tell_failover(to);
        }
        Some(attempt)
    }

    /// The first I/O after the loss of a path shows where it went.
    fn tell_failover(&mut self, to: PathId) {
        self.failing_over = false;
        for (key, path) in self.paths.iter_mut() {
            if PathId(key) != to && std::mem::take(&mut path.failing_over) {
                self.counters.failovers += 1;
                self.events.push(Event::Failover {
                    from: PathId(key),
                    to,
                });
            }
        }
    }

    /// Takes the reads back from a path, if there is another one to give them to.
    ///
    /// From one that is `silent` they are detached: it may be merely slow.
    pub(super) fn recall_reads(&mut self, from: PathId, silent: bool) {
        let elsewhere = self
            .paths
            .iter()
            .any(|(key, path)| PathId(key) != from && path.is_usable());
        if !elsewhere {
            return;
        }
        for (key, attempt) in self.attempts.iter_mut() {
            if attempt.path != from || attempt.taken_back != TakenBack::No {
                continue;
            }
            let kind = self.ios.get(attempt.io.0).map(|io| io.class.kind);
            let id = AttemptId(key);
            let action = match kind {
                Some(IoKind::Read) if silent => Action::Detach { attempt: id },
                Some(IoKind::Read | IoKind::Flush) => Action::Recall { attempt: id },
                _ => continue,
            };
            attempt.taken_back = TakenBack::Recalled;
            self.actions.push_back(action);
            if let Some(path) = self.paths.get_mut(from.0) {
                path.counters.recalled += 1;
            }
        }
    }

    /// Ends everything that is not in flight.
    pub(super) fn fail_waiting(&mut self, reason: FailReason) {
        self.pending.clear();
        self.held.clear();
        self.delayed.clear();
        // A second list instead of a walk: finishing changes the arena. This is no steady state.
        let waiting: Vec<IoId> = self
            .ios
            .iter()
            .filter(|(_, io)| !matches!(io.state, IoState::InFlight(_)))
            .map(|(key, _)| IoId(key))
            .collect();
        for io in waiting {
            self.give_up(io, reason);
        }
    }

    pub(super) fn give_up(&mut self, io: IoId, reason: FailReason) {
        let execution = self
            .ios
            .get(io.0)
            .map_or(Execution::Unknown, |io| io.execution);
        self.counters.failed += 1;
        match reason {
            FailReason::NoPath => self.counters.no_path_errors += 1,
            FailReason::Unfenced if execution == Execution::Unknown => {
                let fence = &mut self.counters.fence;
                fence.count(FenceRung::OutcomeUnknown, RungStep::Done);
            }
            _ => {}
        }
        self.finish(io, Verdict::Failed { reason, execution });
    }

    /// The last act of an I/O. Its claim goes, unless it leaves a ghost that inherits it.
    pub(super) fn finish(&mut self, io: IoId, verdict: Verdict) {
        let Some(ended) = self.ios.remove(io.0) else {
            return;
        };
        if let Some(claim) = ended.claim {
            self.give_back(io, claim, verdict == Verdict::Success);
        }
        self.actions.push_back(Action::Finish { io, verdict });
    }

    /// The claim of an I/O that is over; its ghosts inherit it. `acknowledged`: the caller is told that
    /// the write is done.
    pub(super) fn give_back(&mut self, io: IoId, claim: ClaimId, acknowledged: bool) {
        let mut haunted = false;
        for ghost in self.ghosts.iter_mut().filter(|g| g.io == Some(io)) {
            ghost.io = None;
            ghost.acknowledged = acknowledged;
            haunted = true;
        }
        if !haunted {
            self.writes.release(claim);
            self.released = true;
        }
    }
}
