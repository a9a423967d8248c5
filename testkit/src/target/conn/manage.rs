//! Task management, as a target carries it out (RFC 7143 sections 4.2.3, 11.5; RFC 7144).

use std::sync::Arc;

use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{
        TaskManagementFunction as Function, TaskManagementRequest, TaskManagementResponse,
        TaskManagementResponseCode as Outcome,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn},
    text::TaskReporting,
};

use super::{
    super::{Violation, lun::LogicalUnit},
    Next,
    full::FullFeature,
    task::{Task, Work},
    wire::Wire,
};

/// Which tasks a function ends.
#[derive(Clone, Copy)]
enum Scope {
    None,
    Unit(Lun),
    All,
}

fn scope(function: Function, lun: Lun) -> Scope {
    match function {
        Function::AbortTaskSet | Function::ClearTaskSet | Function::LogicalUnitReset => {
            Scope::Unit(lun)
        }
        Function::TargetWarmReset | Function::TargetColdReset | Function::ITNexusReset => {
            Scope::All
        }
        _ => Scope::None,
    }
}

impl Scope {
    fn covers(self, task: &Task) -> bool {
        match self {
            Self::None => false,
            Self::Unit(lun) => task.lun.number() == lun.number(),
            Self::All => true,
        }
    }
}

const fn is_of_rfc7144(function: Function) -> bool {
    matches!(
        function,
        Function::QueryTask
            | Function::QueryTaskSet
            | Function::ITNexusReset
            | Function::QueryAsynchronousEvent
    )
}

impl FullFeature {
    pub(super) fn manage(&mut self, wire: &mut Wire, request: &TaskManagementRequest) -> Next {
        self.judge_function(wire, request);
        self.functions.push_back(*request);
        self.settle_functions(wire)
    }

    /// Carries out the functions that wait, as far as they need not wait any longer: for the data of
    /// every transfer that is open for their tasks (section 4.2.3.3), unless FastAbort was negotiated
    /// (section 4.2.3.4).
    pub(super) fn settle_functions(&mut self, wire: &mut Wire) -> Next {
        while let Some(request) = self.functions.front().copied() {
            let affected = scope(request.function, request.lun);
            let is_open = |task: &Task| affected.covers(task) && task.has_open_transfer();
            if !self.is_fast_abort() && self.tasks.iter().any(is_open) {
                return Next::Stay;
            }
            self.functions.pop_front();
            let (response, additional) = self.carry_out(wire, &request);
            let (exp_cmd_sn, max_cmd_sn) = self.window();
            let response = TaskManagementResponse {
                response,
                additional_response_information: additional,
                itt: request.itt,
                stat_sn: wire.next_stat_sn(),
                exp_cmd_sn,
                max_cmd_sn,
            };
            wire.send(&response.emit(), &[]);
            if request.function == Function::TargetColdReset {
                return Next::Close;
            }
        }
        Next::Stay
    }

    pub(super) fn is_fast_abort(&self) -> bool {
        self.negotiated.task_reporting == TaskReporting::FastAbort
    }

    /// Whether a function waits for the data of this task: then no more is asked for.
    pub(super) fn is_stopping(&self, index: usize) -> bool {
        let task = &self.tasks[index];
        self.functions
            .iter()
            .any(|request| scope(request.function, request.lun).covers(task))
    }

    /// Section 11.5: which fields a function has.
    fn judge_function(&self, wire: &Wire, request: &TaskManagementRequest) {
        let function = request.function;
        let names_task = matches!(
            function,
            Function::AbortTask | Function::QueryTask | Function::TaskReassign
        );
        let named = self
            .tasks
            .iter()
            .find(|task| names_task && task.itt == request.referenced_task_tag);
        let wrong = if is_of_rfc7144(function) && self.negotiated.protocol_level < 2 {
            Some("the function needs iSCSIProtocolLevel 2")
        } else if !names_task && request.referenced_task_tag != InitiatorTaskTag::RESERVED {
            Some("a Referenced Task Tag with a function that has none")
        } else if matches!(scope(function, request.lun), Scope::All) && request.lun != Lun::ZERO {
            Some("a LUN with a function that has none")
        } else if !names_task && request.ref_cmd_sn != CmdSn(0) {
            Some("a RefCmdSN with a function that has none")
        } else if function != Function::TaskReassign && request.exp_data_sn != DataSn(0) {
            Some("an ExpDataSN with a function that has none")
        } else if named.is_some_and(|task| task.lun != request.lun) {
            Some("the LUN is not that of the referenced task")
        } else if named.is_some_and(|task| !task.immediate && task.cmd_sn != request.ref_cmd_sn) {
            Some("RefCmdSN is not the CmdSN of the referenced task")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            wire.violation(Violation::TaskManagement(wrong));
        }
    }

