//! SNACK Request (RFC 7143 section 11.16): asks for PDUs again, or acknowledges data.

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::StatSn;

mod field {
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    pub(super) const EXP_STAT_SN: usize = 28;
    pub(super) const BEG_RUN: usize = 40;
    pub(super) const RUN_LENGTH: usize = 44;
}

const TYPE_MASK: u8 = 0x0f;

wire_enum! {
    /// Type of a SNACK (section 11.16.1; four bits on the wire).
    SnackType, "SNACK type" {
        /// Data-In or R2T PDUs are wanted again, as they were.
        DataOrR2t = 0, "Data/R2T";
        /// Responses are wanted again.
        Status = 1, "Status";
        /// Data-In PDUs that asked for it are acknowledged.
        DataAck = 2, "DataACK";
        /// Data-In PDUs are wanted again and may be cut differently.
        RData = 3, "R-Data";
    }
}

/// SNACK Request. Only from ErrorRecoveryLevel 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snack {
    /// What for.
    pub snack_type: SnackType,
    /// For a DataACK, copied from the Data-In; else reserved.
    pub lun: Lun,
    /// The command; [`InitiatorTaskTag::RESERVED`] for Status and DataACK.
    pub itt: InitiatorTaskTag,
    /// For a DataACK, copied from the Data-In. For R-Data this is the SNACK Tag. Else
    /// [`TargetTransferTag::RESERVED`].
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// The first DataSN, R2TSN or StatSN that is missing; for a DataACK the next one expected; zero
    /// for R-Data.
    pub beg_run: u32,
    /// How many are missing. Zero: all from `beg_run` on.
    pub run_length: u32,
}

impl Snack {
    /// 0x10.
    pub const OPCODE: u8 = opcode::SNACK;

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
            snack_type: SnackType::from_byte(bhs.u8_at(FLAGS) & TYPE_MASK),
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
            beg_run: bhs.u32_at(field::BEG_RUN),
            run_length: bhs.u32_at(field::RUN_LENGTH),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_u8(FLAGS, self.snack_type.to_byte() & TYPE_MASK);
        bhs.put_flag(FINAL, true);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs.put_u32(field::BEG_RUN, self.beg_run);
        bhs.put_u32(field::RUN_LENGTH, self.run_length);
        bhs
    }
}

impl fmt::Display for Snack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SNACK {} itt={} ttt={} lun={} begrun={} runlength={} expstatsn={}",
            self.snack_type,
            self.itt,
            self.ttt,
            self.lun,
            self.beg_run,
            self.run_length,
            self.exp_stat_sn
        )
    }
}
