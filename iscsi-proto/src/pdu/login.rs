//! Login Request and Response (RFC 7143 sections 11.12, 11.13).

use core::fmt;

use super::bhs::FLAGS;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{Cid, InitiatorTaskTag, Isid, LoginStatus, Tsih};
use crate::serial::{CmdSn, StatSn};

mod field {
    // Both.
    pub(super) const VERSION_MAX: usize = 2;
    pub(super) const ISID: usize = 8;
    pub(super) const TSIH: usize = 14;
    // Request.
    pub(super) const VERSION_MIN: usize = 3;
    pub(super) const CID: usize = 20;
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    // Response.
    pub(super) const VERSION_ACTIVE: usize = 3;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
    pub(super) const STATUS_CLASS: usize = 36;
    pub(super) const STATUS_DETAIL: usize = 37;
}

mod flag {
    pub(super) const TRANSIT: u8 = 0x80;
    pub(super) const CONTINUE: u8 = 0x40;
    pub(super) const CSG_SHIFT: u32 = 2;
    pub(super) const STAGE_MASK: u8 = 0x03;
}

/// Login stage (section 11.12.3): CSG and NSG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// 0: who is who.
    SecurityNegotiation,
    /// 1: with which parameters.
    OperationalNegotiation,
    /// 3: login is over. 2 does not exist.
    FullFeature,
}

impl Stage {
    const fn from_bits(bits: u8) -> Result<Self, DecodeError> {
        match bits & flag::STAGE_MASK {
            0 => Ok(Self::SecurityNegotiation),
            1 => Ok(Self::OperationalNegotiation),
            3 => Ok(Self::FullFeature),
            _ => Err(DecodeError::Field {
                offset: FLAGS as u8,
            }),
        }
    }

    const fn to_bits(self) -> u8 {
        match self {
            Self::SecurityNegotiation => 0,
            Self::OperationalNegotiation => 1,
            Self::FullFeature => 3,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecurityNegotiation => "security",
            Self::OperationalNegotiation => "operational",
            Self::FullFeature => "full feature",
        })
    }
}

/// Current and next stage. NSG is reserved without T, so then "next" is "stay here" and not
/// whatever the bits say.
fn parse_stages(bhs: &Bhs) -> Result<(bool, Stage, Stage), DecodeError> {
    let flags = bhs.u8_at(FLAGS);
    let transit = bhs.is_set(flag::TRANSIT);
    let csg = Stage::from_bits(flags >> flag::CSG_SHIFT)?;
    let nsg = if transit {
        Stage::from_bits(flags)?
    } else {
        csg
    };
    Ok((transit, csg, nsg))
}

fn emit_stages(bhs: &mut Bhs, transit: bool, csg: Stage, nsg: Stage) {
    let next = if transit { nsg.to_bits() } else { 0 };
    bhs.put_u8(FLAGS, csg.to_bits() << flag::CSG_SHIFT | next);
    bhs.put_flag(flag::TRANSIT, transit);
}

fn fmt_stages(
    f: &mut fmt::Formatter<'_>,
    transit: bool,
    cont: bool,
    csg: Stage,
    nsg: Stage,
) -> fmt::Result {
    write!(f, " {csg}")?;
    if transit {
        write!(f, "->{nsg} T")?;
    }
    f.write_str(if cont { " C" } else { "" })
}

/// Login Request. Always immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// T: ready for the next stage.
    pub transit: bool,
    /// C: the text goes on in the next Login Request.
    pub cont: bool,
    /// CSG: the stage that this belongs to.
    pub csg: Stage,
    /// NSG: where T wants to go. Parsed as `csg`, and not emitted, without `transit`.
    pub nsg: Stage,
    /// Highest version that the initiator speaks: 0.
    pub version_max: u8,
    /// Lowest version that the initiator speaks: 0.
    pub version_min: u8,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
    /// The initiator's part of the session identifier.
    pub isid: Isid,
    /// Zero for a new session, else the session to join.
    pub tsih: Tsih,
    /// The same in all requests of one login.
    pub itt: InitiatorTaskTag,
    /// The connection.
    pub cid: Cid,
    /// CmdSN: in the leading login, where the session's numbering begins.
    pub cmd_sn: CmdSn,
    /// ExpStatSN; reserved in the first request of a new connection.
    pub exp_stat_sn: StatSn,
}

