//! The conformance suite passes a device that keeps the contract, and names the rule that a broken
//! one breaks.

use std::{
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

use bytes::BytesMut;
use iscsi_client::{
    buf::{Completion, ReadBuf, WriteBuf, WriteSeg},
    device::{BlockDevice, DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
};
use iscsi_testkit::{conformance, sim::SimRuntime};

const SIZE: usize = 64 << 10;

/// What a device does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Rounds a misaligned request instead of refusing it.
    Rounds,
    /// Takes requests that reach past the end.
    NoBounds,
    /// Hands out other memory than it was given.
    OtherMemory,
    /// Fills the capacity and not the length.
    FillsCapacity,
    /// Joins the segments.
    JoinsSegments,
    /// Drops the second half of long writes.
    ShortWrites,
    /// Writes one block more than it was given.
    LongWrites,
    /// Goes on after close.
    NeverCloses,
    /// Forgets those who wait for a change when it closes.
    LeavesWaiters,
    /// Loses writes with FUA.
    LosesFua,
}

#[derive(Debug)]
struct Memory {
    fault: Fault,
    info: Arc<DeviceInfo>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
    waiters: Vec<Waker>,
}

impl Memory {
    fn new(fault: Fault, read_only: bool) -> Self {
        let mut info = DeviceInfo::new(SIZE as u64, 512);
        info.max_transfer = 4096;
        info.read_only = read_only;
        Self {
            fault,
            info: Arc::new(info),
            state: Mutex::new(State {
                bytes: vec![0; SIZE],
                ..State::default()
            }),
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), Error> {
        if self.state.lock().unwrap().closed && self.fault != Fault::NeverCloses {
            return Err(Error::not_executed(ErrorKind::Closed));
        }
        match self.info.check(offset, len) {
            Err(error) => match error.kind() {
                ErrorKind::Misaligned { .. } if self.fault == Fault::Rounds => Ok(()),
                ErrorKind::OutOfRange { .. } if self.fault == Fault::NoBounds => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    fn range(&self, offset: u64, len: usize) -> std::ops::Range<usize> {
        let at = usize::try_from(offset).unwrap_or(SIZE).min(SIZE);
        at..at.saturating_add(len).min(SIZE)
    }
}

/// Pending once, so that there is a moment to drop a request in.
async fn soon() {
    let mut polled = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        match mem::replace(&mut polled, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

#[async_trait::async_trait]
impl BlockDevice for Memory {
    fn info(&self) -> Arc<DeviceInfo> {
        Arc::clone(&self.info)
    }

    async fn info_changed(&self, seen: Generation) -> Result<Arc<DeviceInfo>, Error> {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.closed {
                return Poll::Ready(Err(Error::not_executed(ErrorKind::Closed)));
            }
            if seen != self.info.generation {
                return Poll::Ready(Ok(self.info()));
            }
            state.waiters.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn read(
        &self,
        offset: u64,
        mut buf: ReadBuf,
        _options: ReadOptions,
    ) -> Completion<ReadBuf> {
        if let Err(error) = self.check(offset, buf.len()) {
            return Completion::err(error, buf);
        }
        soon().await;
        let bytes = self.state.lock().unwrap().bytes[self.range(offset, buf.len())].to_vec();
        match self.fault {
            Fault::OtherMemory => buf = ReadBuf::zeroed(buf.len()),
            Fault::FillsCapacity if buf.segments().count() == 1 => {
                if let Ok(mut owned) = mem::take(&mut buf).into_bytes_mut() {
                    owned.resize(owned.capacity(), 0);
                    buf = owned.into();
                }
            }
            Fault::JoinsSegments if buf.segments().count() > 1 => {
                buf = BytesMut::zeroed(buf.len()).into();
            }
            _ => {}
        }
        let result = buf.copy_in(0, &bytes).map_err(Error::from);
        Completion { result, buf }
    }

    async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf> {
        if let Err(error) = self.check(offset, buf.len()) {
            return Completion::err(error, buf);
        }
        if self.info.read_only {
            return Completion::err(Error::not_executed(ErrorKind::ReadOnly), buf);
        }
        let data = match buf.load() {
            Ok(data) => data,
            Err(error) => return Completion::err(error.into(), buf),
        };
        soon().await;
        let mut data: Vec<u8> = data
            .segments()
            .filter_map(WriteSeg::as_bytes)
            .flatten()
            .copied()
            .collect();
        match self.fault {
            Fault::ShortWrites if data.len() > 4096 => data.truncate(data.len() / 2),
            Fault::LongWrites => data.extend([0; 512]),
            Fault::LosesFua if options.fua => data.clear(),
            _ => {}
        }
        let range = self.range(offset, data.len());
        data.truncate(range.len());
        self.state.lock().unwrap().bytes[range].copy_from_slice(&data);
        Completion::ok(buf)
    }

    async fn flush(&self, _options: FlushOptions) -> Result<(), Error> {
        self.check(0, 0)
    }

    async fn close(&self) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        let waiters = mem::take(&mut state.waiters);
        drop(state);
        if self.fault != Fault::LeavesWaiters {
            waiters.into_iter().for_each(Waker::wake);
        }
        Ok(())
    }
}

fn block_on(future: impl Future<Output = ()>) {
    SimRuntime::new(1).block_on(future);
}

#[test]
fn a_device_that_keeps_the_contract_passes() {
    let device = Memory::new(Fault::None, false);
    block_on(conformance::block_device(&device, 0..SIZE as u64));
    let device = Memory::new(Fault::None, false);
    block_on(conformance::block_device(&device, 1024..1024 + 16 * 512));
}

#[test]
fn a_wrapper_that_forwards_passes() {
    let device: Arc<dyn BlockDevice> = Arc::new(Memory::new(Fault::None, false));
    block_on(conformance::block_device(&device, 0..SIZE as u64));
}

#[test]
fn a_read_only_device_passes_its_own_suite() {
    let device = Memory::new(Fault::None, true);
    block_on(conformance::read_only_block_device(&device));
}

#[test]
fn every_fault_is_found_by_its_rule() {
    let faults = [
        (Fault::Rounds, "a request is refused: Misaligned"),
        (Fault::NoBounds, "a request is refused: OutOfRange"),
        (Fault::OtherMemory, "segments are read in order"),
        (Fault::JoinsSegments, "segments are read in order"),
        (Fault::FillsCapacity, "length, not capacity, is read"),
        (Fault::ShortWrites, "a write is seen by the next read"),
        (Fault::LongWrites, "a write touches its own range only"),
        (Fault::NeverCloses, "a closed device does nothing: read"),
        // Nobody is left who could run.
        (Fault::LeavesWaiters, "deadlock"),
        (Fault::LosesFua, "a write with FUA writes"),
    ];
    for (fault, rule) in faults {
        let device = Memory::new(fault, false);
        let suite = || block_on(conformance::block_device(&device, 0..SIZE as u64));
        let Err(panic) = catch_unwind(AssertUnwindSafe(suite)) else {
            panic!("{fault:?} went unnoticed");
        };
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let message = text.unwrap_or_default();
        assert!(message.contains(rule), "{fault:?}: {message}");
    }
}
