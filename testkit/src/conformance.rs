//! What every [`BlockDevice`] owes its callers, as a suite that any implementation can run.
//!
//! A trait's contract that is only written down is kept by its first implementation. This suite is
//! the contract in a form that fails: [`block_device`] and [`read_only_block_device`] panic with the
//! name of the rule that a device breaks. Run it over every implementation, and over every wrapper
//! on top of one that passes: a wrapper that forgets to forward a method is found the same way.
//!
//! The suite needs no runtime of its own. It only awaits the device's futures, so it runs wherever
//! they do: under tokio, smol, or in the simulator's virtual time, where its hundreds of requests
//! cost nothing.
//!
//! ```
//! # use iscsi_client::{buf::*, device::*, error::Error};
//! # async fn check(device: impl BlockDevice) {
//! // 4 MiB at offset 0 may be overwritten; the device is closed at the end.
//! iscsi_testkit::conformance::block_device(&device, 0..4 << 20).await;
//! # }
//! ```

use std::{
    future::{Future, poll_fn},
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use futures_util::{
    future::{BoxFuture, FutureExt, join_all},
    stream::{FuturesUnordered, StreamExt},
};
use iscsi_client::{
    buf::{MemError, MemRegion, ReadBuf, ReadSeg, WriteBuf, WriteSeg},
    device::{BlockDevice, BlockDeviceExt, FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome},
};

/// The whole contract, of a device that can be written to. `scratch` is the range of bytes that may
/// be overwritten: aligned to the device, at least 16 blocks, better a few times `max_transfer`, so
/// that splitting is seen. The device is closed at the end.
///
/// # Panics
///
/// With the rule that the device breaks.
pub async fn block_device(device: &dyn BlockDevice, scratch: Range<u64>) {
    let suite = Suite::new(device, scratch);
    suite.info().await;
    suite.bounds().await;
    suite.alignment().await;
    suite.zero_length().await;
    suite.reads_what_was_written().await;
    suite.writes_touch_nothing_else().await;
    suite.segments_and_regions().await;
    suite.durability().await;
    suite.buffers_come_back().await;
    suite.concurrent_requests().await;
    // Last: a dropped write may land later, so nothing after it looks at its blocks.
    suite.dropped_requests().await;
    suite.close().await;
}

/// The contract as far as it goes without writing. Closes the device at the end.
///
/// # Panics
///
/// With the rule that the device breaks.
pub async fn read_only_block_device(device: &dyn BlockDevice) {
    let info = device.info();
    assert!(info.read_only, "a read-only device says so in its info");
    let suite = Suite::new(device, 0..info.size.min(4 << 20));
    suite.info().await;
    suite.bounds().await;
    suite.alignment().await;
    suite.zero_length().await;
    let error = suite.write(suite.at(0), pattern(0, suite.block, 1)).await;
    let error = error.expect_err("a read-only device refuses writes");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "the kind of the refusal");
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    suite.overlapping_reads_agree().await;
    suite.close().await;
}

struct Suite<'a> {
    device: &'a dyn BlockDevice,
    scratch: Range<u64>,
    /// Request alignment: the shortest request.
    block: usize,
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Bytes that tell their place, and by `tag` the write that they come from.
fn pattern(offset: u64, len: usize, tag: u8) -> Vec<u8> {
    let byte = |at: u64| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ tag.wrapping_mul(97);
    (offset..offset + len as u64).map(byte).collect()
}

impl<'a> Suite<'a> {
    fn new(device: &'a dyn BlockDevice, scratch: Range<u64>) -> Self {
        let block = device.info().request_alignment as usize;
        let len = scratch.end.saturating_sub(scratch.start);
        assert!(block > 0, "request_alignment is at least 1");
        assert!(
            scratch.start % block as u64 == 0 && len >= 16 * block as u64,
            "the suite needs 16 aligned blocks of scratch, not {scratch:?}"
        );
        Self {
            device,
            scratch,
            block,
        }
    }

