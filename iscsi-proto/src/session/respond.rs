//! The end of a command by the target's answer: status, residual, sense (RFC 7143 section 11.4).

use super::{
    Session, Then,
    command::{Response, TaskError, TaskErrorKind},
    tasks::Task,
};
use crate::{
    error::Error,
    pdu::{Residual, ScsiResponse, ServiceResponse},
    scsi::{sense::SenseData, status::ScsiStatus},
};

/// What a target says at the end of a command, from a SCSI Response or from a Data-In with status.
pub(super) struct Answer {
    pub(super) status: ScsiStatus,
    pub(super) residual: Residual,
    pub(super) sense: Option<SenseData>,
    pub(super) status_qualifier: u16,
}

impl Session {
    pub(super) fn handle_scsi_response(
        &mut self,
        pdu: &ScsiResponse,
        segment: &[u8],
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let task = match self.tasks.get(pdu.itt) {
            Some(task) if task.is_command() && task.begin.is_some() && !task.finished => task,
            _ => return Ok(self.tasks.expect_straggler(pdu.itt)?),
        };
        let result = match pdu.response {
            ServiceResponse::CompletedAtTarget => {
                // Sense comes with CHECK CONDITION; other statuses may carry response data that
                // nothing here uses. What cannot be read is as good as no sense.
                let sense = match pdu.status {
                    ScsiStatus::CheckCondition => {
                        SenseData::parse_data_segment(segment).ok().flatten()
                    }
                    _ => None,
                };
                judge(
                    task,
                    Answer {
                        status: pdu.status,
                        residual: pdu.residual,
                        sense,
                        status_qualifier: match self.parameters.protocol_level {
                            0 | 1 => 0,
                            _ => pdu.status_qualifier,
                        },
                    },
                )
            }
            // The status byte means nothing then, not even if it says GOOD.
            other => Err(TaskError::unknown(
                TaskErrorKind::TargetFailure(other.to_byte()),
                true,
            )),
        };
        self.finish(pdu.itt, result, Then::Free);
        Ok(())
    }
}

/// Holds what the target claims against what it did. A GOOD that came with less data than it should
/// is the one lie that would put stale bytes into a caller's hands, so it is never passed on.
#[inline]
pub(super) fn judge(task: &Task, answer: Answer) -> Result<Response, TaskError> {
    let (expected_in, expected_out) = (task.expected_in(), task.expected_out());
    let expected = expected_in.max(expected_out);
    let moved = match answer.residual {
        Residual::None | Residual::Overflow(_) => expected,
        Residual::Underflow(missing) => match expected.checked_sub(missing) {
            Some(moved) => moved,
            None => return Err(TaskError::executed(TaskErrorKind::Residual)),
        },
    };
    let there = if expected_in > 0 {
        task.received
    } else {
        // Not what was asked for: no target can have taken what was never staged.
        task.staged_out
    };
    let good = matches!(answer.status, ScsiStatus::Good | ScsiStatus::ConditionMet);
    if good && there < moved && !task.abandoned {
        let kind = TaskErrorKind::ShortData {
            received: there,
            expected: moved,
        };
        return Err(TaskError::executed(kind));
    }
    Ok(Response {
        status: answer.status,
        residual: answer.residual,
        transferred: moved.min(there),
        sense: answer.sense,
        status_qualifier: answer.status_qualifier,
    })
}
