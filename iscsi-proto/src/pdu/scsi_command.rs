//! SCSI Command (RFC 7143 section 11.3; the priority is RFC 7144's).

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::InitiatorTaskTag;
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    pub(super) const PRIORITY: usize = 2;
    pub(super) const EXPECTED_DATA_TRANSFER_LENGTH: usize = 20;
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    pub(super) const CDB: usize = 32;
}

mod flag {
    pub(super) const READ: u8 = 0x40;
    pub(super) const WRITE: u8 = 0x20;
    pub(super) const ATTRIBUTE_MASK: u8 = 0x07;
}

/// The priority is the upper half of its byte.
const PRIORITY_SHIFT: u32 = 4;

wire_enum! {
    /// Task attribute (SAM-5 section 8.9; three bits on the wire).
    TaskAttribute, "task attribute" {
        /// Without a tag: at most one such task per logical unit.
        Untagged = 0, "UNTAGGED";
        /// SIMPLE: the target chooses the order.
        Simple = 1, "SIMPLE";
        /// ORDERED: after all older tasks and before all younger ones.
        Ordered = 2, "ORDERED";
        /// HEAD OF QUEUE: before everything that waits.
        HeadOfQueue = 3, "HEAD OF QUEUE";
        /// ACA: runs although an auto contingent allegiance blocks the others.
        Aca = 4, "ACA";
    }
}

