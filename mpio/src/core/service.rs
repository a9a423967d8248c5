//! How long I/Os take on a path by themselves, for the selectors that go by latency.

use std::time::{Duration, Instant};

/// A new sample counts one part in so many.
const SHARE: u64 = 16;

#[derive(Debug)]
pub(crate) struct Service {
    /// Smoothed, in nanoseconds; 0 before the first I/O.
    nanos: u64,
    /// When the last one ended.
    last_end: Instant,
}

impl Service {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            nanos: 0,
            last_end: now,
        }
    }

    /// An I/O that was dispatched at `started` has ended. What it spent waiting behind others there is not its own:
    /// its time begins when the one before it ended.
    pub(crate) fn ended(&mut self, now: Instant, started: Instant) {
        let took = now.saturating_duration_since(started.max(self.last_end));
        self.last_end = now;
        let took = u64::try_from(took.as_nanos())
            .unwrap_or(u64::MAX >> 8)
            .max(1);
        self.nanos = match self.nanos {
            0 => took,
            nanos => nanos - nanos / SHARE + took / SHARE,
        };
    }

    /// What was measured says nothing any more.
    pub(crate) const fn restart(&mut self) {
        self.nanos = 0;
    }

    pub(crate) const fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    pub(crate) const fn nanos(&self) -> u64 {
        self.nanos
    }
}