    fn carry_out(&mut self, wire: &Wire, request: &TaskManagementRequest) -> (Outcome, [u8; 3]) {
        let plain = |outcome| (outcome, [0; 3]);
        if is_of_rfc7144(request.function) && self.negotiated.protocol_level < 2 {
            return plain(Outcome::NotSupported);
        }
        let tag = request.referenced_task_tag;
        let task = self.tasks.iter().position(|task| task.itt == tag);
        // Functions of one task, and of the whole target.
        match request.function {
            Function::AbortTask => {
                return plain(match task {
                    Some(index) => {
                        self.abort(index);
                        Outcome::FunctionComplete
                    }
                    None => Outcome::TaskDoesNotExist,
                });
            }
            Function::QueryTask => return plain(found(task.is_some())),
            Function::TaskReassign => return plain(Outcome::ReassignmentNotSupported),
            Function::TargetWarmReset | Function::TargetColdReset => {
                for unit in &Arc::clone(&self.core).luns {
                    self.reset(unit, (0x29, 0x03));
                }
                if let (Function::TargetColdReset, Some(session)) =
                    (request.function, &self.session)
                {
                    self.core.drop_others(session);
                }
                self.end_tasks(Scope::All);
                return plain(Outcome::FunctionComplete);
            }
            Function::ITNexusReset => {
                self.end_tasks(Scope::All);
                if let Some(session) = &self.session {
                    for unit in &self.core.luns {
                        // I_T NEXUS LOSS OCCURRED.
                        session.add_attention(unit.config.number, 0x29, 0x07);
                    }
                }
                return plain(Outcome::FunctionComplete);
            }
            _ => {}
        }
        let Some(unit) = self.unit(request.lun) else {
            return plain(Outcome::LunDoesNotExist);
        };
        let scope = Scope::Unit(request.lun);
        match request.function {
            Function::AbortTaskSet => self.end_tasks(scope),
            // COMMANDS CLEARED BY ANOTHER INITIATOR; BUS DEVICE RESET FUNCTION OCCURRED.
            Function::ClearTaskSet => self.reset(&unit, (0x2f, 0x00)),
            Function::LogicalUnitReset => self.reset(&unit, (0x29, 0x03)),
            // There never is an ACA here: NACA is refused.
            Function::ClearAca => {}
            Function::QueryTaskSet => {
                return plain(found(self.tasks.iter().any(|task| scope.covers(task))));
            }
            Function::QueryAsynchronousEvent => {
                let number = unit.config.number;
                let pending = self.session.as_ref().and_then(|s| s.next_attention(number));
                return match pending {
                    // UNIT ATTENTION, additional sense code and qualifier.
                    Some((asc, ascq)) => (Outcome::FunctionSucceeded, [0x06, asc, ascq]),
                    None => plain(Outcome::FunctionComplete),
                };
            }
            _ => {
                wire.violation(Violation::TaskManagement("no such function"));
                return plain(Outcome::NotSupported);
            }
        }
        plain(Outcome::FunctionComplete)
    }

    fn reset(&mut self, unit: &Arc<LogicalUnit>, attention: (u8, u8)) {
        if let Some(session) = &self.session {
            self.core.reset_unit(unit, session, attention);
        }
        self.end_tasks(Scope::Unit(Lun::new(unit.config.number)));
    }

    /// Ends a task without a status. A unit attention that its status would have reported stays (SAM-5
    /// section 5.14.1: reporting it clears it).
    fn abort(&mut self, index: usize) {
        let task = &self.tasks[index];
        let lost = task.attention.zip(task.unit.as_ref());
        if let (Some(((asc, ascq), unit)), Some(session)) = (lost, &self.session) {
            session.add_attention(unit.config.number, asc, ascq);
        }
        self.end_task(index);
    }

    /// Tasks of a logical unit that another initiator has ended.
    pub(super) fn end_tasks_of(&mut self, lun: Lun) {
        self.end_tasks(Scope::Unit(lun));
    }

    fn end_tasks(&mut self, scope: Scope) {
        while let Some(index) = self.tasks.iter().position(|task| scope.covers(task)) {
            let itt = self.tasks[index].itt;
            self.abort(index);
            if self.is_fast_abort() {
                // Whatever was sent for it was sent before the function: nothing may follow.
                self.discarded.retain(|discarded| *discarded != itt);
            }
        }
    }
}

fn found(there: bool) -> Outcome {
    match there {
        true => Outcome::FunctionSucceeded,
        false => Outcome::FunctionComplete,
    }
}

impl Task {
    /// Whether data is on its way that was asked for, or promised.
    fn has_open_transfer(&self) -> bool {
        match &self.work {
            Work::Receive(write) => write.unsolicited.is_some() || !write.r2ts.is_empty(),
            _ => false,
        }
    }
}
