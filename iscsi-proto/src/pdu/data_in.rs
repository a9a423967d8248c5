//! SCSI Data-In (RFC 7143 section 11.7): payload of a read, and often its status too.

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, Residual, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::{Lun, ScsiStatus};
use crate::serial::{CmdSn, DataSn, StatSn};

mod field {
    pub(super) const STATUS: usize = 3;
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const DATA_SN: usize = 36;
    pub(super) const BUFFER_OFFSET: usize = 40;
    pub(super) const RESIDUAL_COUNT: usize = 44;
}

mod flag {
    pub(super) const ACKNOWLEDGE: u8 = 0x40;
    pub(super) const OVERFLOW: u8 = 0x04;
    pub(super) const UNDERFLOW: u8 = 0x02;
    pub(super) const STATUS: u8 = 0x01;
}

/// SCSI Data-In.
///
/// Parsing checks only what would make the header meaningless. Whether the combination is one that a
/// target may send (S without F, A at ErrorRecoveryLevel 0, an offset outside the command's buffer)
/// depends on the session, and is the business of whoever knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F: the last Data-In of a sequence.
    pub is_final: bool,
    /// A: the target wants a DataACK SNACK for everything up to here.
    pub acknowledge: bool,
    /// S and Status: the command is over with this status, and no SCSI Response will follow.
    pub status: Option<ScsiStatus>,
    /// O, U and Residual Count. They mean something only beside a status; without one they are
    /// ignored by the parser and not emitted.
    pub residual: Residual,
    /// The command's logical unit; reserved unless `acknowledge`.
    pub lun: Lun,
    /// The command.
    pub itt: InitiatorTaskTag,
    /// What a DataACK SNACK has to name; [`TargetTransferTag::RESERVED`] unless `acknowledge`.
    pub ttt: TargetTransferTag,
    /// StatSN; reserved, and not to be taken into account, without a status.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Place in the sequence of this command's Data-In PDUs (or R2Ts, for a bidirectional one).
    pub data_sn: DataSn,
    /// Where in the command's buffer the payload begins, in bytes.
    pub buffer_offset: u32,
    /// Length of the payload in bytes, without padding; 24 bits. Zero is legal.
    pub data_segment_length: u32,
}

