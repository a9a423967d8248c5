//! The answers of a target, with everything right that a test does not change.
//!
//! StatSN, ExpCmdSN and MaxCmdSN are zero here: [`Peer::say`](super::Peer::say) fills them in.

use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag,
    pdu::{
        AsyncEvent, AsyncMessage, DataIn, LogoutResponse, LogoutResponseCode, NopIn, R2t, Reject,
        RejectReason, Residual, ScsiCommand, ScsiResponse, ServiceResponse, TaskManagementResponse,
        TaskManagementResponseCode, TextResponse,
    },
    scsi::{Lun, ScsiStatus},
    serial::{CmdSn, DataSn, R2tSn, StatSn},
};

/// Makes answers.
#[derive(Clone, Copy, Debug)]
pub struct Say;

impl Say {
    /// Data-In for `command`: `len` bytes from `offset` on, without status.
    #[must_use]
    pub const fn data_in(command: &ScsiCommand, data_sn: u32, offset: u32) -> DataIn {
        DataIn {
            is_final: false,
            acknowledge: false,
            status: None,
            residual: Residual::None,
            lun: Lun::ZERO,
            itt: command.itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            data_sn: DataSn(data_sn),
            buffer_offset: offset,
            data_segment_length: 0,
        }
    }

    /// The last Data-In of `command`, with GOOD status.
    #[must_use]
    pub const fn last_data_in(command: &ScsiCommand, data_sn: u32, offset: u32) -> DataIn {
        let mut pdu = Self::data_in(command, data_sn, offset);
        pdu.is_final = true;
        pdu.status = Some(ScsiStatus::Good);
        pdu
    }

    /// SCSI Response for the task `itt`. `data_pdus`: how many Data-In (or R2T) came before.
    #[must_use]
    pub const fn response(
        itt: InitiatorTaskTag,
        status: ScsiStatus,
        data_pdus: u32,
    ) -> ScsiResponse {
        ScsiResponse {
            response: ServiceResponse::CompletedAtTarget,
            status,
            status_qualifier: 0,
            bidi_residual: Residual::None,
            residual: Residual::None,
            itt,
            snack_tag: 0,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(data_pdus),
            data_segment_length: 0,
        }
    }

    /// Asks for `len` bytes of the write `command`, from `offset` on.
    #[must_use]
    pub const fn r2t(command: &ScsiCommand, ttt: u32, r2t_sn: u32, offset: u32, len: u32) -> R2t {
        R2t {
            lun: command.lun,
            itt: command.itt,
            ttt: TargetTransferTag(ttt),
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            r2t_sn: R2tSn(r2t_sn),
            buffer_offset: offset,
            desired_data_transfer_length: len,
        }
    }

    /// A ping of the target's that wants no answer: it tells the window.
    #[must_use]
    pub const fn nop_in() -> NopIn {
        NopIn {
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            data_segment_length: 0,
        }
    }

    /// A ping of the target's that wants an answer.
    #[must_use]
    pub const fn ping(ttt: u32) -> NopIn {
        let mut pdu = Self::nop_in();
        pdu.ttt = TargetTransferTag(ttt);
        pdu
    }

    /// The answer to the initiator's ping.
    #[must_use]
    pub const fn pong(itt: InitiatorTaskTag) -> NopIn {
        let mut pdu = Self::nop_in();
        pdu.itt = itt;
        pdu
    }

    /// An asynchronous message.
    #[must_use]
    pub const fn asynchronous(event: AsyncEvent, parameters: [u16; 3]) -> AsyncMessage {
        AsyncMessage {
            lun: Lun::ZERO,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            event,
            vcode: 0,
            parameter1: parameters[0],
            parameter2: parameters[1],
            parameter3: parameters[2],
            data_segment_length: 0,
        }
    }

    /// A Reject. Its data is the header that is rejected.
    #[must_use]
    pub const fn reject(reason: RejectReason) -> Reject {
        Reject {
            reason,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            data_sn: DataSn(0),
            data_segment_length: 0,
        }
    }

    /// The answer to a task management function.
    #[must_use]
    pub const fn function(
        itt: InitiatorTaskTag,
        response: TaskManagementResponseCode,
    ) -> TaskManagementResponse {
        TaskManagementResponse {
            response,
            additional_response_information: [0; 3],
            itt,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
        }
    }

    /// The answer to a logout.
    #[must_use]
    pub const fn logout(itt: InitiatorTaskTag, response: LogoutResponseCode) -> LogoutResponse {
        LogoutResponse {
            response,
            itt,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            time2wait: 0,
            time2retain: 0,
        }
    }

    /// The whole answer to a text request.
    #[must_use]
    pub const fn text(itt: InitiatorTaskTag) -> TextResponse {
        TextResponse {
            is_final: true,
            cont: false,
            lun: Lun::ZERO,
            itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            data_segment_length: 0,
        }
    }
}
