//! SCSI Response (RFC 7143 section 11.4; the status qualifier is RFC 7144's).

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, Residual, opcode};
use crate::error::DecodeError;
use crate::ids::InitiatorTaskTag;
use crate::scsi::ScsiStatus;
use crate::serial::{CmdSn, DataSn, StatSn};

mod field {
    pub(super) const RESPONSE: usize = 2;
    pub(super) const STATUS: usize = 3;
    pub(super) const STATUS_QUALIFIER: usize = 8;
    pub(super) const SNACK_TAG: usize = 20;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const EXP_DATA_SN: usize = 36;
    pub(super) const BIDI_RESIDUAL_COUNT: usize = 40;
    pub(super) const RESIDUAL_COUNT: usize = 44;
}

mod flag {
    pub(super) const BIDI_OVERFLOW: u8 = 0x10;
    pub(super) const BIDI_UNDERFLOW: u8 = 0x08;
    pub(super) const OVERFLOW: u8 = 0x04;
    pub(super) const UNDERFLOW: u8 = 0x02;
}

wire_enum! {
    /// iSCSI service response (section 11.4.3). From 0x80 on they are the vendor's.
    ServiceResponse, "service response" {
        /// The command ran; see the status.
        CompletedAtTarget = 0x00, "completed at target";
        /// The target could not execute the command; status and residuals mean nothing.
        TargetFailure = 0x01, "target failure";
    }
}

