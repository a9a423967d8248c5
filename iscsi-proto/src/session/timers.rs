//! Every timer of a session.

use alloc::vec::Vec;

use super::{Session, command::TaskErrorKind, tasks::Kind};
use crate::{
    error::{Error, TimedOut},
    ids::InitiatorTaskTag,
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
        [self.connection.poll_timeout(), self.deadlines.get()]
            .into_iter()
            .flatten()
            .min()
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
            let asked = self
                .own_ping
                .is_some_and(|itt| self.tasks.get(itt).is_some());
            if !asked {
                self.own_ping = self.queue_ping(now, true).ok();
            }
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
                // Its CommandDone follows the answer to the abort, or its own if that comes first.
                // The abort itself could not be sent all that time.
                Kind::Command if task.aborting => return Err(TimedOut::Command.into()),
                Kind::Command => self.want_abort(now, itt),
                Kind::Abort { .. } => return Err(TimedOut::TaskManagement.into()),
                Kind::Text { .. } => return Err(TimedOut::Text.into()),
                Kind::Logout => return Err(TimedOut::Logout.into()),
                Kind::Ping { .. } => {}
            }
        }
        Ok(())
    }
}
