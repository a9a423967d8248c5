//! Ending commands early: abandoned by the caller, past their deadline, or with the connection.

use alloc::vec::Vec;

use super::{
    Deferred, Event, Session, Then,
    command::{TaskError, TaskErrorKind},
    tasks::{Kind, Task, after},
};
use crate::{
    connection::Payload,
    error::{Error, PeerMisbehaved, TimedOut},
    framing::DataStore,
    ids::InitiatorTaskTag,
    pdu::{
        TaskManagementFunction, TaskManagementRequest, TaskManagementResponse,
        TaskManagementResponseCode,
    },
    serial::DataSn,
    time::Instant,
};

impl Session {
    /// Gives up a command: its memory is needed back, or nobody waits for it any more.
    ///
    /// A command that was not staged vanishes without a trace (`NotExecuted`). Any other is reported
    /// with an unknown outcome as soon as no staged PDU names its memory, and an ABORT TASK goes
    /// out; late data of it is checked and discarded. [`Event::TaskDead`] follows when the target is
    /// done with it. A tag that is not in use is ignored.
    pub fn abandon(&mut self, now: Instant, itt: InitiatorTaskTag) {
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
        self.want_abort(now, itt);
        let error = TaskError::unknown(TaskErrorKind::Abandoned, false);
        self.finish(itt, Err(error), Then::Keep);
    }

    /// Ends a command that waits in the queue.
    pub(super) fn drop_unsent(&mut self, itt: InitiatorTaskTag, kind: TaskErrorKind) {
        self.queue.retain(|queued| *queued != itt);
        self.finish(itt, Err(TaskError::not_executed(kind)), Then::Free);
    }

    /// Queues an ABORT TASK. Until it is staged the command's own deadline watches over it: a target
    /// that does not read would otherwise keep both for ever.
    pub(super) fn want_abort(&mut self, now: Instant, itt: InitiatorTaskTag) {
        let deadline = after(now, self.config.task_management_timeout);
        if let Some(task) = self.tasks.get_mut(itt) {
            if !task.aborting {
                task.aborting = true;
                task.deadline = deadline;
                self.deadlines.add(deadline);
                self.aborts.push_back(itt);
            }
        }
    }

    /// Stages an ABORT TASK (section 11.5). Immediate, so that a closed window cannot hold it back.
    pub(super) fn stage_abort(&mut self, now: Instant, store: &impl DataStore) -> bool {
        let Some(&of) = self.aborts.front() else {
            return false;
        };
        let Some(task) = self.tasks.get(of).filter(|task| !task.finished) else {
            self.aborts.pop_front();
            return true;
        };
        let (lun, ref_cmd_sn) = (task.command.lun, task.cmd_sn);
        let deadline = after(now, self.config.task_management_timeout);
        let abort = Task::new(Kind::Abort { of }, super::no_command(), deadline);
        // All reserved slots taken by unanswered functions: the next answer frees one, and if none
        // comes their deadline ends the connection.
        let Some(itt) = self.tasks.insert(abort) else {
            return false;
        };
        self.aborts.pop_front();
        self.deadlines.add(deadline);
        if let Some(task) = self.tasks.get_mut(of) {
            task.deadline = None;
        }
        let header = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::AbortTask,
            lun,
            itt,
            referenced_task_tag: of,
            cmd_sn: self.window.current(),
            exp_stat_sn: self.connection.exp_stat_sn(),
            ref_cmd_sn,
            exp_data_sn: DataSn(0),
        };
        let begin = self.connection.stage(&header.emit(), Payload::None, store);
        if let Some(abort) = self.tasks.get_mut(itt) {
            abort.begin = Some(begin);
        }
        true
    }

    pub(super) fn handle_task_management_response(
        &mut self,
        pdu: &TaskManagementResponse,
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let of = match self.tasks.get(pdu.itt).map(|task| &task.kind) {
            Some(Kind::Abort { of }) => *of,
            _ => return Err(PeerMisbehaved::UnknownTask(pdu.itt).into()),
        };
        self.tasks.remove(pdu.itt);
        match pdu.response {
            // "Task does not exist" is the same to us: its answer, had there been one, would have
            // come before this one.
            TaskManagementResponseCode::FunctionComplete
            | TaskManagementResponseCode::TaskDoesNotExist => {
                let kind = match self.tasks.get(of) {
                    Some(task) if task.abandoned => TaskErrorKind::Abandoned,
                    _ => TaskErrorKind::TimedOut,
                };
                self.tasks.note_aborted(of);
                self.finish(of, Err(TaskError::unknown(kind, true)), Then::Free);
                Ok(())
            }
            // The target cannot stop it. If it was answered meanwhile nothing is lost; otherwise
            // only the end of the connection is known to end it.
            _ if self.tasks.get(of).is_none() => Ok(()),
            _ => Err(TimedOut::Command.into()),
        }
    }

    /// The connection is over, for the reason given: ends every task with its true outcome. A command
    /// of which not one byte was written is `NotExecuted`; any other may have been executed, and may
    /// still be.
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
        let kind = TaskErrorKind::ConnectionLost(error);
        let tags: Vec<_> = self.tasks.tags().collect();
        for itt in tags {
            self.connection.receiver.revoke(itt);
            let Some(task) = self.tasks.remove(itt) else {
                continue;
            };
            let unsent = task.begin.is_none_or(|begin| begin >= sent);
            let error = match unsent {
                true => TaskError::not_executed(kind),
                false => TaskError::unknown(kind, false),
            };
            let event = match task.kind {
                Kind::Command if task.reported => continue,
                Kind::Command => Event::CommandDone {
                    itt,
                    result: Err(error),
                },
                Kind::Ping { own: false, .. } => Event::PingDone {
                    itt,
                    result: Err(error),
                },
                Kind::Text { .. } => Event::TextDone {
                    itt,
                    result: Err(error),
                },
                Kind::Ping { own: true, .. } | Kind::Abort { .. } | Kind::Logout => continue,
            };
            self.events.push_back(event);
        }
    }
}
