//! Reads leave a silent path at the question, not at the verdict.
//!
//! The question is asked after a tenth of a second of silence, and its answer has a quarter of a second. A read that
//! waits for that waits for what another path would have read a hundred times meanwhile. Whether it is worth moving is
//! seen from the others: if a path of the same group has been heard from in the second half of the silence, or since,
//! the target is alive and it is this path's network, or what serves this connection, that is not. Where all are silent
//! the target is slow, nothing is known to be better, and nothing moves. The second half only, since all paths of a
//! target that stalls fall silent within a moment of each other, and one of them is the last. One of them is the first
//! to be heard again, too, so what comes a while after the question has to be true for another twenty-five milliseconds.
//!
//! A read that moves is detached from its path: its memory comes back at once, but it is not aborted, since the path
//! may be merely slow, and there are targets that an ABORT TASK costs the session. It is read twice then, which is what
//! the budget is for. It never goes to a path of another group or of a lower priority: where I/O through another
//! controller takes a unit away from the first one, that would turn a pause into a trespass.
//!
//! New I/O needs neither budget nor evidence. It prefers paths of the same group that are not being asked, which costs
//! nothing and ends with the answer.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Action, AttemptId, Candidate, Delivery, Event, HedgeConfig, IoId, IoKind, Multipath, PathId,
    Steer, TakenBack, arena::Arena, path::Path,
};

/// How often one read may be hedged. After that it waits for verdicts, and its moves count.
pub(super) const MAX_HEDGES: u8 = 4;

/// What a read costs, in the unit in which tokens are counted: percent of a token.
const TOKEN: u64 = 100;

/// Tokens for reads that move at the question.
#[derive(Debug)]
pub(super) struct Budget {
    hundredths: u64,
}

impl Budget {
    pub(super) fn new(config: Option<HedgeConfig>) -> Self {
        let burst = config.map_or(0, |config| config.burst);
        Self {
            hundredths: u64::from(burst) * TOKEN,
        }
    }

    /// So many reads have succeeded.
    fn earn(&mut self, config: HedgeConfig, reads: u64) {
        let earned = reads.saturating_mul(u64::from(config.percent));
        let most = u64::from(config.burst) * TOKEN;
        self.hundredths = self.hundredths.saturating_add(earned).min(most);
    }

    fn spend(&mut self) -> bool {
        let left = self.hundredths.checked_sub(TOKEN);
        self.hundredths = left.unwrap_or(self.hundredths);
        left.is_some()
    }

    fn tokens(&self) -> u32 {
        u32::try_from(self.hundredths / TOKEN).unwrap_or(u32::MAX)
    }
}

impl Multipath {
    /// Reads that may move at this moment, as far as the budget goes.
    pub(super) fn hedge_tokens(&self) -> u32 {
        let Some(config) = self.config.hedge else {
            return 0;
        };
        let unclaimed = self.paths.iter().map(|(_, path)| path.reads).sum();
        let mut budget = Budget { ..self.budget };
        budget.earn(config, unclaimed);
        budget.tokens()
    }

    /// The settings are others.
    pub(super) fn reset_hedging(&mut self) {
        self.budget = Budget::new(self.config.hedge);
        for (_, path) in self.paths.iter_mut() {
            path.reads = 0;
        }
    }

    /// A path has answered, and may have been the last one that was asked.
    pub(super) fn note_asked(&mut self) {
        let mut paths = self.paths.iter();
        self.asking = paths.any(|(_, path)| path.suspicion.is_asked());
    }

    /// Looks at the paths that have been asked: whether others have been heard from meanwhile.
    pub(super) fn look_at_asked(&mut self, now: Instant) {
        self.asking = false;
        for index in 0.. {
            let Some((key, path)) = self.paths.iter().nth(index) else {
                break;
            };
            if path.suspicion.is_asked() {
                self.asking = true;
                self.look_at(now, PathId(key));
            }
        }
    }

    fn look_at(&mut self, now: Instant, from: PathId) {
        // What moves while the device is suspended would wait for its resumption instead of for an answer.
        let Some(config) = self.config.hedge.filter(|_| !self.is_held_back()) else {
            return;
        };
        let Some(path) = self.paths.get(from.0).filter(|path| path.is_connected()) else {
            return;
        };
        let Some(since) = path.suspicion.evidence_since(now) else {
            return;
        };
        let reads = self.reads_to_hedge(from);
        // Then it is not the target that is slow, and one that is not silent itself will do.
        let is_dead = path.suspicion.delivery() == Some(Delivery::Unacknowledged);
        let mut left = reads.len();
        if left > 0 {
            let is_heard = |(_, path): (PathId, &Path)| {
                !path.suspicion.is_asked() && (is_dead || path.suspicion.heard() > since)
            };
            if !self.equals(from).any(is_heard) {
                self.ask_idle_equals(from);
                self.ask_progress(now, from);
            } else if is_dead || self.is_confirmed(now, from) {
                left -= self.hedge(from, config, reads);
            }
        }
        // Without another path in the group there never will be anything to see.
        let group = self.groups.of(from).and_then(|g| self.groups.list().get(g));
        let is_worth_it = left > 0 && group.is_some_and(|group| group.on_duty.len() > 1);
        match self.paths.get_mut(from.0) {
            Some(path) if is_worth_it => path.suspicion.look_again(now, &self.config.suspicion),
            Some(path) => path.suspicion.look_no_more(),
            None => {}
        }
    }

    fn ask_progress(&mut self, now: Instant, of: PathId) {
        let Some(path) = self.paths.get_mut(of.0) else {
            return;
        };
        let deliveries = path.suspicion.deliveries_mut();
        if deliveries.is_worth_asking(now, &self.config.suspicion) {
            deliveries.ask_of(of, &mut self.actions);
        }
    }

