//! Task management (RFC 7143 sections 4.2.3, 11.5, 11.6; RFC 7144): functions that a caller or the
//! timeout ladder asks for, and what they end.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::vec::Vec;

use super::{
    Event, Session, SubmitError, Then,
    command::{TaskError, TaskErrorKind},
    tasks::{Kind, Management, Origin, Recovery, Task, after},
};
use crate::{
    connection::Payload,
    error::{ApiMisuse, Error, PeerMisbehaved, TimedOut},
    framing::DataStore,
    ids::InitiatorTaskTag,
    pdu::{
        TaskManagementFunction as Function, TaskManagementRequest, TaskManagementResponse,
        TaskManagementResponseCode as Code,
    },
    planted::Bug,
    scsi::lun::Lun,
    serial::{CmdSn, DataSn},
    text::{SessionType, TaskReporting},
    time::Instant,
};

/// A task management function with what it is about (RFC 7143 section 11.5, SAM-5 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskManagement {
    /// ABORT TASK: ends one command. [`Session::abandon`] does the same and gives its memory back.
    AbortTask(InitiatorTaskTag),
    /// ABORT TASK SET: ends this session's commands in the logical unit.
    AbortTaskSet(Lun),
    /// CLEAR ACA: ends the auto contingent allegiance of the logical unit.
    ClearAca(Lun),
    /// CLEAR TASK SET: ends everybody's commands in the logical unit's task set.
    ClearTaskSet(Lun),
    /// LOGICAL UNIT RESET: ends everybody's commands, and what the unit was set to for the time being.
    LogicalUnitReset(Lun),
    /// TARGET WARM RESET: the same for all logical units.
    TargetWarmReset,
    /// TARGET COLD RESET: as if switched off and on; the target drops its connections too.
    TargetColdReset,
    /// TASK REASSIGN: needs ErrorRecoveryLevel 2 and is refused here.
    TaskReassign(InitiatorTaskTag),
    /// QUERY TASK (RFC 7144): "function succeeded" says that the target has the command.
    QueryTask(InitiatorTaskTag),
    /// QUERY TASK SET (RFC 7144): "function succeeded" says that the logical unit has any command
    /// of this session.
    QueryTaskSet(Lun),
    /// I_T NEXUS RESET (RFC 7144): ends everything that this session has in the target.
    ITNexusReset,
    /// QUERY ASYNCHRONOUS EVENT (RFC 7144): "function succeeded" says that a unit attention is
    /// pending, and [`TaskManagementAnswer::additional`] which.
    QueryAsynchronousEvent(Lun),
}

impl TaskManagement {
    /// Its code.
    #[must_use]
    pub const fn function(self) -> Function {
        match self {
            Self::AbortTask(_) => Function::AbortTask,
            Self::AbortTaskSet(_) => Function::AbortTaskSet,
            Self::ClearAca(_) => Function::ClearAca,
            Self::ClearTaskSet(_) => Function::ClearTaskSet,
            Self::LogicalUnitReset(_) => Function::LogicalUnitReset,
            Self::TargetWarmReset => Function::TargetWarmReset,
            Self::TargetColdReset => Function::TargetColdReset,
            Self::TaskReassign(_) => Function::TaskReassign,
            Self::QueryTask(_) => Function::QueryTask,
            Self::QueryTaskSet(_) => Function::QueryTaskSet,
            Self::ITNexusReset => Function::ITNexusReset,
            Self::QueryAsynchronousEvent(_) => Function::QueryAsynchronousEvent,
        }
    }

    const fn task(self) -> Option<InitiatorTaskTag> {
        match self {
            Self::AbortTask(itt) | Self::QueryTask(itt) | Self::TaskReassign(itt) => Some(itt),
            _ => None,
        }
    }

