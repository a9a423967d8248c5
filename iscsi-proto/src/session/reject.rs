//! Reject: the target did not accept a PDU of ours (RFC 7143 sections 7.3 and 11.17).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use core::time::Duration;

use super::{
    Event, Logout, Session, Then,
    command::{TaskError, TaskErrorKind},
    tasks::{Kind, after},
};
use crate::{
    error::{Error, PeerMisbehaved},
    ids::InitiatorTaskTag,
    pdu::{Bhs, Reject, RejectReason, opcode},
    time::Instant,
};

/// Before an immediate request that was one too many is sent again. Long enough for a target to end
/// a few others, short against every rung of the timeout ladder.
const RESEND_AFTER: Duration = Duration::from_millis(100);

/// What the reason of a Reject means for the PDU that it encloses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was not carried out, and would not be if it were sent again.
    Refused,
    /// It was not carried out, and may be sent again later.
    NotNow,
    /// It was not carried out, since the target wants a logout first.
    LogoutFirst,
    /// The two sides do not agree on what is under way: only a new connection settles that.
    Disagreement,
}

impl Meaning {
    /// The table of section 11.17.1.
    pub(super) const fn of(reason: RejectReason) -> Self {
        match reason {
            RejectReason::DataDigestError
            | RejectReason::ProtocolError
            | RejectReason::CommandNotSupported
            | RejectReason::InvalidPduField
            | RejectReason::NegotiationReset
            | RejectReason::Unknown(_) => Self::Refused,
            RejectReason::ImmediateCommandReject | RejectReason::LongOperationReject => {
                Self::NotNow
            }
            RejectReason::WaitingForLogout => Self::LogoutFirst,
            // Answers to SNACKs, which ErrorRecoveryLevel 0 does not have; and a tag that the target
            // has in use and we had not.
            RejectReason::SnackReject
            | RejectReason::InvalidDataAck
            | RejectReason::TaskInProgress => Self::Disagreement,
        }
    }
}

impl Session {
    /// The header of the rejected PDU comes back as data.
    pub(super) fn handle_reject(
        &mut self,
        now: Instant,
        pdu: &Reject,
        segment: &[u8],
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        self.rejects += 1;
        let lost = Err(PeerMisbehaved::Rejected(pdu.reason.to_byte()).into());
        let meaning = Meaning::of(pdu.reason);
        let Some((header, _)) = segment.split_first_chunk::<{ Bhs::LEN }>() else {
            return lost;
        };
        if meaning == Meaning::Disagreement {
            return lost;
        }
        if meaning == Meaning::LogoutFirst {
            self.leave(now, Duration::ZERO);
        }
        let bhs = Bhs::from(*header);
        let itt = bhs.initiator_task_tag();
        let known = match bhs.opcode() {
            opcode::SCSI_COMMAND => return self.command_rejected(now, itt, pdu.reason),
            opcode::DATA_OUT => self.data_rejected(now, itt),
            // Answers to the target's pings, and acknowledgements: nobody waits for anything.
            opcode::NOP_OUT if itt == InitiatorTaskTag::RESERVED => true,
            opcode::NOP_OUT => self.ping_rejected(itt, pdu.reason),
            opcode::TEXT_REQUEST => self.text_rejected(now, itt, pdu.reason),
            opcode::TASK_MANAGEMENT_REQUEST => {
                let Some(task) = self.tasks.get_mut(itt).filter(|task| task.begin.is_some()) else {
                    return lost;
                };
                let Kind::Management(management) = task.kind else {
                    return lost;
                };
                if meaning == Meaning::NotNow && !task.reported {
                    // The target has not got it: as if it had not been sent.
                    task.begin = None;
                    self.later.push((resend_at(now), itt));
                    return Ok(());
                }
                let kind = TaskErrorKind::Rejected(pdu.reason);
                return self.function_rejected(now, itt, &management, kind);
            }
            opcode::LOGOUT_REQUEST if meaning == Meaning::NotNow => self.logout_not_now(now, itt),
            _ => false,
        };
        if known { Ok(()) } else { lost }
    }

