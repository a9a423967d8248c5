//! A load whose every block is stamped, so that each read can be judged while others write.
//!
//! Reads and writes at random places, a number of them under way at a time, all of one size or with more
//! [`Variety`]. Each write gives
//! its blocks their next generation; each read must give the last acknowledged one, or one that was under way
//! then. Whoever drives it says what the paths do, and takes what is done:
//!
//! * [`Stamped::doubt`] when a path may have been lost. What is being written then may still land when it was
//!   repeated elsewhere and acknowledged, and a device has later writes of the same place wait for that. The
//!   load leaves those places alone, as otherwise all of its I/Os would soon wait there;
//!   [`Stamped::rewrite`] asks for such writes.
//! * [`Stamped::trust`] when none of them can land any more.

mod book;
mod desk;
pub mod stamp;

use std::{
    cell::RefCell,
    fmt, mem,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::{
    future::LocalBoxFuture,
    stream::{self, FuturesUnordered, StreamExt},
};
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDevice, FlushOptions, ReadOptions, WriteOptions},
    runtime::Runtime,
};
use serde::Serialize;

use self::desk::{Desk, Job};
use crate::{clock, failure::Failure, runtime::sleep};

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Other for each run.
    pub run: u64,
    /// Bytes from the beginning of the device that are used. All of them are overwritten.
    pub span: u64,
    /// Bytes of a stamped block: a multiple of the device's blocks.
    pub block: usize,
    /// Bytes of an I/O, of the largest one where they differ.
    pub io: usize,
    /// I/Os under way at a time.
    pub depth: usize,
    /// How many of a hundred read.
    pub read_percent: u8,
    /// Which places, and in which order.
    pub seed: u64,
    /// What else there is than reads and writes of one size.
    pub variety: Variety,
}

/// What else a load does than reads and writes of one size at random places; with the default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variety {
    /// Bytes of the smallest I/O: sizes are this, or so many times doubled, up to the largest. `None`: all have one
    /// size.
    pub least: Option<usize>,
    /// How many of a hundred follow each other in the span.
    pub sequential_percent: u8,
    /// How many of a hundred writes go where another one is under way.
    pub overlap_percent: u8,
    /// How many of a hundred I/Os are flushes.
    pub flush_percent: u8,
}

impl Plan {
    /// Bytes of the smallest I/O.
    fn least(&self) -> u64 {
        self.variety.least.unwrap_or(self.io) as u64
    }

    /// Checks it against a device of `size` bytes.
    ///
    /// # Errors
    ///
    /// What cannot be done.
    pub fn check(&self, size: u64) -> Result<(), Failure> {
        let whole = |bytes: u64| bytes > 0 && bytes % self.block as u64 == 0;
        if !whole(self.io as u64) || !whole(self.span) || !whole(self.least()) {
            return Err(Failure::usage(format_args!(
                "an I/O and the span must be multiples of {} bytes",
                self.block
            )));
        }
        if self.least() > self.io as u64 {
            return Err(Failure::usage(format_args!(
                "the smallest I/O is larger than the largest: give at most {} bytes",
                self.io
            )));
        }
        if self.span > size {
            return Err(Failure::usage(format_args!(
                "the span is larger than the device: give at most {size} bytes"
            )));
        }
        let most = self.depth as u64 * self.io as u64;
        if self.depth == 0 || self.span / 8 < most {
            return Err(Failure::usage(format_args!(
                "the span must be at least eight times what is under way, {most} bytes"
            )));
        }
        Ok(())
    }
}

/// What an I/O was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read.
    Read,
    /// A write of a place where nothing else was under way.
    Write,
    /// A write of a place where an earlier one may still have had to land, or was under way.
    Overlapping,
    /// A flush.
    Flush,
}

impl Kind {
    const fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::Overlapping)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Overlapping => "overlapping write",
            Self::Flush => "flush",
        })
    }
}

/// An I/O that is over.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// What it was.
    pub kind: Kind,
    /// When the load handed it to the device.
    pub submitted: Instant,
    /// When the device was done with it.
    pub completed: Instant,
    /// Whether it succeeded.
    pub ok: bool,
}

/// What a load has come to. The field names are the keys of the JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Reads that are over.
    pub reads: u64,
    /// Writes that are over.
    pub writes: u64,
    /// Flushes that are over.
    pub flushes: u64,
    /// I/Os that failed.
    pub errors: u64,
    /// Blocks that were read as what they must not be.
    pub wrong: u64,
    /// Blocks that were read as a mix while a write of them was under way, which a target may give.
    pub torn: u64,
    /// The first error.
    #[serde(skip)]
    pub first_error: Option<Failure>,
    /// The first block that was wrong.
    #[serde(skip)]
    pub first_wrong: Option<Failure>,
}

impl Totals {
    const fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Read => self.reads += 1,
            Kind::Write | Kind::Overlapping => self.writes += 1,
            Kind::Flush => self.flushes += 1,
        }
    }
}

/// After a failure a slot waits for so long: a device that fails at once would be asked without end.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
/// Bytes of an I/O while the whole span is written or read, and how many of them are under way.
const BULK: u64 = 64 << 10;
const BULK_DEPTH: usize = 8;

