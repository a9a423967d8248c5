//! What a load does next, and what it has come to.

use std::{io::Write, sync::Arc, time::Instant};

use super::{Backend, Limit, Load, Measured, Op, Sample};
use crate::{clock, failure::Failure, histogram::Histogram};

/// What a load does next, and what it has come to.
#[derive(Debug)]
pub(super) struct Tally {
    backend: Arc<Backend>,
    load: Load,
    started: Instant,
    /// The end of the warm-up; `None` once it is over.
    measure_from: Option<Instant>,
    end: Option<Instant>,
    random: u64,
    sequence: u64,
    issued: u64,
    ops: u64,
    errors: u64,
    first_error: Option<Failure>,
    latencies: Histogram,
    /// When measuring began.
    from: Sample,
    measured: Option<Measured>,
}

impl Tally {
    pub(super) fn new(backend: Arc<Backend>, load: Load) -> Self {
        let started = clock::now();
        let (measure_from, end) = match load.limit {
            Limit::Ops(_) => (None, None),
            Limit::Time { warmup, measured } => {
                let from = (!warmup.is_zero()).then(|| started + warmup);
                (from, Some(started + warmup + measured))
            }
        };
        let random = load.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            from: Sample::now(&backend),
            backend,
            load,
            started,
            measure_from,
            end,
            random: random.wrapping_add(1),
            sequence: 0,
            issued: 0,
            ops: 0,
            errors: 0,
            first_error: None,
            latencies: Histogram::new(),
            measured: None,
        }
    }

    /// Where the next I/O goes, and whether it writes; `None` when it is enough.
    pub(super) fn next(&mut self) -> Option<(u64, bool)> {
        let over = match self.load.limit {
            Limit::Ops(ops) => self.issued >= ops,
            Limit::Time { .. } => self.measured.is_some(),
        };
        if over {
            return None;
        }
        self.issued += 1;
        let blocks = (self.load.span / self.load.block_size as u64).max(1);
        let block = match self.load.op {
            Op::Read | Op::Write => {
                self.sequence += 1;
                self.sequence - 1
            }
            Op::RandRead | Op::RandWrite | Op::Mixed => self.random(),
        };
        let write = match self.load.op {
            Op::Read | Op::RandRead => false,
            Op::Write | Op::RandWrite => true,
            Op::Mixed => self.random() % 100 >= self.load.mixed_read_pct,
        };
        Some((block % blocks * self.load.block_size as u64, write))
    }

    /// Xorshift: the same sequence as that of the load generator in C, for the same seed.
    fn random(&mut self) -> u64 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x;
        x
    }

    /// An I/O is over.
    pub(super) fn complete(&mut self, submitted: Instant, now: Instant, ok: bool) {
        if self.measured.is_some() {
            return;
        }
        if ok {
            self.latencies
                .record(now.saturating_duration_since(submitted));
            self.ops += 1;
        } else {
            self.errors += 1;
        }
        if self.measure_from.is_some_and(|from| now >= from) {
            self.measure_from = None;
            self.latencies.clear();
            self.ops = 0;
            self.from = Sample::now(&self.backend);
        }
        if self.end.is_some_and(|end| now >= end) {
            self.finish(now);
        }
    }

    /// Why one has failed.
    pub(super) fn note(&mut self, why: impl std::fmt::Display) {
        self.first_error
            .get_or_insert_with(|| Failure::new(format_args!("{why:#}")));
    }

    /// The measured time is over.
    pub(super) fn finish(&mut self, now: Instant) {
        if self.measured.is_none() {
            self.measured = Some(Measured {
                used: Some(Sample::now(&self.backend).since(&self.from)),
                elapsed: now.saturating_duration_since(self.from.at),
                ops: self.ops,
                errors: self.errors,
                latencies: std::mem::take(&mut self.latencies),
                first_error: None,
            });
        }
    }

    /// A line of progress.
    pub(super) fn tick(&self) {
        let t = clock::now()
            .saturating_duration_since(self.started)
            .as_secs_f64();
        let (ops, errors) = (self.ops, self.errors);
        let line = format!("{{\"t\":{t:.3},\"ops\":{ops},\"errors\":{errors}}}\n");
        // A closed standard error is no reason to stop measuring.
        let _unprinted = std::io::stderr().write_all(line.as_bytes());
    }

    pub(super) fn into_measured(mut self) -> Measured {
        self.finish(clock::now());
        let mut measured = self.measured.unwrap_or_default();
        // Failures count even if they came while the last I/Os were awaited.
        measured.errors = self.errors;
        measured.first_error = self.first_error;
        measured
    }
}
