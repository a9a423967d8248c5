//! Task Management Function Request and Response (RFC 7143 sections 11.5, 11.6; RFC 7144).

use core::fmt;

use super::bhs::{FINAL, FLAGS};
use super::{Bhs, opcode};
use crate::error::DecodeError;
use crate::ids::InitiatorTaskTag;
use crate::scsi::Lun;
use crate::serial::{CmdSn, DataSn, StatSn};

mod field {
    // Request.
    pub(super) const REFERENCED_TASK_TAG: usize = 20;
    pub(super) const CMD_SN: usize = 24;
    pub(super) const EXP_STAT_SN: usize = 28;
    pub(super) const REF_CMD_SN: usize = 32;
    pub(super) const EXP_DATA_SN: usize = 36;
    // Response.
    pub(super) const RESPONSE: usize = 2;
    pub(super) const ADDITIONAL_RESPONSE_INFORMATION: usize = 8;
    pub(super) const STAT_SN: usize = 24;
    pub(super) const EXP_CMD_SN: usize = 28;
    pub(super) const MAX_CMD_SN: usize = 32;
}

const FUNCTION_MASK: u8 = 0x7f;

wire_enum! {
    /// Task management function (section 11.5.1; seven bits on the wire). Those from
    /// [`Self::QueryTask`] on are RFC 7144's, for sessions with `iSCSIProtocolLevel` 2 or more.
    TaskManagementFunction, "task management function" {
        /// ABORT TASK: the one that the Referenced Task Tag names.
        AbortTask = 1, "ABORT TASK";
        /// ABORT TASK SET: all of this session's tasks in the logical unit.
        AbortTaskSet = 2, "ABORT TASK SET";
        /// CLEAR ACA.
        ClearAca = 3, "CLEAR ACA";
        /// CLEAR TASK SET: everybody's tasks in the logical unit's task set.
        ClearTaskSet = 4, "CLEAR TASK SET";
        /// LOGICAL UNIT RESET.
        LogicalUnitReset = 5, "LOGICAL UNIT RESET";
        /// TARGET WARM RESET.
        TargetWarmReset = 6, "TARGET WARM RESET";
        /// TARGET COLD RESET: the target drops all its connections too.
        TargetColdReset = 7, "TARGET COLD RESET";
        /// TASK REASSIGN: moves a task to this connection (ErrorRecoveryLevel 2).
        TaskReassign = 8, "TASK REASSIGN";
        /// QUERY TASK: does the task exist?
        QueryTask = 9, "QUERY TASK";
        /// QUERY TASK SET: does the logical unit have any task of this session?
        QueryTaskSet = 10, "QUERY TASK SET";
        /// I_T NEXUS RESET: ends everything that this session has in the target.
        ITNexusReset = 11, "I_T NEXUS RESET";
        /// QUERY ASYNCHRONOUS EVENT: is a unit attention pending?
        QueryAsynchronousEvent = 12, "QUERY ASYNCHRONOUS EVENT";
    }
}

wire_enum! {
    /// Response of a Task Management Function Response (section 11.6.1).
    TaskManagementResponseCode, "task management response" {
        /// Function complete.
        FunctionComplete = 0, "function complete";
        /// Task does not exist.
        TaskDoesNotExist = 1, "task does not exist";
        /// LUN does not exist.
        LunDoesNotExist = 2, "LUN does not exist";
        /// Task still allegiant to another connection.
        TaskStillAllegiant = 3, "task still allegiant";
        /// Task allegiance reassignment not supported.
        ReassignmentNotSupported = 4, "task allegiance reassignment not supported";
        /// Task management function not supported.
        NotSupported = 5, "function not supported";
        /// Function authorization failed.
        AuthorizationFailed = 6, "function authorization failed";
        /// Function succeeded (RFC 7144): what was asked for exists.
        FunctionSucceeded = 7, "function succeeded";
        /// Function rejected.
        FunctionRejected = 255, "function rejected";
    }
}

