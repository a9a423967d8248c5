//! What the load runs against: a LUN over one or several sessions, or a multipath device.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDevice, ReadOptions, WriteOptions},
    error::Error,
    logical_unit::LogicalUnit,
    session::Session,
};
use mpio::MultipathDevice;

use super::{Load, Op};

/// The way to the LUN.
#[derive(Debug)]
pub enum Backend {
    /// The un-boxed methods of [`LogicalUnit`]; slots are dealt out over the paths.
    Session(Vec<LogicalUnit>),
    /// The un-boxed methods of [`MultipathDevice`].
    Multipath(MultipathDevice, Vec<Session>),
    /// The multipath device as `dyn BlockDevice`, which boxes a future per I/O.
    Dyn(Arc<dyn BlockDevice>, MultipathDevice, Vec<Session>),
}

impl Backend {
    /// The sessions, one per path.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        match self {
            Self::Session(units) => units.iter().map(|unit| unit.session().clone()).collect(),
            Self::Multipath(_, sessions) | Self::Dyn(_, _, sessions) => sessions.clone(),
        }
    }

    /// The multipath device, if there is one.
    #[must_use]
    pub const fn multipath(&self) -> Option<&MultipathDevice> {
        match self {
            Self::Session(_) => None,
            Self::Multipath(device, _) | Self::Dyn(_, device, _) => Some(device),
        }
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Session(units) => units.first().map_or(0, |unit| unit.info().size),
            Self::Multipath(device, _) | Self::Dyn(_, device, _) => device.info().size,
        }
    }

    /// Closes everything in good order.
    pub async fn close(self) {
        match self {
            Self::Session(units) => {
                for unit in units {
                    unit.session().close().await;
                }
            }
            Self::Multipath(device, _) | Self::Dyn(_, device, _) => device.close().await,
        }
    }

    /// One I/O, with the memory of its slot.
    pub(super) async fn execute(
        &self,
        slot: usize,
        offset: u64,
        write: bool,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        if write {
            let buf = WriteBuf::from(memory.write.clone());
            let options = WriteOptions::default();
            return match self {
                Self::Session(units) => {
                    units[slot % units.len()]
                        .write(offset, buf, options)
                        .await
                        .result
                }
                Self::Multipath(device, _) => device.write(offset, buf, options).await.result,
                Self::Dyn(device, _, _) => device.write(offset, buf, options).await.result,
            };
        }
        let buf = ReadBuf::from(std::mem::take(&mut memory.read));
        let options = ReadOptions::default();
        let done = match self {
            Self::Session(units) => units[slot % units.len()].read(offset, buf, options).await,
            Self::Multipath(device, _) => device.read(offset, buf, options).await,
            Self::Dyn(device, _, _) => device.read(offset, buf, options).await,
        };
        memory.read = done.buf.into_bytes_mut().unwrap_or_default();
        done.result
    }
}

/// The memory of one slot, made once.
#[derive(Debug)]
pub(super) struct Memory {
    read: BytesMut,
    write: Bytes,
}

impl Memory {
    pub(super) fn new(load: &Load) -> Self {
        let reads = !matches!(load.op, Op::Write | Op::RandWrite);
        let writes = !matches!(load.op, Op::Read | Op::RandRead);
        let bytes = |wanted: bool| if wanted { load.block_size } else { 0 };
        let mut content = BytesMut::zeroed(bytes(writes));
        content
            .iter_mut()
            .zip(0_u8..)
            .for_each(|(byte, value)| *byte = value);
        // Never unique again, so that a clone per write is a counter and nothing else.
        let write = content.freeze();
        let _shared = write.clone();
        Self {
            read: BytesMut::zeroed(bytes(reads)),
            write,
        }
    }
}