impl LoginRequest {
    /// 0x03.
    pub const OPCODE: u8 = opcode::LOGIN_REQUEST;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`], and [`DecodeError::Field`] for
    /// the stage 2.
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        let (transit, csg, nsg) = parse_stages(bhs)?;
        Ok(Self {
            transit,
            cont: bhs.is_set(flag::CONTINUE),
            csg,
            nsg,
            version_max: bhs.u8_at(field::VERSION_MAX),
            version_min: bhs.u8_at(field::VERSION_MIN),
            data_segment_length: bhs.data_segment_length(),
            isid: Isid(bhs.bytes_at(field::ISID)),
            tsih: Tsih(bhs.u16_at(field::TSIH)),
            itt: bhs.initiator_task_tag(),
            cid: Cid(bhs.u16_at(field::CID)),
            cmd_sn: bhs.cmd_sn_at(field::CMD_SN),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_immediate(true);
        emit_stages(&mut bhs, self.transit, self.csg, self.nsg);
        bhs.put_flag(flag::CONTINUE, self.cont);
        bhs.put_u8(field::VERSION_MAX, self.version_max);
        bhs.put_u8(field::VERSION_MIN, self.version_min);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put(field::ISID, self.isid.0);
        bhs.put_u16(field::TSIH, self.tsih.0);
        bhs.put_itt(self.itt);
        bhs.put_u16(field::CID, self.cid.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

impl fmt::Display for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login Request")?;
        fmt_stages(f, self.transit, self.cont, self.csg, self.nsg)?;
        write!(
            f,
            " isid={} tsih={} cid={} itt={} len={} version={}..={} cmdsn={} expstatsn={}",
            self.isid,
            self.tsih,
            self.cid,
            self.itt,
            self.data_segment_length,
            self.version_min,
            self.version_max,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}

/// Login Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T: the target goes on to the next stage.
    pub transit: bool,
    /// C: the text goes on in the next Login Response.
    pub cont: bool,
    /// CSG: the stage that this belongs to.
    pub csg: Stage,
    /// NSG: where T goes. Parsed as `csg`, and not emitted, without `transit`.
    pub nsg: Stage,
    /// Highest version that the target speaks.
    pub version_max: u8,
    /// The version in use.
    pub version_active: u8,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
    /// Copied from the request.
    pub isid: Isid,
    /// The session, once the target has made it: not zero in the last response of a leading login.
    pub tsih: Tsih,
    /// Copied from the request.
    pub itt: InitiatorTaskTag,
    /// StatSN: in the first response, where the connection's numbering begins.
    pub stat_sn: StatSn,
    /// ExpCmdSN. This and MaxCmdSN mean nothing unless the status class is 0.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Status-Class and Status-Detail.
    pub status: LoginStatus,
}

impl LoginResponse {
    /// 0x23.
    pub const OPCODE: u8 = opcode::LOGIN_RESPONSE;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::WrongOpcode`], [`DecodeError::UnexpectedAhs`], and [`DecodeError::Field`] for
    /// the stage 2.
    pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
        bhs.expect_opcode(Self::OPCODE)?;
        bhs.expect_no_ahs()?;
        let (transit, csg, nsg) = parse_stages(bhs)?;
        Ok(Self {
            transit,
            cont: bhs.is_set(flag::CONTINUE),
            csg,
            nsg,
            version_max: bhs.u8_at(field::VERSION_MAX),
            version_active: bhs.u8_at(field::VERSION_ACTIVE),
            data_segment_length: bhs.data_segment_length(),
            isid: Isid(bhs.bytes_at(field::ISID)),
            tsih: Tsih(bhs.u16_at(field::TSIH)),
            itt: bhs.initiator_task_tag(),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            status: LoginStatus {
                class: bhs.u8_at(field::STATUS_CLASS),
                detail: bhs.u8_at(field::STATUS_DETAIL),
            },
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        emit_stages(&mut bhs, self.transit, self.csg, self.nsg);
        bhs.put_flag(flag::CONTINUE, self.cont);
        bhs.put_u8(field::VERSION_MAX, self.version_max);
        bhs.put_u8(field::VERSION_ACTIVE, self.version_active);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put(field::ISID, self.isid.0);
        bhs.put_u16(field::TSIH, self.tsih.0);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs.put_u8(field::STATUS_CLASS, self.status.class);
        bhs.put_u8(field::STATUS_DETAIL, self.status.detail);
        bhs
    }
}

impl fmt::Display for LoginResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login Response {}", self.status)?;
        fmt_stages(f, self.transit, self.cont, self.csg, self.nsg)?;
        write!(
            f,
            " isid={} tsih={} itt={} len={} version={} max={} statsn={} cmdsn={}..={}",
            self.isid,
            self.tsih,
            self.itt,
            self.data_segment_length,
            self.version_active,
            self.version_max,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn
        )
    }
}
