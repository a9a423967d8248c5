//! A closed loop: as many I/Os as asked for are always under way, each with memory of its own.

mod backend;
mod measure;
mod memory;
mod rings;
mod slots;
mod tally;

use std::{pin::Pin, sync::Arc, task::Context, time::Duration};

pub use backend::{Backend, Via};
use clap::ValueEnum;
use iscsi_client::runtime::{AsyncTimer, Runtime};
pub use measure::{Measured, Sample};
use tally::Tally;

use crate::{clock, runtime::Ticker};

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

/// Runs the load and measures it. I/Os that end after the measured time are awaited, not counted.
///
/// It runs in a task of its own, as a program's I/O does: on some runtimes what the main thread blocks
/// on is polled in a dearer way than tasks are.
pub async fn run(backend: &Arc<Backend>, runtime: &Arc<dyn Runtime>, load: &Load) -> Measured {
    let (backend, load) = (Arc::clone(backend), *load);
    let (tell, told) = smol::channel::bounded(1);
    let spawner = Arc::clone(runtime);
    let runtime = Arc::clone(runtime);
    spawner.spawn(Box::pin(async move {
        let measured = match backend.via() {
            Via::Ring => rings::run(backend, runtime, load).await,
            _ => slots::run(backend, runtime, load).await,
        };
        // Nobody waits any more if the tool was interrupted.
        let _unread = tell.try_send(measured);
    }));
    told.recv().await.unwrap_or_default()
}

/// What happens at times, whatever the I/Os do.
struct Times {
    ticker: Option<Ticker>,
    end: Option<Pin<Box<dyn AsyncTimer>>>,
}

impl Times {
    fn new(runtime: &dyn Runtime, load: &Load) -> Self {
        let end = match load.limit {
            Limit::Ops(_) => None,
            Limit::Time { warmup, measured } => Some(warmup + measured),
        };
        Self {
            ticker: load.interval.map(|period| Ticker::new(runtime, period)),
            end: end.map(|after| runtime.new_timer(runtime.now() + after)),
        }
    }

    /// What is due.
    fn poll(&mut self, runtime: &dyn Runtime, cx: &mut Context<'_>) -> Due {
        let mut due = Due::default();
        if let Some(ticker) = &mut self.ticker {
            while ticker.poll_tick(|| runtime.now(), cx).is_ready() {
                due.tick = true;
            }
        }
        // Completions look at the clock themselves; this is for a target that answers nothing.
        let over = |end: &mut Pin<Box<dyn AsyncTimer>>| end.as_mut().poll(cx).is_ready();
        if self.end.as_mut().is_some_and(over) {
            self.end = None;
            due.end = true;
        }
        due
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Due {
    tick: bool,
    end: bool,
}

impl Due {
    fn tell(self, tally: &mut Tally) {
        if self.tick {
            tally.tick();
        }
        if self.end {
            tally.finish(clock::now());
        }
    }
}
