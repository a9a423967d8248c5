//! Asynchronous Message (RFC 7143 section 11.9): the target speaks without being asked.

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::InitiatorTaskTag;
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const ASYNC_EVENT: usize = 36;
    pub(super) const ASYNC_VCODE: usize = 37;
    pub(super) const PARAMETER1: usize = 38;
    pub(super) const PARAMETER2: usize = 40;
    pub(super) const PARAMETER3: usize = 42;
}

wire_enum! {
    /// AsyncEvent (section 11.9.1).
    AsyncEvent, "asynchronous event" {
        /// A SCSI asynchronous event; sense data is in the data segment.
        ScsiEvent = 0, "SCSI event";
        /// The target asks for a logout of this connection within Parameter3 seconds.
        LogoutRequested = 1, "logout requested";
        /// The target will drop the connection Parameter1. Wait Parameter2 seconds (Time2Wait)
        /// before reconnecting; tasks are kept for Parameter3 seconds after that (Time2Retain).
        ConnectionDrop = 2, "connection will be dropped";
        /// The target will drop all connections of the session; Parameter2 and 3 as above.
        SessionDrop = 3, "all connections will be dropped";
        /// The target asks for parameters to be negotiated anew within Parameter3 seconds.
        NegotiationRequested = 4, "parameter negotiation requested";
        /// All tasks of the logical unit are being terminated (with `TaskReporting` FastAbort);
        /// Parameter1 counts how often, and the initiator acknowledges it with a NOP-Out.
        TasksTerminated = 5, "all tasks of the LUN are being terminated";
        /// The vendor's own; see `vcode` and the data segment.
        VendorSpecific = 255, "vendor specific";
    }
}

/// Asynchronous Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// The logical unit of a SCSI event or of terminated tasks; else reserved.
    pub lun: Lun,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// What happened.
    pub event: AsyncEvent,
    /// The vendor's code, for [`AsyncEvent::VendorSpecific`].
    pub vcode: u8,
    /// See [`AsyncEvent`].
    pub parameter1: u16,
    /// See [`AsyncEvent`].
    pub parameter2: u16,
    /// See [`AsyncEvent`].
    pub parameter3: u16,
    /// Length of sense and event data in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl AsyncMessage {
    /// 0x32.
    pub const OPCODE: u8 = opcode::ASYNC_MESSAGE;

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
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            event: AsyncEvent::from_byte(bhs.u8_at(field::ASYNC_EVENT)),
            vcode: bhs.u8_at(field::ASYNC_VCODE),
            parameter1: bhs.u16_at(field::PARAMETER1),
            parameter2: bhs.u16_at(field::PARAMETER2),
            parameter3: bhs.u16_at(field::PARAMETER3),
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
        bhs.put_itt(InitiatorTaskTag::RESERVED);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u8(field::ASYNC_EVENT, self.event.to_byte());
        bhs.put_u8(field::ASYNC_VCODE, self.vcode);
        bhs.put_u16(field::PARAMETER1, self.parameter1);
        bhs.put_u16(field::PARAMETER2, self.parameter2);
        bhs.put_u16(field::PARAMETER3, self.parameter3);
        bhs
    }
}

impl fmt::Display for AsyncMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Async Message {} vcode={} lun={} parameters={},{},{} len={} statsn={} cmdsn={}..={}",
            self.event,
            self.vcode,
            self.lun,
            self.parameter1,
            self.parameter2,
            self.parameter3,
            self.data_segment_length,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn
        )
    }
}
