//! Whether the process grows: its memory, its descriptors and its tasks, against what they were when it was warm.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::usage;

/// What the process holds. The field names are the keys of the JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// Resident set; 0 where the platform does not tell.
    pub rss_kib: u64,
    /// Open descriptors; 0 where the platform does not tell.
    pub descriptors: usize,
    /// Tasks.
    pub tasks: usize,
}

impl Holding {
    /// As of now, with so many tasks.
    #[must_use]
    pub fn now(tasks: usize) -> Self {
        Self {
            rss_kib: usage::memory_kib(),
            descriptors: usage::descriptors(),
            tasks,
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib.max(other.rss_kib),
            descriptors: self.descriptors.max(other.descriptors),
            tasks: self.tasks.max(other.tasks),
        }
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.rss_kib as f64 / 1024.0;
        write!(
            f,
            "{mib:.1} MiB, {} descriptors, {} tasks",
            self.descriptors, self.tasks
        )
    }
}

/// How far a process may grow beyond the most that it held while it warmed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Percent of its memory, and so many KiB: the memory of a heap that is used in other sizes all the time is
    /// never quite the same.
    pub rss_percent: u64,
    /// See there.
    pub rss_kib: u64,
    /// Descriptors, and as many tasks: a path that is lost may have an old one and a new one for a while.
    pub handles: usize,
}

impl Bound {
    /// Five percent and 16 MiB, and two descriptors and tasks for each path.
    #[must_use]
    pub const fn for_paths(paths: usize) -> Self {
        Self {
            rss_percent: 5,
            rss_kib: 16 << 10,
            handles: 2 * paths,
        }
    }

    const fn limit(self, warm: Holding) -> Holding {
        Holding {
            rss_kib: warm.rss_kib + warm.rss_kib * self.rss_percent / 100 + self.rss_kib,
            descriptors: warm.descriptors + self.handles,
            tasks: warm.tasks + self.handles,
        }
    }
}

/// Keeps watch over what the process holds.
#[derive(Debug)]
pub struct Vigil {
    warm_until: Instant,
    bound: Bound,
    warm: Holding,
    most: Holding,
    last: Holding,
}

impl Vigil {
    /// The process is warm after `warm_up`, a tenth of `run` unless that is less than ten seconds or more than an
    /// hour.
    #[must_use]
    pub fn new(now: Instant, run: Duration, bound: Bound) -> Self {
        let warm_up = (run / 10).clamp(Duration::from_secs(10), Duration::from_secs(3600));
        Self {
            warm_until: now + warm_up.min(run / 2),
            bound,
            warm: Holding::default(),
            most: Holding::default(),
            last: Holding::default(),
        }
    }

    /// It holds so much.
    pub fn look(&mut self, now: Instant, held: Holding) {
        self.last = held;
        if now < self.warm_until {
            self.warm = self.warm.most(held);
        } else {
            self.most = self.most.most(held);
        }
    }

    /// The most that was held while it warmed up, the most since then, and what was held last.
    #[must_use]
    pub const fn held(&self) -> (Holding, Holding, Holding) {
        (self.warm, self.most, self.last)
    }

    /// What has grown beyond its bound, if anything has.
    #[must_use]
    pub fn grown(&self) -> Option<String> {
        let (warm, most, limit) = (self.warm, self.most, self.bound.limit(self.warm));
        if warm == Holding::default() {
            return None;
        }
        let within = most.rss_kib <= limit.rss_kib
            && most.descriptors <= limit.descriptors
            && most.tasks <= limit.tasks;
        (!within).then(|| {
            format!(
                "the process has grown to {most}; warm it held {warm}, and {limit} is the limit"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn held(rss_kib: u64, descriptors: usize, tasks: usize) -> Holding {
        Holding {
            rss_kib,
            descriptors,
            tasks,
        }
    }

    fn after(later: Holding) -> Option<String> {
        let begun = clock::now();
        let mut vigil = Vigil::new(begun, Duration::from_secs(200), Bound::for_paths(2));
        vigil.look(begun, held(100_000, 10, 5));
        vigil.look(begun + Duration::from_secs(19), held(90_000, 11, 4));
        vigil.look(begun + Duration::from_secs(20), later);
        vigil.look(begun + Duration::from_secs(40), held(1, 1, 1));
        vigil.grown()
    }

    #[test]
    fn what_grows_beyond_what_it_was_when_warm_is_told() {
        assert_eq!(after(held(121_384, 15, 9)), None);
        for later in [
            held(121_385, 15, 9),
            held(121_384, 16, 9),
            held(121_384, 15, 10),
        ] {
            let told = after(later).unwrap();
            assert!(told.contains("11 descriptors, 5 tasks"), "{told}");
        }
    }

    #[test]
    fn the_process_is_warm_after_a_tenth_of_the_run_within_limits() {
        let now = clock::now();
        for (run, warm) in [(8, 4), (60, 10), (1800, 180), (10 * 86400, 3600)] {
            let vigil = Vigil::new(now, Duration::from_secs(run), Bound::for_paths(1));
            assert_eq!(vigil.warm_until - now, Duration::from_secs(warm), "{run}");
        }
    }
}
