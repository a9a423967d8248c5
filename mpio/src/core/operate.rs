//! What an operator does to a device that is in use: the commands of multipathd.

use std::time::Instant;

use super::{
    Config, Event, FailReason, Multipath, NoPathRetry, PathId, no_path::Queueing,
    recorder::Recorder, selector,
};

impl Multipath {
    /// Takes a path out of use until [`reinstate_path`](Self::reinstate_path) (`fail path`): no new I/O there, its
    /// reads move if they can, its writes may end. Its connection stays, and it is checked as before. Its spare is taken
    /// out of use with it: who takes a path out of use means its network device or portal as well. When the path is
    /// removed, its spare is used again, unless it was taken out of use by itself.
    pub fn fail_path(&mut self, now: Instant, path: PathId) {
        self.set_failed(now, path, true);
    }

    /// Uses a path again that was taken out of use (`reinstate path`). One that its checker has found not to work is
    /// asked at once, and used when it answers. One that is marginal is sound again, whoever has said that it is. So it is
    /// with its spare.
    pub fn reinstate_path(&mut self, now: Instant, path: PathId) {
        for path in self.spares_of(path).into_iter().chain([path]) {
            self.forgive(now, path);
            if let Some(entry) = self.paths.get_mut(path.0) {
                if entry.is_connected() {
                    entry.checker.ask_now(now);
                    entry.with_access(|access| access.recheck(now));
                }
            }
        }
        self.set_failed(now, path, false);
    }

    fn set_failed(&mut self, now: Instant, principal: PathId, failed: bool) {
        // All before any read is recalled: its spare is no way out.
        let spares = self.spares_of(principal);
        let all = || spares.iter().copied().chain([principal]);
        for path in all() {
            if let Some(entry) = self.paths.get_mut(path.0) {
                entry.fail(
                    failed,
                    Some(principal).filter(|principal| *principal != path),
                );
            }
        }
        if failed {
            all().for_each(|path| self.recall_reads(path, false));
        }
        self.restless = true;
        self.check_paths(now);
        self.check_access(now);
        self.settle(now);
    }

    /// Uses the group of this path (`switch group`), whatever the priorities say, for as long as one of its paths
    /// works or until [`fail_back`](Self::fail_back). False, and nothing is changed, if none of them works.
    pub fn switch_group(&mut self, now: Instant, path: PathId) -> bool {
        let Some(index) = self.groups.of(path) else {
            return false;
        };
        if !self.groups.is_usable(index, &self.paths) {
            return false;
        }
        self.switch_to(index);
        self.pin(path, index);
        self.settle(now);
        true
    }

    /// Holds all I/O back (`suspend map`): what comes waits, what is in flight may end, and then comes the event
    /// [`Quiesced`](Event::Quiesced). Paths are watched, and writes fenced, as before.
    pub fn suspend(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.suspended, true) {
            self.told_quiesced = false;
            self.events.push(Event::Suspended);
        }
        self.weigh_standstill();
        self.settle(now);
    }

    /// Lets I/O go on (`resume map`).
    pub fn resume(&mut self, now: Instant) {
        if std::mem::replace(&mut self.suspended, false) {
            self.events.push(Event::Resumed);
        }
        self.weigh_standstill();
        self.restless = true;
        self.settle(now);
    }

    /// Whether it is suspended.
    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether it is suspended or [paused](Self::pause), and nothing is in flight.
    #[must_use]
    pub fn is_quiesced(&self) -> bool {
        self.is_held_back() && self.attempts.len() == 0
    }

    /// Whether what a path tells of its unit counts: it has access, and neither has an operator taken it out of use nor
    /// is it without a carrier.
    #[must_use]
    pub fn has_say(&self, path: PathId) -> bool {
        let entry = self.paths.get(path.0);
        let is_in_use = entry.is_some_and(|path| !path.is_failed() && !path.is_unplugged());
        is_in_use && self.has_access(path)
    }

    /// Whether a path is being removed, or is not there any more.
    #[must_use]
    pub fn is_removed(&self, path: PathId) -> bool {
        let path = self.paths.get(path.0);
        path.is_none_or(|path| path.removing)
    }

    /// I/O without a path fails at once, whatever is configured (`disablequeueing map`): what waits for a path now
    /// does so as well.
    pub fn disable_queueing(&mut self, now: Instant) {
        self.no_path.set(now, Queueing::Disabled);
        self.restless = true;
        self.settle(now);
    }

    /// What is configured holds again (`restorequeueing map`). A wait that is limited begins anew.
    pub fn restore_queueing(&mut self, now: Instant) {
        self.no_path.set(now, Queueing::AsConfigured);
        self.restless = true;
        self.settle(now);
    }

    /// Changes the settings, without a logout and without a loss of I/O. What concerns the fence, and which writer mode
    /// it is for, stays as it was: writes are under way that were accepted on those terms.
    pub fn reconfigure(&mut self, now: Instant, config: Config) {
        let (fence, planted) = (self.config.fence, self.config.planted);
        if self.config.path_selector != config.path_selector {
            self.selector = selector::new(config.path_selector, self.lots.next());
        }
        let no_path_retry = config.no_path_retry;
        let ranks_otherwise = self.config.prioritizer != config.prioritizer;
        let hedges_otherwise = self.config.hedge != config.hedge;
        match (&mut self.events.trace, config.decision_trace) {
            (trace, 0) => *trace = None,
            (Some(recorder), capacity) => recorder.resize(capacity),
            (trace, capacity) => *trace = Recorder::new(self.made, now, capacity),
        }
        self.config = Config {
            fence,
            planted,
            ..config
        };
        if self.no_path.policy() != no_path_retry {
            self.no_path.set_policy(now, no_path_retry);
        }
        if hedges_otherwise {
            self.reset_hedging();
        }
        self.fail_back_at = None;
        if ranks_otherwise {
            self.rank_anew(now);
        }
        if self.config.marginal.is_none() {
            self.forgive_all(now);
        }
        self.prioritize();
        self.regroup();
        self.restless = true;
        self.settle(now);
    }

    /// What a device that is suspended, or without a path, still has to do with what waits.
    pub(super) fn judge_waiting(&mut self) {
        // Each I/O in flight has one attempt, so this is the number of those that wait.
        if self.ios.len() > self.attempts.len() {
            if self.closing {
                self.fail_waiting(FailReason::Closed);
            } else if self.no_path.is_failing() && !self.is_held_back() {
                self.fail_waiting(FailReason::NoPath);
            }
        }
        if self.is_quiesced() && !std::mem::replace(&mut self.told_quiesced, true) {
            self.events.push(Event::Quiesced);
        }
    }

    /// The no-path policy that counts at the moment.
    pub(super) const fn queueing(&self) -> NoPathRetry {
        self.no_path.in_force()
    }
}