    /// Where block `n` of the scratch range is.
    fn at(&self, n: u64) -> u64 {
        self.scratch.start + n * self.block as u64
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        self.device.read_bytes(offset, len).await
    }

    async fn write(&self, offset: u64, data: Vec<u8>) -> Result<(), Error> {
        self.device.write_bytes(offset, data.into()).await
    }

    async fn expect(&self, offset: u64, expected: &[u8], rule: &str) {
        let read = self.read(offset, expected.len()).await;
        let read = read.unwrap_or_else(|e| panic!("{rule}: read at {offset} failed: {e:#}"));
        let differs = read.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{rule}: first wrong byte, read at {offset}");
        assert_eq!(read.len(), expected.len(), "{rule}: length");
    }

    async fn info(&self) {
        let (info, again) = (self.device.info(), self.device.info());
        assert_eq!(info, again, "info is stable while nothing happens");
        let (block, alignment) = (info.block_size, info.request_alignment);
        assert!(block > 0 && info.size % u64::from(block) == 0);
        assert_eq!(alignment % block, 0, "request_alignment is whole blocks");
        assert!(info.physical_block_size >= block, "physical block >= block");
        assert!(info.max_transfer >= alignment, "one block can be sent");
        let mut changed = self.device.info_changed(info.generation);
        let polled = poll_once(&mut changed).await;
        assert!(polled.is_pending(), "info_changed waits for a change");
        let other = info.generation.next();
        let changed = self.device.info_changed(other).await;
        let changed = changed.expect("info_changed of an open device");
        assert_eq!(changed, info, "info_changed is ready at another generation");
    }

    async fn bounds(&self) {
        let info = self.device.info();
        let block = self.block as u64;
        let last = (u64::MAX - block + 1) / block * block;
        for (offset, blocks) in [(info.size, 1), (info.size - block, 2), (last, 1), (last, 3)] {
            let len = blocks * self.block;
            let kind = ErrorKind::OutOfRange {
                offset,
                len: len as u64,
                size: info.size,
            };
            self.refuses(offset, len, kind).await;
        }
        let end = self.read(info.size - block, self.block).await;
        assert!(end.is_ok(), "the last block can be read: {end:?}");
    }