/// Task Management Function Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// I.
    pub immediate: bool,
    /// What to do.
    pub function: TaskManagementFunction,
    /// The logical unit; reserved for functions on the whole target.
    pub lun: Lun,
    /// Names this request itself.
    pub itt: InitiatorTaskTag,
    /// The task that ABORT TASK, TASK REASSIGN and QUERY TASK mean, else
    /// [`InitiatorTaskTag::RESERVED`].
    pub referenced_task_tag: InitiatorTaskTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// CmdSN of the referenced task, for ABORT TASK and QUERY TASK; else reserved.
    pub ref_cmd_sn: CmdSn,
    /// For TASK REASSIGN: the next data or R2T number that the initiator expects; else reserved.
    pub exp_data_sn: DataSn,
}

impl TaskManagementRequest {
    /// 0x02.
    pub const OPCODE: u8 = opcode::TASK_MANAGEMENT_REQUEST;

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
            function: TaskManagementFunction::from_byte(bhs.u8_at(FLAGS) & FUNCTION_MASK),
            lun: bhs.lun(),
            itt: bhs.initiator_task_tag(),
            referenced_task_tag: InitiatorTaskTag(bhs.u32_at(field::REFERENCED_TASK_TAG)),
            cmd_sn: bhs.cmd_sn_at(field::CMD_SN),
            exp_stat_sn: bhs.stat_sn_at(field::EXP_STAT_SN),
            ref_cmd_sn: bhs.cmd_sn_at(field::REF_CMD_SN),
            exp_data_sn: DataSn(bhs.u32_at(field::EXP_DATA_SN)),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_immediate(self.immediate);
        bhs.put_u8(FLAGS, self.function.to_byte() & FUNCTION_MASK);
        bhs.put_flag(FINAL, true);
        bhs.put_lun(self.lun);
        bhs.put_itt(self.itt);
        bhs.put_u32(field::REFERENCED_TASK_TAG, self.referenced_task_tag.0);
        bhs.put_u32(field::CMD_SN, self.cmd_sn.0);
        bhs.put_u32(field::EXP_STAT_SN, self.exp_stat_sn.0);
        bhs.put_u32(field::REF_CMD_SN, self.ref_cmd_sn.0);
        bhs.put_u32(field::EXP_DATA_SN, self.exp_data_sn.0);
        bhs
    }
}

impl fmt::Display for TaskManagementRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TMF Request{} {} itt={} lun={} rtt={} refcmdsn={} expdatasn={} cmdsn={} expstatsn={}",
            if self.immediate { " I" } else { "" },
            self.function,
            self.itt,
            self.lun,
            self.referenced_task_tag,
            self.ref_cmd_sn,
            self.exp_data_sn,
            self.cmd_sn,
            self.exp_stat_sn
        )
    }
}

/// Task Management Function Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// How it went.
    pub response: TaskManagementResponseCode,
    /// What QUERY ASYNCHRONOUS EVENT found (RFC 7144, SAM-5 section 7.10); else reserved.
    pub additional_response_information: [u8; 3],
    /// The request.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}

impl TaskManagementResponse {
    /// 0x22.
    pub const OPCODE: u8 = opcode::TASK_MANAGEMENT_RESPONSE;

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
            response: TaskManagementResponseCode::from_byte(bhs.u8_at(field::RESPONSE)),
            additional_response_information: bhs.bytes_at(field::ADDITIONAL_RESPONSE_INFORMATION),
            itt: bhs.initiator_task_tag(),
            stat_sn: bhs.stat_sn_at(field::STAT_SN),
            exp_cmd_sn: bhs.cmd_sn_at(field::EXP_CMD_SN),
            max_cmd_sn: bhs.cmd_sn_at(field::MAX_CMD_SN),
        })
    }

    /// Writes the header, all 48 bytes of it.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Self::OPCODE);
        bhs.put_flag(FINAL, true);
        bhs.put_u8(field::RESPONSE, self.response.to_byte());
        bhs.put(
            field::ADDITIONAL_RESPONSE_INFORMATION,
            self.additional_response_information,
        );
        bhs.put_itt(self.itt);
        bhs.put_u32(field::STAT_SN, self.stat_sn.0);
        bhs.put_u32(field::EXP_CMD_SN, self.exp_cmd_sn.0);
        bhs.put_u32(field::MAX_CMD_SN, self.max_cmd_sn.0);
        bhs
    }
}

impl fmt::Display for TaskManagementResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TMF Response itt={} {} statsn={} cmdsn={}..={}",
            self.itt, self.response, self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn
        )
    }
}
