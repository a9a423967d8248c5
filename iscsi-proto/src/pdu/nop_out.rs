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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::pdu::vectors::check;

    #[rustfmt::skip]
    static ANSWER: [u8; 48] = [
        0x40, 0x80, 0x00, 0x00, // I, F
        0x00, 0x00, 0x00, 0x04, // four bytes of ping data
        0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN 3
        0xff, 0xff, 0xff, 0xff, // ITT: no answer wanted
        0xbe, 0xef, 0x00, 0x02, // TTT
        0x00, 0x00, 0x00, 0x11, // CmdSN
        0x00, 0x00, 0x00, 0x22, // ExpStatSN
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];

    fn answer() -> NopOut {
        NopOut {
            immediate: true,
            lun: Lun::new(3),
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag(0xbeef_0002),
            cmd_sn: CmdSn(0x11),
            exp_stat_sn: StatSn(0x22),
            data_segment_length: 4,
        }
    }

    #[test]
    fn an_answer_to_the_targets_ping() {
        let reserved = [
            (1, 0xff),
            (2, 0xff),
            (3, 0xff),
            (32, 0xff),
            (40, 0xff),
            (47, 0xff),
        ];
        check(&ANSWER, answer(), NopOut::parse, NopOut::emit, &reserved);
        assert_eq!(
            answer().to_string(),
            "NOP-Out I itt=0xffffffff ttt=0xbeef0002 lun=3 len=4 cmdsn=17 expstatsn=34"
        );
    }

    #[test]
    fn without_i_the_command_number_counts() {
        let mut bytes = ANSWER;
        bytes[0] = 0x00;
        let ping = NopOut {
            immediate: false,
            ..answer()
        };
        check(&bytes, ping, NopOut::parse, NopOut::emit, &[]);
    }
}
