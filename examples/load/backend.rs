//! What the load goes to.

use std::sync::Arc;

use clap::ValueEnum;
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDevice, DeviceInfo, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome},
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::{Payload, ScsiRequest, Session},
};
use iscsi_proto::{
    scsi::{Cdb, Lun, ScsiStatus},
    session::Response,
};
use mpio::{
    MultipathDevice, Path,
    core::{Config, PathAttributes},
};

use super::memory::Memory;
use crate::failure::Failure;

/// Through which layer the load goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// SCSI commands through a ring of each session; with several paths each slot keeps to one.
    #[default]
    Ring,
    /// SCSI commands to the sessions, a future each; with several paths each slot keeps to one.
    Session,
    /// A logical unit, a future per I/O; with several paths each slot keeps to one.
    Unit,
    /// A multipath device.
    Multipath,
    /// The same as `Arc<dyn BlockDevice>`.
    Dyn,
}

impl Via {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Session => "session",
            Self::Unit => "unit",
            Self::Multipath => "multipath",
            Self::Dyn => "dyn",
        }
    }
}

/// What the load goes to.
#[derive(Debug)]
pub struct Backend {
    layer: Layer,
    sessions: Vec<Session>,
    info: Arc<DeviceInfo>,
    multipath: Option<MultipathDevice>,
    via: Via,
    luns: Vec<Lun>,
}

#[derive(Debug)]
enum Layer {
    Session(Vec<(Session, Lun)>),
    Unit(Vec<LogicalUnit>),
    Multipath(MultipathDevice),
    Dyn(Arc<dyn BlockDevice>),
}

impl Backend {
    /// Joins paths to one logical unit, of which there is one at least.
    ///
    /// # Errors
    ///
    /// If they cannot be joined.
    pub fn new(
        via: Via,
        paths: Vec<LogicalUnit>,
        runtime: &Arc<dyn Runtime>,
    ) -> Result<Self, Failure> {
        let first = paths
            .first()
            .ok_or_else(|| Failure::usage("give at least one --url"))?;
        let info = first.info();
        let sessions: Vec<Session> = paths.iter().map(|path| path.session().clone()).collect();
        let multipath = match via {
            Via::Ring | Via::Session | Via::Unit => None,
            Via::Multipath | Via::Dyn => {
                let named = paths
                    .iter()
                    .map(|path| (PathAttributes::new(path.name()), path.clone()));
                let joined = MultipathDevice::new(Arc::clone(runtime), Config::default(), named);
                let (device, driver) = joined.map_err(Failure::new)?;
                runtime.spawn(Box::pin(driver));
                Some(device)
            }
        };
        let raw = || {
            paths
                .iter()
                .map(|path| (path.session().clone(), path.lun()))
                .collect()
        };
        let layer = match (&multipath, via) {
            (Some(device), Via::Dyn) => Layer::Dyn(Arc::new(device.clone())),
            (Some(device), _) => Layer::Multipath(device.clone()),
            (None, Via::Unit) => Layer::Unit(paths.clone()),
            (None, _) => Layer::Session(raw()),
        };
        Ok(Self {
            layer,
            sessions,
            info,
            multipath,
            via,
            luns: paths.iter().map(LogicalUnit::lun).collect(),
        })
    }

    /// Through which layer it goes.
    #[must_use]
    pub const fn via(&self) -> Via {
        self.via
    }

    /// The paths, for whoever goes to the sessions itself.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&Session, Lun)> {
        self.sessions.iter().zip(self.luns.iter().copied())
    }

    /// Size and block size.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The sessions, one per path.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// How often the I/O of a lost path went elsewhere.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        let device = self.multipath.as_ref();
        device.map_or(0, |device| device.snapshot().counters.failovers)
    }

    /// Logs out.
    pub async fn close(&self) {
        if let Some(device) = &self.multipath {
            device.close().await;
        }
        for session in &self.sessions {
            session.close().await;
        }
    }

    /// One I/O of `slot`, with its memory.
    pub(super) async fn execute(
        &self,
        slot: usize,
        offset: u64,
        write: bool,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        if write {
            let buf = std::mem::take(&mut memory.write);
            let (result, buf) = self.write(slot, offset, buf).await;
            memory.write = buf;
            result
        } else {
            let buf = std::mem::take(&mut memory.read);
            let (result, buf) = self.read(slot, offset, buf).await;
            memory.read = buf;
            result
        }
    }

    async fn read(&self, slot: usize, offset: u64, buf: ReadBuf) -> (Result<(), Error>, ReadBuf) {
        let done = match &self.layer {
            Layer::Session(paths) => {
                let (lba, blocks) = self.blocks(offset, buf.len());
                let (result, payload) = raw(
                    paths,
                    slot,
                    Cdb::read16(lba, blocks, false),
                    Payload::In(buf),
                )
                .await;
                let buf = match payload {
                    Payload::In(buf) => buf,
                    _ => ReadBuf::default(),
                };
                return (result, buf);
            }
            Layer::Unit(units) => {
                let unit = &units[slot % units.len()];
                unit.read(offset, buf, ReadOptions::default()).await
            }
            Layer::Multipath(device) => device.read(offset, buf, ReadOptions::default()).await,
            Layer::Dyn(device) => device.read(offset, buf, ReadOptions::default()).await,
        };
        (done.result, done.buf)
    }

    async fn write(
        &self,
        slot: usize,
        offset: u64,
        buf: WriteBuf,
    ) -> (Result<(), Error>, WriteBuf) {
        let done = match &self.layer {
            Layer::Session(paths) => {
                let (lba, blocks) = self.blocks(offset, buf.len());
                let (result, payload) = raw(
                    paths,
                    slot,
                    Cdb::write16(lba, blocks, false),
                    Payload::Out(buf),
                )
                .await;
                let buf = match payload {
                    Payload::Out(buf) => buf,
                    _ => WriteBuf::default(),
                };
                return (result, buf);
            }
            Layer::Unit(units) => {
                let unit = &units[slot % units.len()];
                unit.write(offset, buf, WriteOptions::default()).await
            }
            Layer::Multipath(device) => device.write(offset, buf, WriteOptions::default()).await,
            Layer::Dyn(device) => device.write(offset, buf, WriteOptions::default()).await,
        };
        (done.result, done.buf)
    }

    pub(super) fn blocks(&self, offset: u64, len: usize) -> (u64, u32) {
        let size = u64::from(self.info.block_size).max(1);
        (offset / size, (len as u64 / size) as u32)
    }
}

/// A command past the logical unit, which would repeat what a raw command must not hide.
async fn raw(
    paths: &[(Session, Lun)],
    slot: usize,
    cdb: Cdb,
    payload: Payload,
) -> (Result<(), Error>, Payload) {
    let (session, lun) = &paths[slot % paths.len()];
    let expected = match &payload {
        Payload::In(buf) => buf.len(),
        Payload::Out(buf) => buf.len(),
        Payload::None => 0,
    };
    let done = session.execute(ScsiRequest::new(*lun, cdb, payload)).await;
    (judge(done.result, expected), done.payload)
}

/// Whether a command has done all that it should.
pub(super) fn judge(result: Result<Response, Error>, expected: usize) -> Result<(), Error> {
    let response = result?;
    if response.status == ScsiStatus::Good && response.transferred as usize == expected {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Refused, Outcome::Executed);
    Err(match response.sense {
        Some(sense) => error.with_sense(sense),
        None => error,
    })
}
