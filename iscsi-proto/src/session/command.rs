//! What is submitted, and what comes back.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use core::time::Duration;

use crate::{
    error::{ApiMisuse, Error},
    pdu::{RejectReason, Residual, TaskAttribute, TaskManagementFunction},
    scsi::{cdb::Cdb, lun::Lun, sense::SenseData, status::ScsiStatus},
    time::Instant,
};

/// A SCSI command as a caller submits it. It names no memory: the caller keeps that under the
/// Initiator Task Tag that [`Session::submit`](super::Session::submit) returns.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Command {
    /// The logical unit.
    pub lun: Lun,
    /// The command descriptor block.
    pub cdb: Cdb,
    /// The task attribute; Simple unless changed.
    pub attribute: TaskAttribute,
    /// The command priority (RFC 7144, SAM-5 section 8.7), 1 (highest) to 15; 0, the default, is "none".
    /// Others need a session with `iSCSIProtocolLevel` 2.
    pub priority: u8,
    /// Direction and expected data transfer length in bytes.
    pub data: DataLength,
    /// When to give up: the command is aborted at the target then.
    pub deadline: Option<Instant>,
}

impl Command {
    /// A Simple task without a deadline.
    #[must_use]
    pub const fn new(lun: Lun, cdb: Cdb, data: DataLength) -> Self {
        Self {
            lun,
            cdb,
            attribute: TaskAttribute::Simple,
            priority: 0,
            data,
            deadline: None,
        }
    }
}

/// Direction and expected data transfer length in bytes, 0 to 2^32 - 1. There is no way to say "both
/// directions": no command of block devices is bidirectional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataLength {
    /// The command moves no data.
    None,
    /// Data-In: from the target to us.
    In(u32),
    /// Data-Out: from us to the target.
    Out(u32),
}

/// Why a command or request was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// All task slots are taken; submit again after an event.
    #[error("all task slots are taken")]
    QueueFull,
    /// A logout is under way or the connection is gone.
    #[error("the session is closing")]
    Closing,
    /// The call cannot work, whenever it is made.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
}

/// The target's answer to a command, whatever its SCSI status.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Response {
    /// The SCSI status.
    pub status: ScsiStatus,
    /// What the target says of more or less data than expected.
    pub residual: Residual,
    /// Data-In: bytes of the caller's memory that are valid, from its beginning. Data-Out: bytes
    /// that the target took.
    pub transferred: u32,
    /// Sense data, where the response carried some.
    pub sense: Option<SenseData>,
    /// The status qualifier (RFC 7144, SAM-5 section 5.3.2); 0 says nothing. Always 0 on sessions
    /// below `iSCSIProtocolLevel` 2, where the field is reserved.
    pub status_qualifier: u16,
}

impl Response {
    pub(super) const fn plain(status: ScsiStatus, residual: Residual) -> Self {
        Self {
            status,
            residual,
            transferred: 0,
            sense: None,
            status_qualifier: 0,
        }
    }

    /// How long the target asks to stay away, where a status other than GOOD and CHECK CONDITION
    /// comes with a status qualifier that says so. Up to 27 minutes; whoever obeys it sets a bound.
    #[must_use]
    pub const fn retry_delay(&self) -> Option<Duration> {
        // The scope is in the upper two bits; values from 3FF0h on are no times.
        let tenths = self.status_qualifier & 0x3fff;
        match self.status {
            ScsiStatus::Good | ScsiStatus::CheckCondition => None,
            _ if tenths == 0 || tenths > 0x3fef => None,
            _ => Some(Duration::from_millis(tenths as u64 * 100)),
        }
    }
}

/// What a command that got no proper answer may have done at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Not a byte of it left the process, or the target refused it unseen.
    NotExecuted,
    /// It may have been executed, in whole or in part.
    Unknown,
    /// The target says that it executed the command, and the answer is still of no use.
    Executed,
}

/// The end of a command (or ping, or text exchange) without a usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskError {
    /// What happened.
    pub kind: TaskErrorKind,
    /// What it may have done.
    pub execution: Execution,
    /// The target can no longer execute it: it never got it, it answered it, or it confirmed its
    /// abort. Without this a write may still land later.
    pub is_dead: bool,
}

/// What happened to a task that got no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The caller abandoned it.
    #[error("abandoned by the caller")]
    Abandoned,
    /// Its deadline passed.
    #[error("not answered by its deadline")]
    TimedOut,
    /// GOOD, but with less data than was asked for and no word about it: what the memory holds
    /// cannot be trusted.
    #[error("the target reported success with {received} of {expected} bytes")]
    ShortData {
        /// Bytes that came.
        received: u32,
        /// Bytes that should have come.
        expected: u32,
    },
    /// The residual count contradicts the data or the expected length.
    #[error("contradicting residual count")]
    Residual,
    /// The iSCSI response code was not "completed at target" (RFC 7143 section 11.4.3).
    #[error("target failure, response code {0:#04x}")]
    TargetFailure(u8),
    /// The target rejected the PDU.
    #[error("rejected by the target: {0}")]
    Rejected(RejectReason),
    /// A task management function ended it, though it was not meant itself: one of the caller's, of
    /// the timeout ladder for another command, or of another initiator.
    #[error("ended by {0}")]
    Terminated(TaskManagementFunction),
    /// Not sent any more, since the target has asked for a logout.
    #[error("the target asked for a logout before the command was sent")]
    LogoutRequested,
    /// The connection ended.
    #[error("connection lost: {0}")]
    ConnectionLost(Error),
}

impl TaskError {
    pub(super) const fn not_executed(kind: TaskErrorKind) -> Self {
        Self {
            kind,
            execution: Execution::NotExecuted,
            is_dead: true,
        }
    }

    pub(super) const fn unknown(kind: TaskErrorKind, is_dead: bool) -> Self {
        Self {
            kind,
            execution: Execution::Unknown,
            is_dead,
        }
    }

    pub(super) const fn executed(kind: TaskErrorKind) -> Self {
        Self {
            kind,
            execution: Execution::Executed,
            is_dead: true,
        }
    }
}

/// Counters of a session, from its login on. They wrap after 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// PDUs staged for sending.
    pub pdus_out: u64,
    /// PDUs received completely.
    pub pdus_in: u64,
    /// Bytes written to the transport.
    pub bytes_out: u64,
    /// Bytes received from the transport.
    pub bytes_in: u64,
    /// SCSI commands submitted and not yet done.
    pub commands: u16,
    /// Commands that wait for the target's window to open.
    pub queued: u32,
    /// Commands whose deadline passed after they were sent.
    pub timeouts: u64,
    /// ABORT TASKs sent for commands that were abandoned or late.
    pub aborts: u64,
    /// LOGICAL UNIT RESETs sent by the timeout ladder.
    pub resets: u64,
    /// PDUs of ours that the target rejected.
    pub rejects: u64,
    /// Round trip of the last answered ping.
    pub last_ping: Option<Duration>,
}