    async fn alignment(&self) {
        if self.block == 1 {
            return;
        }
        let (start, block) = (self.at(0), self.block);
        for (offset, len) in [(start + 1, block), (start, block - 1), (start, block + 1)] {
            let kind = ErrorKind::Misaligned {
                offset,
                len: len as u64,
                alignment: block as u32,
            };
            self.refuses(offset, len, kind).await;
        }
        let half = self.block / 2;
        let error = self.read(start + half as u64, half).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Misaligned { .. }),
            "an aligned end does not make an aligned request"
        );
    }

    /// Both directions fail with `kind`, nothing executed, and the buffers come back.
    async fn refuses(&self, offset: u64, len: usize, kind: ErrorKind) {
        let read = self
            .device
            .read(offset, ReadBuf::zeroed(len), ReadOptions::default())
            .await;
        let write = self
            .device
            .write(offset, vec![0; len].into(), WriteOptions::default())
            .await;
        let sizes = (read.buf.len(), write.buf.len());
        assert_eq!(sizes, (len, len), "buffers come back from {kind:?}");
        for (way, result) in [("read", read.result), ("write", write.result)] {
            let Err(error) = result else {
                panic!("a request is refused: {kind:?} {way}");
            };
            if way == "write" && error.kind() == ErrorKind::ReadOnly {
                continue;
            }
            assert_eq!(error.kind(), kind, "{way} of {len} bytes at {offset}");
            assert_eq!(error.outcome(), Outcome::NotExecuted, "{way}: {error:?}");
            assert!(error.is_dead(), "{way}: {error:?}");
        }
    }

    async fn zero_length(&self) {
        let info = self.device.info();
        for offset in [0, self.at(3), info.size] {
            let read = self.read(offset, 0).await;
            assert!(read.is_ok(), "zero bytes at {offset} are read: {read:?}");
            let write = self.write(offset, Vec::new()).await;
            let refused = matches!(&write, Err(e) if e.kind() == ErrorKind::ReadOnly);
            assert!(
                write.is_ok() || (info.read_only && refused),
                "zero bytes at {offset} are written: {write:?}"
            );
        }
        let past = self.read(info.size + self.block as u64, 0).await;
        let kind = past.expect_err("past the end is past the end").kind();
        assert!(matches!(kind, ErrorKind::OutOfRange { .. }), "{kind:?}");
    }

    async fn reads_what_was_written(&self) {
        let room = usize::try_from(self.scratch.end - self.scratch.start).unwrap_or(usize::MAX);
        let max = self.device.info().max_transfer as usize;
        let lengths = [
            self.block,
            3 * self.block,
            max,
            max.saturating_add(self.block),
            max.saturating_mul(2).saturating_add(3 * self.block),
        ];
        for (tag, len) in lengths.into_iter().enumerate() {
            let len = len.min(room - self.block) / self.block * self.block;
            let offset = self.at(tag as u64 % 2);
            let data = pattern(offset, len, tag as u8);
            let written = self.write(offset, data.clone()).await;
            written.unwrap_or_else(|e| panic!("write of {len} bytes: {e:#}"));
            self.expect(offset, &data, "a write is seen by the next read")
                .await;
        }
    }

    async fn writes_touch_nothing_else(&self) {
        let start = self.at(0);
        let mut expected = pattern(start, 8 * self.block, 10);
        let written = self.write(start, expected.clone()).await;
        written.expect("write of eight blocks");
        for (first, blocks) in [(3, 1), (0, 2), (6, 2)] {
            let offset = self.at(first as u64);
            let data = pattern(offset, blocks * self.block, 11);
            expected[first * self.block..][..data.len()].copy_from_slice(&data);
            let written = self.write(offset, data).await;
            written.expect("write in the middle");
        }
        self.expect(start, &expected, "a write touches its own range only")
            .await;
    }

    async fn segments_and_regions(&self) {
        let (offset, len) = (self.at(1), 4 * self.block);
        let data = pattern(offset, len, 20);
        // Cuts that no block boundary shares.
        let (a, b) = (7.min(len), len - len / 3);
        let guest = Guest::new(len);
        guest.fill(a, &data[a..b]);
        let region = WriteSeg::region(guest.clone(), a as u64, b - a).expect("in the region");
        let head = Bytes::copy_from_slice(&data[..a]);
        let tail = Bytes::copy_from_slice(&data[b..]);
        let buf: WriteBuf = [head.into(), region, Bytes::new().into(), tail.into()]
            .into_iter()
            .collect();
        let written = self
            .device
            .write(offset, buf, WriteOptions::default())
            .await;
        written.result.expect("a write of several segments");
        assert_eq!(written.buf.segments().count(), 4, "segments come back");
        self.expect(offset, &data, "segments are written in order")
            .await;

        let guest = Guest::new(len);
        let region = ReadSeg::region(guest.clone(), a as u64, b - a).expect("in the region");
        let buf: ReadBuf = [
            BytesMut::zeroed(a).into(),
            region,
            BytesMut::new().into(),
            BytesMut::zeroed(len - b).into(),
        ]
        .into_iter()
        .collect();
        let read = self.device.read(offset, buf, ReadOptions::default()).await;
        read.result.expect("a read of several segments");
        let slices: Vec<_> = read.buf.segments().map(ReadSeg::as_slice).collect();
        let expected = [Some(&data[..a]), None, Some(&[][..]), Some(&data[b..])];
        // Not `assert_eq`: nobody wants to see all the bytes.
        assert!(slices == expected, "segments are read in order");
        assert!(guest.bytes()[a..b] == data[a..b], "a region is stored to");
    }

    async fn durability(&self) {
        let (offset, len) = (self.at(2), 2 * self.block);
        let data = pattern(offset, len, 30);
        let options = WriteOptions::default().with_fua();
        let written = self.device.write(offset, data.clone().into(), options);
        written.await.result.expect("a write with FUA");
        self.expect(offset, &data, "a write with FUA writes").await;
        for _ in 0..2 {
            let flushed = self.device.flush(FlushOptions::default()).await;
            flushed.expect("a flush, with and without anything to flush");
        }
        self.expect(offset, &data, "a flush keeps what was written")
            .await;
    }

    async fn buffers_come_back(&self) {
        let (offset, len) = (self.at(0), 2 * self.block);
        let mut buf = BytesMut::zeroed(len);
        // Capacity beyond the length is not to be filled.
        buf.reserve(len);
        let home = buf.as_ptr();
        for offset in [offset, self.device.info().size] {
            let read = self
                .device
                .read(offset, buf.into(), ReadOptions::default())
                .await;
            let back = read.buf.into_bytes_mut();
            buf = back.expect("one owned segment went in");
            assert_eq!(buf.as_ptr(), home, "the caller's own memory comes back");
            assert_eq!(buf.len(), len, "length, not capacity, is read");
        }
        let data = Bytes::from(pattern(offset, len, 40));
        for offset in [offset, self.device.info().size] {
            let buf = WriteBuf::from(data.clone());
            let written = self.device.write(offset, buf, WriteOptions::default());
            let written = written.await;
            let back = written.buf.segments().next().and_then(WriteSeg::as_bytes);
            let same = back.is_some_and(|b| b.as_ptr() == data.as_ptr() && b.len() == len);
            assert!(same, "the data of a write comes back");
        }
    }

    async fn dropped_requests(&self) {
        let (offset, len) = (self.at(4), 4 * self.block);
        let (old, new) = (pattern(offset, len, 50), pattern(offset, len, 51));
        let written = self.write(offset, old.clone()).await;
        written.expect("write before the drops");
        for _ in 0..8 {
            let guest = Guest::new(len);
            let region = ReadSeg::region(guest.clone(), 0, len).expect("in the region");
            let mut read = self
                .device
                .read(offset, region.into(), ReadOptions::default());
            let polled = poll_once(&mut read).await;
            drop(read);
            if polled.is_pending() {
                self.expect(offset, &old, "the device works after a dropped read")
                    .await;
                assert_eq!(guest.stores(), 0, "a dropped read stores nothing");
            }
        }
        for _ in 0..8 {
            let mut write = self
                .device
                .write(offset, new.clone().into(), WriteOptions::default());
            let polled = poll_once(&mut write).await;
            drop(write);
            let found = self.read(offset, len).await;
            let found = found.expect("the device works after a dropped write");
            for at in (0..len).step_by(self.block) {
                let block = &found[at..at + self.block];
                let is_new = block == &new[at..at + self.block];
                let known = is_new || block == &old[at..at + self.block];
                assert!(known, "a block under a dropped write is old or new");
                let complete = matches!(polled, Poll::Ready(_));
                assert!(!complete || is_new, "a completed write is seen");
            }
        }
        // Elsewhere nothing may have happened, whatever becomes of the dropped writes.
        let (beside, data) = (self.at(8), pattern(self.at(8), len, 52));
        let written = self.write(beside, data.clone()).await;
        written.expect("write after the drops");
        self.expect(beside, &data, "dropped writes stay in their range")
            .await;
    }

    async fn concurrent_requests(&self) {
        let writes = (0..16).map(|n| {
            let offset = self.at(n);
            self.write(offset, pattern(offset, self.block, 60 + n as u8))
        });
        for written in join_all(writes).await {
            written.expect("one of 16 writes side by side");
        }
        let mut expected = Vec::new();
        for n in 0..16 {
            expected.extend(pattern(self.at(n), self.block, 60 + n as u8));
        }
        self.expect(self.at(0), &expected, "writes side by side")
            .await;
        self.overlapping_reads_agree().await;
    }

    async fn overlapping_reads_agree(&self) {
        let whole = self.read(self.at(0), 16 * self.block).await;
        let whole = whole.expect("read of 16 blocks");
        let ranges = (0..16).flat_map(|first| (1..=16 - first).map(move |len| (first, len)));
        let reads = ranges.map(|(first, blocks)| async move {
            let read = self.read(self.at(first as u64), blocks * self.block).await;
            (first, read)
        });
        for (first, read) in join_all(reads).await {
            let read = read.expect("one of many overlapping reads");
            let expected = &whole[first * self.block..][..read.len()];
            assert!(read == expected, "overlapping reads agree");
        }
    }

    async fn close(&self) {
        let info = self.device.info();
        // In a set that polls a future only when it was woken: closing has to wake those who wait.
        let waiting = self.device.info_changed(info.generation);
        let mut both: FuturesUnordered<BoxFuture<'_, _>> = FuturesUnordered::new();
        both.push(waiting.map(|woken| ("waiting", woken.map(drop))).boxed());
        assert!(poll_once(&mut both.next()).await.is_pending());
        both.push(self.device.close().map(|done| ("close", done)).boxed());
        while let Some((which, result)) = both.next().await {
            match which {
                "close" => result.expect("the first close"),
                _ => assert_closed(result, "those who wait for a change"),
            }
        }
        let again = self.device.info_changed(info.generation).await;
        assert_closed(again.map(drop), "info_changed");
        let len = self.block;
        let read = self
            .device
            .read(self.at(0), ReadBuf::zeroed(len), ReadOptions::default())
            .await;
        assert_eq!(read.buf.len(), len, "the buffer comes back");
        assert_closed(read.result, "read");
        let write = self
            .device
            .write(self.at(0), vec![0; len].into(), WriteOptions::default())
            .await;
        assert_eq!(write.buf.len(), len, "the buffer comes back");
        assert_closed(write.result, "write");
        let flush = self.device.flush(FlushOptions::default()).await;
        assert_closed(flush, "flush");
        self.device.close().await.expect("closing twice succeeds");
        assert_eq!(self.device.info(), info, "info outlives the device");
    }
}

