//! A device as one looks at it while it works: what it did in each second, path by path.

mod draw;
mod load;
mod terminal;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use mpio::{
    DeviceEvent, Topology,
    core::{Histogram, PathId, Snapshot},
};

pub use draw::draw;
pub use load::Load;
pub use terminal::Screen;

/// Samples that are kept: as many as a wide terminal has columns.
const KEPT: usize = 240;
/// Event lines that are kept.
const LINES: usize = 200;

/// What a path, or the device, did between two looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes per second, both ways.
    pub throughput: u64,
    /// I/Os per second.
    pub ios: u64,
    /// Half of them took less than this; zero if there was none.
    pub median: Duration,
    /// 99 % of them did.
    pub p99: Duration,
}

/// The samples of a path.
#[derive(Clone, Debug)]
pub struct History {
    /// The path.
    pub id: PathId,
    /// Its name.
    pub name: Arc<str>,
    /// What it did, the latest last.
    pub samples: VecDeque<Sample>,
}

/// What is shown.
#[derive(Debug, Default)]
pub struct Watch {
    now: Option<(Instant, Topology)>,
    total: VecDeque<Sample>,
    paths: Vec<History>,
    events: VecDeque<(Duration, String)>,
    note: String,
}

impl Watch {
    /// Nothing seen yet. `note` is shown beside the device's name, for instance that there is a load of our own.
    #[must_use]
    pub fn new(note: String) -> Self {
        Self {
            note,
            ..Self::default()
        }
    }

    /// Takes note of what the device looks like now.
    pub fn observe(&mut self, at: Instant, topology: Topology) {
        let before = self.now.replace((at, topology));
        let Some((_, now)) = &self.now else {
            return;
        };
        let now = &now.snapshot;
        self.paths.retain(|path| now.path(path.id).is_some());
        for path in now.paths() {
            if !self.paths.iter().any(|known| known.id == path.id) {
                self.paths.push(History {
                    id: path.id,
                    name: Arc::clone(&path.name),
                    samples: VecDeque::new(),
                });
            }
        }
        let Some((then, before)) = before else {
            return;
        };
        let before = before.snapshot;
        let time = at.saturating_duration_since(then);
        keep(&mut self.total, total(&before, now, time));
        for known in &mut self.paths {
            if let Some(sample) = of_path(&before, now, known.id, time) {
                keep(&mut known.samples, sample);
            }
        }
    }

    /// Takes note of an event, as a line.
    pub fn tell(&mut self, event: &DeviceEvent, line: String) {
        if self.events.len() == LINES {
            self.events.pop_front();
        }
        self.events.push_back((event.uptime, line));
    }

    /// What the device looked like last.
    #[must_use]
    pub fn topology(&self) -> Option<&Topology> {
        self.now.as_ref().map(|(_, topology)| topology)
    }

    /// What the device did between the last two looks, if there were two.
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        self.total.back().copied()
    }

    /// The paths and what they did, in the order in which they were seen first.
    #[must_use]
    pub fn paths(&self) -> &[History] {
        &self.paths
    }
}

fn keep(samples: &mut VecDeque<Sample>, sample: Sample) {
    if samples.len() == KEPT {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn per_second(count: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    let rate = u128::from(count) * 1_000_000_000 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn sample(bytes: u64, latency: &Histogram, time: Duration) -> Sample {
    let percentile = |percent| latency.percentile(percent).unwrap_or_default();
    Sample {
        throughput: per_second(bytes, time),
        ios: per_second(latency.count(), time),
        median: percentile(50.0),
        p99: percentile(99.0),
    }
}

fn of_path(before: &Snapshot, now: &Snapshot, id: PathId, time: Duration) -> Option<Sample> {
    let (before, now) = (before.path(id)?, now.path(id)?);
    let bytes = |of: &mpio::core::PathCounters| of.bytes_read.wrapping_add(of.bytes_written);
    let done = bytes(&now.counters).wrapping_sub(bytes(&before.counters));
    let latency = now.latency.since(&before.latency).all();
    Some(sample(done, &latency, time))
}

/// Latencies are the callers'; the bytes are those of the paths that are there in both.
fn total(before: &Snapshot, now: &Snapshot, time: Duration) -> Sample {
    let paths = now
        .paths()
        .filter_map(|path| of_path(before, now, path.id, time));
    let throughput = paths.map(|path| path.throughput).sum();
    let latency = now.latency.since(&before.latency).all();
    Sample {
        throughput,
        ..sample(0, &latency, time)
    }
}
