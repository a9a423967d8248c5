//! SCSI Data-Out (RFC 7143 section 11.7): payload of a write, unsolicited or for an R2T.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{DataSn, StatSn};

mod field {
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const EXP_STAT_SN: usize = 28;
    pub(super) const DATA_SN: usize = 36;
    pub(super) const BUFFER_OFFSET: usize = 40;
}

/// SCSI Data-Out. It has no CmdSN: it belongs to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F: the last of the unsolicited data, or of what the R2T asked for.
    pub is_final: bool,
    /// The command's logical unit; reserved in unsolicited data.
    pub lun: Lun,
    /// The command.
    pub itt: InitiatorTaskTag,
    /// The R2T that this answers; [`TargetTransferTag::RESERVED`] in unsolicited data.
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// Place in the sequence: from zero for the unsolicited data and for each R2T.
    pub data_sn: DataSn,
    /// Where in the command's buffer the payload begins, in bytes.
    pub buffer_offset: u32,
    /// Length of the payload in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl DataOut {
    /// 0x05.
    pub const OPCODE: u8 = opcode::DATA_OUT;

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
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
            data_sn: DataSn(bhs.u32_at(field::DATA_SN)),
            buffer_offset: bhs.u32_at(field::BUFFER_OFFSET),
            data_segment_length: bhs.data_segment_length(),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs.put_u32(field::DATA_SN, self.data_sn.0);
        bhs.put_u32(field::BUFFER_OFFSET, self.buffer_offset);
        bhs
    }
}

impl fmt::Display for DataOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Data-Out itt={} ttt={} lun={} datasn={} offset={} len={}{} expstatsn={}",
            self.itt,
            self.ttt,
            self.lun,
            self.data_sn,
            self.buffer_offset,
            self.data_segment_length,
            if self.is_final { " F" } else { "" },
            self.exp_stat_sn
        )
    }
}
