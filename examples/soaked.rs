//! What `soak` says: a line for each interval, and the verdict.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use mpio::core::{PathId, PathSnapshot, Snapshot};
use serde::Serialize;

use crate::{
    failure::Failure,
    report::round,
    rounds::ms,
    stamped::Totals,
    vigil::{Holding, Vigil},
    waits::{Class, Percentiles, Waits},
};

/// Every block was written once, and the load begins.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Begun {
    /// `begun`.
    pub event: &'static str,
    /// What the load is drawn from.
    pub seed: u64,
}

impl Begun {
    /// With this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let event = "begun";
        Self { event, seed }
    }

    /// As a line of text, or of JSON.
    #[must_use]
    pub fn text(self, as_json: bool) -> String {
        if as_json {
            return json(&self);
        }
        format!("the load has begun (seed {})", self.seed)
    }
}

/// What a path did. The field names are the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct PathRate {
    /// Its name.
    pub path: String,
    /// `active` or `failed`.
    pub state: &'static str,
    /// I/Os per second.
    pub iops: f64,
    /// 2^20 bytes per second.
    pub mib_s: f64,
}

/// A line of progress; the field names are the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Interval {
    /// `progress`.
    pub event: &'static str,
    /// Seconds since the load began.
    pub seconds: f64,
    /// I/Os per second of the callers: reads, writes, flushes.
    pub iops: [f64; 3],
    /// The longest I/O of the interval that did not overlap another.
    pub longest_ms: f64,
    /// Losses of a path after which its I/O went elsewhere, since the beginning.
    pub failovers: u64,
    /// I/Os that failed, since the beginning.
    pub errors: u64,
    /// Blocks that were wrong, since the beginning.
    pub wrong: u64,
    /// What the process holds.
    pub held: Holding,
    /// The paths.
    pub paths: Vec<PathRate>,
}

impl Interval {
    /// As a line of text, or of JSON.
    #[must_use]
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return json(self);
        }
        let [reads, writes, flushes] = self.iops;
        let mut line = format!(
            "{:8.0} s: {reads:.0} reads/s, {writes:.0} writes/s, {flushes:.0} flushes/s, longest {:.0} ms, \
             {} failovers, {} errors, {} wrong; {}",
            self.seconds, self.longest_ms, self.failovers, self.errors, self.wrong, self.held
        );
        for path in &self.paths {
            let PathRate {
                path,
                state,
                iops,
                mib_s,
            } = path;
            // Writing to a string cannot fail.
            let _written = write!(line, "; {path} {state} {iops:.0}/s {mib_s:.0} MiB/s");
        }
        line
    }
}

/// Turns counts into rates.
#[derive(Debug)]
pub struct Intervals {
    begun: Instant,
    at: Instant,
    ios: [u64; 3],
    paths: Vec<(PathId, u64, u64)>,
}

fn moved(path: &PathSnapshot) -> (PathId, u64, u64) {
    let counters = &path.counters;
    let bytes = counters.bytes_read + counters.bytes_written;
    (path.id, counters.ios, bytes)
}

impl Intervals {
    /// The first one begins now.
    #[must_use]
    pub fn new(now: Instant, snapshot: &Snapshot) -> Self {
        Self {
            begun: now,
            at: now,
            ios: [0; 3],
            paths: snapshot.paths().map(moved).collect(),
        }
    }

