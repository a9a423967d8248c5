//! Conveniences over any block device.

use std::future::Future;

use bytes::{Bytes, BytesMut};

use super::{BlockDevice, ReadOptions, WriteOptions};
use crate::{
    buf::{ReadBuf, WriteBuf},
    error::{Error, ErrorKind, Outcome},
};

/// Reads and writes with plain byte types and default options. Implemented for every device; there
/// is nothing here for an implementation to override.
pub trait BlockDeviceExt: BlockDevice {
    /// Reads `len` bytes at `offset` into new memory.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`BlockDevice::read`].
    fn read_bytes(
        &self,
        offset: u64,
        len: usize,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send {
        async move {
            let buf = ReadBuf::zeroed(len);
            let read = self.read(offset, buf, ReadOptions::default());
            let bytes = read.await.into_result()?.into_bytes_mut();
            bytes.map(BytesMut::freeze).map_err(|_| foreign_buffer())
        }
    }

    /// Reads `dst.len()` bytes at `offset`. The bytes are received into owned memory and copied
    /// here, in the caller's own future, which is what makes a borrowed slice sound.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`]; `dst` is unchanged then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: `dst` is written to in the last poll only.
    fn read_at(
        &self,
        offset: u64,
        dst: &mut [u8],
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let buf = ReadBuf::zeroed(dst.len());
            let read = self.read(offset, buf, ReadOptions::default());
            let buf = read.await.into_result()?;
            let bytes = buf.as_slice().filter(|bytes| bytes.len() == dst.len());
            dst.copy_from_slice(bytes.ok_or_else(foreign_buffer)?);
            Ok(())
        }
    }

    /// Writes `bytes` at `offset`; no byte is copied.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::write`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`BlockDevice::write`]: the write may still happen.
    fn write_bytes(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let write = self.write(offset, WriteBuf::from(bytes), WriteOptions::default());
            write.await.result
        }
    }

    /// Writes a copy of `src` at `offset`.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::write`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`BlockDevice::write`]: the write may still happen.
    fn write_at(&self, offset: u64, src: &[u8]) -> impl Future<Output = Result<(), Error>> + Send {
        self.write_bytes(offset, Bytes::copy_from_slice(src))
    }
}

impl<D: BlockDevice + ?Sized> BlockDeviceExt for D {}

/// The device gave back another buffer than it was given, against the contract of `read`.
fn foreign_buffer() -> Error {
    Error::new(ErrorKind::Protocol, Outcome::Executed)
}
