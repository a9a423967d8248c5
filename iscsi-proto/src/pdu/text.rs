//! Text Request and Response (RFC 7143 sections 11.10, 11.11).

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    // Both.
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    // Request.
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    // Response.
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
}

mod flag {
    pub(super) const CONTINUE: u8 = 0x40;
}

/// Text Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I.
    pub immediate: bool,
    /// F: the initiator has nothing more to say. Excludes C.
    pub is_final: bool,
    /// C: the text goes on in the next Text Request.
    pub cont: bool,
    /// Copied from the Text Response that this follows, else zero.
    pub lun: Lun,
    /// The same in all requests of one exchange.
    pub itt: InitiatorTaskTag,
    /// Copied from the Text Response that this follows; [`TargetTransferTag::RESERVED`] begins an
    /// exchange, or begins it anew.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl TextRequest {
    /// 0x04.
    pub const OPCODE: u8 = opcode::TEXT_REQUEST;

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
            is_final: bhs.is_set(FINAL),
            cont: bhs.is_set(flag::CONTINUE),
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
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::CONTINUE, self.cont);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

impl fmt::Display for TextRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Text Request{}{}{} itt={} ttt={} lun={} len={} cmdsn={} expstatsn={}",
            if self.immediate { " I" } else { "" },
            if self.is_final { " F" } else { "" },
            if self.cont { " C" } else { "" },
            self.itt,
            self.ttt,
            self.lun,
            self.data_segment_length,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}

/// Text Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F: the exchange is over. Excludes C, and goes with a reserved tag.
    pub is_final: bool,
    /// C: the text goes on in the next Text Response, once an empty Text Request has asked for it.
    pub cont: bool,
    /// To be copied into the next Text Request.
    pub lun: Lun,
    /// The exchange.
    pub itt: InitiatorTaskTag,
    /// To be copied into the next Text Request; [`TargetTransferTag::RESERVED`] where none is due.
    pub ttt: TargetTransferTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl TextResponse {
    /// 0x24.
    pub const OPCODE: u8 = opcode::TEXT_RESPONSE;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`].
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        Ok(Self {
            is_final: bhs.is_set(FINAL),
            cont: bhs.is_set(flag::CONTINUE),
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
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::CONTINUE, self.cont);
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

impl fmt::Display for TextResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Text Response{}{} itt={} ttt={} lun={} len={} statsn={} cmdsn={}..={}",
            if self.is_final { " F" } else { "" },
            if self.cont { " C" } else { "" },
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
