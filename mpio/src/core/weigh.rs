//! Which paths are marginal: what the faults and the times of each come to beside those of the others.

use std::time::{Duration, Instant};

use iscsi_proto::planted::Bug;

use super::{
    DownReason, Event, MarginalCause, MarginalConfig, Multipath, PathId, SuspectCause,
    arena::Key,
    earlier, group,
    lately::{Compared, Lately},
    marginal::FaultKind,
    marginal_config::MOST_FAULTS,
    path::{Path, Standing},
};

/// How often they are looked at, while there is something to look at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a change of a path's standing says of it. True if that is a fault.
pub(super) fn note(now: Instant, path: &mut Path, was: Standing, is: Standing) -> bool {
    if is == Standing::Usable {
        path.lately.restart(now);
        if let Some(rank) = &mut path.rank {
            rank.restart();
        }
        path.marginal.is_usable_from(now);
        return false;
    }
    let fault = fault(is);
    if was == Standing::Usable {
        path.marginal.is_lost(now, fault);
        return fault.is_some();
    }
    // I/Os fail before the loss of their connection is known.
    if was == Standing::Doubtful(SuspectCause::PathError) && fault == Some(FaultKind::Loss) {
        path.marginal.is_worse();
    }
    false
}

/// What a path has lost its standing by, if that says something of the path. What an operator does, or the target asks
/// for, does not, nor what port group it belongs to.
const fn fault(standing: Standing) -> Option<FaultKind> {
    match standing {
        Standing::Out(
            DownReason::ConnectionLost
            | DownReason::LoginFailed
            | DownReason::Fenced
            | DownReason::NotReady
            | DownReason::Disconnected
            | DownReason::CheckerTimeout,
        )
        | Standing::Doubtful(SuspectCause::Silence | SuspectCause::LinkDown) => {
            Some(FaultKind::Loss)
        }
        Standing::Doubtful(SuspectCause::PathError) => Some(FaultKind::Error),
        _ => None,
    }
}

impl Multipath {
    /// Has the paths looked at in a moment.
    pub(super) fn look_soon(&mut self, now: Instant) {
        if self.look_at.is_none() {
            self.look_at = Some(now + INTERVAL);
            self.sooner = earlier(self.sooner, self.look_at);
        }
    }

    /// Looks at all paths, and plans the next look if there will be something to see.
    pub(super) fn weigh_paths(&mut self, now: Instant) {
        self.look_at = None;
        let Some(config) = self.config.marginal else {
            return;
        };
        let is_open = self.weigh_faults(now, &config);
        let is_busy = self.weigh_times(now, &config);
        if is_open || is_busy {
            self.look_soon(now);
        }
    }

    /// True if it is not known yet of some fault whether it hit all paths.
    fn weigh_faults(&mut self, now: Instant, config: &MarginalConfig) -> bool {
        let mut is_open = false;
        for index in 0.. {
            let Some((key, path)) = self.paths.iter_mut().nth(index) else {
                break;
            };
            path.marginal.forget(now, config);
            if path.marginal.undecided().next().is_none() {
                continue;
            }
            self.decide_faults(key);
            let Some(path) = self.paths.get(key) else {
                continue;
            };
            is_open |= path.marginal.undecided().next().is_some();
            if let Some(cause) = path.marginal.verdict(now, config) {
                self.demote(now, PathId(key), cause);
            }
        }
        is_open
    }

    /// Counts the faults of a path that another one was not hit by. Idle ones are asked, once.
    fn decide_faults(&mut self, key: Key) {
        for at in 0..MOST_FAULTS {
            let path = self.paths.get(key);
            let fault = path.and_then(|path| path.marginal.undecided().find(|&(i, _)| i == at));
            let Some((_, fell)) = fault else { continue };
            let is_its_own = self.is_vouched(key, fell);
            let Some(path) = self.paths.get_mut(key) else {
                return;
            };
            if is_its_own {
                path.marginal.count(at);
            } else if path.marginal.may_ask(at) {
                self.ask_idle_ones(PathId(key));
            }
        }
    }

    /// Whether another path was not hit by what hit this one.
    fn is_vouched(&self, key: Key, fell: Instant) -> bool {
        let mut others = self.paths.iter().filter(|&(other, _)| other != key);
        others.any(|(_, path)| {
            path.is_usable() && path.marginal.vouches(fell, path.suspicion.heard())
        })
    }

