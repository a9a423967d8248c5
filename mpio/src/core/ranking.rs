//! Which class of latency each path has, for [`Prioritizer::PathLatency`]: by the round trips of its checks.

use std::time::{Duration, Instant};

use super::{Event, LatencyClasses, Multipath, PathId, Prioritizer, latency, path::Path};

/// Between two checks of a path until there are enough of them.
const FILLING: Duration = Duration::from_millis(100);
/// And while it may turn out that it has another class.
const IN_DOUBT: Duration = Duration::from_secs(1);

impl Multipath {
    /// A path has answered a check well.
    pub(super) fn rank_check(&mut self, now: Instant, path: PathId) {
        let Prioritizer::PathLatency(classes) = self.config.prioritizer else {
            return;
        };
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        let Some(took) = entry.marginal.check_took() else {
            return;
        };
        let most = usize::try_from(classes.io_num).unwrap_or(usize::MAX);
        entry.rank.get_or_insert_default().measured(took, most);
        let quickest = self.quickest();
        self.rank_paths(now, classes, quickest);
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        let Some(rank) = &entry.rank else {
            return;
        };
        let last = classes.class(quickest.unwrap_or_default(), latency::micros(took));
        if rank.median().is_none() {
            entry.checker.hurry(now, FILLING);
        } else if rank.is_changing() || rank.is_in_doubt(last) {
            entry.checker.hurry(now, IN_DOUBT);
        }
    }

    /// That of the quickest path, in microseconds.
    fn quickest(&self) -> Option<u64> {
        let usable = self.paths.iter().filter(|(_, path)| path.is_usable());
        let ranks = usable.filter_map(|(_, path)| path.rank.as_ref());
        ranks.filter_map(|rank| rank.median()).min()
    }

    fn rank_paths(&mut self, now: Instant, classes: LatencyClasses, quickest: Option<u64>) {
        let Some(quickest) = quickest else {
            return;
        };
        let hold = classes.hold;
        let since = self.ranked.map(|at| now.saturating_duration_since(at));
        let may_change = since.is_none_or(|since| since >= hold);
        let mut has_changed = false;
        for (key, path) in self.paths.iter_mut() {
            let is_usable = path.is_usable();
            let Some(rank) = path.rank.as_mut().filter(|_| is_usable) else {
                continue;
            };
            let Some(median) = rank.median() else {
                continue;
            };
            let class = classes.class(quickest, median);
            if !rank.take(now, class, hold, may_change) {
                continue;
            }
            has_changed = true;
            self.events.push(Event::PathRanked {
                path: PathId(key),
                round_trip: Duration::from_micros(median),
            });
        }
        if has_changed {
            self.ranked = Some(now);
            self.prioritize();
        }
    }

    /// What one that is not measured yet is taken for.
    pub(super) fn best_class(&self) -> Option<u32> {
        let paths = self.paths.iter().filter(|(_, path)| !path.removing);
        let ranks = paths.filter_map(|(_, path)| path.rank.as_ref());
        ranks.filter_map(|rank| rank.class()).min()
    }

    /// A path has come: it is measured soon.
    pub(super) fn rank_soon(&mut self, now: Instant, path: PathId) {
        if !matches!(self.config.prioritizer, Prioritizer::PathLatency(_)) {
            return;
        }
        if let Some(entry) = self.paths.get_mut(path.0) {
            entry.checker.hurry(now, FILLING);
        }
    }

    /// What paths are ranked by is another thing now.
    pub(super) fn rank_anew(&mut self, now: Instant) {
        self.ranked = None;
        let mut paths = Vec::new();
        for (key, path) in self.paths.iter_mut() {
            path.rank = None;
            paths.extend(path.is_connected().then_some(PathId(key)));
        }
        for path in paths {
            self.rank_soon(now, path);
        }
    }
}

impl Path {
    /// The round trip that it is ranked by, if it is.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.rank.as_ref().and_then(|rank| rank.round_trip())
    }
}