impl DataIn {
    /// 0x25.
    pub const OPCODE: u8 = opcode::DATA_IN;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`], and [`DecodeError::Field`] where
    /// O and U are both set beside a status.
    // Always inlined: this is the PDU of the data path, and there each reader wants a few of the fields.
    #[inline(always)]
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        let data_segment_length = bhs.length_without_ahs()?;
        let (status, residual) = if bhs.is_set(flag::STATUS) {
            let residual = Residual::from_wire(
                bhs.is_set(flag::OVERFLOW),
                bhs.is_set(flag::UNDERFLOW),
                bhs.u32_at(field::RESIDUAL_COUNT),
                FLAGS as u8,
            )?;
            let status = ScsiStatus::from_byte(bhs.u8_at(field::STATUS));
            (Some(status), residual)
        } else {
            (None, Residual::None)
        };
        Ok(Self {
            is_final: bhs.is_set(FINAL),
            acknowledge: bhs.is_set(flag::ACKNOWLEDGE),
            status,
            residual,
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            data_sn: DataSn(bhs.u32_at(field::DATA_SN)),
            buffer_offset: bhs.u32_at(field::BUFFER_OFFSET),
            data_segment_length,
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::ACKNOWLEDGE, self.acknowledge);
        if let Some(status) = self.status {
            bhs.put_flag(flag::STATUS, true);
            bhs.put_flag(flag::OVERFLOW, self.residual.is_overflow());
            bhs.put_flag(flag::UNDERFLOW, self.residual.is_underflow());
            bhs.put_u8(field::STATUS, status.to_byte());
            bhs.put_u32(field::RESIDUAL_COUNT, self.residual.count());
        }
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u32(field::DATA_SN, self.data_sn.0);
        bhs.put_u32(field::BUFFER_OFFSET, self.buffer_offset);
        bhs
    }
}

impl fmt::Display for DataIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Data-In itt={} datasn={} offset={} len={}",
            self.itt, self.data_sn, self.buffer_offset, self.data_segment_length
        )?;
        if self.is_final {
            f.write_str(" F")?;
        }
        if self.acknowledge {
            write!(f, " A lun={} ttt={}", self.lun, self.ttt)?;
        }
        if let Some(status) = self.status {
            write!(
                f,
                " status={status}, {} statsn={}",
                self.residual, self.stat_sn
            )?;
        }
        write!(f, " cmdsn={}..={}", self.exp_cmd_sn, self.max_cmd_sn)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::pdu::vectors::check;

    /// The last 4 KiB of a read, status included, and three bytes less than were asked for.
    #[rustfmt::skip]
    static WITH_STATUS: [u8; 48] = [
        0x25, 0x83, 0x00, 0x00, // F, U, S; status GOOD
        0x00, 0x00, 0x10, 0x00, // no AHS, 4096 bytes
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN, reserved without A
        0x12, 0x34, 0x56, 0x78, // ITT
        0xff, 0xff, 0xff, 0xff, // TTT
        0x00, 0x00, 0x00, 0x2a, // StatSN
        0x00, 0x00, 0x01, 0x01, // ExpCmdSN
        0x00, 0x00, 0x01, 0x40, // MaxCmdSN
        0x00, 0x00, 0x00, 0x07, // DataSN
        0x00, 0x01, 0xe0, 0x00, // Buffer Offset
        0x00, 0x00, 0x00, 0x03, // Residual Count
    ];

    /// Payload in the middle of a read, to be acknowledged.
    #[rustfmt::skip]
    static ACKNOWLEDGED: [u8; 48] = [
        0x25, 0xc0, 0x00, 0x00, // F, A
        0x00, 0x03, 0xff, 0xff, // 262143 bytes, one of padding
        0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN 5
        0x12, 0x34, 0x56, 0x78, // ITT
        0xca, 0xfe, 0x00, 0x01, // TTT
        0x00, 0x00, 0x00, 0x00, // StatSN, reserved without S
        0x00, 0x00, 0x01, 0x01, // ExpCmdSN
        0x00, 0x00, 0x01, 0x40, // MaxCmdSN
        0x00, 0x00, 0x00, 0x01, // DataSN
        0x00, 0x04, 0x00, 0x00, // Buffer Offset
        0x00, 0x00, 0x00, 0x00, // Residual Count, reserved without S
    ];

    fn with_status() -> DataIn {
        DataIn {
            is_final: true,
            acknowledge: false,
            status: Some(ScsiStatus::Good),
            residual: Residual::Underflow(3),
            lun: Lun::ZERO,
            itt: InitiatorTaskTag(0x1234_5678),
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(42),
            exp_cmd_sn: CmdSn(0x101),
            max_cmd_sn: CmdSn(0x140),
            data_sn: DataSn(7),
            buffer_offset: 0x1_e000,
            data_segment_length: 4096,
        }
    }

    fn acknowledged() -> DataIn {
        DataIn {
            acknowledge: true,
            status: None,
            residual: Residual::None,
            lun: Lun::new(5),
            ttt: TargetTransferTag(0xcafe_0001),
            stat_sn: StatSn(0),
            data_sn: DataSn(1),
            buffer_offset: 0x4_0000,
            data_segment_length: 0x3_ffff,
            ..with_status()
        }
    }

    #[test]
    fn status_and_residual_come_with_the_last_payload() {
        let reserved = [(1, 0x38), (2, 0xff)];
        check(
            &WITH_STATUS,
            with_status(),
            DataIn::parse,
            DataIn::emit,
            &reserved,
        );
    }

    #[test]
    fn without_s_the_status_and_residual_fields_are_reserved() {
        let reserved = [
            (1, 0x3e),
            (2, 0xff),
            (3, 0xff),
            (44, 0xff),
            (45, 0xff),
            (46, 0xff),
            (47, 0xff),
        ];
        check(
            &ACKNOWLEDGED,
            acknowledged(),
            DataIn::parse,
            DataIn::emit,
            &reserved,
        );
    }

    #[test]
    fn a_residual_without_a_status_is_not_emitted() {
        let data_in = DataIn {
            residual: Residual::Overflow(9),
            ..acknowledged()
        };
        assert_eq!(data_in.emit().as_bytes(), &ACKNOWLEDGED);
    }

    #[test]
    fn overflow_and_underflow_at_once_mean_nothing() {
        let mut bytes = WITH_STATUS;
        bytes[1] |= 0x06;
        let error = DataIn::parse(&Bhs::from(bytes));
        assert_eq!(error, Err(DecodeError::Field { offset: 1 }));
    }

    #[test]
    fn an_unknown_status_is_kept() {
        let mut bytes = WITH_STATUS;
        bytes[3] = 0x77;
        let data_in = DataIn::parse(&Bhs::from(bytes)).unwrap();
        assert_eq!(data_in.status, Some(ScsiStatus::Unknown(0x77)));
        assert_eq!(data_in.emit().as_bytes(), &bytes);
    }

    #[test]
    fn s_without_f_and_an_offset_beyond_any_buffer_are_for_the_session_to_judge() {
        let mut bytes = WITH_STATUS;
        bytes[1] = 0x01;
        bytes[40..44].fill(0xff);
        let data_in = DataIn::parse(&Bhs::from(bytes)).unwrap();
        assert!(!data_in.is_final);
        assert_eq!(data_in.buffer_offset, u32::MAX);
    }

    #[test]
    fn an_additional_header_segment_or_another_opcode_is_refused() {
        let mut bytes = WITH_STATUS;
        bytes[4] = 1;
        let error = DataIn::parse(&Bhs::from(bytes));
        assert_eq!(error, Err(DecodeError::UnexpectedAhs));
        bytes[0] = 0x21;
        let (expected, found) = (0x25, 0x21);
        let error = DataIn::parse(&Bhs::from(bytes));
        assert_eq!(error, Err(DecodeError::WrongOpcode { expected, found }));
    }

    #[test]
    fn the_text_shows_what_is_meant_and_hides_what_is_reserved() {
        assert_eq!(
            with_status().to_string(),
            "Data-In itt=0x12345678 datasn=7 offset=122880 len=4096 F \
             status=GOOD, underflow 3 statsn=42 cmdsn=257..=320"
        );
        assert_eq!(
            acknowledged().to_string(),
            "Data-In itt=0x12345678 datasn=1 offset=262144 len=262143 F \
             A lun=5 ttt=0xcafe0001 cmdsn=257..=320"
        );
    }
}