    const fn lun(self) -> Option<Lun> {
        match self {
            Self::AbortTaskSet(lun)
            | Self::ClearAca(lun)
            | Self::ClearTaskSet(lun)
            | Self::LogicalUnitReset(lun)
            | Self::QueryTaskSet(lun)
            | Self::QueryAsynchronousEvent(lun) => Some(lun),
            _ => None,
        }
    }

    const fn is_of_rfc7144(self) -> bool {
        matches!(
            self,
            Self::QueryTask(_)
                | Self::QueryTaskSet(_)
                | Self::ITNexusReset
                | Self::QueryAsynchronousEvent(_)
        )
    }
}

/// A target's answer to a task management function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskManagementAnswer {
    /// How it went (section 11.6.1). Commands were ended only by "function complete".
    pub response: Code,
    /// What QUERY ASYNCHRONOUS EVENT found: sense key and number of events in the first byte, then
    /// additional sense code and qualifier (SAM-5 section 7.10); else zeros.
    pub additional: [u8; 3],
}

impl TaskManagementAnswer {
    /// What a QUERY TASK says of a command that the target does not have.
    pub const ABSENT: Self = Self {
        response: Code::FunctionComplete,
        additional: [0; 3],
    };
}

/// Which commands a function on several of them is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Unit(Lun),
    Everything,
}

impl Scope {
    pub(super) fn covers(self, lun: Lun) -> bool {
        match self {
            Self::Unit(own) => own == lun,
            Self::Everything => true,
        }
    }
}

impl Management {
    /// `None` for functions that end one command or none.
    pub(super) const fn scope(&self) -> Option<Scope> {
        match self.function {
            Function::AbortTaskSet | Function::ClearTaskSet | Function::LogicalUnitReset => {
                Some(Scope::Unit(self.lun))
            }
            Function::TargetWarmReset | Function::TargetColdReset | Function::ITNexusReset => {
                Some(Scope::Everything)
            }
            _ => None,
        }
    }
}

/// New commands to the logical units of a function that is under way wait for its end, so that no
/// target has to guess whether they came before or after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    by: InitiatorTaskTag,
    scope: Scope,
}

impl Session {
    /// Asks for a task management function; [`Event::TaskManagementDone`] with the returned tag
    /// follows, and before it the end of every command that the function ended: with an unknown
    /// outcome, and dead. It is sent as an immediate request, past a closed command window. New
    /// commands to the logical units of a function on several commands wait until it is over.
    ///
    /// Without an answer by `deadline` (or in
    /// [`task_management_timeout`](super::SessionConfig::task_management_timeout)) the function is
    /// reported as timed out. An answer after that still ends the commands that it is about.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: [`ApiMisuse::ErrorRecoveryLevel`] for TASK REASSIGN,
    /// [`ApiMisuse::ProtocolLevel`] for a function of RFC 7144 on a session without it,
    /// [`ApiMisuse::UnknownTask`] for a tag that no command of this session has.
    pub fn task_management(
        &mut self,
        now: Instant,
        request: TaskManagement,
        deadline: Option<Instant>,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        if self.session_type == SessionType::Discovery {
            return Err(ApiMisuse::DiscoverySession.into());
        }
        if matches!(request, TaskManagement::TaskReassign(_)) {
            return Err(ApiMisuse::ErrorRecoveryLevel.into());
        }
        if request.is_of_rfc7144() && self.parameters.protocol_level < 2 {
            return Err(ApiMisuse::ProtocolLevel.into());
        }
        if self.is_logging_out() {
            return Err(SubmitError::Closing);
        }
        let mut management = Management {
            function: request.function(),
            lun: request.lun().unwrap_or(Lun::ZERO),
            of: request.task().unwrap_or(InitiatorTaskTag::RESERVED),
            ref_cmd_sn: CmdSn(0),
            cmd_sn: CmdSn(0),
            origin: Origin::Caller,
        };
        let mut unsent = None;
        if let Some(of) = request.task() {
            let task = self
                .tasks
                .get(of)
                .filter(|task| task.is_command() && !task.finished)
                .ok_or(ApiMisuse::UnknownTask)?;
            management.lun = task.command.lun;
            management.ref_cmd_sn = task.cmd_sn;
            unsent = task.begin.is_none().then_some(of);
        }
        let deadline = deadline.or_else(|| after(now, self.config.task_management_timeout));
        let itt = self
            .insert_function(management, deadline)
            .ok_or(SubmitError::QueueFull)?;
        if let Some(of) = unsent {
            self.manage_unsent(itt, of, management.function);
        }
        Ok(itt)
    }

