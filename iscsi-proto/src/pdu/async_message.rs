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

impl AsyncEvent {
    /// Whether the event is of a vendor's own making: 248 to 255.
    #[must_use]
    pub const fn is_vendor_specific(self) -> bool {
        self.to_byte() >= 248
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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::pdu::vectors::check;

    #[rustfmt::skip]
    static DROP: [u8; 48] = [
        0x32, 0x80, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN
        0xff, 0xff, 0xff, 0xff,
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x93, // StatSN
        0x00, 0x00, 0x00, 0x94, // ExpCmdSN
        0x00, 0x00, 0x00, 0x95, // MaxCmdSN
        0x02, 0x01, 0x00, 0x03, // connection drop, AsyncVCode, Parameter1
        0x00, 0x05, 0x00, 0x3c, // Parameter2, Parameter3
        0x00, 0x00, 0x00, 0x00,
    ];

    fn drop_of_a_connection() -> AsyncMessage {
        AsyncMessage {
            lun: Lun::new(10),
            stat_sn: StatSn(0x93),
            exp_cmd_sn: CmdSn(0x94),
            max_cmd_sn: CmdSn(0x95),
            event: AsyncEvent::ConnectionDrop,
            vcode: 1,
            parameter1: 3,
            parameter2: 5,
            parameter3: 60,
            data_segment_length: 0,
        }
    }

    #[test]
    fn a_connection_is_about_to_be_dropped() {
        let (parse, emit) = (AsyncMessage::parse, AsyncMessage::emit);
        let reserved = [
            (1, 0xff),
            (2, 0xff),
            (3, 0xff),
            (16, 0xff),
            (20, 0xff),
            (44, 0xff),
        ];
        check(&DROP, drop_of_a_connection(), parse, emit, &reserved);
        assert_eq!(
            drop_of_a_connection().to_string(),
            "Async Message connection will be dropped vcode=1 lun=10 parameters=3,5,60 len=0 \
             statsn=147 cmdsn=148..=149"
        );
    }

    #[test]
    fn events_have_the_numbers_of_the_standard() {
        let numbered = [
            AsyncEvent::ScsiEvent,
            AsyncEvent::LogoutRequested,
            AsyncEvent::ConnectionDrop,
            AsyncEvent::SessionDrop,
            AsyncEvent::NegotiationRequested,
            AsyncEvent::TasksTerminated,
            AsyncEvent::Unknown(6),
        ];
        for (number, event) in (0..).zip(numbered) {
            let mut bytes = DROP;
            bytes[36] = number;
            let message = AsyncMessage::parse(&Bhs::from(bytes)).unwrap();
            assert_eq!(message.event, event);
            assert_eq!(message.emit().as_bytes(), &bytes);
        }
        assert_eq!(AsyncEvent::from_byte(255), AsyncEvent::VendorSpecific);
        assert!(AsyncEvent::from_byte(248).is_vendor_specific());
        assert!(!AsyncEvent::from_byte(247).is_vendor_specific());
    }
}
