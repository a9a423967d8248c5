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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::pdu::vectors::check;

    #[rustfmt::skip]
    static BYTES: [u8; 48] = [
        0x3f, 0x80, 0x02, 0x00, // data digest error
        0x00, 0x00, 0x00, 0x30, // the header of the rejected PDU
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0xff, 0xff, 0xff, 0xff,
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0xb3, // StatSN
        0x00, 0x00, 0x00, 0xb4, // ExpCmdSN
        0x00, 0x00, 0x00, 0xb5, // MaxCmdSN
        0x00, 0x00, 0x00, 0xb6, // DataSN
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];

    fn reject() -> Reject {
        Reject {
            reason: RejectReason::DataDigestError,
            stat_sn: StatSn(0xb3),
            exp_cmd_sn: CmdSn(0xb4),
            max_cmd_sn: CmdSn(0xb5),
            data_sn: DataSn(0xb6),
            data_segment_length: 48,
        }
    }

    #[test]
    fn a_pdu_whose_data_digest_was_wrong() {
        let reserved = [
            (1, 0xff),
            (3, 0xff),
            (8, 0xff),
            (16, 0xff),
            (20, 0xff),
            (40, 0xff),
        ];
        check(&BYTES, reject(), Reject::parse, Reject::emit, &reserved);
        assert_eq!(
            reject().to_string(),
            "Reject data digest error datasn=182 len=48 statsn=179 cmdsn=180..=181"
        );
    }

    #[test]
    fn reasons_have_the_numbers_of_the_registry() {
        let numbered = [
            RejectReason::Unknown(0),
            RejectReason::Unknown(1),
            RejectReason::DataDigestError,
            RejectReason::SnackReject,
            RejectReason::ProtocolError,
            RejectReason::CommandNotSupported,
            RejectReason::ImmediateCommandReject,
            RejectReason::TaskInProgress,
            RejectReason::InvalidDataAck,
            RejectReason::InvalidPduField,
            RejectReason::LongOperationReject,
            RejectReason::NegotiationReset,
            RejectReason::WaitingForLogout,
            RejectReason::Unknown(13),
        ];
        for (number, reason) in (0..).zip(numbered) {
            let mut bytes = BYTES;
            bytes[2] = number;
            let reject = Reject::parse(&Bhs::from(bytes)).unwrap();
            assert_eq!(reject.reason, reason);
            assert_eq!(reject.emit().as_bytes(), &bytes);
        }
    }
}
