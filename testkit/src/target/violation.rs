//! What a strict target holds against an initiator.

use iscsi_proto::ids::InitiatorTaskTag;

/// A rule of RFC 7143 that the initiator broke. A conforming initiator never causes one, whatever
/// faults there are: tests assert that the list is empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are no PDU of an initiator, or a field value that the standard excludes.
    #[error("malformed PDU, opcode {opcode:#04x}")]
    Malformed {
        /// The opcode byte, without the immediate bit.
        opcode: u8,
    },
    /// A reserved bit or byte of the header is not zero.
    #[error("reserved bits set in opcode {opcode:#04x}, header byte {offset}")]
    Reserved {
        /// The opcode.
        opcode: u8,
        /// The first byte concerned.
        offset: usize,
    },
    /// A data segment beyond the target's MaxRecvDataSegmentLength (section 13.12).
    #[error("data segment of {length} bytes, limit {limit}")]
    SegmentTooLong {
        /// DataSegmentLength.
        length: u32,
        /// The limit.
        limit: u32,
    },
    /// Header digest mismatch.
    #[error("header digest mismatch")]
    HeaderDigest,
    /// Data digest mismatch.
    #[error("data digest mismatch")]
    DataDigest,
    /// Padding bytes that are not zero (section 11.2.3: SHOULD; every initiator known keeps to it).
    #[error("padding is not zero")]
    Padding,
    /// CmdSN is not the next one; on one connection nothing can be missing (section 4.2.2.1).
    #[error("CmdSN {found}, expected {expected}")]
    CmdSn {
        /// ExpCmdSN.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// CmdSN beyond MaxCmdSN.
    #[error("CmdSN {found} is beyond MaxCmdSN {max}")]
    Window {
        /// MaxCmdSN.
        max: u32,
        /// What came.
        found: u32,
    },
    /// ExpStatSN acknowledges a status that was not sent, or goes backwards.
    #[error("ExpStatSN {found}, the next StatSN is {next}")]
    ExpStatSn {
        /// The StatSN of the next response.
        next: u32,
        /// What came.
        found: u32,
    },
    /// An Initiator Task Tag that is in use, or the reserved one on a task.
    #[error("initiator task tag {0} is in use or reserved")]
    DuplicateTask(InitiatorTaskTag),
    /// Data-Out whose task or target transfer tag does not exist.
    #[error("Data-Out for task {itt}, transfer tag {ttt:#010x}: no such transfer")]
    UnknownTransfer {
        /// The task.
        itt: InitiatorTaskTag,
        /// The tag.
        ttt: u32,
    },
    /// DataSN does not restart or does not count (section 11.7.5).
    #[error("DataSN {found}, expected {expected}")]
    DataSn {
        /// The next one.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// Buffer Offset with a gap, an overlap, or out of order (DataPDUInOrder, DataSequenceInOrder).
    #[error("Buffer Offset {found}, expected {expected}")]
    BufferOffset {
        /// The next one.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// More or fewer bytes than the sequence has.
    #[error("a sequence of {expected} bytes got {found}")]
    SequenceLength {
        /// What the R2T, FirstBurstLength or the command allows.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// The F bit is missing at the end of a sequence, or set before it.
    #[error("F bit wrong in opcode {opcode:#04x}")]
    FinalBit {
        /// The opcode.
        opcode: u8,
    },
    /// Immediate data despite ImmediateData=No, or unsolicited Data-Out despite InitialR2T=Yes.
    #[error("unsolicited data that was not negotiated")]
    Unsolicited,
    /// R and W bits that disagree with the CDB or the length.
    #[error("R or W bit disagrees with the command")]
    Direction,
    /// A PDU that this phase or session type does not allow.
    #[error("opcode {opcode:#04x} is not allowed in this phase")]
    Phase {
        /// The opcode.
        opcode: u8,
    },
    /// The initiator has asked for a proof that this is the target, got a wrong one or none, and goes on.
    #[error("goes on with a target that has not proven itself")]
    Unproven,
    /// A login request that breaks section 6.3; the text says how.
    #[error("login: {0}")]
    Login(&'static str),
    /// A task management request whose fields do not fit its function (section 11.5); the text says how.
    #[error("task management: {0}")]
    TaskManagement(&'static str),
    /// Something that an asynchronous message asked for did not come in its time (section 11.9.1).
    #[error("not in time: {0}")]
    Late(&'static str),
    /// A Text Request that breaks section 6.4 or 11.10; the text says how.
    #[error("text: {0}")]
    Text(&'static str),
    /// Additional header segments that are none (section 11.2.2).
    #[error("malformed additional header segments")]
    Ahs,
    /// A command priority on a session below iSCSIProtocolLevel 2, where the field is reserved.
    #[error("command priority without iSCSIProtocolLevel 2")]
    Priority,
    /// A NOP-Out answers a ping that was not sent.
    #[error("answer to an unknown ping")]
    UnknownPing,
}
