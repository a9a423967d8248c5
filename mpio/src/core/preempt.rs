//! PREEMPT AND ABORT: the commands of a lost path's nexus are aborted through another path, by their key.
//!
//! Every path is registered with a key of its nexus before it takes I/O. SPC-4 section 5.12.11.2.6: the
//! nexuses that are registered with the key that is preempted lose their registration, and all their commands
//! are aborted before the order ends. That holds without any reservation, and the device makes none: one that
//! kept unregistered nexuses out would make the drain time superfluous, and keep out everybody else too.
//!
//! So, as with a reset of the unit, what is still on its way becomes a command afterwards, and the drain time
//! is for that.
//!
//! A path that comes back has the nexus of its old commands, and to preempt them is to preempt it. So it is
//! held back until that is done, and registered again, as long as there is another path for the I/O and the
//! rung has not failed. Once it is in use again it is not preempted.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Action, Event, FenceRung, FenceStepId, FencedBy, Multipath, PathId, Preempted, Registered,
    RungStep, SkipReason, ladder::Turn, path::Path,
};

const RUNG: FenceRung = FenceRung::PreemptAndAbort;

impl Multipath {
    /// What the registration of the path's present nexus came to, which [`handle_nexus`](Self::handle_nexus)
    /// was told of before. Before `handle_path_up`, where keys are configured; and as the answer to
    /// `Register`.
    pub fn handle_registered(&mut self, now: Instant, path: PathId, registered: Registered) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        let refused_before = entry.key_refused;
        (entry.key, entry.key_refused) = match registered {
            Registered::With(key) => (Some(key), None),
            Registered::Not(why) => (None, Some(why)),
        };
        if let Some(why) = entry.key_refused.filter(|_| refused_before.is_none()) {
            self.events.push(Event::KeyRefused { path, why });
        }
        // It may have been registered before it was preempted.
        let again = std::mem::take(&mut entry.preempted_meanwhile) && entry.key.is_some();
        entry.set_unregistered(again);
        if again {
            self.actions.push_back(Action::Register { path });
        }
        self.restless = true;
        self.settle(now);
    }

    /// Whether the path's nexus is registered cannot be told for now. Before `handle_path_up`: then it takes no
    /// I/O until `handle_registered`. One that is up already goes on with the key that it has.
    pub fn handle_unregistered(&mut self, path: PathId) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if !entry.is_connected() {
            entry.set_unregistered(true);
        }
    }

    /// The target has ended registrations (CLEAR, PREEMPT by somebody else): all are made again. Meanwhile the
    /// paths take I/O. Without effect where no keys are configured.
    pub fn handle_registrations_lost(&mut self) {
        if self.config.fence.preempt.is_none() {
            return;
        }
        for (key, entry) in self.paths.iter() {
            if entry.is_connected() && !entry.is_unregistered {
                let path = PathId(key);
                self.actions.push_back(Action::Register { path });
            }
        }
    }

    /// The key that a path is registered with, as far as is known.
    #[must_use]
    pub fn registered_key(&self, path: PathId) -> Option<u64> {
        self.paths.get(path.0)?.key
    }

    /// What became of a `Preempt`; one that is over is ignored.
    pub fn handle_preempted(&mut self, now: Instant, step: FenceStepId, result: Preempted) {
        let done = result == Preempted::Done;
        let under_way = |path: &Path| path.preempted_by == Some(step);
        let found = self.paths.iter().find(|(_, path)| under_way(path));
        let Some((path, nexus)) = found.map(|(key, entry)| (PathId(key), entry.nexus)) else {
            return;
        };
        if let Some(entry) = self.paths.get_mut(path.0) {
            entry.preempted_by = None;
        }
        let told = match result {
            Preempted::Done => RungStep::Done,
            Preempted::Failed | Preempted::Unregistered => RungStep::Failed,
            Preempted::Others(_) => RungStep::Skipped(SkipReason::OthersReserve),
        };
        self.tell_step(Some(path), RUNG, told);
        // Its ladder may have ended by another rung.
        let mut ladders = self.ladders.iter_mut().filter(|l| l.path == path);
        let begun = ladders.find_map(|ladder| ladder.preemption.end(now, step, done));
        if let (true, Some(begun), Some(terms)) = (done, begun, self.config.fence.preempt) {
            for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
                let drained = ghost.closed.is_some_and(|at| at + terms.drain <= begun);
                if drained && ghost.nexus == nexus && ghost.number < step.0 {
                    _ = ghost.proof.get_or_insert(FencedBy::Preempted);
                }
            }
        }
        if done {
            // Nobody has it any more: to preempt it once more would be a conflict.
            if let Some(entry) = self.paths.get_mut(path.0) {
                entry.key = None;
            }
        }
        if !matches!(result, Preempted::Others(_)) {
            self.register_again(path);
        }
        if result == Preempted::Unregistered {
            self.handle_registrations_lost();
        }
        self.restless = true;
        self.settle(now);
    }

    /// The target may have unregistered the path.
    fn register_again(&mut self, path: PathId) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if entry.is_connected() {
            entry.set_unregistered(true);
            self.actions.push_back(Action::Register { path });
        } else {
            // Its next login registers it, or has done so before it was preempted.
            entry.preempted_meanwhile = true;
        }
    }

    /// Holds back the paths that are to be preempted first, and lets go the others.
    pub(super) fn weigh_preemptions(&mut self) {
        // Nothing is lost, as almost always.
        let is_held = |path: &Path| path.awaits_preemption || path.preempted_by.is_some();
        if self.ladders.is_empty() && !self.paths.iter().any(|(_, path)| is_held(path)) {
            return;
        }
        for index in 0.. {
            // By position: a verdict looks at the other paths. There are few.
            let Some(path) = self.paths.iter().nth(index).map(|(key, _)| PathId(key)) else {
                break;
            };
            let waits = self.waits_for_preemption(path);
            if let Some(entry) = self.paths.get_mut(path.0) {
                if entry.awaits_preemption != waits {
                    entry.set_awaiting(waits);
                    self.restless = true;
                }
            }
        }
    }

    fn waits_for_preemption(&self, path: PathId) -> bool {
        let Some(entry) = self.paths.get(path.0).filter(|path| path.is_connected()) else {
            return false;
        };
        // Whatever it is given now may be aborted.
        if entry.preempted_by.is_some() {
            return true;
        }
        let mut ladders = self.ladders.iter().filter(|ladder| ladder.path == path);
        ladders.any(|ladder| !ladder.preemption.has_failed())
            && (entry.is_fresh || entry.awaits_preemption)
            && entry.key.is_some()
            && self.has_preemptible(path)
            && self.preemptor_of(path, None).is_some()
            && !self.shares_key(path)
    }

    /// Whether it has a ghost that was sent on its present nexus for sure.
    fn has_preemptible(&self, path: PathId) -> bool {
        let nexus = self.paths.get(path.0).map(|p| p.nexus);
        let mut ghosts = self.ghosts.iter().filter(|g| g.path == path);
        ghosts.any(|g| Some(g.nexus) == nexus && g.closed.is_some() && g.proof.is_none())
    }

    /// Whether another path in use has the same key: one that was added again while the old one has ghosts.
    fn shares_key(&self, path: PathId) -> bool {
        let key = self.paths.get(path.0).and_then(|p| p.key);
        let mut others = self
            .paths
            .iter()
            .filter(|(other, _)| PathId(*other) != path);
        others.any(|(_, other)| other.open && other.key.is_some() && other.key == key)
    }

    /// True while there is something to be expected of it.
    pub(super) fn climb_preemption(
        &mut self,
        now: Instant,
        index: usize,
        path: PathId,
        closed: Instant,
    ) -> bool {
        let Some(terms) = self.config.fence.preempt else {
            self.tell_once(index, RUNG, RungStep::Skipped(SkipReason::NotAllowed));
            return false;
        };
        let (Some(dead), Some(ladder)) = (self.paths.get(path.0), self.ladders.get(index)) else {
            return false;
        };
        let turn = ladder.preemption.turn(now);
        let not = ladder.preemption.via();
        // One of a former ladder of the path has to end first.
        if turn == Turn::Running || dead.preempted_by.is_some() {
            return true;
        }
        let in_use = dead.open && !dead.awaits_preemption;
        let skip = if in_use || self.shares_key(path) {
            Some(SkipReason::InUse)
        } else if !self.has_preemptible(path) {
            Some(SkipReason::OtherNexus)
        } else if dead.key.is_none() {
            Some(SkipReason::NotRegistered)
        } else {
            None
        };
        if let Some(why) = skip {
            self.tell_once(index, RUNG, RungStep::Skipped(why));
            return false;
        }
        if dead.is_unregistered {
            return true;
        }
        if let Turn::Later(at) = turn {
            self.look_again(index, at);
            return false;
        }
        let due = closed + terms.drain;
        if now < due {
            self.look_again(index, Some(due));
            return true;
        }
        let keys = self.preemptor_of(path, not);
        let Some(((via, own), victim)) = keys.zip(self.victim_of(path, keys)) else {
            self.tell_once(index, RUNG, RungStep::Skipped(SkipReason::NoPath));
            return false;
        };
        let step = FenceStepId(self.next_fence_number());
        if let Some(ladder) = self.ladders.get_mut(index) {
            ladder.preemption.begin(now, step, via);
        }
        if let Some(dead) = self.paths.get_mut(path.0) {
            dead.preempted_by = Some(step);
        }
        self.tell_step(Some(path), RUNG, RungStep::Started);
        let dead = path;
        self.actions.push_back(Action::Preempt {
            step,
            dead,
            via,
            own,
            victim,
        });
        true
    }

    fn victim_of(&self, path: PathId, via: Option<(PathId, u64)>) -> Option<u64> {
        if self.config.planted.has(Bug::HealthyPathPreempted) {
            let other = self.preemptor_of(path, via.map(|(via, _)| via));
            return other.map(|(_, key)| key);
        }
        self.paths.get(path.0)?.key
    }

    /// A usable path that is registered, and its key; another one than `not` if there is one.
    fn preemptor_of(&self, dead: PathId, not: Option<PathId>) -> Option<(PathId, u64)> {
        let victim = self.paths.get(dead.0)?.key;
        let usable = |path: &Path| path.is_usable() && path.key != victim;
        let others = self.paths.iter().filter_map(|(key, path)| {
            let id = PathId(key);
            (id != dead && usable(path)).then_some((id, path.key?))
        });
        others.min_by_key(|&(id, _)| (Some(id) == not, id))
    }
}
