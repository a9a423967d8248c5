//! The life of a path: its verdicts, and what changes when one of them does.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Action, DownReason, Event, Failback, FenceResult, FencedBy, Ghost, IdentityCheck, IoState,
    Multipath, PathId, PortalGroup, Prioritizer, ProbeKind, ProbeReport, ProbeResult, SuspectCause,
    access::{Allows, PathAccess},
    group,
    path::{Link, Path, Standing},
    suspicion::Step,
    weigh,
};

impl Multipath {
    /// Whom the path's session is with as of its last login, if that is known, and how often that has changed.
    /// A nexus is one of a portal group: a login that a redirection has led to another group reinstates
    /// nothing of the one before. One that leads back does, but which writes were sent in between cannot be
    /// told for sure, so that one does not count either.
    pub fn handle_nexus(&mut self, path: PathId, group: Option<PortalGroup>, changes: u64) {
        let mut has_moved = false;
        if let Some(entry) = self.paths.get_mut(path.0) {
            if entry.nexus != changes {
                // What is registered there is the nexus of before.
                entry.key = None;
            }
            entry.nexus = changes;
            if group.is_some() && entry.portal_group != group {
                entry.portal_group = group;
                has_moved = true;
            }
        }
        if has_moved {
            self.regroup();
        }
    }

    /// A session was opened (again), and this is whom it leads to. A path that is up already stays
    /// as it is.
    pub fn handle_path_up(&mut self, now: Instant, path: PathId, identity: IdentityCheck) {
        let phase = self.next_phase();
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if !entry.is_open() {
            entry.open = true;
            entry.set_fencing(false);
            entry.epoch = entry.epoch.wrapping_add(1);
        }
        match identity {
            IdentityCheck::Verified => {
                if entry.link == Link::Up {
                    return;
                }
                entry.link = Link::Up;
                entry.is_fresh = true;
                entry.checker.start(now, &self.config, phase);
                if let Some(pause) = entry.marginal.pause() {
                    entry.checker.hurry(now, pause);
                }
                entry.with_access(|access| access.start(now));
                entry.suspicion.reset(now);
                let (epoch, nexus) = (entry.epoch, entry.nexus);
                entry.told_unsent = false;
                let is_barrier = self.config.fence.target.is_barrier()
                    || self.config.planted.has(Bug::EveryLoginIsBarrier);
                let any_nexus = self.config.planted.has(Bug::AnotherNexusCounts);
                let earlier = |g: &&mut Ghost| g.path == path && g.epoch != epoch;
                for ghost in self.ghosts.iter_mut().filter(earlier) {
                    _ = ghost.closed.get_or_insert(now);
                    let same = ghost.nexus == nexus || any_nexus;
                    if is_barrier && same {
                        _ = ghost.proof.get_or_insert(FencedBy::Reinstated);
                    }
                }
                self.rank_soon(now, path);
                self.notice_login(now);
                self.check_access(now);
            }
            IdentityCheck::Mismatch => {
                // Not a reinstatement of the old nexus: whoever answered is somebody else.
                let link = Link::Down(DownReason::IdentityMismatch);
                if std::mem::replace(&mut entry.link, link) != link {
                    self.events.push(Event::IdentityMismatch { path });
                }
                entry.checker.stop();
                let was_asked = entry.access().is_asking();
                entry.with_access(PathAccess::stop);
                entry.suspicion.reset(now);
                self.recall_reads(path, false);
                if was_asked {
                    self.ask_others(now, path);
                }
            }
        }
        self.restless = true;
        self.settle(now);
    }

