//! Errors say whose fault it was, and [`Error::consequence`] alone says what follows.
//!
//! Variants carry numbers, never text: they are compared in tests, given to every waiter of a
//! connection, and must not become a way for a target to put bytes into somebody's log.

use core::{fmt, time::Duration};

use crate::ids::{InitiatorTaskTag, LoginStatus, TargetPortalGroupTag};

/// Bytes that are not a PDU, a text or a SCSI structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An opcode that RFC 7143 does not define, or that the peer may not send.
    #[error("opcode {0:#04x} is unknown or not for this direction")]
    Opcode(u8),
    /// A header was given to the parser of another PDU.
    #[error("opcode {found:#04x} where {expected:#04x} was expected")]
    WrongOpcode {
        /// The parser's opcode.
        expected: u8,
        /// The header's opcode.
        found: u8,
    },
    /// A field has a value that the standard excludes; offset in the 48-byte header.
    #[error("invalid value in header byte {offset}")]
    Field {
        /// Byte offset in the basic header segment.
        offset: u8,
    },
    /// An additional header segment with a length of zero, or past TotalAHSLength.
    #[error("malformed additional header segment")]
    Ahs,
    /// An additional header segment on a PDU that takes none.
    #[error("unexpected additional header segment")]
    UnexpectedAhs,
    /// DataSegmentLength above the limit that we declared.
    #[error("data segment of {length} bytes, limit {limit}")]
    DataSegmentTooLong {
        /// What the header says.
        length: u32,
        /// MaxRecvDataSegmentLength, or what this PDU may carry.
        limit: u32,
    },
    /// The CRC32C of the header does not match.
    #[error("header digest mismatch")]
    HeaderDigest,
    /// The CRC32C of the data segment does not match.
    #[error("data digest mismatch")]
    DataDigest,
    /// Text that is not NUL-terminated `key=value` pairs.
    #[error("malformed text at byte {offset}")]
    Text {
        /// Where in the text.
        offset: u32,
    },
    /// A key, a value or the whole text is longer than allowed.
    #[error("text too long: {length} bytes, limit {limit}")]
    TextTooLong {
        /// What was received so far.
        length: u32,
        /// The cap.
        limit: u32,
    },
    /// A structure ends before its fixed part does.
    #[error("truncated: {length} bytes, at least {needed} needed")]
    Truncated {
        /// What is there.
        length: u32,
        /// What the structure needs.
        needed: u32,
    },
    /// A SCSI structure contradicts itself or the request (wrong page, impossible geometry).
    #[error("inconsistent SCSI data at byte {offset}")]
    Scsi {
        /// Where in the structure.
        offset: u32,
    },
    /// A vital product data page other than the one that was asked for.
    #[error("VPD page {found:#04x} where {expected:#04x} was expected")]
    WrongVpdPage {
        /// The page that was asked for.
        expected: u8,
        /// The page code of the answer.
        found: u8,
    },
    /// REPORT LUNS announces more logical units than we are willing to list.
    #[error("{count} logical units reported, limit {limit}")]
    TooManyLuns {
        /// What the LUN LIST LENGTH says.
        count: u32,
        /// The cap.
        limit: u32,
    },
    /// A block length that is no power of two from 512 to 65536, or a size of 2^64 bytes and more.
    #[error("impossible geometry: last LBA {last_lba}, {block_length} bytes per block")]
    BadGeometry {
        /// RETURNED LOGICAL BLOCK ADDRESS.
        last_lba: u64,
        /// LOGICAL BLOCK LENGTH IN BYTES.
        block_length: u32,
    },
    /// A value that cannot be an address or a name.
    #[error(
        "malformed address or name: a portal is host[:port], with brackets around an IPv6 address; \
         a LUN is a decimal number, or 0x and 16 hexadecimal digits"
    )]
    Address,
}

