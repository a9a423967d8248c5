//! A closed loop: as many I/Os as asked for are always under way, each with memory of its own.

mod backend;
mod measure;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::Write,
    task::Poll,
    time::{Duration, Instant},
};

use backend::Memory;
pub use backend::{Backend, Via};
use clap::ValueEnum;
use futures_util::stream::{FuturesUnordered, StreamExt};
use iscsi_client::runtime::Runtime;
pub use measure::{Measured, Sample};

use crate::{
    clock,
    failure::Failure,
    histogram::Histogram,
    runtime::{Ticker, sleep},
};

/// What is done to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Op {
    /// Reads, one after the other.
    Read,
    /// Writes, one after the other.
    Write,
    /// Reads anywhere.
    #[default]
    RandRead,
    /// Writes anywhere.
    RandWrite,
    /// Both anywhere.
    Mixed,
}

impl Op {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::Mixed => "mixed",
        }
    }
}

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many I/Os, all of them measured.
    Ops(u64),
    /// After a time.
    Time {
        /// Not measured.
        warmup: Duration,
        /// Measured, after it.
        measured: Duration,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What is done.
    pub op: Op,
    /// Bytes per I/O.
    pub block_size: usize,
    /// I/Os under way.
    pub queue_depth: usize,
    /// Of [`Op::Mixed`], how many of a hundred read.
    pub mixed_read_pct: u64,
    /// Bytes from the beginning of the device that are used.
    pub span: u64,
    /// Where random begins.
    pub seed: u64,
    /// When it ends.
    pub limit: Limit,
    /// How often a line of progress goes to standard error.
    pub interval: Option<Duration>,
}

/// After a failure a slot waits for so long: a session that is down fails at once, and a loop that
/// never waits would keep its own thread from ever bringing it up again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Runs the load and measures it. I/Os that end after the measured time are awaited, not counted.
pub async fn run(backend: &Backend, runtime: &dyn Runtime, load: &Load) -> Measured {
    let started = clock::now();
    let (measure_from, end) = match load.limit {
        Limit::Ops(_) => (None, None),
        Limit::Time { warmup, measured } => {
            let from = (!warmup.is_zero()).then(|| started + warmup);
            (from, Some(started + warmup + measured))
        }
    };
    let run = Run {
        backend,
        runtime,
        load,
        started,
        measure_from: Cell::new(measure_from),
        end,
        random: Cell::new(
            load.seed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(1),
        ),
        sequence: Cell::new(0),
        issued: Cell::new(0),
        ops: Cell::new(0),
        errors: Cell::new(0),
        first_error: RefCell::new(None),
        latencies: RefCell::new(Histogram::new()),
        from: RefCell::new(Sample::now(backend)),
        measured: RefCell::new(None),
    };
    // One future per slot, made once: an I/O then costs no task and no allocation here.
    let mut slots: FuturesUnordered<_> = (0..load.queue_depth).map(|slot| run.slot(slot)).collect();
    let mut ticker = load.interval.map(|period| Ticker::new(runtime, period));
    let mut end = end.map(|at| runtime.new_timer(runtime.now() + (at - started)));
    poll_fn(|cx| {
        if let Some(ticker) = &mut ticker {
            while ticker.poll_tick(|| runtime.now(), cx).is_ready() {
                run.tick();
            }
        }
        // Completions look at the clock themselves; this is for a target that answers nothing.
        if end
            .as_mut()
            .is_some_and(|end| end.as_mut().poll(cx).is_ready())
        {
            end = None;
            run.finish(clock::now());
        }
        loop {
            match slots.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    drop(slots);
    run.finish(clock::now());
    run.into_measured()
}

/// All slots run in one task, so what they share needs no lock.
struct Run<'a> {
    backend: &'a Backend,
    runtime: &'a dyn Runtime,
    load: &'a Load,
    started: Instant,
    /// The end of the warm-up; `None` once it is over.
    measure_from: Cell<Option<Instant>>,
    end: Option<Instant>,
    random: Cell<u64>,
    sequence: Cell<u64>,
    issued: Cell<u64>,
    ops: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<Failure>>,
    latencies: RefCell<Histogram>,
    /// When measuring began.
    from: RefCell<Sample>,
    measured: RefCell<Option<Measured>>,
}

impl Run<'_> {
    async fn slot(&self, slot: usize) {
        let mut memory = Memory::new(self.load);
        while let Some((offset, write)) = self.next() {
            let submitted = clock::now();
            let result = self.backend.execute(slot, offset, write, &mut memory).await;
            let completed = clock::now();
            self.complete(submitted, completed, result.is_ok());
            if let Err(error) = result {
                let failure = || Failure::new(format_args!("{error:#}"));
                self.first_error.borrow_mut().get_or_insert_with(failure);
                sleep(self.runtime, PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// Where the next I/O goes, and whether it writes; `None` when it is enough.
    fn next(&self) -> Option<(u64, bool)> {
        let load = self.load;
        let issued = self.issued.get();
        let over = match load.limit {
            Limit::Ops(ops) => issued >= ops,
            Limit::Time { .. } => self.measured.borrow().is_some(),
        };
        if over {
            return None;
        }
        self.issued.set(issued + 1);
        let blocks = (load.span / load.block_size as u64).max(1);
        let block = match load.op {
            Op::Read | Op::Write => {
                let n = self.sequence.get();
                self.sequence.set(n + 1);
                n
            }
            Op::RandRead | Op::RandWrite | Op::Mixed => self.random(),
        };
        let write = match load.op {
            Op::Read | Op::RandRead => false,
            Op::Write | Op::RandWrite => true,
            Op::Mixed => self.random() % 100 >= load.mixed_read_pct,
        };
        Some((block % blocks * load.block_size as u64, write))
    }

    /// Xorshift: the same sequence as that of the load generator in C, for the same seed.
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    fn complete(&self, submitted: Instant, now: Instant, ok: bool) {
        if self.measured.borrow().is_some() {
            return;
        }
        if ok {
            let took = now.saturating_duration_since(submitted);
            self.latencies.borrow_mut().record(took);
            self.ops.set(self.ops.get() + 1);
        } else {
            self.errors.set(self.errors.get() + 1);
        }
        if self.measure_from.get().is_some_and(|from| now >= from) {
            self.measure_from.set(None);
            self.latencies.borrow_mut().clear();
            self.ops.set(0);
            self.from.replace(Sample::now(self.backend));
        }
        if self.end.is_some_and(|end| now >= end) {
            self.finish(now);
        }
    }

    fn finish(&self, now: Instant) {
        let mut measured = self.measured.borrow_mut();
        if measured.is_none() {
            let from = self.from.borrow();
            let latencies = self.latencies.take();
            *measured = Some(Measured {
                used: Some(Sample::now(self.backend).since(&from)),
                elapsed: now.saturating_duration_since(from.at),
                ops: self.ops.get(),
                errors: self.errors.get(),
                latencies,
                first_error: None,
            });
        }
    }

    fn tick(&self) {
        let t = clock::now()
            .saturating_duration_since(self.started)
            .as_secs_f64();
        let (ops, errors) = (self.ops.get(), self.errors.get());
        let line = format!("{{\"t\":{t:.3},\"ops\":{ops},\"errors\":{errors}}}\n");
        // A closed standard error is no reason to stop measuring.
        let _unprinted = std::io::stderr().write_all(line.as_bytes());
    }

    fn into_measured(self) -> Measured {
        let mut measured = self.measured.take().unwrap_or_default();
        // Failures count even if they came while the last I/Os were awaited.
        measured.errors = self.errors.get();
        measured.first_error = self.first_error.take();
        measured
    }
}
