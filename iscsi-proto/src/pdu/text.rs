//! Text Request and Response (RFC 7143 sections 11.10, 11.11).

use core::fmt;

use super::bhs::FINAL;
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

mod field {
    // Both.
    pub(super) const TARGET_TRANSFER_TAG: usize = 20;
    // Request.
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    // Response.
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
}

mod flag {
    pub(super) const CONTINUE: u8 = 0x40;
}

/// Text Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I.
    pub immediate: bool,
    /// F: the initiator has nothing more to say. Excludes C.
    pub is_final: bool,
    /// C: the text goes on in the next Text Request.
    pub cont: bool,
    /// Copied from the Text Response that this follows, else zero.
    pub lun: Lun,
    /// The same in all requests of one exchange.
    pub itt: InitiatorTaskTag,
    /// Copied from the Text Response that this follows; [`TargetTransferTag::RESERVED`] begins an
    /// exchange, or begins it anew.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl TextRequest {
    /// 0x04.
    pub const OPCODE: u8 = opcode::TEXT_REQUEST;

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
            is_final: bhs.is_set(FINAL),
            cont: bhs.is_set(flag::CONTINUE),
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
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::CONTINUE, self.cont);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

impl fmt::Display for TextRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Text Request{}{}{} itt={} ttt={} lun={} len={} cmdsn={} expstatsn={}",
            if self.immediate { " I" } else { "" },
            if self.is_final { " F" } else { "" },
            if self.cont { " C" } else { "" },
            self.itt,
            self.ttt,
            self.lun,
            self.data_segment_length,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}

/// Text Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F: the exchange is over. Excludes C, and goes with a reserved tag.
    pub is_final: bool,
    /// C: the text goes on in the next Text Response, once an empty Text Request has asked for it.
    pub cont: bool,
    /// To be copied into the next Text Request.
    pub lun: Lun,
    /// The exchange.
    pub itt: InitiatorTaskTag,
    /// To be copied into the next Text Request; [`TargetTransferTag::RESERVED`] where none is due.
    pub ttt: TargetTransferTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Length of the text in bytes, without padding; 24 bits.
    pub data_segment_length: u32,
}

impl TextResponse {
    /// 0x24.
    pub const OPCODE: u8 = opcode::TEXT_RESPONSE;

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
            cont: bhs.is_set(flag::CONTINUE),
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            ttt: bhs.ttt_at(field::TARGET_TRANSFER_TAG),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
            data_segment_length: bhs.data_segment_length(),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, self.is_final);
        bhs.put_flag(flag::CONTINUE, self.cont);
        bhs.put_data_segment_length(self.data_segment_length);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::TARGET_TRANSFER_TAG, self.ttt.0);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs
    }
}

impl fmt::Display for TextResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Text Response{}{} itt={} ttt={} lun={} len={} statsn={} cmdsn={}..={}",
            if self.is_final { " F" } else { "" },
            if self.cont { " C" } else { "" },
            self.itt,
            self.ttt,
            self.lun,
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
    static REQUEST: [u8; 48] = [
        0x44, 0x80, 0x00, 0x00, // I; F
        0x00, 0x00, 0x00, 0x10, // "SendTargets=All\0"
        0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN
        0x00, 0x00, 0x00, 0x71, // ITT
        0xff, 0xff, 0xff, 0xff, // TTT
        0x00, 0x00, 0x00, 0x73, // CmdSN
        0x00, 0x00, 0x00, 0x74, // ExpStatSN
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];

    #[rustfmt::skip]
    static RESPONSE: [u8; 48] = [
        0x24, 0x40, 0x00, 0x00, // C
        0x00, 0x00, 0x1f, 0xf8, // 8184 bytes
        0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // LUN
        0x00, 0x00, 0x00, 0x71, // ITT
        0x00, 0x00, 0x00, 0x72, // TTT
        0x00, 0x00, 0x00, 0x73, // StatSN
        0x00, 0x00, 0x00, 0x74, // ExpCmdSN
        0x00, 0x00, 0x00, 0x75, // MaxCmdSN
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00,
    ];

    fn request() -> TextRequest {
        TextRequest {
            immediate: true,
            is_final: true,
            cont: false,
            lun: Lun::new(9),
            itt: InitiatorTaskTag(0x71),
            ttt: TargetTransferTag::RESERVED,
            cmd_sn: CmdSn(0x73),
            exp_stat_sn: StatSn(0x74),
            data_segment_length: 16,
        }
    }

    fn response() -> TextResponse {
        TextResponse {
            is_final: false,
            cont: true,
            lun: Lun::new(9),
            itt: InitiatorTaskTag(0x71),
            ttt: TargetTransferTag(0x72),
            stat_sn: StatSn(0x73),
            exp_cmd_sn: CmdSn(0x74),
            max_cmd_sn: CmdSn(0x75),
            data_segment_length: 8184,
        }
    }

    #[test]
    fn a_request_for_all_targets() {
        let (parse, emit) = (TextRequest::parse, TextRequest::emit);
        let reserved = [(1, 0x3f), (2, 0xff), (3, 0xff), (32, 0xff), (47, 0xff)];
        check(&REQUEST, request(), parse, emit, &reserved);
        assert_eq!(
            request().to_string(),
            "Text Request I F itt=0x00000071 ttt=0xffffffff lun=9 len=16 cmdsn=115 expstatsn=116"
        );
    }

    #[test]
    fn a_response_that_goes_on_in_the_next_one() {
        let (parse, emit) = (TextResponse::parse, TextResponse::emit);
        let reserved = [
            (0, 0x40),
            (1, 0x3f),
            (2, 0xff),
            (3, 0xff),
            (36, 0xff),
            (47, 0xff),
        ];
        check(&RESPONSE, response(), parse, emit, &reserved);
        assert_eq!(
            response().to_string(),
            "Text Response C itt=0x00000071 ttt=0x00000072 lun=9 len=8184 statsn=115 \
             cmdsn=116..=117"
        );
    }

    #[test]
    fn f_and_c_at_once_are_for_the_exchange_to_judge() {
        let mut bytes = RESPONSE;
        bytes[1] = 0xc0;
        let parsed = TextResponse::parse(&Bhs::from(bytes)).unwrap();
        assert!(parsed.is_final && parsed.cont);
        assert_eq!(parsed.emit().as_bytes(), &bytes);
    }
}
