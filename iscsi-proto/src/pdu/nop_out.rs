//! NOP-Out (RFC 7143 section 11.18): the initiator's ping, and its answer to the target's.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
}

/// NOP-Out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// I. Always set where `itt` is reserved.
    pub immediate: bool,
    /// Copied from the NOP-In that this answers, else zero.
    pub lun: Lun,
    /// The ping; [`InitiatorTaskTag::RESERVED`] where no answer is wanted.
    pub itt: InitiatorTaskTag,
    /// Copied from the NOP-In that this answers; [`TargetTransferTag::RESERVED`] in a ping.
    pub ttt: TargetTransferTag,
    /// CmdSN. Not advanced by an immediate one.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// Length of the ping data in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl NopOut {
    /// 0x00.
    pub const OPCODE: u8 = opcode::NOP_OUT;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`].
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        Ok(Self {
            immediate: bhs.is_immediate(),
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            cmd_sn: bhs.cmd_sn_at(field::CMD_SN),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
            data_segment_length: bhs.data_segment_length(),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_immediate(self.immediate);
        bhs.put_flag(FINAL, true);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

impl fmt::Display for NopOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NOP-Out{} itt={} ttt={} lun={} len={} cmdsn={} expstatsn={}",
            if self.immediate { " I" } else { "" },
            self.itt,
            self.ttt,
            self.lun,
            self.data_segment_length,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}
