//! Reject (RFC 7143 section 11.17): the target did not accept a PDU.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::InitiatorTaskTag;
use crate::serial::{CmdSn, DataSn, StatSn};

mod field {
    pub(super) const REASON: usize = 2;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const DATA_SN: usize = 36;
}

wire_enum! {
    /// Reason of a Reject (section 11.17.1).
    RejectReason, "reject reason" {
        /// Data (payload) digest error; the PDU may be sent again.
        DataDigestError = 0x02, "data digest error";
        /// SNACK reject; the SNACK may be sent again.
        SnackReject = 0x03, "SNACK reject";
        /// Protocol error, such as a SNACK for a status that was acknowledged.
        ProtocolError = 0x04, "protocol error";
        /// Command not supported.
        CommandNotSupported = 0x05, "command not supported";
        /// Too many immediate commands; once there is room it may be sent again.
        ImmediateCommandReject = 0x06, "too many immediate commands";
        /// Task in progress.
        TaskInProgress = 0x07, "task in progress";
        /// Invalid DataACK.
        InvalidDataAck = 0x08, "invalid data ack";
        /// Invalid PDU field.
        InvalidPduField = 0x09, "invalid PDU field";
        /// Long operation reject: no Target Transfer Tag to be had; may be sent again later.
        LongOperationReject = 0x0a, "long operation reject";
        /// Negotiation reset (RFC 3720; deprecated).
        NegotiationReset = 0x0b, "negotiation reset";
        /// Waiting for logout.
        WaitingForLogout = 0x0c, "waiting for logout";
    }
}

/// Reject. Its data segment is the header of the rejected PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// For a rejected SNACK of Data or R2T, the next DataSN or R2TSN; else reserved.
    pub data_sn: DataSn,
    /// Length of what the Reject encloses, in bytes; 24 bits. At least 48 from a sane target.
    pub data_segment_length: u32,
}

impl Reject {
    /// 0x3f.
    pub const OPCODE: u8 = opcode::REJECT;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`].
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        Ok(Self {
            reason: RejectReason::from_byte(bhs.u8_at(field::REASON)),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            data_sn: DataSn(bhs.u32_at(field::DATA_SN)),
            data_segment_length: bhs.data_segment_length(),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        bhs.put_u8(field::REASON, self.reason.to_byte());
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_itt(InitiatorTaskTag::RESERVED);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u32(field::DATA_SN, self.data_sn.0);
        bhs
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Reject {} datasn={} len={} statsn={} cmdsn={}..={}",
            self.reason,
            self.data_sn,
            self.data_segment_length,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn
        )
    }
}
