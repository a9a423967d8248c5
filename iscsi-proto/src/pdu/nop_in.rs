//! NOP-In (RFC 7143 section 11.19): the target's ping, its answer to ours, or only new numbers.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
}

/// NOP-In.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// To be copied into the answer; zero where none is wanted.
    pub lun: Lun,
    /// The ping that this answers; [`InitiatorTaskTag::RESERVED`] where the target began.
    pub itt: InitiatorTaskTag,
    /// To be copied into the answer; [`TargetTransferTag::RESERVED`] where none is wanted.
    pub ttt: TargetTransferTag,
    /// StatSN. Where `itt` is reserved, the next one to be used, and not used up by this PDU.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Length of the echoed ping data in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl NopIn {
    /// 0x20.
    pub const OPCODE: u8 = opcode::NOP_IN;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`].
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        Ok(Self {
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            data_segment_length: bhs.data_segment_length(),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs
    }
}

impl fmt::Display for NopIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NOP-In itt={} ttt={} lun={} len={} statsn={} cmdsn={}..={}",
            self.itt,
            self.ttt,
            self.lun,
            self.data_segment_length,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn
        )
    }
}