/// SCSI Command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// I.
    pub immediate: bool,
    /// F: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R: data is expected from the target.
    pub read: bool,
    /// W: data goes to the target. Both R and W make a bidirectional command, whose read length
    /// is in an [AHS](super::ahs).
    pub write: bool,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Command priority (RFC 7144), 0..=15; 0 is "no priority". Only for sessions with
    /// `iSCSIProtocolLevel` 2 or more, else reserved.
    pub priority: u8,
    /// Length of the AHS in four-byte words.
    pub total_ahs_length: u8,
    /// Length of the immediate data in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
    /// The logical unit.
    pub lun: Lun,
    /// Names this command until its status has come.
    pub itt: InitiatorTaskTag,
    /// In bytes: of the write if W, else of the read if R.
    pub expected_data_transfer_length: u32,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// The CDB, or its first 16 bytes, padded with zeros.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// 0x01.
    pub const OPCODE: u8 = opcode::SCSI_COMMAND;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`].
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        Ok(Self {
            immediate: bhs.is_immediate(),
            is_final: bhs.is_set(FINAL),
            read: bhs.is_set(flag::READ),
            write: bhs.is_set(flag::WRITE),
            attribute: TaskAttribute::from_byte(bhs.u8_at(FLAGS) & flag::ATTRIBUTE_MASK),
            priority: bhs.u8_at(field::PRIORITY) >> PRIORITY_SHIFT,
            total_ahs_length: bhs.total_ahs_words(),
            data_segment_length: bhs.data_segment_length(),
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            expected_data_transfer_length: bhs.u32_at(field::EXPECTED_DATA_TRANSFER_LENGTH),
            cmd_sn: bhs.cmd_sn_at(field::CMD_SN),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
            cdb: bhs.bytes_at(field::CDB),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    #[inline]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_immediate(self.immediate);
        bhs.put_u8(FLAGS, self.attribute.to_byte() & flag::ATTRIBUTE_MASK);
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::READ, self.read);
        bhs.put_flag(flag::WRITE, self.write);
        bhs.put_u8(field::PRIORITY, self.priority << PRIORITY_SHIFT);
        bhs.put_total_ahs_words(self.total_ahs_length);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(
            field::EXPECTED_DATA_TRANSFER_LENGTH,
            self.expected_data_transfer_length,
        );
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs.put(field::CDB, self.cdb);
        bhs
    }
}

impl fmt::Display for ScsiCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SCSI Command itt={} lun={}", self.itt, self.lun)?;
        for (on, name) in [
            (self.immediate, " I"),
            (self.is_final, " F"),
            (self.read, " R"),
            (self.write, " W"),
        ] {
            if on {
                f.write_str(name)?;
            }
        }
        write!(f, " {}", self.attribute)?;
        if self.priority != 0 {
            write!(f, " priority={}", self.priority)?;
        }
        f.write_str(" cdb=")?;
        self.cdb.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        if self.total_ahs_length != 0 {
            write!(f, " ahs={}", u32::from(self.total_ahs_length) * 4)?;
        }
        write!(
            f,
            " edtl={} len={} cmdsn={} expstatsn={}",
            self.expected_data_transfer_length,
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

    /// WRITE(10) of 8 blocks of 512 at LBA 0x1234, the first 512 bytes immediate.
    #[rustfmt::skip]
    static WRITE: [u8; 48] = [
        0x01, 0xa1, 0x50, 0x00, // F, W, SIMPLE; priority 5
        0x00, 0x00, 0x02, 0x00, // 512 bytes of immediate data
        0x41, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN 256, flat space
        0x00, 0x00, 0x0a, 0x01, // ITT
        0x00, 0x00, 0x10, 0x00, // Expected Data Transfer Length
        0x00, 0x00, 0x00, 0x05, // CmdSN
        0x00, 0x00, 0x00, 0x09, // ExpStatSN
        0x2a, 0x00, 0x00, 0x00, 0x12, 0x34, 0x00, 0x00, // CDB
        0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];

    fn write() -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: true,
            attribute: TaskAttribute::Simple,
            priority: 5,
            total_ahs_length: 0,
            data_segment_length: 512,
            lun: Lun::new(256),
            itt: InitiatorTaskTag(0xa01),
            expected_data_transfer_length: 4096,
            cmd_sn: CmdSn(5),
            exp_stat_sn: StatSn(9),
            cdb: [0x2a, 0, 0, 0, 0x12, 0x34, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    #[test]
    fn a_write_with_immediate_data() {
        let reserved = [(1, 0x18), (2, 0x0f), (3, 0xff)];
        check(
            &WRITE,
            write(),
            ScsiCommand::parse,
            ScsiCommand::emit,
            &reserved,
        );
        assert_eq!(
            write().to_string(),
            "SCSI Command itt=0x00000a01 lun=256 F W SIMPLE priority=5 \
             cdb=2a000000123400000800000000000000 edtl=4096 len=512 cmdsn=5 expstatsn=9"
        );
    }

    #[test]
    fn a_bidirectional_immediate_head_of_queue_command_with_ahs() {
        let mut bytes = WRITE;
        bytes[0] = 0x41;
        bytes[1] = 0x63;
        bytes[2] = 0x00;
        bytes[4] = 2;
        let command = ScsiCommand {
            immediate: true,
            is_final: false,
            read: true,
            attribute: TaskAttribute::HeadOfQueue,
            priority: 0,
            total_ahs_length: 2,
            ..write()
        };
        check(&bytes, command, ScsiCommand::parse, ScsiCommand::emit, &[]);
        assert_eq!(command.emit().total_ahs_length(), 8);
        let text = command.to_string();
        assert!(text.contains("I R W HEAD OF QUEUE cdb="), "{text}");
        assert!(text.contains(" ahs=8 "), "{text}");
    }

    #[test]
    fn reserved_task_attributes_are_kept() {
        for bits in 5..=7 {
            let mut bytes = WRITE;
            bytes[1] = 0x80 | bits;
            let command = ScsiCommand::parse(&Bhs::from(bytes)).unwrap();
            assert_eq!(command.attribute, TaskAttribute::Unknown(bits));
            assert_eq!(command.emit().as_bytes(), &bytes);
        }
    }

    #[test]
    fn a_priority_or_attribute_too_wide_for_its_field_spills_into_nothing_else() {
        let command = ScsiCommand {
            attribute: TaskAttribute::Unknown(0xff),
            priority: 0xf5,
            ..write()
        };
        assert_eq!(command.emit().as_bytes()[1..3], [0xa7, 0x50]);
    }
}