fn assert_closed(result: Result<(), Error>, what: &str) {
    let Err(error) = result else {
        panic!("a closed device does nothing: {what}");
    };
    assert_eq!(error.kind(), ErrorKind::Closed, "{what} after close");
    assert_eq!(error.outcome(), Outcome::NotExecuted, "{what} after close");
}

/// Memory as a guest has it, which knows how often it was stored to.
struct Guest {
    bytes: Mutex<Vec<u8>>,
    stores: AtomicUsize,
}

impl Guest {
    fn new(len: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(vec![0; len]),
            stores: AtomicUsize::new(0),
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        look(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fill(&self, at: usize, src: &[u8]) {
        self.with(|bytes| bytes[at..at + src.len()].copy_from_slice(src));
    }

    fn bytes(&self) -> Vec<u8> {
        self.with(|bytes| bytes.clone())
    }

    fn stores(&self) -> usize {
        self.stores.load(Ordering::Relaxed)
    }
}

impl MemRegion for Guest {
    fn len(&self) -> u64 {
        self.with(|bytes| bytes.len() as u64)
    }

    fn load(&self, offset: u64, dst: &mut [u8]) -> Result<(), MemError> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        self.with(|bytes| {
            let src = bytes.get(at..).and_then(|rest| rest.get(..dst.len()));
            dst.copy_from_slice(src.ok_or(MemError::Inaccessible { offset })?);
            Ok(())
        })
    }

    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError> {
        self.stores.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        self.with(|bytes| {
            let dst = bytes
                .get_mut(at..)
                .and_then(|rest| rest.get_mut(..src.len()));
            dst.ok_or(MemError::Inaccessible { offset })?
                .copy_from_slice(src);
            Ok(())
        })
    }
}
