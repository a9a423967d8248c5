//! The end of a command by the target's answer: status, residual, sense (RFC 7143 section 11.4).

use super::{
    Event, Session, Then,
    command::{Response, TaskError, TaskErrorKind},
    tasks::Task,
};
use crate::{
    error::Error,
    ids::InitiatorTaskTag,
    pdu::{Residual, ScsiResponse, ServiceResponse},
    planted::{Bug, Planted},
    scsi::{sense::SenseData, status::ScsiStatus},
};

impl Session {
    #[inline]
    pub(super) fn handle_scsi_response(
        &mut self,
        pdu: &ScsiResponse,
        segment: &[u8],
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        match self.tasks.get(pdu.itt) {
            Some(task) if task.is_command() && task.begin.is_some() && !task.finished => {}
            _ => return Ok(self.tasks.expect_straggler(pdu.itt)?),
        };
        if pdu.response != ServiceResponse::CompletedAtTarget {
            // The status byte means nothing then, not even if it says GOOD.
            let kind = TaskErrorKind::TargetFailure(pdu.response.to_byte());
            let error = TaskError::unknown(kind, true);
            self.finish(pdu.itt, Err(error), Then::Free);
            return Ok(());
        }
        let qualifier = match self.parameters.protocol_level {
            0 | 1 => 0,
            _ => pdu.status_qualifier,
        };
        if pdu.status == ScsiStatus::CheckCondition || qualifier != 0 {
            self.answered_at_length(pdu, qualifier, segment);
        } else {
            self.answered(pdu.itt, pdu.status, pdu.residual);
        }
        Ok(())
    }

    /// Ends a command by its answer, which has neither sense data nor a status qualifier. What nearly
    /// all of them come to has a short way: nobody was told anything yet, and nothing that is staged
    /// names the command's memory.
    // Always inlined: it is the better part of what is done per command.
    #[inline(always)]
    pub(super) fn answered(
        &mut self,
        itt: InitiatorTaskTag,
        status: ScsiStatus,
        residual: Residual,
    ) {
        let Some(task) = self.tasks.get(itt).filter(|task| !task.finished) else {
            return;
        };
        let at_rest = !task.reported
            && task.named_until <= self.connection.plan.sent()
            && self.connection.bursts.is_empty();
        match judge(task, status, residual, self.config.planted) {
            Ok(transferred) if at_rest => {
                self.tasks.release(itt);
                self.events
                    .push_answered(itt, status, residual, transferred);
            }
            verdict => self.end_answered(itt, verdict, Response::plain(status, residual)),
        }
    }

    #[cold]
    fn answered_at_length(&mut self, pdu: &ScsiResponse, qualifier: u16, segment: &[u8]) {
        let Some(task) = self.tasks.get(pdu.itt) else {
            return;
        };
        // Sense comes with CHECK CONDITION; other statuses may carry response data that nothing here
        // uses. What cannot be read is as good as no sense.
        let sense = match pdu.status {
            ScsiStatus::CheckCondition => SenseData::parse_data_segment(segment).ok().flatten(),
            _ => None,
        };
        if task.reported {
            let attention = sense.as_ref().filter(|sense| sense.is_attention());
            let lun = task.command.lun;
            let late = attention.map(|sense| Event::LateAttention {
                lun,
                sense: sense.clone(),
            });
            late.into_iter().for_each(|event| self.events.push(event));
        }
        let Some(task) = self.tasks.get(pdu.itt) else {
            return;
        };
        let response = Response {
            sense,
            status_qualifier: qualifier,
            ..Response::plain(pdu.status, pdu.residual)
        };
        let verdict = judge(task, pdu.status, pdu.residual, self.config.planted);
        self.end_answered(pdu.itt, verdict, response);
    }

    #[cold]
    fn end_answered(
        &mut self,
        itt: InitiatorTaskTag,
        verdict: Result<u32, TaskErrorKind>,
        response: Response,
    ) {
        let result = match verdict {
            Ok(transferred) => Ok(Response {
                transferred,
                ..response
            }),
            Err(kind) => Err(TaskError::executed(kind)),
        };
        self.finish(itt, result, Then::Free);
    }
}

/// Holds what the target claims against what it did: the bytes that were transferred, or why its
/// answer is of no use. A GOOD that came with less data than it should is the one lie that would put
/// stale bytes into a caller's hands, so it is never passed on.
#[inline]
fn judge(
    task: &Task,
    status: ScsiStatus,
    residual: Residual,
    planted: Planted,
) -> Result<u32, TaskErrorKind> {
    let (expected_in, expected_out) = (task.expected_in(), task.expected_out());
    let expected = expected_in.max(expected_out);
    let moved = match residual {
        Residual::None | Residual::Overflow(_) => expected,
        Residual::Underflow(_) if planted.has(Bug::UnderflowIgnored) => return Ok(expected),
        Residual::Underflow(missing) => match expected.checked_sub(missing) {
            Some(moved) => moved,
            None => return Err(TaskErrorKind::Residual),
        },
    };
    let there = if expected_in > 0 {
        task.received
    } else {
        // Not what was asked for: no target can have taken what was never staged.
        task.staged_out
    };
    let good = matches!(status, ScsiStatus::Good | ScsiStatus::ConditionMet);
    if good && there < moved && !task.abandoned {
        if planted.has(Bug::ShortDataAccepted) {
            return Ok(moved);
        }
        return Err(TaskErrorKind::ShortData {
            received: there,
            expected: moved,
        });
    }
    Ok(moved.min(there))
}
