//! Logout Request and Response (RFC 7143 sections 11.14, 11.15).

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{Cid, InitiatorTaskTag};
use crate::serial::{CmdSn, StatSn};

mod field {
    // Request.
    pub(super) const CID: usize = 20;
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    // Response.
    pub(super) const RESPONSE: usize = 2;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const TIME2WAIT: usize = 40;
    pub(super) const TIME2RETAIN: usize = 42;
}

const REASON_MASK: u8 = 0x7f;

wire_enum! {
    /// Reason Code of a Logout Request (section 11.14.1; seven bits on the wire).
    LogoutReason, "logout reason" {
        /// Close the session with all its tasks and connections.
        CloseSession = 0, "close the session";
        /// Close the connection that the CID names.
        CloseConnection = 1, "close the connection";
        /// Remove the connection for recovery: its tasks are to be reassigned.
        RemoveForRecovery = 2, "remove the connection for recovery";
    }
}

wire_enum! {
    /// Response of a Logout Response (section 11.15.1).
    LogoutResponseCode, "logout response" {
        /// Connection or session closed successfully.
        Closed = 0, "closed";
        /// CID not found.
        CidNotFound = 1, "CID not found";
        /// Connection recovery is not supported.
        RecoveryNotSupported = 2, "connection recovery not supported";
        /// Cleanup failed for various reasons.
        CleanupFailed = 3, "cleanup failed";
    }
}

/// Logout Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// I.
    pub immediate: bool,
    /// What is to be closed, and why.
    pub reason: LogoutReason,
    /// Which connection; reserved when the session is closed.
    pub cid: Cid,
    /// Names this request.
    pub itt: InitiatorTaskTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

impl LogoutRequest {
    /// 0x06.
    pub const OPCODE: u8 = opcode::LOGOUT_REQUEST;

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
            immediate: bhs.is_immediate(),
            reason: LogoutReason::from_byte(bhs.u8_at(FLAGS) & REASON_MASK),
            cid: Cid(bhs.u16_at(field::CID)),
            itt: bhs.initiator_task_tag(),
            cmd_sn: bhs.cmd_sn_at(field::CMD_SN),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_immediate(self.immediate);
        bhs.put_u8(FLAGS, self.reason.to_byte() & REASON_MASK);
        bhs.put_flag(FINAL, true);
        bhs.put_itt(self.itt);
        bhs.put_u16(field::CID, self.cid.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

impl fmt::Display for LogoutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Logout Request{} {} cid={} itt={} cmdsn={} expstatsn={}",
            if self.immediate { " I" } else { "" },
            self.reason,
            self.cid,
            self.itt,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}

/// Logout Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// How it went.
    pub response: LogoutResponseCode,
    /// The request.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// How long to wait at least before tasks are reassigned or the session is reinstated, in seconds.
    pub time2wait: u16,
    /// How long after that the target still keeps the tasks, in seconds. Zero: not at all.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// 0x26.
    pub const OPCODE: u8 = opcode::LOGOUT_RESPONSE;

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
            response: LogoutResponseCode::from_byte(bhs.u8_at(field::RESPONSE)),
            itt: bhs.initiator_task_tag(),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            time2wait: bhs.u16_at(field::TIME2WAIT),
            time2retain: bhs.u16_at(field::TIME2RETAIN),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        bhs.put_u8(field::RESPONSE, self.response.to_byte());
        bhs.put_itt(self.itt);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u16(field::TIME2WAIT, self.time2wait);
        bhs.put_u16(field::TIME2RETAIN, self.time2retain);
        bhs
    }
}

impl fmt::Display for LogoutResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Logout Response itt={} {} time2wait={} time2retain={} statsn={} cmdsn={}..={}",
            self.itt,
            self.response,
            self.time2wait,
            self.time2retain,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn
        )
    }
}