    /// The target knows nothing of a command that waits in the queue: the answer is ours to give.
    fn manage_unsent(&mut self, itt: InitiatorTaskTag, of: InitiatorTaskTag, function: Function) {
        self.functions.retain(|queued| *queued != itt);
        self.tasks.release(itt);
        if function == Function::AbortTask {
            self.drop_unsent(of, TaskErrorKind::Terminated(function));
        }
        let result = Ok(TaskManagementAnswer::ABSENT);
        self.events.push(Event::TaskManagementDone { itt, result });
    }

    /// Queues a function; `None` if there is no slot for it.
    pub(super) fn insert_function(
        &mut self,
        management: Management,
        deadline: Option<Instant>,
    ) -> Option<InitiatorTaskTag> {
        let kind = Kind::Management(management);
        let itt = self.tasks.insert(kind, &super::no_command(), deadline)?;
        self.deadlines.add(deadline);
        self.functions.push_back(itt);
        if let Some(scope) = management.scope() {
            self.holds.push(Hold { by: itt, scope });
        }
        Some(itt)
    }

    /// Whether new commands to `lun` wait.
    pub(super) fn is_held(&self, lun: Lun) -> bool {
        self.holds.iter().any(|hold| hold.scope.covers(lun))
    }

    fn release_hold(&mut self, by: InitiatorTaskTag) {
        self.holds.retain(|hold| hold.by != by);
    }

    /// Stages the oldest function that waits (section 11.5). Immediate, so that a closed window cannot
    /// hold it back.
    pub(super) fn stage_function(&mut self, store: &impl DataStore) -> bool {
        let Some(itt) = self.functions.pop_front() else {
            return false;
        };
        let cmd_sn = match self.config.planted.has(Bug::ImmediateTakesCmdSn) {
            true => self.window.take().unwrap_or_else(|| self.window.current()),
            false => self.window.current(),
        };
        let begin = self.connection.plan.staged();
        let Some(task) = self.tasks.get_mut(itt) else {
            return true;
        };
        let Kind::Management(management) = &mut task.kind else {
            return true;
        };
        management.cmd_sn = cmd_sn;
        task.begin = Some(begin);
        let management = *management;
        // Section 4.2.3.4: "MUST NOT send any more Data-Out PDUs for affected tasks". Otherwise every
        // R2T is still answered (section 4.2.3.3): the target waits for that.
        if let (Some(scope), true) = (management.scope(), self.is_fast_abort()) {
            self.stop_data(scope);
        }
        let header = TaskManagementRequest {
            immediate: true,
            function: management.function,
            lun: management.lun,
            itt,
            referenced_task_tag: management.of,
            cmd_sn,
            exp_stat_sn: self.connection.exp_stat_sn(),
            ref_cmd_sn: management.ref_cmd_sn,
            exp_data_sn: DataSn(0),
        };
        self.connection.stage(&header.emit(), Payload::None, store);
        true
    }

