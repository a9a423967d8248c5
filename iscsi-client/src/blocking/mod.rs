//! For programs without an async runtime: wait for a future, use a device with blocking calls.
//!
//! [`block_on`] and [`BlockingDevice`] work with any [`BlockDevice`], as long as somebody else runs
//! the sessions below it: a runtime that has threads of its own, or a [`Host`] (feature `smol`),
//! which is one thread for all sessions of a program.
//!
//! ```no_run
//! # #[cfg(feature = "smol")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use iscsi_client::{
//!     blocking::{BlockingDevice, Host},
//!     initiator::{Initiator, SessionTarget},
//!     logical_unit::LogicalUnit,
//! };
//! use iscsi_proto::scsi::Lun;
//!
//! let host = Host::start()?;
//! let name = "iqn.2026-01.example:my-host".parse()?;
//! let initiator = Initiator::builder(name, host.runtime()).build();
//! let target = "iqn.2026-01.example:disk".parse()?;
//! let session = host.block_on(
//!     initiator.session(&SessionTarget::new(target, "10.0.0.1".parse()?)),
//! )?;
//! let unit = host.block_on(LogicalUnit::open(session, Lun::ZERO))?;
//! let disk = BlockingDevice::new(Arc::new(unit));
//! let mut block = [0; 4096];
//! disk.read_at(0, &mut block)?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "smol"))]
//! # fn main() {}
//! ```

#[cfg(feature = "smol")]
mod host;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

#[cfg(feature = "smol")]
pub use host::Host;

use crate::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{BlockDevice, BlockDeviceExt, DeviceInfo, FlushOptions, ReadOptions, WriteOptions},
    error::Error,
};

/// Wakes a thread that waits in [`block_on`]. The flag is needed besides the thread's own token:
/// that may be taken by somebody else who parks the thread, or left over from them.
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits until `future` is done, with the calling thread asleep in between.
///
/// It runs nothing else: what the future waits for must be driven by another thread. Called from a
/// task of a runtime it would stop that runtime's thread, and for ever if it is the only one.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let parked = Arc::new(Parked {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&parked));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !parked.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// A block device with blocking calls. Cheap to clone, and used from many threads at once for more
/// than one request at a time; a loop that keeps a queue full is better off with the device's own
/// futures.
///
/// Contracts and errors are those of [`BlockDevice`]. Every call waits as [`block_on`] does.
#[derive(Clone, Debug)]
pub struct BlockingDevice(Arc<dyn BlockDevice>);

impl BlockingDevice {
    /// Blocking calls for `device`.
    #[must_use]
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self(device)
    }

    /// The device itself.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.0
    }

    /// Size, limits and identity as last seen. Never I/O.
    #[must_use]
    pub fn info(&self) -> Arc<DeviceInfo> {
        self.0.info()
    }

    /// Reads `dst.len()` bytes at `offset`; one copy.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`]; `dst` is unchanged then.
    pub fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<(), Error> {
        block_on(self.0.read_at(offset, dst))
    }

    /// Writes `src` at `offset`; one copy.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::write`].
    pub fn write_at(&self, offset: u64, src: &[u8]) -> Result<(), Error> {
        block_on(self.0.write_at(offset, src))
    }

    /// Reads into an owned buffer; no copy.
    pub fn read(&self, offset: u64, buf: ReadBuf, options: ReadOptions) -> Completion<ReadBuf> {
        block_on(self.0.read(offset, buf, options))
    }

    /// Writes an owned buffer; no copy.
    pub fn write(&self, offset: u64, buf: WriteBuf, options: WriteOptions) -> Completion<WriteBuf> {
        block_on(self.0.write(offset, buf, options))
    }

    /// Makes completed writes durable.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::flush`].
    pub fn flush(&self) -> Result<(), Error> {
        block_on(self.0.flush(FlushOptions::default()))
    }

    /// Closes the device for all its users.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::close`].
    pub fn close(&self) -> Result<(), Error> {
        block_on(self.0.close())
    }
}
