//! What passes between a session's handles and its driver.

use std::time::Duration;

use iscsi_proto::{
    Instant,
    scsi::{cdb::Cdb, lun::Lun},
    session::{
        Command, DataLength, DataSegmentLengths, Response, TaskManagement, TaskManagementAnswer,
    },
};

use super::op_id::OpId;
use crate::{
    buf::{MemError, ReadBuf, Receive, Snapshot, WriteBuf},
    error::Error,
};

/// A request on its way to the driver.
#[derive(Debug)]
pub(super) enum Work {
    Command(Box<Operation>),
    /// Until when it may be answered.
    Ping(Option<Instant>),
    /// A text request, for SendTargets.
    Text(Vec<u8>),
    Manage(TaskManagement, Option<Instant>),
    /// QUERY TASK for a command under way.
    Query(OpId, Option<Instant>),
    /// Declares another MaxRecvDataSegmentLength.
    Renegotiate(u32),
}

/// A command with its buffer, and in the end its result.
///
/// It travels from the handle's slot through the driver's tables and back. There are as many as slots,
/// each in a box that its slot uses again: so what is moved from table to table is a pointer, and
/// nothing is allocated.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) request: Prepared,
    /// Once it is over.
    pub(super) result: Option<Result<Response, Error>>,
}

/// What the driver needs of a SCSI request.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: Command,
    pub(super) held: Held,
    /// All of a CDB that is longer than `command` has room for.
    pub(super) extended: Option<Box<[u8]>>,
    /// How long it may take from when the driver sees it, where `command` has no deadline yet. The
    /// driver has just read the clock anyway.
    pub(super) timeout: Option<Duration>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            request: Prepared {
                command: Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None),
                held: Held::None,
                extended: None,
                timeout: None,
            },
            result: None,
        }
    }
}

impl Prepared {
    /// The time begins to run.
    pub(super) fn start_clock(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(timeout) = self.timeout.take() {
            self.command.deadline = Some(now().saturating_add(timeout));
        }
    }
}

impl Operation {
    /// It is over, with this error.
    pub(super) fn fail(mut self: Box<Self>, error: Error) -> Box<Self> {
        self.result = Some(Err(error));
        self
    }

    /// Takes out what the caller gets.
    pub(super) fn take(&mut self) -> Option<(Result<Response, Error>, Held)> {
        self.request.extended = None;
        let held = std::mem::take(&mut self.request.held);
        self.result.take().map(|result| (result, held))
    }
}

/// A command's buffer while the session has it.
#[derive(Debug, Default)]
pub(super) enum Held {
    #[default]
    None,
    Read(Receive),
    /// What the caller's buffer held when the write was submitted.
    Write(Snapshot),
}

/// A result on its way back.
#[derive(Debug)]
pub(super) enum Finished {
    /// Its result is set.
    Command(Box<Operation>),
    Ping(Result<Duration, Error>),
    Text(Result<Vec<u8>, Error>),
    Managed(Result<TaskManagementAnswer, Error>),
    Renegotiated(Result<DataSegmentLengths, Error>),
}

impl Finished {
    /// A planted bug: nobody waits for it, and its guest memory is stored to.
    pub(super) fn stored_all_the_same(mut self) -> Self {
        if let Self::Command(operation) = &mut self {
            drop(std::mem::take(&mut operation.request.held).release(true));
        }
        self
    }
}

impl Work {
    /// The end of a request that never became a task.
    pub(super) fn fail(self, error: Error) -> Finished {
        match self {
            Self::Command(operation) => Finished::Command(operation.fail(error)),
            Self::Ping(_) => Finished::Ping(Err(error)),
            Self::Text(_) => Finished::Text(Err(error)),
            Self::Manage(..) | Self::Query(..) => Finished::Managed(Err(error)),
            Self::Renegotiate(_) => Finished::Renegotiated(Err(error)),
        }
    }
}

/// A command's data buffer, as the caller gives it and gets it back.
#[derive(Debug, Default)]
pub enum Payload {
    /// The command moves no data.
    #[default]
    None,
    /// Data-In fills this buffer, `len()` bytes of it.
    In(ReadBuf),
    /// Data-Out sends this buffer.
    Out(WriteBuf),
}

impl Payload {
    /// Bytes that its buffer holds.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(buf) => buf.len(),
            Self::Out(buf) => buf.len(),
        }
    }

    /// Direction and expected data transfer length; `None` if it is longer than a command can say.
    pub(super) fn data_length(&self) -> Option<DataLength> {
        Some(match self {
            Self::None => DataLength::None,
            Self::In(buf) => DataLength::In(u32::try_from(buf.len()).ok()?),
            Self::Out(buf) => DataLength::Out(u32::try_from(buf.len()).ok()?),
        })
    }

    /// Makes the buffer one that the driver can work on. Regions of a write are loaded here, in the
    /// caller's task and at submission: never again after that, whatever the guest does meanwhile.
    pub(super) fn hold(self) -> Result<Held, Box<(Self, MemError)>> {
        match self {
            Self::None => Ok(Held::None),
            Self::In(buf) => Ok(Held::Read(buf.into_receive())),
            Self::Out(buf) => match buf.snapshot() {
                Ok(snapshot) => Ok(Held::Write(snapshot)),
                Err(refused) => {
                    let (buf, error) = *refused;
                    Err(Box::new((Self::Out(buf), error)))
                }
            },
        }
    }
}

impl Held {
    /// Makes it the caller's buffer again. Regions of a read are stored here, in the task that polls
    /// the future: so once that future is dropped, its regions are not touched any more.
    pub(super) fn release(self, success: bool) -> (Payload, Result<(), MemError>) {
        match self {
            Self::None => (Payload::None, Ok(())),
            Self::Read(receive) => {
                let (buf, stored) = receive.finish(success);
                (Payload::In(buf), stored)
            }
            Self::Write(snapshot) => (Payload::Out(snapshot.finish()), Ok(())),
        }
    }

    /// Whether [`release`](Self::release) may run the code of a region.
    pub(super) fn stores(&self) -> bool {
        match self {
            Self::Read(receive) => receive.has_regions(),
            Self::None | Self::Write(_) => false,
        }
    }

    /// Bytes that are copied between regions and private memory.
    pub(super) fn region_bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Read(receive) => receive.region_bytes(),
            Self::Write(snapshot) => snapshot.region_bytes(),
        }
    }
}