/// SCSI Response. The data segment, if any, is a two-byte length and that much sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Response. With any other than [`ServiceResponse::CompletedAtTarget`] the residuals are
    /// ignored by the parser and not emitted.
    pub response: ServiceResponse,
    /// Status; undefined unless the command completed at the target.
    pub status: ScsiStatus,
    /// Status qualifier (RFC 7144, SAM-5 section 5.3.2): with BUSY and its like, how long to wait.
    /// Only on sessions with `iSCSIProtocolLevel` 2 or more, else reserved.
    pub status_qualifier: u16,
    /// o, u and Bidirectional Read Residual Count.
    pub bidi_residual: Residual,
    /// O, U and Residual Count; of a bidirectional command, for its write.
    pub residual: Residual,
    /// The command.
    pub itt: InitiatorTaskTag,
    /// Copy of the last R-Data SNACK's tag, else zero.
    pub snack_tag: u32,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// How many Data-In and R2T PDUs the target sent for the command.
    pub exp_data_sn: DataSn,
    /// Length of sense and response data in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl ScsiResponse {
    /// 0x21.
    pub const OPCODE: u8 = opcode::SCSI_RESPONSE;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`], and [`DecodeError::Field`] where
    /// O and U, or o and u, are both set.
    // As that of Data-In: the other PDU that commands end with.
    #[inline(always)]
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        let data_segment_length = bhs.length_without_ahs()?;
        let response = ServiceResponse::from_byte(bhs.u8_at(field::RESPONSE));
        // "The Status and Flag fields are undefined" otherwise: a failing target may leave anything
        // in them, and its failure must still be reported as what it is.
        let (bidi_residual, residual) = if response == ServiceResponse::CompletedAtTarget {
            let bidi_residual = Residual::from_wire(
                bhs.is_set(flag::BIDI_OVERFLOW),
                bhs.is_set(flag::BIDI_UNDERFLOW),
                bhs.u32_at(field::BIDI_RESIDUAL_COUNT),
                FLAGS as u8,
            )?;
            let residual = Residual::from_wire(
                bhs.is_set(flag::OVERFLOW),
                bhs.is_set(flag::UNDERFLOW),
                bhs.u32_at(field::RESIDUAL_COUNT),
                FLAGS as u8,
            )?;
            (bidi_residual, residual)
        } else {
            (Residual::None, Residual::None)
        };
        Ok(Self {
            response,
            status: ScsiStatus::from_byte(bhs.u8_at(field::STATUS)),
            status_qualifier: bhs.u16_at(field::STATUS_QUALIFIER),
            bidi_residual,
            residual,
            itt: bhs.initiator_task_tag(),
            snack_tag: bhs.u32_at(field::SNACK_TAG),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            exp_data_sn: DataSn(bhs.u32_at(field::EXP_DATA_SN)),
            data_segment_length,
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        if self.response == ServiceResponse::CompletedAtTarget {
            bhs.put_flag(flag::BIDI_OVERFLOW, self.bidi_residual.is_overflow());
            bhs.put_flag(flag::BIDI_UNDERFLOW, self.bidi_residual.is_underflow());
            bhs.put_flag(flag::OVERFLOW, self.residual.is_overflow());
            bhs.put_flag(flag::UNDERFLOW, self.residual.is_underflow());
            bhs.put_u32(field::BIDI_RESIDUAL_COUNT, self.bidi_residual.count());
            bhs.put_u32(field::RESIDUAL_COUNT, self.residual.count());
        }
        bhs.put_u8(field::RESPONSE, self.response.to_byte());
        bhs.put_u8(field::STATUS, self.status.to_byte());
        bhs.put_u16(field::STATUS_QUALIFIER, self.status_qualifier);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::SNACK_TAG, self.snack_tag);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u32(field::EXP_DATA_SN, self.exp_data_sn.0);
        bhs
    }
}

impl fmt::Display for ScsiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SCSI Response itt={} {}", self.itt, self.response)?;
        if self.response == ServiceResponse::CompletedAtTarget {
            write!(f, " status={}, {}", self.status, self.residual)?;
            if self.status_qualifier != 0 {
                write!(f, " qualifier={:#06x}", self.status_qualifier)?;
            }
            if self.bidi_residual != Residual::None {
                write!(f, " bidi {}", self.bidi_residual)?;
            }
        }
        write!(
            f,
            " len={} expdatasn={} statsn={} cmdsn={}..={}",
            self.data_segment_length,
            self.exp_data_sn,
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

    /// CHECK CONDITION of a bidirectional command, with 20 bytes of sense data.
    #[rustfmt::skip]
    static CHECK_CONDITION: [u8; 48] = [
        0x21, 0x94, 0x00, 0x02, // o and O; completed; CHECK CONDITION
        0x00, 0x00, 0x00, 0x14, // 20 bytes
        0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // status qualifier
        0x00, 0x00, 0x00, 0x0a, // ITT
        0x00, 0x00, 0x00, 0x0b, // SNACK Tag
        0x00, 0x00, 0x00, 0x0c, // StatSN
        0x00, 0x00, 0x00, 0x0d, // ExpCmdSN
        0x00, 0x00, 0x00, 0x0e, // MaxCmdSN
        0x00, 0x00, 0x00, 0x0f, // ExpDataSN
        0x00, 0x00, 0x01, 0x00, // Bidirectional Read Residual Count
        0x00, 0x00, 0x02, 0x00, // Residual Count
    ];

    fn check_condition() -> ScsiResponse {
        ScsiResponse {
            response: ServiceResponse::CompletedAtTarget,
            status: ScsiStatus::CheckCondition,
            status_qualifier: 0x4001,
            bidi_residual: Residual::Overflow(256),
            residual: Residual::Overflow(512),
            itt: InitiatorTaskTag(10),
            snack_tag: 11,
            stat_sn: StatSn(12),
            exp_cmd_sn: CmdSn(13),
            max_cmd_sn: CmdSn(14),
            exp_data_sn: DataSn(15),
            data_segment_length: 20,
        }
    }

    const RESERVED: [(usize, u8); 4] = [(0, 0x40), (1, 0xe1), (10, 0xff), (15, 0xff)];

    #[test]
    fn a_check_condition_with_both_residuals() {
        let (parse, emit) = (ScsiResponse::parse, ScsiResponse::emit);
        check(&CHECK_CONDITION, check_condition(), parse, emit, &RESERVED);
        assert_eq!(
            check_condition().to_string(),
            "SCSI Response itt=0x0000000a completed at target \
             status=CHECK CONDITION, overflow 512 qualifier=0x4001 bidi overflow 256 \
             len=20 expdatasn=15 statsn=12 cmdsn=13..=14"
        );
    }

    #[test]
    fn underflows_have_bits_of_their_own() {
        let mut bytes = CHECK_CONDITION;
        bytes[1] = 0x8a;
        let response = ScsiResponse {
            bidi_residual: Residual::Underflow(256),
            residual: Residual::Underflow(512),
            ..check_condition()
        };
        check(
            &bytes,
            response,
            ScsiResponse::parse,
            ScsiResponse::emit,
            &RESERVED,
        );
    }

    #[test]
    fn residual_counts_without_their_bits_are_reserved() {
        let mut bytes = CHECK_CONDITION;
        bytes[1] = 0x80;
        let response = ScsiResponse::parse(&Bhs::from(bytes)).unwrap();
        assert_eq!(response.residual, Residual::None);
        assert_eq!(response.bidi_residual, Residual::None);
        assert_eq!(response.emit().as_bytes()[40..], [0; 8]);
    }

    #[test]
    fn overflow_and_underflow_at_once_mean_nothing() {
        for flags in [0x86, 0x98] {
            let mut bytes = CHECK_CONDITION;
            bytes[1] = flags;
            let error = ScsiResponse::parse(&Bhs::from(bytes));
            assert_eq!(error, Err(DecodeError::Field { offset: 1 }));
        }
    }

    #[test]
    fn a_failing_target_is_reported_as_such_whatever_its_flags() {
        for (byte, response) in [
            (0x01, ServiceResponse::TargetFailure),
            (0x80, ServiceResponse::Unknown(0x80)),
        ] {
            let mut bytes = CHECK_CONDITION;
            bytes[1] = 0x9e;
            bytes[2] = byte;
            let parsed = ScsiResponse::parse(&Bhs::from(bytes)).unwrap();
            assert_eq!(parsed.response, response);
            assert_eq!(parsed.residual, Residual::None);
            assert_eq!(parsed.emit().as_bytes()[1..3], [0x80, byte]);
        }
    }
}
