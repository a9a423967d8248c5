//! What a run has cost and brought.

use std::time::{Duration, Instant};

use super::Backend;
use crate::{clock, failure::Failure, histogram::Histogram, usage::Usage};

/// Counters at a moment, or the difference of two.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// What the process has used.
    pub usage: Usage,
    /// Payload bytes that were copied in user space.
    pub copied: u64,
    /// Payload bytes that were read or written.
    pub moved: u64,
    /// Calls of the sockets' reads and writes.
    pub socket_calls: u64,
    /// SCSI commands answered, per path.
    pub path_ops: Vec<u64>,
}

impl Sample {
    /// As of now.
    #[must_use]
    pub fn now(backend: &Backend) -> Self {
        let stats = || backend.sessions().iter().map(|session| session.stats());
        Self {
            at: clock::now(),
            usage: Usage::now(),
            copied: stats().map(|stats| stats.copied_bytes()).sum(),
            moved: stats()
                .map(|stats| stats.bytes_read + stats.bytes_written)
                .sum(),
            socket_calls: stats()
                .map(|stats| stats.read_calls + stats.write_calls)
                .sum(),
            path_ops: stats().map(|stats| stats.ios).collect(),
        }
    }

    /// What was added since `start`.
    #[must_use]
    pub fn since(mut self, start: &Self) -> Self {
        self.usage = self.usage.since(start.usage);
        self.copied = self.copied.saturating_sub(start.copied);
        self.moved = self.moved.saturating_sub(start.moved);
        self.socket_calls = self.socket_calls.saturating_sub(start.socket_calls);
        for (ops, before) in self.path_ops.iter_mut().zip(&start.path_ops) {
            *ops = ops.saturating_sub(*before);
        }
        self
    }
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The measured time.
    pub elapsed: Duration,
    /// I/Os that succeeded in it.
    pub ops: u64,
    /// I/Os that failed, in the whole run.
    pub errors: u64,
    /// From submission to completion.
    pub latencies: Histogram,
    /// What was used in the measured time.
    pub used: Option<Sample>,
    /// Why the first of them failed.
    pub first_error: Option<Failure>,
}
