//! A block device: what an embedder holds, whatever is below it.

mod ext;
mod info;
mod options;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

pub use ext::BlockDeviceExt;
pub use info::{DeviceInfo, Generation, Identity, ProvisioningType, RotationRate};
pub use options::{FlushOptions, ReadOptions, WriteOptions};

use crate::{
    buf::{Completion, ReadBuf, WriteBuf},
    error::Error,
};

/// A device that is read and written in blocks, addressed in bytes.
///
/// Usually held as `Arc<dyn BlockDevice>`: one LUN over one session, many paths joined into one
/// device, a cache on top, a test's memory. Boxing a future costs some 20 ns a layer, a round trip
/// to storage at least 50 µs. Whoever wants no boxing at all uses the concrete type's own methods.
///
/// # Who validates what
///
/// *The implementation validates, the caller does not.* A range outside the device or a misaligned
/// one is [`Misaligned`](crate::error::ErrorKind::Misaligned) or
/// [`OutOfRange`](crate::error::ErrorKind::OutOfRange) with nothing executed; never a panic, never
/// rounding. The caller cannot do it: the size may change between its look at
/// [`info`](Self::info) and the request. [`DeviceInfo::check`] is the check. A wrapper passes
/// requests down unchecked unless it changes the addressing.
///
/// *The implementation splits.* `max_transfer` is advice for those who want one command per request.
/// Limits as preconditions of the caller are a source of crashes in every stack that has them.
///
/// *Memory is not the implementation's to judge.* Segments need no alignment and may be of any
/// number. A request of zero bytes succeeds if its offset is aligned and not past the end, without
/// reaching the medium.
///
/// # Ordering and durability
///
/// Requests that overlap in time may be carried out in any order, and one request that was split is
/// not atomic. A request that starts after another one has completed sees its effect. Written data
/// is durable after a later [`flush`](Self::flush) has succeeded, or with FUA at once.
///
/// # Cancel safety
///
/// A method here is *cancel safe* if dropping its future leaves the device usable and the memory
/// untouched from then on. All of them are. What a drop cannot undo is a command that has left: a
/// dropped write may have happened or not, *and may happen a little later*, even after a later
/// write to the same blocks has completed. The device asks the target to abort it, which no one
/// waits for. Whoever needs an order awaits the write. The buffer of a dropped request is dropped by
/// the device as soon as nothing refers to it.
///
/// # No defaults
///
/// No method has a default body. A wrapper that forgets to forward a defaulted method compiles and
/// silently loses the feature; `iscsi_testkit::conformance` is the suite that every implementation
/// and every wrapper runs.
#[async_trait::async_trait]
pub trait BlockDevice: fmt::Debug + Send + Sync + 'static {
    /// Size, limits and identity as last seen. Never I/O.
    fn info(&self) -> Arc<DeviceInfo>;

    /// Ready with the info once its generation is another one than `seen`; at once if it is already.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::error::ErrorKind::Closed) once the device is closed, also to those who
    /// wait.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed, the next call sees the same change.
    async fn info_changed(&self, seen: Generation) -> Result<Arc<DeviceInfo>, Error>;

    /// Reads `buf.len()` bytes at `offset`.
    ///
    /// The buffer comes back in any case. After a failure its owned bytes are unspecified and its
    /// regions untouched.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: after the drop no region of `buf` is stored to again.
    async fn read(&self, offset: u64, buf: ReadBuf, options: ReadOptions) -> Completion<ReadBuf>;

    /// Writes `buf` at `offset`.
    ///
    /// The buffer comes back in any case. A failure's [`outcome`](Error::outcome) says whether the
    /// blocks are unchanged (`NotExecuted`) or have to be taken for neither old nor new
    /// (`Unknown`); of a request that was split, `Unknown` also means "some of it".
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: regions of `buf` were loaded before anything was sent and are not looked at
    /// again. The write itself may still happen, see the type's documentation.
    async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf>;

    /// Makes every write durable that had completed when this was called.
    ///
    /// # Errors
    ///
    /// After a failure nothing is known about the durability of any of them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped flush promises nothing.
    async fn flush(&self, options: FlushOptions) -> Result<(), Error>;

    /// Closes the device: every request from now on, here and through every other handle, fails
    /// with [`Closed`](crate::error::ErrorKind::Closed); those in flight end with their true
    /// outcome. Does not flush. Closing twice succeeds.
    ///
    /// # Errors
    ///
    /// If the other side could not be told; the device is closed all the same.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the device is closed from the first poll on, what remains is done in the
    /// background.
    async fn close(&self) -> Result<(), Error>;
}

/// The future that a method of [`BlockDevice`] returns.
type DeviceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Written out and not `async`: the future is the device's own. One around it would be a second box for
/// each request of everybody who holds an `Arc<dyn BlockDevice>`.
impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
    fn info(&self) -> Arc<DeviceInfo> {
        (**self).info()
    }

    fn info_changed<'s, 'a>(
        &'s self,
        seen: Generation,
    ) -> DeviceFuture<'a, Result<Arc<DeviceInfo>, Error>>
    where
        's: 'a,
        Self: 'a,
    {
        (**self).info_changed(seen)
    }

    fn read<'s, 'a>(
        &'s self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
    ) -> DeviceFuture<'a, Completion<ReadBuf>>
    where
        's: 'a,
        Self: 'a,
    {
        (**self).read(offset, buf, options)
    }

    fn write<'s, 'a>(
        &'s self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> DeviceFuture<'a, Completion<WriteBuf>>
    where
        's: 'a,
        Self: 'a,
    {
        (**self).write(offset, buf, options)
    }

    fn flush<'s, 'a>(&'s self, options: FlushOptions) -> DeviceFuture<'a, Result<(), Error>>
    where
        's: 'a,
        Self: 'a,
    {
        (**self).flush(options)
    }

    fn close<'s, 'a>(&'s self) -> DeviceFuture<'a, Result<(), Error>>
    where
        's: 'a,
        Self: 'a,
    {
        (**self).close()
    }
}
