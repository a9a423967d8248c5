//! StatSN, ExpCmdSN and MaxCmdSN in the headers of PDUs.

use iscsi_proto::{
    InitiatorTaskTag,
    pdu::Pdu,
    serial::{CmdSn, StatSn},
};

use super::frame::Frame;

/// Where the header of what targets send has its numbers.
pub(super) mod field {
    pub(in super::super) const STAT_SN: usize = 24;
    pub(in super::super) const EXP_CMD_SN: usize = 28;
    pub(in super::super) const MAX_CMD_SN: usize = 32;
    /// In what initiators send.
    pub(in super::super) const EXP_STAT_SN: usize = 28;
}

/// The numbers of the last PDU that went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) stat_sn: StatSn,
    pub(super) exp_cmd_sn: CmdSn,
    pub(super) max_cmd_sn: CmdSn,
}

/// Whether it is Data-In without status, whose StatSN is reserved.
pub(super) fn is_plain_data(frame: &Frame) -> bool {
    matches!(frame.pdu(), Ok(Pdu::DataIn(pdu)) if pdu.status.is_none())
}

/// Whether the next StatSN is another one after it (section 4.2.2.2).
pub(super) fn consumes_stat_sn(frame: &Frame) -> bool {
    match frame.pdu() {
        Ok(Pdu::DataIn(pdu)) => pdu.status.is_some(),
        Ok(Pdu::NopIn(pdu)) => pdu.itt != InitiatorTaskTag::RESERVED,
        Ok(Pdu::R2t(_)) | Err(_) => false,
        Ok(_) => true,
    }
}
