//! Ready To Transfer (RFC 7143 section 11.8): the target asks for a piece of a write.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, R2tSn, StatSn};

mod field {
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const R2T_SN: usize = 36;
    pub(super) const BUFFER_OFFSET: usize = 40;
    pub(super) const DESIRED_DATA_TRANSFER_LENGTH: usize = 44;
}

/// Ready To Transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R2t {
    /// To be copied into the Data-Outs.
    pub lun: Lun,
    /// The command.
    pub itt: InitiatorTaskTag,
    /// To be copied into the Data-Outs; never [`TargetTransferTag::RESERVED`] from a sane target.
    pub ttt: TargetTransferTag,
    /// The next StatSN; an R2T does not use it up.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Place in the sequence of this command's R2Ts.
    pub r2t_sn: R2tSn,
    /// Where in the command's buffer the wanted data begins, in bytes.
    pub buffer_offset: u32,
    /// How much is wanted, in bytes: at least 1, at most MaxBurstLength.
    pub desired_data_transfer_length: u32,
}

impl R2t {
    /// 0x31.
    pub const OPCODE: u8 = opcode::R2T;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`],
    /// [`DecodeError::DataSegmentTooLong`] for any data segment.
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_header_only()?;
        Ok(Self {
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            r2t_sn: R2tSn(bhs.u32_at(field::R2T_SN)),
            buffer_offset: bhs.u32_at(field::BUFFER_OFFSET),
            desired_data_transfer_length: bhs.u32_at(field::DESIRED_DATA_TRANSFER_LENGTH),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u32(field::R2T_SN, self.r2t_sn.0);
        bhs.put_u32(field::BUFFER_OFFSET, self.buffer_offset);
        bhs.put_u32(
            field::DESIRED_DATA_TRANSFER_LENGTH,
            self.desired_data_transfer_length,
        );
        bhs
    }
}

impl fmt::Display for R2t {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "R2T itt={} ttt={} lun={} r2tsn={} offset={} desired={} statsn={} cmdsn={}..={}",
            self.itt,
            self.ttt,
            self.lun,
            self.r2t_sn,
            self.buffer_offset,
            self.desired_data_transfer_length,
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
        0x31, 0x80, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN 1
        0x00, 0x00, 0x00, 0x51, // ITT
        0x00, 0x00, 0x00, 0x52, // TTT
        0x00, 0x00, 0x00, 0x53, // StatSN
        0x00, 0x00, 0x00, 0x54, // ExpCmdSN
        0x00, 0x00, 0x00, 0x55, // MaxCmdSN
        0x00, 0x00, 0x00, 0x56, // R2TSN
        0x00, 0x01, 0x00, 0x00, // Buffer Offset
        0x00, 0x04, 0x00, 0x00, // Desired Data Transfer Length
    ];

    fn r2t() -> R2t {
        R2t {
            lun: Lun::new(1),
            itt: InitiatorTaskTag(0x51),
            ttt: TargetTransferTag(0x52),
            stat_sn: StatSn(0x53),
            exp_cmd_sn: CmdSn(0x54),
            max_cmd_sn: CmdSn(0x55),
            r2t_sn: R2tSn(0x56),
            buffer_offset: 0x1_0000,
            desired_data_transfer_length: 0x4_0000,
        }
    }

    #[test]
    fn a_request_for_256_kib() {
        let reserved = [(0, 0x40), (1, 0xff), (2, 0xff), (3, 0xff)];
        check(&BYTES, r2t(), R2t::parse, R2t::emit, &reserved);
        assert_eq!(
            r2t().to_string(),
            "R2T itt=0x00000051 ttt=0x00000052 lun=1 r2tsn=86 offset=65536 desired=262144 \
             statsn=83 cmdsn=84..=85"
        );
    }

    #[test]
    fn an_r2t_carries_no_data() {
        let mut bytes = BYTES;
        bytes[5] = 0x80;
        let error = R2t::parse(&Bhs::from(bytes));
        let (length, limit) = (0x80_0000, 0);
        let too_long = DecodeError::DataSegmentTooLong { length, limit };
        assert_eq!(error, Err(too_long));
    }

    #[test]
    fn an_empty_or_endless_one_is_for_the_session_to_judge() {
        for length in [0, u32::MAX] {
            let mut bytes = BYTES;
            bytes[40..44].fill(0xff);
            bytes[44..].copy_from_slice(&u32::to_be_bytes(length));
            let r2t = R2t::parse(&Bhs::from(bytes)).unwrap();
            assert_eq!(r2t.desired_data_transfer_length, length);
            assert_eq!(r2t.buffer_offset, u32::MAX);
        }
    }
}