    /// Compares the paths of each group. True if there is I/O.
    fn weigh_times(&mut self, now: Instant, config: &MarginalConfig) -> bool {
        let Some(limit) = config.latency.filter(|_| self.is_comparing) else {
            return false;
        };
        let mut is_busy = false;
        for (_, path) in self.paths.iter_mut() {
            is_busy |= path.lately.has_moved() || path.in_flight > 0;
            path.has_stretch = path.lately.close(now);
        }
        for index in 0.. {
            let Some((key, path)) = self.paths.iter().nth(index) else {
                break;
            };
            if !path.has_stretch || !path.is_usable() || !path.marginal.is_sound() {
                continue;
            }
            let compared = self.compare(now, PathId(key));
            let Some(path) = self.paths.get_mut(key) else {
                continue;
            };
            let is_slow = path.lately.judge(now, &limit, compared);
            if let Some(Compared { mean, best }) = compared.filter(|_| is_slow) {
                self.demote(now, PathId(key), MarginalCause::Latency { mean, best });
            }
        }
        is_busy
    }

    fn compare(&self, now: Instant, path: PathId) -> Option<Compared> {
        let group = self.groups.list().get(self.groups.of(path)?)?;
        let others = group.paths.iter().filter(|&&other| other != path);
        let others = others.filter_map(|other| self.paths.get(other.0));
        let others = others.filter(|other| other.is_usable());
        let own: &Lately = &self.paths.get(path.0)?.lately;
        own.compare(now, others.map(|other| &other.lately))
    }

    fn demote(&mut self, now: Instant, path: PathId, cause: MarginalCause) {
        let Some(config) = self.config.marginal else {
            return;
        };
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        entry.marginal.demote(now, &config, cause);
        entry.counters.demotions += 1;
        if let Some(pause) = entry.marginal.pause() {
            entry.checker.hurry(now, pause);
        }
        self.events.push(Event::PathMarginal { path, cause });
        self.prioritize();
    }

    /// A path has answered a check well; if it is marginal, that may have been the last one that it takes.
    pub(super) fn weigh_check(&mut self, now: Instant, path: PathId) {
        let Some(demotion) = self
            .paths
            .get(path.0)
            .and_then(|path| path.marginal.demotion())
        else {
            return;
        };
        if self.config.planted.has(Bug::MarginalNeverPromoted) {
            return;
        }
        let is_quick = match demotion.cause {
            MarginalCause::Latency { .. } => self.is_quick(path),
            _ => true,
        };
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        if entry.marginal.is_proven(now, is_quick) {
            let after = entry.marginal.promote(now);
            // Its times from before say nothing of what it is now.
            entry.lately.restart(now);
            self.tell_sound(path, after);
        }
    }

    /// Whether its last check took no longer than is usual in its group.
    fn is_quick(&self, path: PathId) -> bool {
        let limit = self.config.marginal.and_then(|config| config.latency);
        let took = self
            .paths
            .get(path.0)
            .and_then(|path| path.marginal.check_took());
        let (Some(limit), Some(took)) = (limit, took) else {
            return true;
        };
        let policy = self.config.grouping();
        let mut others = self.paths.iter().filter(|&(key, other)| {
            let is_other = PathId(key) != path && other.marginal.is_sound() && other.is_usable();
            is_other && group::belong_together(policy, &self.paths, path, PathId(key))
        });
        let Some((_, first)) = others.next() else {
            // There is nothing that it would be slow beside.
            return true;
        };
        let others = std::iter::once(first).chain(others.map(|(_, other)| other));
        let best = others.filter_map(|other| other.marginal.check_took()).min();
        let most = best.unwrap_or_default().saturating_mul(limit.factor);
        took <= limit.floor.max(most)
    }

    /// An operator answers for a path.
    pub(super) fn forgive(&mut self, now: Instant, path: PathId) {
        if let Some(entry) = self.paths.get_mut(path.0) {
            let after = entry.marginal.forgive(now);
            entry.lately.restart(now);
            self.tell_sound(path, after);
        }
    }

    /// Nothing makes a path marginal any more but an operator.
    pub(super) fn forgive_all(&mut self, now: Instant) {
        self.look_at = None;
        for index in 0.. {
            let Some((key, path)) = self.paths.iter().nth(index) else {
                break;
            };
            if !path.marginal.is_marked() {
                self.forgive(now, PathId(key));
            }
        }
    }

    /// Uses a path as the last resort until [`reinstate_path`](Self::reinstate_path) (`set marginal`), however well it
    /// works and whatever the settings are. So it is with its spare.
    pub fn mark_marginal(&mut self, now: Instant, path: PathId) {
        // Its spare goes the same way.
        for path in self.spares_of(path).into_iter().chain([path]) {
            let Some(entry) = self.paths.get_mut(path.0) else {
                continue;
            };
            if entry.marginal.is_marked() {
                continue;
            }
            entry.counters.demotions += u64::from(entry.marginal.is_sound());
            entry.marginal.mark(now);
            let cause = MarginalCause::Operator;
            self.events.push(Event::PathMarginal { path, cause });
        }
        self.prioritize();
        self.settle(now);
    }

    fn tell_sound(&mut self, path: PathId, after: Option<Duration>) {
        if let Some(after) = after {
            self.events.push(Event::PathSound { path, after });
            self.prioritize();
        }
    }
}
