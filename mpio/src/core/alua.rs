//! Asymmetric access as the device acts on it: who asks for states and when, what follows from the answer, and when
//! a group is asked to become active.

use std::time::Instant;

use iscsi_proto::{
    planted::Bug,
    scsi::{AccessState, TargetPortGroups},
};

use super::{
    Action, Event, Multipath, PathId, TargetPort,
    access::{Allows, PathAccess},
    arena::Key,
    checker::PathState,
    path::{Path, Standing},
    priority::Priority,
};

impl Multipath {
    /// Where the path ends, as of its last login; `None` where the unit knows no asymmetric access.
    pub fn handle_target_port(&mut self, path: PathId, port: Option<TargetPort>) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if entry.access().port != port {
            entry.with_access(|access| access.set_port(port));
            self.prioritize();
            self.regroup();
        }
    }

    /// The unit has told on this path that access states have changed (unit attentions 2Ah/06h and 2Ah/07h).
    pub fn handle_access_changed(&mut self, now: Instant, path: PathId) {
        self.doubt_access(now, path);
        self.settle(now);
    }

    /// Whether the port group of a path, as far as known, takes I/O; not of one that is being removed.
    #[must_use]
    pub fn has_access(&self, path: PathId) -> bool {
        let path = self.paths.get(path.0).filter(|path| !path.removing);
        path.is_some_and(|path| path.access().allows() == Allows::Everything)
    }

    /// The answer to [`Action::ReportPortGroups`], or to an [`Action::Probe`] that asks for the same; `None` if there was
    /// none.
    pub fn handle_port_groups(
        &mut self,
        now: Instant,
        path: PathId,
        report: Option<&TargetPortGroups>,
    ) {
        let Some(asked) = self.paths.get_mut(path.0) else {
            return;
        };
        // A check is not in vain because another path has told meanwhile.
        let is_awaited = asked.access().is_asking() || asked.checker.awaits_groups();
        if !is_awaited || !asked.is_connected() {
            // Of an earlier connection, or too late.
            return;
        }
        let Some(report) = report else {
            asked.with_access(|access| access.unanswered(now));
            self.ask_others(now, path);
            self.restless = true;
            self.settle(now);
            return;
        };
        asked.suspicion.answered(now);
        let target = asked.target().cloned();
        let is_older = asked.access().is_doubted_again();
        let interval = self.config.max_polling_interval;
        let planted = self.config.planted;
        for (key, path) in self.paths.iter_mut() {
            if path.access().port.is_none() || path.target() != target.as_ref() {
                continue;
            }
            let is_news = path.with_access(|access| access.learn(now, report, interval, is_older));
            if planted.has(Bug::AccessNotAskedAgain) {
                path.with_access(PathAccess::forget_to_ask);
            }
            let Some(known) = path.access().known else {
                continue;
            };
            if planted.has(Bug::StandbyUsed) {
                path.with_access(|access| access.known = None);
            }
            if is_news {
                self.events.push(Event::AccessChanged {
                    path: PathId(key),
                    state: known.state,
                    preferred: known.preferred,
                });
            }
            // What the unit said last was of another state.
            let was_moving = path.checker.is_in_transition();
            if known.state.is_active() && path.checker.state() == PathState::Ghost
                || was_moving && known.state != AccessState::Transitioning
            {
                match is_news {
                    true => path.checker.ask_now(now),
                    false => path.checker.doubt(now),
                }
            }
        }
        self.prioritize();
        self.check_paths(now);
        self.restless = true;
        self.settle(now);
    }

    /// What became of an [`Action::Activate`]: whether the target has accepted it.
    pub fn handle_activated(&mut self, now: Instant, path: PathId, succeeded: bool) {
        if self.activation.under_way != Some(path) {
            return;
        }
        self.activation.ended(now, succeeded);
        if self.config.planted.has(Bug::ActivatesWithoutPause) {
            self.activation.forget_pause();
        }
        for (_, path) in self.paths.iter_mut() {
            path.with_access(|access| access.activating = false);
        }
        self.doubt_access(now, path);
        self.restless = true;
        self.settle(now);
    }

    /// What is known of the states is wrong, as this path has found.
    pub(super) fn doubt_access(&mut self, now: Instant, path_told: PathId) {
        let Some(target) = self
            .paths
            .get(path_told.0)
            .map(|path| path.target().cloned())
        else {
            return;
        };
        for (_, path) in self.paths.iter_mut() {
            if path.is_connected() && path.target() == target.as_ref() {
                path.with_access(|access| access.doubt(now));
            }
        }
        self.restless = true;
        // Who knows of it is heard, and may be the only one that still is.
        self.ask_who_is_due(now, Some(path_told));
        self.check_access(now);
    }

    /// Asks whoever is due.
    pub(super) fn check_access(&mut self, now: Instant) {
        if self.activation.due.is_some_and(|at| at <= now) {
            self.restless = true;
        }
        let (mut due, mut unanswered) = (false, None);
        for (key, path) in self.paths.iter_mut() {
            if path.is_connected() {
                let was_asking = path.access().is_asking();
                self.restless |= path.with_access(|access| access.step(now));
                self.restless |= path.access().is_asking() != was_asking;
                if was_asking && !path.access().is_asking() {
                    unanswered = Some(PathId(key));
                }
                due |= path.access().is_due(now);
            }
        }
        if let Some(silent) = unanswered {
            self.pass_on(silent, now);
            due = true;
        }
        if due {
            self.ask_who_is_due(now, None);
        }
    }

    /// Each of them is put off if another one to the same target asks already. The one that is preferred comes first,
    /// and those that are silent last.
    fn ask_who_is_due(&mut self, now: Instant, preferred: Option<PathId>) {
        loop {
            let is_due = |path: &Path| path.is_connected() && path.access().is_due(now);
            let due = self.paths.iter().filter(|(_, path)| is_due(path));
            let next = due.min_by_key(|(key, path)| {
                let is_preferred = Some(PathId(*key)) == preferred;
                (path.suspicion.is_suspect(), !is_preferred)
            });
            let Some((key, next)) = next else { break };
            let asking = self.paths.iter().filter(|(_, path)| {
                let may_answer = path.is_connected() && !path.suspicion.is_suspect();
                may_answer && path.shares_target(next)
            });
            // All that are over were ended before, so this is later than now, and the loop gets done.
            let until = asking.filter_map(|(_, path)| path.access().asked_until());
            let until = until.max();
            let timeout = self.config.checker_timeout;
            let Some(path) = self.paths.get_mut(key) else {
                break;
            };
            if let Some(until) = until {
                path.with_access(|access| access.put_off(until));
                continue;
            }
            if !path.is_waiting() {
                path.suspicion.started(now);
            }
            path.with_access(|access| access.ask(now, timeout));
            let path = PathId(key);
            self.actions.push_back(Action::ReportPortGroups { path });
        }
    }

    /// The path that was asked gives no answer: it is another one's turn.
    pub(super) fn ask_others(&mut self, now: Instant, silent: PathId) {
        self.pass_on(silent, now);
        self.check_access(now);
    }

    /// I/O does not wait for an answer any more that has not come.
    fn pass_on(&mut self, silent: PathId, now: Instant) {
        let Some(target) = self.paths.get(silent.0).map(|path| path.target().cloned()) else {
            return;
        };
        for (key, path) in self.paths.iter_mut() {
            let is_other = PathId(key) != silent && path.is_connected();
            if is_other && path.target() == target.as_ref() && !path.access().is_asking() {
                path.with_access(|access| access.take_turn(now));
            }
        }
    }

    /// Weighs all paths anew, and groups them anew if that changes anything.
    pub(super) fn prioritize(&mut self) {
        let (prioritizer, planted) = (self.config.prioritizer, self.config.planted);
        let mut has_changed = false;
        let best_class = self.best_class();
        for (_, path) in self.paths.iter_mut() {
            let class = path.rank.as_ref().and_then(|rank| rank.class());
            let class = class.or(best_class);
            let known = path.access().known;
            let priority = Priority::of(prioritizer, path.given_priority, known, class);
            let is_sound = path.marginal.is_sound() || planted.has(Bug::MarginalUsedFirst);
            let priority = priority.with_soundness(is_sound);
            has_changed |= path.priority != priority;
            path.priority = priority;
        }
        if has_changed {
            self.regroup();
            self.restless = true;
        }
    }

    /// If all paths stand by, and none comes back in time, has the target make a group active.
    pub(super) fn activate(&mut self, now: Instant) {
        self.activation.due = None;
        // An array whose configuration is being changed behind a suspended device is left alone.
        let may_ask = !self.closing && !self.is_held_back();
        let Some(patience) = self.config.activate_groups.filter(|_| may_ask) else {
            self.activation.is_needless();
            return;
        };
        if self.activation.under_way.is_some() {
            return;
        }
        let is_out =
            |path: &Path| matches!(path.standing(), Standing::Out(_)) || path.is_unplugged();
        let works = |path: &Path| !is_out(path) || path.is_held();
        if self.paths.iter().any(|(_, path)| works(path)) {
            self.activation.is_needless();
            return;
        }
        if self.paths.iter().any(|(_, path)| path.is_in_doubt()) {
            // The end of that is looked at as well.
            return;
        }
        let Some((key, group)) = self.to_be_activated() else {
            self.activation.is_needless();
            return;
        };
        if !self.activation.is_due(now, patience) {
            return;
        }
        let Some(chosen) = self.paths.get(key) else {
            return;
        };
        let target = chosen.target().cloned();
        for (_, path) in self.paths.iter_mut() {
            let port = path.access().port;
            if path.target() == target.as_ref() && port.is_some_and(|port| port.group == group) {
                path.with_access(|access| access.activating = true);
            }
        }
        let path = PathId(key);
        self.activation.begin(path, target, group);
        self.events.push(Event::Activating { path, group });
        self.actions.push_back(Action::Activate { path, group });
    }

    /// A path to the group that is to become active: a preferred one, else the first; but another one than was
    /// asked for last, if there is one.
    fn to_be_activated(&self) -> Option<(Key, u16)> {
        let candidates = self.paths.iter().filter(|(_, path)| {
            let is_reachable = path.is_connected() && !path.removing;
            let is_reachable = is_reachable && !path.is_held() && !path.is_failed();
            let is_reachable = is_reachable && !path.is_shut_out();
            let is_ready = matches!(path.checker.state(), PathState::Up | PathState::Ghost);
            is_reachable && is_ready && path.access().can_be_activated()
        });
        let rank = |path: &Path| {
            let access = path.access();
            let group = access.port.map(|port| port.group);
            let again = self.activation.was_last(path.target(), group);
            let preferred = access.known.is_some_and(|known| known.preferred);
            (again, !preferred, path.joined)
        };
        let (key, path) = candidates.min_by_key(|(_, path)| rank(path))?;
        Some((key, path.access().port?.group))
    }
}