    /// A SCSI Command PDU was rejected: nothing of it was carried out.
    fn command_rejected(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
        reason: RejectReason,
    ) -> Result<(), Error> {
        let lost = PeerMisbehaved::Rejected(reason.to_byte());
        let task = match self.tasks.get_mut(itt) {
            Some(task) if task.is_command() && task.begin.is_some() && !task.finished => task,
            _ => return self.tasks.expect_straggler(itt).map_err(|_| lost.into()),
        };
        // It has worked on it already.
        if task.received > 0 || task.r2t_sn.0 > 0 {
            return Err(lost.into());
        }
        task.rejected = Some(reason);
        task.no_more_data = true;
        let consumed = task.cmd_sn.precedes(self.window.exp());
        self.connection.bursts.retain(|burst| burst.itt != itt);
        if consumed {
            let error = TaskError::not_executed(TaskErrorKind::Rejected(reason));
            self.tasks.note_aborted(itt);
            self.finish(itt, Err(error), Then::Free);
            return Ok(());
        }
        // Section 7.3: its CmdSN is not taken as received, and the gap has to be plugged; section
        // 11.5.1: an ABORT TASK that names it does so.
        if self.config.ladder.abort_task.is_none() {
            return Err(lost.into());
        }
        self.want_abort(now, itt);
        Ok(())
    }

    /// A Data-Out was rejected. Its task is ended by the target, with a response of its own once all
    /// data has come (section 11.17.1); so the rest is still sent. Not every target keeps to that,
    /// so the response is not waited for without end. Of a command that is over, nothing follows.
    fn data_rejected(&mut self, now: Instant, itt: InitiatorTaskTag) -> bool {
        let limit = after(now, self.config.task_management_timeout);
        let Some(task) = self.tasks.get_mut(itt) else {
            return true;
        };
        if task.begin.is_none() || task.expected_out() == 0 {
            return false;
        }
        if !task.finished {
            task.deadline = Instant::earlier(task.deadline, limit);
            self.deadlines.add(task.deadline);
        }
        true
    }

    /// The logout was one immediate request too many.
    fn logout_not_now(&mut self, now: Instant, itt: InitiatorTaskTag) -> bool {
        let kind = self.tasks.get(itt).map(|task| &task.kind);
        let waits = self.later.iter().any(|(_, waiting)| *waiting == itt);
        if waits || !matches!(kind, Some(Kind::Logout)) {
            return false;
        }
        self.later.push((resend_at(now), itt));
        true
    }

    fn ping_rejected(&mut self, itt: InitiatorTaskTag, reason: RejectReason) -> bool {
        let own = match self.tasks.get(itt).map(|task| &task.kind) {
            // It was to fill a gap, which is still there then.
            Some(Kind::Ping { plug: Some(_), .. }) => return false,
            Some(Kind::Ping { own, .. }) => *own,
            _ => return self.tasks.expect_straggler(itt).is_ok(),
        };
        self.tasks.release(itt);
        if !own {
            let result = Err(TaskError::not_executed(TaskErrorKind::Rejected(reason)));
            self.events.push(Event::PingDone { itt, result });
        }
        true
    }

    /// Sends again what the target had no room for.
    pub(super) fn resend(&mut self, now: Instant) {
        let due = |entry: &mut (Instant, InitiatorTaskTag)| entry.0 <= now;
        while let Some(at) = self.later.iter_mut().position(due) {
            let (_, itt) = self.later.swap_remove(at);
            let kind = self.tasks.get(itt).map(|task| &task.kind);
            match kind {
                Some(Kind::Management(_)) => self.functions.push_back(itt),
                Some(Kind::Logout) => {
                    self.tasks.release(itt);
                    if let Some(Logout::Staged(reason)) = self.logout {
                        self.logout = Some(Logout::Wanted(reason));
                    }
                }
                _ => {}
            }
        }
    }
}

fn resend_at(now: Instant) -> Instant {
    now.saturating_add(RESEND_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 11.17.1, by number.
    #[test]
    fn every_reason_has_its_meaning() {
        use Meaning::{Disagreement, LogoutFirst, NotNow, Refused};
        let table = [
            (0x01, Refused),
            (0x02, Refused),
            (0x03, Disagreement),
            (0x04, Refused),
            (0x05, Refused),
            (0x06, NotNow),
            (0x07, Disagreement),
            (0x08, Disagreement),
            (0x09, Refused),
            (0x0a, NotNow),
            (0x0b, Refused),
            (0x0c, LogoutFirst),
            (0x0d, Refused),
            (0xff, Refused),
        ];
        for (reason, meaning) in table {
            let reason = RejectReason::from_byte(reason);
            assert_eq!(Meaning::of(reason), meaning, "{reason}");
        }
    }
}
