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