    /// Stages an ABORT TASK for the oldest command that wants one.
    pub(super) fn stage_abort(&mut self, now: Instant, store: &impl DataStore) -> bool {
        let Some(&of) = self.aborts.front() else {
            return false;
        };
        let Some(task) = self.tasks.get(of).filter(|task| !task.finished) else {
            self.aborts.pop_front();
            return true;
        };
        let abort = Management {
            function: Function::AbortTask,
            lun: task.command.lun,
            of,
            ref_cmd_sn: task.cmd_sn,
            cmd_sn: CmdSn(0),
            origin: Origin::Ladder,
        };
        let timeout = self.config.ladder.abort_task.unwrap_or_default();
        // All reserved slots taken by unanswered functions: the next answer frees one, and if none
        // comes the command's deadline ends the connection.
        let Some(itt) = self.insert_function(abort, after(now, timeout)) else {
            return false;
        };
        self.aborts.pop_front();
        self.aborted += 1;
        if let Some(task) = self.tasks.get_mut(of) {
            task.deadline = None;
        }
        // Behind nothing else: it goes out now.
        self.functions.pop_back();
        self.functions.push_front(itt);
        self.stage_function(store)
    }

    pub(super) const fn is_fast_abort(&self) -> bool {
        matches!(self.parameters.task_reporting, TaskReporting::FastAbort)
    }

    /// Commands of `scope` that were sent, as tags.
    pub(super) fn sent_commands(&self, scope: Scope) -> Vec<InitiatorTaskTag> {
        let covered = |itt: &InitiatorTaskTag| {
            self.tasks.get(*itt).is_some_and(|task| {
                task.is_command() && task.begin.is_some() && scope.covers(task.command.lun)
            })
        };
        self.tasks.tags().filter(covered).collect()
    }

    /// No Data-Out for the commands of `scope` from now on.
    pub(super) fn stop_data(&mut self, scope: Scope) {
        for itt in self.sent_commands(scope) {
            if let Some(task) = self.tasks.get_mut(itt) {
                task.no_more_data = true;
            }
            self.connection.bursts.retain(|burst| burst.itt != itt);
        }
    }

    pub(super) fn handle_task_management_response(
        &mut self,
        now: Instant,
        pdu: &TaskManagementResponse,
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let (management, reported) = match self.tasks.get(pdu.itt) {
            Some(task) if task.begin.is_some() => match &task.kind {
                Kind::Management(management) => (*management, task.reported),
                _ => return Err(PeerMisbehaved::UnknownTask(pdu.itt).into()),
            },
            _ => return Err(PeerMisbehaved::UnknownTask(pdu.itt).into()),
        };
        self.tasks.release(pdu.itt);
        self.release_hold(pdu.itt);
        // Of a single task, "does not exist" is the same to us: its answer, had there been one, would
        // have come before this one.
        let done = pdu.response == Code::FunctionComplete
            || management.function == Function::AbortTask && pdu.response == Code::TaskDoesNotExist;
        if done {
            // Section 11.6.1: only "function complete" takes the CmdSN of a rejected command as received.
            let rejected = |task: &&Task| task.rejected.is_some();
            let gap = self.tasks.get(management.of).filter(rejected);
            let gap = gap.map(|task| task.cmd_sn);
            self.conclude(&management);
            if let (Code::TaskDoesNotExist, Some(gap)) = (pdu.response, gap) {
                if !gap.precedes(self.window.exp()) && !self.plug(now, gap) {
                    return Err(TimedOut::TaskManagement.into());
                }
            }
        }
        match management.origin {
            Origin::Caller if !reported => {
                let result = Ok(TaskManagementAnswer {
                    response: pdu.response,
                    additional: pdu.additional_response_information,
                });
                let itt = pdu.itt;
                self.events.push(Event::TaskManagementDone { itt, result });
                match done {
                    true => Ok(()),
                    false => self.end_starved(now, &management),
                }
            }
            Origin::Ladder if !done && !reported => {
                self.rung_failed(now, &management, TimedOut::Command)
            }
            _ => Ok(()),
        }
    }