    /// The path's connection is closed, abortively. Also the answer to `Close`.
    pub fn handle_path_down(&mut self, now: Instant, path: PathId, reason: DownReason) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        entry.link = Link::Down(reason);
        entry.open = false;
        entry.set_fencing(false);
        entry.set_unregistered(false);
        entry.checker.stop();
        let was_asked = entry.access().is_asking();
        entry.with_access(PathAccess::stop);
        entry.suspicion.reset(now);
        let removed = entry.closing;
        for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
            _ = ghost.closed.get_or_insert(now);
        }
        if was_asked {
            self.ask_others(now, path);
        }
        if removed {
            drop(self.paths.remove(path.0));
            self.regroup();
            self.events.push(Event::PathRemoved { path });
        }
        self.restless = true;
        self.settle(now);
    }

    /// What became of a `Fence`.
    pub fn handle_fenced(&mut self, now: Instant, path: PathId, result: FenceResult) {
        match result {
            FenceResult::Closed => self.handle_path_down(now, path, DownReason::Fenced),
            FenceResult::Reinstated => {
                let is_barrier = self.config.fence.target.is_barrier();
                let nexus = self.paths.get(path.0).map(|p| p.nexus);
                for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
                    if is_barrier && Some(ghost.nexus) == nexus {
                        _ = ghost.proof.get_or_insert(FencedBy::Reinstated);
                    }
                }
                self.settle(now);
            }
            FenceResult::Failed => {}
        }
    }

    /// What a probe found.
    pub fn handle_probe(&mut self, now: Instant, path: PathId, mut report: ProbeReport) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if !entry.is_connected() {
            return;
        }
        if report.result != ProbeResult::ConnectionLost {
            entry.suspicion.answered(now);
            if self.asking {
                self.note_asked();
            }
        }
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if report.kind == ProbeKind::Rtpg && report.result == ProbeResult::Ready {
            report.result = entry.access().as_answer();
        }
        let is_ready = report.result == ProbeResult::Ready;
        if is_ready && entry.checker.asks_again(now, report.kind) {
            self.check_paths(now);
        } else if entry.checker.heeds(report.kind) {
            let longest = entry.access().longest_transition();
            let is_awaited = entry.checker.is_asking();
            if is_awaited {
                entry.marginal.answered(now);
            }
            entry
                .checker
                .judge(now, report.result, &self.config, longest);
            if let Some(pause) = entry.marginal.pause() {
                entry.checker.hurry(now, pause);
            }
            let allows = entry.access().allows();
            match report.result {
                ProbeResult::Ghost if allows != Allows::Nothing => self.doubt_access(now, path),
                ProbeResult::Transitioning if allows != Allows::Wait => {
                    self.doubt_access(now, path);
                }
                // Some states let this one question through.
                ProbeResult::Ready if allows != Allows::Everything => {
                    entry.with_access(|access| access.recheck(now));
                    self.check_access(now);
                }
                ProbeResult::Ready => {
                    self.weigh_check(now, path);
                    if is_awaited {
                        self.rank_check(now, path);
                    }
                }
                _ => {}
            }
        }
        self.restless = true;
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(&(at, io)) = self.delayed.get(index) {
            if at > now {
                index += 1;
                continue;
            }
            self.delayed.swap_remove(index);
            if let Some(entry) = self.ios.get_mut(io.0) {
                entry.state = IoState::Pending;
                self.pending.push_back(io);
            }
        }
        if self.no_path.step(now) {
            self.events.push(Event::QueueingExpired);
        }
        if self.fail_back_at.is_some_and(|at| at <= now) {
            self.switch_to_best();
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.weigh_paths(now);
        }
        self.check_paths(now);
        self.check_access(now);
        self.settle(now);
    }

    pub(super) fn check_paths(&mut self, now: Instant) {
        let heard = self.last_heard();
        let mut suspected = None;
        let mut looks = self.asking;
        let is_ranked = matches!(self.config.prioritizer, Prioritizer::PathLatency(_));
        for (key, path) in self.paths.iter_mut() {
            if !path.is_connected() {
                continue;
            }
            let id = PathId(key);
            let mut heard = heard.iter().flatten();
            let others_heard = heard.find(|(other, _)| *other != id).map(|(_, at)| *at);
            let before = path.checker.state();
            let was_waiting = path.is_waiting();
            // Its probation, and its rank, want to know how long an answer takes.
            let is_measured = is_ranked || path.marginal.demotion().is_some();
            let last_heard = (!is_measured).then(|| path.suspicion.heard());
            let tells_groups = path.access().can_be_checked();
            let config = &self.config;
            if let Some(kind) = path.checker.step(now, config, last_heard, tells_groups) {
                if !was_waiting {
                    path.suspicion.started(now);
                }
                if kind == ProbeKind::Rtpg {
                    path.with_access(|access| access.ask(now, config.checker_timeout));
                }
                path.marginal.asked(now);
                self.actions.push_back(Action::Probe { path: id, kind });
            }
            self.restless |= path.checker.state() != before;
            let (p99, waiting) = (path.latency.p99(), path.is_waiting());
            let step = path
                .suspicion
                .step(now, &self.config.suspicion, p99, waiting, others_heard);
            match step {
                Step::Nothing => {}
                Step::Probe => {
                    looks = true;
                    self.actions.push_back(Action::Probe {
                        path: id,
                        kind: ProbeKind::Nop,
                    });
                    path.suspicion
                        .deliveries_mut()
                        .ask_of(id, &mut self.actions);
                }
                Step::Ask => self.actions.push_back(Action::AskProgress { path: id }),
                Step::Look => looks = true,
                Step::Suspect => {
                    self.restless = true;
                    suspected = Some(id);
                    path.suspicion
                        .deliveries_mut()
                        .ask_of(id, &mut self.actions);
                }
                Step::Condemn => {
                    path.set_fencing(true);
                    self.actions.push_back(Action::Fence { path: id });
                    self.restless = true;
                }
            }
        }
        if looks {
            self.ask_spares(now);
            self.look_at_asked(now);
        }
        if let Some(suspected) = suspected {
            self.ask_idle_ones(suspected);
            let path = self.paths.get(suspected.0);
            if path.is_some_and(|path| path.access().is_asking()) {
                self.ask_others(now, suspected);
            }
        }
    }

    /// The two usable paths that were heard of last, the latest first.
    pub(super) fn last_heard(&self) -> [Option<(PathId, Instant)>; 2] {
        let mut last = [None; 2];
        for (key, path) in self.paths.iter().filter(|(_, path)| path.is_usable()) {
            let at = path.suspicion.heard();
            let is_later = |than: Option<(PathId, Instant)>| than.is_none_or(|(_, than)| at > than);
            if is_later(last[0]) {
                last = [Some((PathId(key), at)), last[0]];
            } else if is_later(last[1]) {
                last[1] = Some((PathId(key), at));
            }
        }
        last
    }

    /// Draws the consequences of whatever the caller of this changed.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.ghosts.is_empty() {
            self.lay_ghosts(now);
        }
        if self.config.fence.preempt.is_some() {
            self.weigh_preemptions();
        }
        if self.former.is_some() {
            self.lay_former(now);
        }
        if std::mem::take(&mut self.restless) {
            self.activate(now);
            self.post_spares(now);
            let came_back = self.best_came_back();
            self.tell_standings(now);
            if self.close_unplugged() {
                self.tell_standings(now);
            }
            self.tell_spares();
            self.notice_no_path(now);
            self.choose_group(now, came_back);
            self.move_reads();
            self.close_removed();
        }
        if std::mem::take(&mut self.released) && !self.held.is_empty() {
            self.release_held();
        }
        self.pump(now);
        // What was given up there lets go of what waited for it.
        while std::mem::take(&mut self.released) && !self.held.is_empty() {
            self.release_held();
            self.pump(now);
        }
        if !self.ladders.is_empty() {
            // After the standings were looked at: a rung needs a path that is usable.
            self.climb(now);
        }
        self.judge_waiting();
        if let Some(recorder) = &mut self.events.trace {
            recorder.stamp(now);
        }
    }

    /// Tells what changed since it was last told.
    fn tell_standings(&mut self, now: Instant) {
        let mut has_fault = false;
        for (key, path) in self.paths.iter_mut() {
            let (was, is) = (path.told, path.standing());
            if was == is {
                continue;
            }
            path.told = is;
            has_fault |= weigh::note(now, path, was, is);
            let id = PathId(key);
            if was == Standing::Usable {
                // Nothing has to leave a spare that stands by.
                let is_idle = path.in_flight == 0 && path.rests();
                path.failing_over = std::mem::take(&mut path.used) && !is_idle;
                self.failing_over |= path.failing_over;
            }
            let event = match (was, is) {
                (_, Standing::Usable) => {
                    path.failing_over = false;
                    path.is_fresh = false;
                    path.throughput.restart(now);
                    path.service.restart();
                    match was {
                        Standing::Out(_) => Event::PathUp { path: id },
                        _ => Event::Cleared { path: id },
                    }
                }
                (_, Standing::Doubtful(cause)) => {
                    if cause == SuspectCause::Silence {
                        path.counters.suspicions += 1;
                    }
                    Event::Suspect { path: id, cause }
                }
                // Who removes it knows.
                (Standing::Out(_), Standing::Out(DownReason::Removed)) => continue,
                (Standing::Out(_), Standing::Out(reason)) => Event::StillDown { path: id, reason },
                (_, Standing::Out(reason)) => {
                    path.counters.downs += 1;
                    Event::PathDown { path: id, reason }
                }
            };
            self.events.push(event);
        }
        if has_fault && self.config.marginal.is_some() {
            self.look_soon(now);
        }
    }

    fn notice_no_path(&mut self, now: Instant) {
        // One whose key is still to be put in order is there: I/O waits for it rather than fails.
        let is_there = |path: &Path| {
            let is_out = matches!(path.standing(), Standing::Out(_));
            !is_out || path.is_held()
        };
        let any = self.paths.iter().any(|(_, path)| is_there(path));
        // What may be there in a moment keeps a device from being without a path, but makes none of it.
        let mut paths = self.paths.iter();
        let hopes = self.activation.is_promising() || paths.any(|(_, path)| path.is_in_doubt());
        let hopes = hopes && !self.no_path.is_disabled();
        match (any, self.no_path.is_down()) {
            (false, false) if hopes => {}
            (true, true) => {
                self.no_path.restored();
                if std::mem::take(&mut self.told_down) {
                    self.events.push(Event::Restored);
                }
            }
            (false, false) if !self.closing => {
                self.no_path.lost(now);
                self.told_down = true;
                self.events.push(Event::AllPathsDown);
                if let Some(limit) = self.no_path.limit() {
                    self.events.push(Event::Queueing { limit });
                }
            }
            _ => {}
        }
    }

    /// The best group works, and the events so far say that none of its paths does.
    fn best_came_back(&self) -> bool {
        let best = self.groups.best(&self.paths);
        let group = best.and_then(|best| self.groups.list().get(best));
        let mut paths = group.iter().flat_map(|group| &group.on_duty);
        let told = |id: &PathId| self.paths.get(id.0).map(|path| path.told);
        group.is_some() && !paths.any(|id| told(id) == Some(Standing::Usable))
    }

    fn choose_group(&mut self, now: Instant, came_back: bool) {
        let Some(best) = self.groups.best(&self.paths) else {
            self.fail_back_at = None;
            return;
        };
        if let Some(pinned) = self.pinned_group() {
            // While its paths are in doubt, others are used, and then it is again.
            if self.groups.is_usable(pinned, &self.paths) {
                self.switch_to(pinned);
                return;
            }
        }
        let active = self.groups.active_index();
        if best == active {
            self.fail_back_at = None;
        } else if !self.groups.is_active_usable(&self.paths) || !self.group_used {
            // Before the first I/O a switch costs nothing, so the order in which the sessions
            // happened to open does not decide.
            self.switch_to_best();
        } else if best < active {
            let leaves_marginal = !self.groups.is_sound(active) && self.groups.is_sound(best);
            match self.failback() {
                _ if leaves_marginal => self.switch_to_best(),
                _ if self.config.planted.has(Bug::BestGroupForgotten) => {}
                Failback::FollowOver if came_back => self.switch_to_best(),
                Failback::Manual | Failback::FollowOver => {}
                Failback::Immediate => self.switch_to_best(),
                Failback::After(delay) => {
                    _ = self.fail_back_at.get_or_insert(now + delay);
                }
            }
        }
    }

    fn failback(&self) -> Failback {
        let default = match group::is_asymmetric(&self.paths) {
            true => Failback::Immediate,
            false => Failback::Manual,
        };
        self.config.failback.unwrap_or(default)
    }

    pub(super) fn switch_to_best(&mut self) {
        if let Some(best) = self.groups.best(&self.paths) {
            self.switch_to(best);
        }
        self.fail_back_at = None;
    }

    pub(super) fn switch_to(&mut self, index: usize) {
        self.fail_back_at = None;
        if index == self.groups.active_index() {
            return;
        }
        let first = |group: Option<&group::Group>| group.and_then(|g| g.paths.first().copied());
        let from = first(self.groups.active()).filter(|_| self.group_used);
        self.groups.switch(index);
        self.group_used = false;
        if let Some(to) = first(self.groups.active()) {
            self.counters.group_switches += 1;
            self.events.push(Event::GroupSwitched { from, to });
        }
    }

    /// Reads leave a silent path as soon as there is another one. It may be out for another reason as
    /// well (being removed, failing its checks), so its standing is not asked.
    fn move_reads(&mut self) {
        for index in 0.. {
            let Some((key, path)) = self.paths.iter().nth(index) else {
                break;
            };
            let is_silent = path.suspicion.is_suspect() || path.is_unplugged();
            if path.is_connected() && is_silent && path.in_flight > 0 {
                self.recall_reads(PathId(key), true);
            }
        }
    }

    fn close_removed(&mut self) {
        for (key, path) in self.paths.iter_mut() {
            let id = PathId(key);
            // Its next login may be the only proof that there will ever be.
            let haunted = !self.closing
                && self
                    .ghosts
                    .iter()
                    .any(|g| g.path == id && g.overdue.is_none());
            if path.removing && !path.closing && path.in_flight == 0 && !haunted {
                path.closing = true;
                self.actions.push_back(Action::Close { path: id });
            }
        }
    }

    /// The phase of the checks.
    const fn next_phase(&mut self) -> u8 {
        self.lots.next().to_le_bytes()[0]
    }
}