/// The peer sent a well-formed PDU that it must not have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// An Initiator Task Tag that names no task for which this PDU may come.
    #[error("no task {0} that could receive this PDU")]
    UnknownTask(InitiatorTaskTag),
    /// A PDU that this phase or session type does not allow.
    #[error("PDU not allowed in this phase")]
    Phase,
    /// StatSN skipped a number: a status was lost.
    #[error("StatSN {found}, expected {expected}")]
    StatSn {
        /// ExpStatSN.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// DataSN is not the next one.
    #[error("DataSN {found}, expected {expected}")]
    DataSn {
        /// The next DataSN.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// R2TSN is not the next one.
    #[error("R2TSN {found}, expected {expected}")]
    R2tSn {
        /// The next R2TSN.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// ExpCmdSN acknowledges commands that were never sent.
    #[error("ExpCmdSN acknowledges commands that were not sent")]
    ExpCmdSn,
    /// Data-In outside the command's buffer, or not contiguous though DataPDUInOrder=Yes.
    #[error("Data-In of {length} bytes at {offset} does not fit the command")]
    DataInRange {
        /// Buffer Offset.
        offset: u32,
        /// DataSegmentLength.
        length: u32,
    },
    /// R2T outside the command's buffer, empty, beyond MaxBurstLength, or repeating itself.
    #[error("R2T for {length} bytes at {offset} does not fit the command")]
    R2tRange {
        /// Buffer Offset.
        offset: u32,
        /// Desired Data Transfer Length.
        length: u32,
    },
    /// More R2Ts outstanding than MaxOutstandingR2T.
    #[error("more R2Ts than MaxOutstandingR2T")]
    TooManyR2ts,
    /// Flags that exclude each other (S without F, O with U, A at ErrorRecoveryLevel 0).
    #[error("contradicting flags")]
    Flags,
    /// A login response for another stage, version, session or task.
    #[error("login response does not belong to our request")]
    LoginMismatch,
    /// A key was negotiated twice, or answered though we did not offer it.
    #[error("text key negotiated twice or out of turn")]
    DuplicateKey,
    /// A value out of the key's range, not a choice of ours, or not of the key's type.
    #[error("value out of range for its text key")]
    BadValue,
    /// CHAP keys missing, malformed or out of order.
    #[error("malformed CHAP exchange")]
    Chap,
    /// A CHAP challenge too short to prove anything: whoever sent it may collect answers.
    #[error("CHAP challenge of fewer than 8 bytes")]
    WeakChallenge,
    /// The target sent our own challenge back to us.
    #[error("CHAP challenge reflected")]
    ChapReflection,
    /// A login or text exchange that never comes to an end.
    #[error("exchange made no progress in {0} rounds")]
    Stalled(u32),
    /// More NOP-In pings than we are willing to answer.
    #[error("flood of PDUs that want an answer")]
    Flood,
    /// A NOP-In answered our ping with other data than we sent.
    #[error("ping answered with other data")]
    NopData,
    /// The target rejected a PDU (Reject, reason code).
    #[error("PDU rejected by the target, reason {0:#04x}")]
    Rejected(u8),
}

/// Both sides are right by themselves and cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// The target wants no authentication method or CHAP algorithm that we offer.
    #[error("no authentication method in common")]
    NoCommonAuthMethod,
    /// We require CHAP, the target wants to go on without it.
    #[error("target skipped the authentication that we require")]
    AuthenticationSkipped,
    /// The target requires authentication and we have no credentials.
    #[error("target requires authentication and no credentials are configured")]
    CredentialsRequired,
    /// A digest that we require was refused.
    #[error("target refused the required digest")]
    DigestRefused,
    /// A key that we cannot do without was rejected or not understood.
    #[error("target refused a required key")]
    KeyRefused,
    /// No protocol version in common.
    #[error("no protocol version in common")]
    Version,
    /// Mutual CHAP: the target gave another name than expected, or does not know its secret.
    #[error("target failed to authenticate itself")]
    TargetNotAuthentic,
    /// Mutual CHAP: the target accepted us and did not answer our challenge.
    #[error("target did not answer our challenge")]
    TargetProofMissing,
    /// Another portal group than the configured one serves the portal.
    #[error("portal group {expected} is required, and the target named {}", Named(*found))]
    PortalGroup {
        /// What was configured.
        expected: TargetPortalGroupTag,
        /// What the target said; `None` if it said nothing.
        found: Option<TargetPortalGroupTag>,
    },
}

/// A portal group, or that there was none.
struct Named(Option<TargetPortalGroupTag>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(tag) => tag.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// A call that the caller should not have made; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// Transfer length beyond 2^32 - 1, or a direction that disagrees with it.
    #[error("transfer length does not fit the command")]
    TransferLength,
    /// A command on a discovery session.
    #[error("SCSI command on a discovery session")]
    DiscoverySession,
    /// A value outside its documented range.
    #[error("configuration value out of range")]
    OutOfRange,
    /// Moving tasks between connections needs ErrorRecoveryLevel 2 (TASK REASSIGN, and the logout
    /// reason "remove the connection for recovery"); these sessions have level 0.
    #[error("not possible at ErrorRecoveryLevel 0")]
    ErrorRecoveryLevel,
    /// A command priority or a task management function of RFC 7144 on a session whose target did
    /// not agree to `iSCSIProtocolLevel` 2.
    #[error("needs iSCSIProtocolLevel 2, which this target did not agree to")]
    ProtocolLevel,
    /// A task management function on a task that is not, or no longer, under way.
    #[error("no such task under way")]
    UnknownTask,
    /// More bytes reported as received or sent than the plan had room for.
    #[error("more bytes reported than planned")]
    PlanOverrun,
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimedOut {
    /// No answer to a ping, and no other traffic either.
    #[error("ping not answered")]
    Nop,
    /// The rest of a PDU did not come.
    #[error("PDU incomplete")]
    Pdu,
    /// Login took too long.
    #[error("login not finished")]
    Login,
    /// A task management function was not answered.
    #[error("task management function not answered")]
    TaskManagement,
    /// The target did not answer our logout.
    #[error("logout not answered")]
    Logout,
    /// A text exchange took too long.
    #[error("text exchange not finished")]
    Text,
    /// A command was not answered by its deadline.
    #[error("command not answered")]
    Command,
}

/// Everything that can end a connection or a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes were wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer broke the protocol.
    #[error(transparent)]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The two sides cannot work together.
    #[error(transparent)]
    PeerIncompatible(#[from] PeerIncompatible),
    /// The target refused the login.
    #[error("login refused: {0}")]
    LoginRejected(LoginStatus),
    /// We were called wrongly.
    #[error(transparent)]
    ApiMisuse(#[from] ApiMisuse),
    /// A deadline passed.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The byte stream ended or failed.
    #[error("connection closed")]
    Closed,
    /// The target said that it drops the connection or the session (Async Message 2 or 3).
    #[error("the target drops the connection; it may be tried again after {wait:?}")]
    DropRequested {
        /// Time2Wait of the message, as received.
        wait: Duration,
        /// Time2Retain of the message, as received: how long after that the target keeps the tasks,
        /// for sessions that can reassign them.
        retain: Duration,
    },
}

/// What an [`Error`] means for the thing that it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consequence {
    /// Only the call failed; nothing else is affected.
    RefuseCall,
    /// The connection is over; log in again (ErrorRecoveryLevel 0: the session goes with it).
    DropConnection,
    /// Logging in again with this configuration will fail the same way.
    GiveUp,
}

impl Error {
    /// The one place that decides what an error does.
    #[must_use]
    pub const fn consequence(&self) -> Consequence {
        match self {
            Self::ApiMisuse(_) => Consequence::RefuseCall,
            Self::PeerIncompatible(_) => Consequence::GiveUp,
            Self::LoginRejected(status) if !status.is_transient() && status.class != 1 => {
                Consequence::GiveUp
            }
            _ => Consequence::DropConnection,
        }
    }
}
