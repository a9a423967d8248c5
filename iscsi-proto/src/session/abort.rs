//! Ending commands early: abandoned by the caller, or with the connection.

use alloc::vec::Vec;

use super::{
    Deferred, Event, Session, Then,
    command::{TaskError, TaskErrorKind},
    tasks::{Kind, Origin, Recovery, Task, after},
};
use crate::{error::Error, ids::InitiatorTaskTag, planted::Bug, time::Instant};

/// When a command that is given up is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aborts {
    Now,
    IfItStays,
}

impl Session {
    /// Gives up a command: its memory is needed back, or nobody waits for it any more.
    ///
    /// A command that was not staged vanishes without a trace (`NotExecuted`). Any other is reported
    /// with an unknown outcome as soon as no staged PDU names its memory, and an ABORT TASK goes
    /// out (if the timeout ladder has that rung); late data of it is checked and discarded. [`Event::TaskDead`] follows when the target is
    /// done with it. A tag that is not in use is ignored.
    pub fn abandon(&mut self, now: Instant, itt: InitiatorTaskTag) {
        self.give_up(now, itt, Aborts::Now);
    }

    /// Gives up a command as [`abandon`](Self::abandon) does, but leaves it to its end at the target: for one whose
    /// answer may be on its way, with a target that is silent at the moment. It is aborted only if it is not answered
    /// within [`TimeoutLadder::detached`](super::TimeoutLadder::detached), which takes the place of its own deadline; that
    /// one holds if the ladder has no ABORT TASK (and if it has none, what
    /// [`TimeoutLadder::abort_task`](super::TimeoutLadder::abort_task) says). To [`abandon`](Self::abandon) it afterwards does nothing. For
    /// reads: what of a write is not sent yet is not sent any more, and the target would wait for it.
    pub fn detach(&mut self, now: Instant, itt: InitiatorTaskTag) {
        self.give_up(now, itt, Aborts::IfItStays);
    }

    fn give_up(&mut self, now: Instant, itt: InitiatorTaskTag, aborts: Aborts) {
        let Some(task) = self.tasks.get_mut(itt) else {
            return;
        };
        if !task.is_command() || task.finished || task.abandoned {
            return;
        }
        task.abandoned = true;
        if task.begin.is_none() {
            self.drop_unsent(itt, TaskErrorKind::Abandoned);
            return;
        }
        self.connection.receiver.revoke(itt);
        match aborts {
            // Where nothing may be aborted, what follows is the end of the connection, which would be a
            // high price for an answer that nobody waits for: there its own deadline holds.
            Aborts::IfItStays
                if task.recovery == Recovery::None && self.config.ladder.abort_task.is_some() =>
            {
                let deadline = after(now, self.config.ladder.detached);
                task.deadline = deadline;
                self.deadlines.add(deadline);
            }
            Aborts::IfItStays => {}
            Aborts::Now => self.want_abort(now, itt),
        }
        self.bound_the_endless(now, itt);
        let error = TaskError::unknown(TaskErrorKind::Abandoned, false);
        let then = match self.config.planted.has(Bug::SlotReusedEarly) {
            true => Then::Free,
            false => Then::Keep,
        };
        self.finish(itt, Err(error), then);
    }

    /// Of the commands that are given up, and that neither an abort nor a deadline would end, the ladder ends those that
    /// are one too many: with a target that never answers they would take up the whole session in time, in silence.
    fn bound_the_endless(&mut self, now: Instant, itt: InitiatorTaskTag) {
        if self.config.ladder.abort_task.is_some() {
            return;
        }
        let is_endless = |task: &Task| {
            task.abandoned
                && !task.finished
                && task.deadline.is_none()
                && task.recovery == Recovery::None
        };
        let endless = self.tasks.iter().filter(|task| is_endless(task)).count();
        if endless <= usize::from(self.config.max_tasks / 2) {
            return;
        }
        let deadline = after(now, self.config.ladder.detached);
        if let Some(task) = self.tasks.get_mut(itt).filter(|task| is_endless(task)) {
            task.deadline = deadline;
            self.deadlines.add(deadline);
        }
    }

    /// Ends a command that waits in the queue.
    pub(super) fn drop_unsent(&mut self, itt: InitiatorTaskTag, kind: TaskErrorKind) {
        self.queue.retain(|queued| *queued != itt);
        self.extended.retain(|(of, _)| *of != itt);
        self.finish(itt, Err(TaskError::not_executed(kind)), Then::Free);
    }

    /// The connection is over, for the reason given: ends every task with its true outcome. A command
    /// of which not one byte was written is `NotExecuted`; any other may have been executed, and may
    /// still be. What was late already ends as [`TaskErrorKind::TimedOut`], everything else as
    /// [`TaskErrorKind::ConnectionLost`].
    pub fn handle_closed(&mut self, error: Error) {
        if self.closed {
            return;
        }
        self.closed = true;
        let sent = self.connection.plan.sent();
        self.connection.plan.clear();
        self.connection.bursts.clear();
        self.queue.clear();
        self.requests.clear();
        self.aborts.clear();
        self.functions.clear();
        self.holds.clear();
        self.later.clear();
        self.extended.clear();
        self.ping_replies.clear();
        for Deferred { itt, result, then } in core::mem::take(&mut self.deferred) {
            let unsent = self
                .tasks
                .get(itt)
                .and_then(|task| task.begin)
                .is_some_and(|begin| begin >= sent);
            let result = match result {
                Err(error) if unsent => Err(TaskError::not_executed(error.kind)),
                known => known,
            };
            self.report(itt, result, then);
        }
        let tags: Vec<_> = self.tasks.tags().collect();
        for itt in tags {
            self.connection.receiver.revoke(itt);
            let Some(task) = self.tasks.remove(itt) else {
                continue;
            };
            let unsent = task.begin.is_none_or(|begin| begin >= sent)
                || self.config.planted.has(Bug::SentMeansNotExecuted);
            // Whoever set a deadline is told that it has passed, and not what was done about it.
            let kind = match task.timed_out {
                true => TaskErrorKind::TimedOut,
                false => TaskErrorKind::ConnectionLost(error),
            };
            let error = match (unsent, task.rejected) {
                // Refused unseen; only its place in the order was still to be settled.
                (_, Some(reason)) => TaskError::not_executed(TaskErrorKind::Rejected(reason)),
                (true, None) => TaskError::not_executed(kind),
                (false, None) => TaskError::unknown(kind, false),
            };
            let event = match task.kind {
                Kind::Command | Kind::Management(_) if task.reported => continue,
                Kind::Command => Event::CommandDone {
                    itt,
                    result: Err(error),
                },
                Kind::Ping { own: false, .. } => Event::PingDone {
                    itt,
                    result: Err(error),
                },
                Kind::Text(exchange) => {
                    self.fail_exchange(itt, &exchange, error);
                    continue;
                }
                Kind::Management(management) if management.origin == Origin::Caller => {
                    Event::TaskManagementDone {
                        itt,
                        result: Err(error),
                    }
                }
                Kind::Ping { own: true, .. } | Kind::Management(_) | Kind::Logout => continue,
            };
            self.events.push(event);
        }
    }
}
