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
    #[inline]
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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::pdu::vectors::check;

    #[rustfmt::skip]
    static SOLICITED: [u8; 48] = [
        0x05, 0x80, 0x00, 0x00, // F
        0x00, 0x00, 0x20, 0x00, // 8192 bytes
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN 1
        0x00, 0x00, 0x00, 0x41, // ITT
        0x00, 0x00, 0x00, 0x42, // TTT
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x43, // ExpStatSN
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x44, // DataSN
        0x00, 0x01, 0x00, 0x00, // Buffer Offset
        0x00, 0x00, 0x00, 0x00,
    ];

    fn solicited() -> DataOut {
        DataOut {
            is_final: true,
            lun: Lun::new(1),
            itt: InitiatorTaskTag(0x41),
            ttt: TargetTransferTag(0x42),
            exp_stat_sn: StatSn(0x43),
            data_sn: DataSn(0x44),
            buffer_offset: 0x1_0000,
            data_segment_length: 8192,
        }
    }

    #[test]
    fn the_last_data_for_an_r2t() {
        let reserved = [
            (0, 0x40),
            (1, 0x7f),
            (2, 0xff),
            (24, 0xff),
            (32, 0xff),
            (44, 0xff),
        ];
        check(
            &SOLICITED,
            solicited(),
            DataOut::parse,
            DataOut::emit,
            &reserved,
        );
        assert_eq!(
            solicited().to_string(),
            "Data-Out itt=0x00000041 ttt=0x00000042 lun=1 datasn=68 offset=65536 len=8192 F \
             expstatsn=67"
        );
    }

    #[test]
    fn without_f_more_follows() {
        let mut bytes = SOLICITED;
        bytes[1] = 0;
        let data_out = DataOut {
            is_final: false,
            ..solicited()
        };
        check(&bytes, data_out, DataOut::parse, DataOut::emit, &[]);
    }
}
