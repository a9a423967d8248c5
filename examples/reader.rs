//! Reading a range of a device from end to end, with several reads under way.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use iscsi_client::{
    buf::{Completion, ReadBuf},
    device::{BlockDevice, ReadOptions},
    runtime::Runtime,
};

use crate::{clock, failure::Failure, runtime::Ticker, verify::Expected};

/// What to read, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// Bytes of one read; the last one may be shorter.
    pub block_size: usize,
    /// Reads under way at a time.
    pub queue_depth: usize,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Readout {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Reads that failed. After the first one nothing more is submitted.
    pub errors: u64,
    /// Why the first of them failed.
    pub first_error: Option<Failure>,
    /// The first piece that was not what it should be.
    pub mismatch: Option<Failure>,
    /// From the first submission to the last completion.
    pub elapsed: Duration,
    /// The longest time from submission to completion of one read.
    pub longest_stall: Duration,
}

/// How often `watch` is called at least, so that a stall can be seen while it lasts.
const TICK: Duration = Duration::from_millis(100);

struct Done {
    offset: u64,
    len: usize,
    submitted: Instant,
    completed: Instant,
    completion: Completion<ReadBuf>,
}

async fn read_one(device: &dyn BlockDevice, offset: u64, mut memory: BytesMut, len: usize) -> Done {
    // Only the last block is shorter: its memory is not needed whole again.
    memory.truncate(len);
    let submitted = clock::now();
    let buf = ReadBuf::from(memory);
    let completion = device.read(offset, buf, ReadOptions::default()).await;
    Done {
        offset,
        len,
        submitted,
        completed: clock::now(),
        completion,
    }
}

/// Reads what `plan` says. `watch` is told how many bytes have arrived, after each read and at least
/// every 100 ms.
///
/// Buffers are made once and go round: memory does not grow with the length.
pub async fn read(
    device: &dyn BlockDevice,
    runtime: &dyn Runtime,
    plan: &Plan,
    expected: &mut Expected,
    mut watch: impl FnMut(u64),
) -> Readout {
    let started = clock::now();
    let mut readout = Readout::default();
    let mut ticker = Ticker::new(runtime, TICK);
    let mut reads = FuturesUnordered::new();
    let end = plan.offset.saturating_add(plan.length);
    let mut next = plan.offset;
    let mut submit = |memory: BytesMut| {
        let len = (end - next).min(plan.block_size as u64) as usize;
        let read = (len > 0).then(|| read_one(device, next, memory, len));
        next += len as u64;
        read
    };
    for _ in 0..plan.queue_depth {
        reads.extend(submit(BytesMut::zeroed(plan.block_size)));
    }
    while !reads.is_empty() {
        let Some(done) = next_or_tick(reads.next(), &mut ticker, runtime).await else {
            watch(readout.bytes);
            continue;
        };
        let memory = readout.take(done, expected);
        watch(readout.bytes);
        if let (Some(memory), true) = (memory, readout.is_good()) {
            reads.extend(submit(memory));
        }
    }
    readout.elapsed = clock::now().saturating_duration_since(started);
    readout
}

/// `None` at a tick. The read that `next` waits for is not lost then: it stays in its collection.
async fn next_or_tick(
    next: impl Future<Output = Option<Done>>,
    ticker: &mut Ticker,
    runtime: &dyn Runtime,
) -> Option<Done> {
    let mut next = pin!(next);
    poll_fn(|cx| {
        if let Poll::Ready(done) = next.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        ticker.poll_tick(|| runtime.now(), cx).map(|()| None)
    })
    .await
}

impl Readout {
    /// Whether to go on.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.errors == 0 && self.mismatch.is_none()
    }

    /// Takes note of a read and gives its memory back.
    fn take(&mut self, done: Done, expected: &mut Expected) -> Option<BytesMut> {
        let took = done.completed.saturating_duration_since(done.submitted);
        self.longest_stall = self.longest_stall.max(took);
        let Completion { result, buf } = done.completion;
        if let Err(error) = result {
            self.errors += 1;
            let failure = || {
                let (len, at) = (done.len, done.offset);
                Failure::new(format_args!("reading {len} bytes at {at}: {error:#}"))
            };
            self.first_error.get_or_insert_with(failure);
            return None;
        }
        self.bytes += done.len as u64;
        let memory = buf.into_bytes_mut().unwrap_or_default();
        if self.mismatch.is_none() {
            self.mismatch = expected.check(done.offset, &memory).err();
        }
        Some(memory)
    }
}