    /// A function succeeded: ends the commands that it was about.
    fn conclude(&mut self, management: &Management) {
        if management.function == Function::AbortTask {
            return self.conclude_task(management.of, management.function);
        }
        let Some(scope) = management.scope() else {
            return;
        };
        for itt in self.sent_commands(scope) {
            // "Task management requests must act on all the commands from the same session having a
            // CmdSN lower than the task management CmdSN" (section 11.5.1). A reset may reach further,
            // but its answer does not say so of any command that came after it.
            let before = self
                .tasks
                .get(itt)
                .is_some_and(|task| task.cmd_sn.precedes(management.cmd_sn));
            if before {
                self.conclude_task(itt, management.function);
            }
        }
    }

    /// A function that did not succeed has stopped data all the same (FastAbort). The writes that
    /// miss it can neither go on, since the target was told that they would not, nor end.
    fn end_starved(&mut self, now: Instant, management: &Management) -> Result<(), Error> {
        let Some(scope) = management.scope() else {
            return Ok(());
        };
        let starved = |task: &Task| {
            task.no_more_data
                && task.staged_out < task.expected_out()
                && task.recovery == Recovery::None
                && !(task.finished || task.abandoned)
        };
        for itt in self.sent_commands(scope) {
            if self.tasks.get(itt).is_some_and(starved) {
                self.climb(now, itt, TimedOut::TaskManagement)?;
            }
        }
        Ok(())
    }

    fn conclude_task(&mut self, itt: InitiatorTaskTag, function: Function) {
        let Some(task) = self.tasks.get(itt) else {
            // Answered before.
            return self.tasks.note_aborted(itt);
        };
        let error = match task.rejected {
            None if self.config.planted.has(Bug::AbortMeansNotExecuted) => {
                TaskError::not_executed(TaskErrorKind::Terminated(function))
            }
            Some(reason) => TaskError::not_executed(TaskErrorKind::Rejected(reason)),
            None if task.abandoned => TaskError::unknown(TaskErrorKind::Abandoned, true),
            None if task.timed_out => TaskError::unknown(TaskErrorKind::TimedOut, true),
            None => TaskError::unknown(TaskErrorKind::Terminated(function), true),
        };
        self.tasks.note_aborted(itt);
        self.finish(itt, Err(error), Then::Free);
    }

    /// A function was not answered in time.
    pub(super) fn function_timed_out(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
    ) -> Result<(), Error> {
        let (management, staged) = match self.tasks.get_mut(itt) {
            Some(task) => {
                // Its slot waits on: the answer may still come.
                task.reported = true;
                match &task.kind {
                    Kind::Management(management) => (*management, task.begin.is_some()),
                    _ => return Ok(()),
                }
            }
            None => return Ok(()),
        };
        self.end_function(itt, staged);
        match management.origin {
            Origin::Caller => {
                let error = match staged {
                    true => TaskError::unknown(TaskErrorKind::TimedOut, false),
                    false => TaskError::not_executed(TaskErrorKind::TimedOut),
                };
                let result = Err(error);
                self.events.push(Event::TaskManagementDone { itt, result });
                self.end_starved(now, &management)
            }
            Origin::Ladder => self.rung_failed(now, &management, TimedOut::TaskManagement),
        }
    }

    /// The target rejected a function for good.
    pub(super) fn function_rejected(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
        management: &Management,
        kind: TaskErrorKind,
    ) -> Result<(), Error> {
        let reported = self.tasks.get(itt).is_none_or(|task| task.reported);
        self.end_function(itt, false);
        match management.origin {
            _ if reported => Ok(()),
            Origin::Caller => {
                let result = Err(TaskError::not_executed(kind));
                self.events.push(Event::TaskManagementDone { itt, result });
                self.end_starved(now, management)
            }
            Origin::Ladder => self.rung_failed(now, management, TimedOut::Command),
        }
    }

    /// Nobody waits for a function any more. Its slot is free unless the target may still answer.
    fn end_function(&mut self, itt: InitiatorTaskTag, may_answer: bool) {
        self.release_hold(itt);
        self.functions.retain(|queued| *queued != itt);
        self.later.retain(|(_, waiting)| *waiting != itt);
        if !may_answer {
            self.tasks.release(itt);
        }
    }
}