    /// The interval is over, and the next one begins.
    pub fn next(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        totals: &Totals,
        longest: Duration,
        held: Holding,
    ) -> Interval {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let rate = |count: u64| round(count as f64 / seconds.max(1e-9), 1);
        let path = |path: &PathSnapshot| {
            let before = self.paths.iter().find(|(id, ..)| *id == path.id);
            let (_, ios, bytes) = before.copied().unwrap_or((path.id, 0, 0));
            let (_, ios_now, bytes_now) = moved(path);
            PathRate {
                path: path.name.to_string(),
                state: path.dm_state(),
                iops: rate(ios_now.saturating_sub(ios)),
                mib_s: round(
                    rate(bytes_now.saturating_sub(bytes)) / f64::from(1 << 20),
                    1,
                ),
            }
        };
        let ios = [totals.reads, totals.writes, totals.flushes];
        let interval = Interval {
            event: "progress",
            seconds: round(now.saturating_duration_since(self.begun).as_secs_f64(), 1),
            iops: [0, 1, 2].map(|kind| rate(ios[kind].saturating_sub(self.ios[kind]))),
            longest_ms: ms(longest),
            failovers: snapshot.counters.failovers,
            errors: totals.errors,
            wrong: totals.wrong,
            held,
            paths: snapshot.paths().map(path).collect(),
        };
        (self.at, self.ios) = (now, ios);
        self.paths = snapshot.paths().map(moved).collect();
        interval
    }
}

/// What it has come to; the field names are the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// `verdict`.
    pub event: &'static str,
    /// Why not, if it failed.
    pub failed: Option<String>,
    /// What the load was drawn from.
    pub seed: u64,
    /// How long the load lasted.
    pub seconds: f64,
    /// What the load did; with what was read at the end.
    #[serde(flatten)]
    pub totals: Totals,
    /// Losses of a path after which its I/O went elsewhere.
    pub failovers: u64,
    /// Losses of a path.
    pub path_losses: u64,
    /// How often no path was left.
    pub all_paths_down: u64,
    /// The most that the process held while it warmed up.
    pub warm: Holding,
    /// The most that it held after that.
    pub most: Holding,
    /// What it held at the end.
    pub last: Holding,
    /// How many I/Os, and losses of a path, took how long.
    pub classes: Vec<Class>,
    /// Percentiles.
    pub percentiles: Vec<Percentiles>,
    #[serde(skip)]
    waits: String,
    #[serde(skip)]
    failure: Option<Failure>,
}

impl Verdict {
    /// A good one. `losses` of a path, and of the last one.
    #[must_use]
    pub fn new(
        seed: u64,
        length: Duration,
        totals: Totals,
        snapshot: &Snapshot,
        losses: (u64, u64),
        waits: &Waits,
        vigil: &Vigil,
    ) -> Self {
        let (warm, most, last) = vigil.held();
        Self {
            event: "verdict",
            failed: None,
            seed,
            seconds: round(length.as_secs_f64(), 1),
            totals,
            failovers: snapshot.counters.failovers,
            path_losses: losses.0,
            all_paths_down: losses.1,
            warm,
            most,
            last,
            classes: waits.classes(),
            percentiles: waits.percentiles(),
            waits: waits.to_string(),
            failure: None,
        }
    }

    /// Unless it has failed already: it failed, if something did.
    #[must_use]
    pub fn or(mut self, failure: Option<Failure>) -> Self {
        if self.failure.is_none() {
            self.failed = failure.as_ref().map(ToString::to_string);
            self.failure = failure;
        }
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn failure(self) -> Option<Failure> {
        self.failure
    }

    /// As text, or as a line of JSON.
    #[must_use]
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return json(self);
        }
        let Totals {
            reads,
            writes,
            flushes,
            errors,
            wrong,
            ..
        } = &self.totals;
        format!(
            "\n{}\n{reads} reads, {writes} writes and {flushes} flushes in {:.0} s (seed {}), {} failovers, \
             {} losses of a path, {} of the last one\nheld when warm: {}\n     at most then: {}\n       at the end: {}\n\
             {errors} errors, {wrong} blocks wrong: {}",
            self.waits,
            self.seconds,
            self.seed,
            self.failovers,
            self.path_losses,
            self.all_paths_down,
            self.warm,
            self.most,
            self.last,
            if self.failure.is_some() {
                "FAILED"
            } else {
                "passed"
            },
        )
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