    fn is_confirmed(&mut self, now: Instant, from: PathId) -> bool {
        let path = self.paths.get_mut(from.0);
        path.is_some_and(|path| path.suspicion.confirms(now, &self.config.suspicion))
    }

    /// Reads in flight on a path that may be hedged, the oldest first.
    fn reads_to_hedge(&self, from: PathId) -> Vec<AttemptId> {
        let attempts = self.attempts.iter();
        let mut reads: Vec<(Instant, AttemptId)> = attempts
            .filter(|(_, attempt)| attempt.path == from && attempt.taken_back == TakenBack::No)
            .filter(|(_, attempt)| {
                let io = self.ios.get(attempt.io.0);
                io.is_some_and(|io| io.class.kind == IoKind::Read && io.tries.hedges < MAX_HEDGES)
            })
            .map(|(key, attempt)| (attempt.started, AttemptId(key)))
            .collect();
        reads.sort_by_key(|&(started, _)| started);
        reads.into_iter().map(|(_, attempt)| attempt).collect()
    }

    /// Usable paths that are as good as this one. Not its own spare, which leaves through the same network: that one takes
    /// over if this one does not answer and it does.
    fn equals(&self, than: PathId) -> impl Iterator<Item = (PathId, &Path)> {
        let group = self.groups.of(than).and_then(|g| self.groups.list().get(g));
        let priority = self.paths.get(than.0).map(|path| path.priority);
        let members = group.into_iter().flat_map(|group| &group.on_duty);
        let members = members.filter_map(|&id| Some((id, self.paths.get(id.0)?)));
        members.filter(move |(id, path)| {
            *id != than && path.is_usable() && Some(path.priority) >= priority
        })
    }

    /// Whether the target answers elsewhere is to be known. Where something is awaited, that tells.
    fn ask_idle_equals(&mut self, from: PathId) {
        let Some(path) = self.paths.get_mut(from.0) else {
            return;
        };
        if path.suspicion.others_were_asked() {
            return;
        }
        let idle = self.equals(from).filter(|(_, path)| !path.is_waiting());
        let idle: Vec<PathId> = idle.map(|(id, _)| id).collect();
        for path in idle {
            self.ask_connection(path);
        }
    }

    /// Moves what the budget allows; how many those were.
    fn hedge(&mut self, from: PathId, config: HedgeConfig, reads: Vec<AttemptId>) -> usize {
        for (_, path) in self.paths.iter_mut() {
            self.budget.earn(config, std::mem::take(&mut path.reads));
        }
        let is_boundless = self.config.planted.has(Bug::HedgesWithoutBudget);
        let (mut moved, mut denied) = (0u32, 0u32);
        for id in reads {
            let Some(attempt) = self.attempts.get_mut(id.0) else {
                continue;
            };
            if self.budget.spend() || is_boundless {
                attempt.taken_back = TakenBack::Hedged;
                self.actions.push_back(Action::Detach { attempt: id });
                moved += 1;
            } else if !std::mem::replace(&mut attempt.denied, true) {
                denied += 1;
            }
        }
        self.counters.reads_hedged += u64::from(moved);
        self.counters.hedges_denied += u64::from(denied);
        if let Some(path) = self.paths.get_mut(from.0) {
            path.counters.recalled += u64::from(moved);
            path.counters.hedged += u64::from(moved);
            if path.suspicion.hedged(moved, denied) {
                self.events.push(Event::Hedged {
                    path: from,
                    moved,
                    denied,
                });
            }
        }
        moved as usize
    }

    /// Where a read that was hedged goes: to a path as good as the one that it left, or back to that. If neither is
    /// usable any more it has lost its path like any other.
    #[cold]
    pub(super) fn choose_equal(&mut self, now: Instant, io: IoId, left: PathId) -> Option<PathId> {
        if self.groups.of(left) != Some(self.groups.active_index()) {
            // Another group is in use by now, and for a reason.
            self.ios.get_mut(io.0)?.steer = Steer::Avoid(left);
            return self.choose(now, io);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let equals = self.equals(left);
        candidates.extend(equals.map(|(id, path)| path.as_candidate(now, id)));
        leave_out_asked(&mut candidates, &self.paths);
        self.candidates = candidates;
        if !self.candidates.is_empty() {
            let class = &self.ios.get(io.0)?.class;
            return self.selector.select(&self.candidates, class);
        }
        if self.is_on_duty(left) {
            return Some(left);
        }
        self.ios.get_mut(io.0)?.steer = Steer::Avoid(left);
        self.choose(now, io)
    }
}

/// Leaves paths that are being asked out of `candidates`, unless there are no others.
#[cold]
pub(super) fn leave_out_asked(candidates: &mut Vec<Candidate>, paths: &Arena<Path>) {
    let is_calm = |candidate: &Candidate| {
        let path = paths.get(candidate.path.0);
        path.is_some_and(|path| !path.suspicion.is_asked())
    };
    if candidates.iter().any(is_calm) {
        candidates.retain(is_calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_reads_and_not_beyond_the_burst() {
        let config = HedgeConfig::new(3, 5);
        let mut budget = Budget::new(Some(config));
        let spent = (0..10).filter(|_| budget.spend()).count();
        assert_eq!(spent, 3);
        budget.earn(config, 19);
        assert!(!budget.spend(), "95 % of a token");
        budget.earn(config, 1);
        assert!(budget.spend());
        assert!(!budget.spend());
        budget.earn(config, u64::MAX);
        assert_eq!(budget.tokens(), 3);
    }

    #[test]
    fn without_hedging_there_are_no_tokens() {
        assert!(!Budget::new(None).spend());
    }
}
