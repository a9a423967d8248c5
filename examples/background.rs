//! A load in the background: reads of a device from end to end, again and again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use futures_util::future::join_all;
use iscsi_client::{
    buf::{Completion, ReadBuf},
    device::{BlockDevice, ReadOptions},
    runtime::Runtime,
};
use mpio::MultipathDevice;
use smol::channel::{Receiver, bounded};

use crate::{clock, failure::Failure};

/// Bytes per read.
const BLOCK: u64 = 65_536;
/// Reads under way at a time.
const DEPTH: usize = 8;

/// Reads that go on until they are stopped. Dropped, they end as well, and nobody is told how they went.
#[derive(Debug)]
pub struct Background {
    wwid: String,
    over: Arc<AtomicBool>,
    tallies: Receiver<Tally>,
}

/// How it went. `Display` is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The device.
    pub wwid: String,
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Why the first of them failed.
    pub first_error: Option<String>,
    /// The longest time from submission to completion of one read.
    pub longest: Duration,
}

impl Background {
    /// Begins, as a task of `runtime`.
    #[must_use]
    pub fn start(device: MultipathDevice, runtime: &dyn Runtime) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (tell, tallies) = bounded(1);
        let wwid = device.topology().wwid().to_owned();
        let seen = Arc::clone(&over);
        runtime.spawn(Box::pin(async move {
            let tally = carry(&device, &seen).await;
            // Nobody is left to be told where the load was dropped.
            drop(tell.try_send(tally));
        }));
        Self {
            wwid,
            over,
            tallies,
        }
    }

    /// Lets what is under way come to its end, and says how it all went.
    ///
    /// # Errors
    ///
    /// If the task was ended by the runtime.
    pub async fn stop(self) -> Result<Tally, Failure> {
        self.over.store(true, Ordering::Relaxed);
        match self.tallies.recv().await {
            Ok(tally) => Ok(Tally {
                wwid: self.wwid.clone(),
                ..tally
            }),
            Err(_) => Err(Failure::new("the load was ended before it could tell")),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Reads until it is over, or an error: a load that fails again and again would tell nothing more.
async fn carry(device: &dyn BlockDevice, over: &AtomicBool) -> Tally {
    let block = u64::from(device.info().block_size);
    let length = BLOCK.next_multiple_of(block);
    let blocks = device.info().size / length;
    if blocks == 0 {
        return Tally::default();
    }
    let next = AtomicU64::new(0);
    let workers = (0..DEPTH).map(|_| work(device, over, &next, blocks, length));
    let tallies = join_all(workers).await;
    tallies.into_iter().fold(Tally::default(), Tally::with)
}

async fn work(
    device: &dyn BlockDevice,
    over: &AtomicBool,
    next: &AtomicU64,
    blocks: u64,
    length: u64,
) -> Tally {
    let mut tally = Tally::default();
    let mut memory = BytesMut::zeroed(length as usize);
    loop {
        let offset = next.fetch_add(1, Ordering::Relaxed) % blocks * length;
        let began = clock::now();
        let read = device.read(offset, ReadBuf::from(memory), ReadOptions::default());
        let Completion { result, buf } = read.await;
        let took = clock::now().saturating_duration_since(began);
        tally.longest = tally.longest.max(took);
        if let Err(error) = result {
            tally.errors += 1;
            tally.first_error = Some(format!("reading at {offset}: {error:#}"));
            return tally;
        }
        tally.reads += 1;
        tally.bytes += length;
        // Looked at last: a load that is stopped at once has read something all the same.
        if over.load(Ordering::Relaxed) {
            return tally;
        }
        memory = buf.into_bytes_mut().unwrap_or_default();
    }
}

impl Tally {
    fn with(self, other: Self) -> Self {
        Self {
            wwid: self.wwid,
            reads: self.reads + other.reads,
            bytes: self.bytes + other.bytes,
            errors: self.errors + other.errors,
            first_error: self.first_error.or(other.first_error),
            longest: self.longest.max(other.longest),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} reads, {} MiB, {} errors, the longest read took {:.0} ms",
            self.wwid,
            self.reads,
            self.bytes >> 20,
            self.errors,
            self.longest.as_secs_f64() * 1e3
        )?;
        match &self.first_error {
            Some(error) => write!(f, "; {error}"),
            None => Ok(()),
        }
    }
}
