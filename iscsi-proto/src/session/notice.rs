//! Asynchronous messages, and what they ask of us (RFC 7143 section 11.9).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use core::time::Duration;

use super::{
    Event, Logout, Session, Then,
    command::{TaskError, TaskErrorKind},
    data_out::PingReply,
    manage::Scope,
    tasks::{Management, Origin, after},
};
use crate::{
    error::{Error, TimedOut},
    ids::{Cid, InitiatorTaskTag},
    pdu::{AsyncEvent, AsyncMessage, LogoutReason, TaskManagementFunction},
    scsi::{lun::Lun, sense::SenseData},
    serial::CmdSn,
    time::Instant,
};

impl Session {
    pub(super) fn handle_async_message(
        &mut self,
        now: Instant,
        pdu: &AsyncMessage,
        segment: &[u8],
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let sense = match pdu.event {
            AsyncEvent::ScsiEvent => SenseData::parse_data_segment(segment).ok().flatten(),
            _ => None,
        };
        self.events.push(Event::Async {
            message: *pdu,
            sense,
        });
        let seconds = |n: u16| Duration::from_secs(u64::from(n));
        match pdu.event {
            AsyncEvent::LogoutRequested => {
                self.leave(now, seconds(pdu.parameter3));
                Ok(())
            }
            // Of a connection that is not ours: there is only one, so somebody is confused.
            AsyncEvent::ConnectionDrop if Cid(pdu.parameter1) != self.cid => Ok(()),
            AsyncEvent::ConnectionDrop | AsyncEvent::SessionDrop => Err(Error::DropRequested {
                wait: seconds(pdu.parameter2),
                retain: seconds(pdu.parameter3),
            }),
            AsyncEvent::NegotiationRequested => {
                self.offer_negotiation(now, seconds(pdu.parameter3));
                Ok(())
            }
            AsyncEvent::TasksTerminated => self.tasks_terminated(now, pdu.lun),
            AsyncEvent::ScsiEvent | AsyncEvent::VendorSpecific | AsyncEvent::Unknown(_) => Ok(()),
        }
    }

    /// Logs out as the target asks for, `within` some time: commands that were not sent end now, those
    /// under way get half of the time, and no more than the configuration grants.
    pub(super) fn leave(&mut self, now: Instant, within: Duration) {
        if self.is_closing() {
            return;
        }
        self.logout = Some(Logout::Wanted(LogoutReason::CloseSession));
        self.logout_at = after(now, (within / 2).min(self.config.logout_grace));
        for itt in core::mem::take(&mut self.queue) {
            let error = TaskError::not_executed(TaskErrorKind::LogoutRequested);
            self.finish(itt, Err(error), Then::Free);
        }
        self.extended.clear();
        self.events.push(Event::LogoutRequested { within });
    }

    /// "All active tasks for the LU are being terminated": data for them stops, and the message is
    /// acknowledged by a NOP-Out that names the logical unit; the target waits for that. When exactly
    /// its tasks end the target does not say. The answer to an ABORT TASK SET does.
    fn tasks_terminated(&mut self, now: Instant, lun: Lun) -> Result<(), Error> {
        self.stop_data(Scope::Unit(lun));
        if self.is_fast_abort() {
            self.queue_reply(PingReply::acknowledgement(lun))?;
        }
        if self.sent_commands(Scope::Unit(lun)).is_empty() || self.is_logging_out() {
            return Ok(());
        }
        let abort = Management {
            function: TaskManagementFunction::AbortTaskSet,
            lun,
            of: InitiatorTaskTag::RESERVED,
            ref_cmd_sn: CmdSn(0),
            cmd_sn: CmdSn(0),
            origin: Origin::Ladder,
        };
        let timeout = self.config.ladder.abort_task;
        let timeout = timeout.unwrap_or(self.config.task_management_timeout);
        match self.insert_function(abort, after(now, timeout)) {
            Some(_) => Ok(()),
            None => Err(TimedOut::TaskManagement.into()),
        }
    }
}
