//! Every timer of a session.

use alloc::vec::Vec;

use super::{
    Event, Logout, Session,
    command::{TaskError, TaskErrorKind},
    data_out::PingReply,
    tasks::Kind,
};
use crate::{
    error::{Error, TimedOut},
    ids::InitiatorTaskTag,
    planted::Bug,
    scsi::lun::Lun,
    serial::CmdSn,
    time::Instant,
};

impl Session {
    /// When [`handle_timeout`](Self::handle_timeout) is due. It may turn out that there was nothing
    /// to do: deadlines of finished commands are not searched for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let due = Instant::earlier(self.connection.poll_timeout(), self.deadlines.get());
        if self.later.is_empty() && self.logout.is_none() {
            return due;
        }
        // Rare: something to be sent again, and a logout that gives commands some time.
        let later = self.later.iter().map(|(at, _)| *at).min();
        let logout = match self.logout {
            Some(Logout::Wanted(_)) if self.tasks.commands() > 0 => self.logout_at,
            _ => None,
        };
        Instant::earlier(due, Instant::earlier(later, logout))
    }

    /// Time has passed. Calling it early is harmless.
    ///
    /// # Errors
    ///
    /// The connection is over; see the driving contract.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.closed {
            return Ok(());
        }
        self.connection.check_timeout(now)?;
        if self
            .connection
            .keepalive
            .wants_ping(now, self.connection.last_receive())
        {
            // The clock runs whether or not another ping leaves: one that was never answered has
            // asked already, and its slot is not to be lost once per interval.
            self.connection.keepalive.note_pinged(now);
            self.connection.receiver.rest();
            let asked = self
                .own_ping
                .is_some_and(|itt| self.tasks.get(itt).is_some());
            if !asked {
                self.own_ping = self.queue_ping(now, None, true).ok();
            }
        }
        if self.connection.wants_acknowledgement(now) && self.ping_replies.is_empty() {
            self.ping_replies
                .push_back(PingReply::acknowledgement(Lun::ZERO));
        }
        self.resend(now);
        if self.logout_at.is_some_and(|at| now >= at) {
            self.logout_at = None;
        }
        if self.deadlines.get().is_some_and(|deadline| now >= deadline) {
            self.expire_tasks(now)?;
            self.deadlines.recompute(&self.tasks);
        }
        Ok(())
    }

    fn expire_tasks(&mut self, now: Instant) -> Result<(), Error> {
        let due = |itt: &InitiatorTaskTag| {
            let task = self.tasks.get(*itt);
            task.and_then(|task| task.deadline)
                .is_some_and(|deadline| now >= deadline)
        };
        let expired: Vec<_> = self.tasks.tags().filter(due).collect();
        for itt in expired {
            let Some(task) = self.tasks.get_mut(itt) else {
                continue;
            };
            task.deadline = None;
            match task.kind {
                Kind::Command if task.begin.is_none() => {
                    self.drop_unsent(itt, TaskErrorKind::TimedOut);
                }
                Kind::Command if self.config.planted.has(Bug::TimeoutsNeverFire) => {}
                // Its CommandDone follows the answer to an abort or reset, or its own if that comes
                // first. On a rung already, the function could not be sent all that time.
                Kind::Command => self.command_timed_out(now, itt)?,
                Kind::Management(_) => self.function_timed_out(now, itt)?,
                Kind::Text(_) => return Err(TimedOut::Text.into()),
                Kind::Logout => return Err(TimedOut::Logout.into()),
                Kind::Ping { plug: None, .. } => self.ping_timed_out(itt),
                Kind::Ping {
                    plug: Some(gap), ..
                } => self.plug_timed_out(itt, gap)?,
            }
        }
        Ok(())
    }

    /// The target goes on, or nothing that was sent behind the gap would ever be carried out.
    fn plug_timed_out(&mut self, itt: InitiatorTaskTag, gap: CmdSn) -> Result<(), Error> {
        if !gap.precedes(self.window.exp()) {
            return Err(TimedOut::Text.into());
        }
        self.tasks.release(itt);
        self.tasks.note_aborted(itt);
        Ok(())
    }

    /// A caller's ping; the keepalive judges the connection. An answer may still come.
    fn ping_timed_out(&mut self, itt: InitiatorTaskTag) {
        let Some(task) = self.tasks.remove(itt) else {
            return;
        };
        self.requests.retain(|queued| *queued != itt);
        self.tasks.note_aborted(itt);
        let result = Err(match task.begin {
            Some(_) => TaskError::unknown(TaskErrorKind::TimedOut, true),
            None => TaskError::not_executed(TaskErrorKind::TimedOut),
        });
        self.events.push(Event::PingDone { itt, result });
    }
}