/// The load. It does something only while it is polled.
pub struct Stamped {
    shared: Shared,
    tasks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

/// What the I/Os have in common. All of them run in one task, so nothing is ever borrowed twice.
#[derive(Clone)]
struct Shared {
    desk: Rc<RefCell<Desk>>,
    device: Arc<dyn BlockDevice>,
    runtime: Arc<dyn Runtime>,
}

impl Stamped {
    /// A load on `device`, which does nothing yet. The plan was [checked](Plan::check).
    #[must_use]
    pub fn new(device: Arc<dyn BlockDevice>, runtime: Arc<dyn Runtime>, plan: Plan) -> Self {
        Self {
            shared: Shared {
                desk: Rc::new(RefCell::new(Desk::new(plan))),
                device,
                runtime,
            },
            tasks: FuturesUnordered::new(),
        }
    }

    /// Writes every block of the span once. To be called before anything is read.
    ///
    /// # Errors
    ///
    /// The first error of a write.
    pub async fn lay(&mut self) -> Result<(), Failure> {
        self.sweep(Kind::Write).await;
        let totals = self.totals();
        self.shared.desk.borrow_mut().done.clear();
        totals.first_error.map_or(Ok(()), Err)
    }

    /// Reads every block of the span once, and judges it. Errors and wrong blocks are in the totals.
    pub async fn audit(&mut self) {
        self.sweep(Kind::Read).await;
    }

    async fn sweep(&mut self, kind: Kind) {
        let (blocks, block) = {
            let desk = self.shared.desk.borrow();
            (desk.blocks(), desk.plan.block as u64)
        };
        let length = (BULK / block).max(1);
        let places = (0..blocks).step_by(length as usize);
        let shared = &self.shared;
        stream::iter(places)
            .for_each_concurrent(BULK_DEPTH, |first| async move {
                let place = first..blocks.min(first + length);
                let job = match kind {
                    Kind::Read => shared.desk.borrow_mut().read(place),
                    _ => shared.desk.borrow_mut().write(kind, place),
                };
                shared.execute(job).await;
            })
            .await;
    }

    /// Begins with as many I/Os as the plan says.
    pub fn start(&mut self) {
        let depth = self.shared.desk.borrow().plan.depth;
        self.set_depth(depth);
    }

    /// From now on so many I/Os are under way; what is under way already comes to its end. Not more than the plan
    /// was [checked](Plan::check) for.
    pub fn set_depth(&mut self, depth: usize) {
        let mut desk = self.shared.desk.borrow_mut();
        desk.plan.depth = depth;
        while desk.slots < depth {
            desk.slots += 1;
            self.tasks.push(Box::pin(slot(self.shared.clone())));
        }
    }

    /// Drives the I/Os. Ready when none is under way any more, which is so after [`stop`](Self::stop).
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.tasks.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Begins no more I/Os.
    pub fn stop(&self) {
        self.shared.desk.borrow_mut().stopped = true;
    }

    /// From now on so many of a hundred read.
    pub fn set_read_percent(&self, percent: u8) {
        self.shared.desk.borrow_mut().plan.read_percent = percent;
    }

    /// A path may have been lost, with what is being written now.
    pub fn doubt(&self) {
        self.shared.desk.borrow_mut().doubt();
    }

    /// No write of a lost path can land any more.
    pub fn trust(&self) {
        self.shared.desk.borrow_mut().trust();
    }

    /// Writes all places again that are in doubt, each once, besides what the plan says.
    pub fn rewrite(&mut self) {
        loop {
            let job = self.shared.desk.borrow_mut().rewrite();
            let Some(job) = job else { return };
            let shared = self.shared.clone();
            self.tasks.push(Box::pin(async move {
                shared.execute(job).await;
            }));
        }
    }

    /// What was done since the last call.
    #[must_use]
    pub fn take_done(&self) -> Vec<Done> {
        mem::take(&mut self.shared.desk.borrow_mut().done)
    }

    /// What is under way, and since when.
    #[must_use]
    pub fn under_way(&self) -> Vec<(Kind, Instant)> {
        self.shared.desk.borrow().under_way().collect()
    }

    /// What it has come to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.desk.borrow().totals.clone()
    }
}

impl fmt::Debug for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamped")
            .field("desk", &self.shared.desk)
            .finish_non_exhaustive()
    }
}

async fn slot(shared: Shared) {
    loop {
        let job = shared.desk.borrow_mut().next();
        let Some(job) = job else { return };
        if !shared.execute(job).await {
            sleep(&*shared.runtime, PAUSE_AFTER_ERROR).await;
        }
    }
}

impl Shared {
    /// Whether it succeeded.
    async fn execute(&self, job: Job) -> bool {
        if job.kind == Kind::Read {
            let buf = ReadBuf::from(BytesMut::zeroed(job.bytes()));
            let options = ReadOptions::default();
            let read = self.device.read(job.offset(), buf, options).await;
            let now = clock::now();
            let data = read.buf.into_bytes_mut().unwrap_or_default();
            let result = read.result.map(|()| &data[..]);
            self.desk.borrow_mut().end(&job, now, result)
        } else if job.kind == Kind::Flush {
            let flushed = self.device.flush(FlushOptions::default()).await;
            let result = flushed.map(|()| &[][..]);
            self.desk.borrow_mut().end(&job, clock::now(), result)
        } else {
            let (buf, options) = (job.data.clone().into(), WriteOptions::default());
            let written = self.device.write(job.offset(), buf, options).await;
            let now = clock::now();
            let result = written.result.map(|()| &[][..]);
            self.desk.borrow_mut().end(&job, now, result)
        }
    }
}
