//! Task management functions that a caller asks for.

use super::*;
use crate::{
    error::{ApiMisuse, PeerMisbehaved},
    pdu::{
        Reject, RejectReason, TaskManagementFunction as Function,
        TaskManagementResponseCode as Code,
    },
    session::{Execution, Rung, SubmitError, TaskErrorKind, TaskManagement, TaskManagementAnswer},
    text::TaskReporting,
};

fn level2() -> Parameters {
    Parameters {
        protocol_level: 2,
        ..parameters()
    }
}

fn answer(response: Code) -> Result<TaskManagementAnswer, TaskError> {
    Ok(TaskManagementAnswer {
        response,
        additional: [0; 3],
    })
}

fn on_lun(h: &mut Harness, lun: u16, data: DataLength) -> InitiatorTaskTag {
    let cdb = Cdb::write16(0, 4, false);
    let command = Command::new(Lun::new(lun), cdb, data);
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, pattern(0, 4096));
    itt
}

/// The ends of commands, and the answer to the function, which must come last.
fn ends(h: &mut Harness) -> (Vec<(InitiatorTaskTag, TaskError)>, Event) {
    let mut events = h.events();
    let last = events.pop().expect("an answer");
    let ends = events.into_iter().map(|event| match event {
        Event::CommandDone {
            itt,
            result: Err(error),
        } => (itt, error),
        other => panic!("{other:?}"),
    });
    (ends.collect(), last)
}

/// Rows C-62 to C-64: the fields of every function on the wire.
#[test]
fn every_function_goes_out_with_its_own_fields_and_is_immediate() {
    let lun = Lun::new(7);
    let functions = [
        (TaskManagement::AbortTaskSet(lun), 2, lun),
        (TaskManagement::ClearAca(lun), 3, lun),
        (TaskManagement::ClearTaskSet(lun), 4, lun),
        (TaskManagement::LogicalUnitReset(lun), 5, lun),
        (TaskManagement::TargetWarmReset, 6, Lun::ZERO),
        (TaskManagement::TargetColdReset, 7, Lun::ZERO),
        (TaskManagement::QueryTaskSet(lun), 10, lun),
        (TaskManagement::ITNexusReset, 11, Lun::ZERO),
        (TaskManagement::QueryAsynchronousEvent(lun), 12, lun),
    ];
    for (request, code, lun) in functions {
        let mut h = Harness::with(level2(), SessionConfig::default());
        let itt = h.session.task_management(h.now, request, None).unwrap();
        let sent = function_in(&h.sent());
        assert_eq!(sent.function.to_byte(), code);
        assert_eq!((sent.itt, sent.lun, sent.immediate), (itt, lun, true));
        assert_eq!(sent.referenced_task_tag, InitiatorTaskTag::RESERVED);
        assert_eq!(sent.cmd_sn, CmdSn(CMD_SN), "carried and not consumed");
        let response = h.managed(itt, Code::FunctionComplete);
        h.feed(response, &[]).unwrap();
        let result = answer(Code::FunctionComplete);
        assert_eq!(h.events(), [Event::TaskManagementDone { itt, result }]);
    }
}

#[test]
fn functions_on_one_task_name_it() {
    for query in [false, true] {
        let mut h = Harness::with(level2(), SessionConfig::default());
        let of = h.write(512);
        h.sent();
        let request = match query {
            true => TaskManagement::QueryTask(of),
            false => TaskManagement::AbortTask(of),
        };
        let itt = h.session.task_management(h.now, request, None).unwrap();
        let sent = function_in(&h.sent());
        assert_eq!(
            (sent.referenced_task_tag, sent.ref_cmd_sn, sent.lun),
            (of, CmdSn(CMD_SN), Lun::new(1))
        );
        let code = match query {
            true => Code::FunctionSucceeded,
            false => Code::FunctionComplete,
        };
        let response = h.managed(itt, code);
        h.feed(response, &[]).unwrap();
        let (ended, last) = ends(&mut h);
        let result = answer(code);
        assert_eq!(last, Event::TaskManagementDone { itt, result });
        let kind = TaskErrorKind::Terminated(Function::AbortTask);
        let want = (!query).then(|| (of, TaskError::unknown(kind, true)));
        assert_eq!(ended, want.into_iter().collect::<Vec<_>>());
    }
}

/// What cannot be done at ErrorRecoveryLevel 0, or without RFC 7144, is not even sent.
#[test]
fn what_was_not_negotiated_is_refused_here() {
    let mut h = Harness::new();
    let of = h.read(512);
    h.sent();
    let unknown = InitiatorTaskTag(0x1234_5678);
    let refused = [
        (
            TaskManagement::TaskReassign(of),
            ApiMisuse::ErrorRecoveryLevel,
        ),
        (TaskManagement::QueryTask(of), ApiMisuse::ProtocolLevel),
        (
            TaskManagement::QueryTaskSet(Lun::ZERO),
            ApiMisuse::ProtocolLevel,
        ),
        (TaskManagement::ITNexusReset, ApiMisuse::ProtocolLevel),
        (
            TaskManagement::QueryAsynchronousEvent(Lun::ZERO),
            ApiMisuse::ProtocolLevel,
        ),
        (TaskManagement::AbortTask(unknown), ApiMisuse::UnknownTask),
    ];
    for (request, misuse) in refused {
        let error = h.session.task_management(h.now, request, None);
        assert_eq!(error, Err(SubmitError::Misuse(misuse)), "{request:?}");
    }
    assert!(h.sent().is_empty());
}

/// A write that a reset has ended can no longer land, and nobody knows whether it did before.
#[test]
fn a_reset_ends_the_commands_of_its_unit_and_no_others() {
    let mut h = Harness::new();
    let first = on_lun(&mut h, 1, DataLength::Out(4096));
    let second = on_lun(&mut h, 1, DataLength::Out(512));
    let other = on_lun(&mut h, 2, DataLength::Out(512));
    h.sent();
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    let itt = h.session.task_management(h.now, request, None).unwrap();
    h.sent();
    let response = h.managed(itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let (mut ended, last) = ends(&mut h);
    ended.sort_by_key(|(itt, _)| *itt);
    let kind = TaskErrorKind::Terminated(Function::LogicalUnitReset);
    let error = TaskError::unknown(kind, true);
    let mut want = [(first, error), (second, error)];
    want.sort_by_key(|(itt, _)| *itt);
    assert_eq!(ended, want);
    assert_eq!(error.execution, Execution::Unknown);
    let result = answer(Code::FunctionComplete);
    assert_eq!(last, Event::TaskManagementDone { itt, result });
    // What the target had still on its way is no misbehaviour, and no answer to anything.
    let r2t = h.r2t(first, 0, 1024, 512);
    h.feed(r2t.emit(), &[]).unwrap();
    h.good(second).unwrap();
    assert!(h.events().is_empty() && h.sent().is_empty());
    h.good(other).unwrap();
    assert!(h.done(other).is_ok());
}

#[test]
fn functions_on_everything_end_every_command() {
    for request in [
        TaskManagement::TargetWarmReset,
        TaskManagement::TargetColdReset,
        TaskManagement::ITNexusReset,
    ] {
        let mut h = Harness::with(level2(), SessionConfig::default());
        on_lun(&mut h, 1, DataLength::Out(512));
        on_lun(&mut h, 2, DataLength::Out(512));
        h.sent();
        let itt = h.session.task_management(h.now, request, None).unwrap();
        h.sent();
        let response = h.managed(itt, Code::FunctionComplete);
        h.feed(response, &[]).unwrap();
        assert_eq!(ends(&mut h).0.len(), 2, "{request:?}");
    }
}

/// Only "function complete" ends anything.
#[test]
fn a_refused_function_ends_nothing() {
    for code in [
        Code::TaskDoesNotExist,
        Code::LunDoesNotExist,
        Code::NotSupported,
        Code::AuthorizationFailed,
        Code::FunctionRejected,
        Code::Unknown(99),
    ] {
        let mut h = Harness::new();
        let command = on_lun(&mut h, 1, DataLength::Out(512));
        h.sent();
        let request = TaskManagement::ClearTaskSet(Lun::new(1));
        let itt = h.session.task_management(h.now, request, None).unwrap();
        h.sent();
        let response = h.managed(itt, code);
        h.feed(response, &[]).unwrap();
        let result = answer(code);
        assert_eq!(h.events(), [Event::TaskManagementDone { itt, result }]);
        h.good(command).unwrap();
        assert!(h.done(command).is_ok());
    }
}

/// A target may execute an immediate function before or after a command that comes right behind it.
#[test]
fn new_commands_to_the_unit_wait_for_the_end_of_the_function() {
    let mut h = Harness::new();
    let request = TaskManagement::AbortTaskSet(Lun::new(1));
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let held = on_lun(&mut h, 1, DataLength::Out(512));
    let other = on_lun(&mut h, 2, DataLength::Out(512));
    let sent = h.sent();
    assert!(
        matches!(
            &sent[..],
            [(Pdu::TaskManagementRequest(_), _), (Pdu::ScsiCommand(command), _)]
                if command.itt == other
        ),
        "{sent:?}"
    );
    let response = h.managed(itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert_eq!(ends(&mut h).0, [], "neither was sent before it");
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::ScsiCommand(c), _)] if c.itt == held));
}

/// Section 4.2.3.3: "MUST continue to respond to each TTT received for the affected tasks".
#[test]
fn without_fast_abort_data_is_still_sent_while_the_function_is_under_way() {
    let mut h = Harness::new();
    let command = on_lun(&mut h, 1, DataLength::Out(4096));
    h.sent();
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    h.session.task_management(h.now, request, None).unwrap();
    h.sent();
    let r2t = h.r2t(command, 0, 1024, 512);
    h.feed(r2t.emit(), &[]).unwrap();
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::DataOut(_), _)]), "{sent:?}");
}

/// Section 4.2.3.4: "MUST NOT send any more Data-Out PDUs for affected tasks".
#[test]
fn with_fast_abort_no_data_follows_the_function() {
    let p = Parameters {
        task_reporting: TaskReporting::FastAbort,
        ..parameters()
    };
    let mut h = Harness::with(p, SessionConfig::default());
    let command = on_lun(&mut h, 1, DataLength::Out(4096));
    let other = on_lun(&mut h, 2, DataLength::Out(4096));
    h.sent();
    for itt in [command, other] {
        let r2t = h.r2t(itt, 0, 1024, 2048);
        h.feed(r2t.emit(), &[]).unwrap();
    }
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let late = h.r2t(command, 1, 3072, 512);
    h.feed(late.emit(), &[]).unwrap();
    let sent = h.sent();
    assert!(matches!(sent[0].0, Pdu::TaskManagementRequest(_)));
    let data = sent[1..].iter().map(|(pdu, _)| match pdu {
        Pdu::DataOut(data) => data.itt,
        other => panic!("{other:?}"),
    });
    assert_eq!(
        data.collect::<Vec<_>>(),
        [other; 4],
        "of the other unit only"
    );
    let response = h.managed(itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert_eq!(ends(&mut h).0.len(), 1);
}

#[test]
fn without_an_answer_the_function_times_out_and_a_late_answer_still_counts() {
    let mut h = Harness::new();
    let command = on_lun(&mut h, 1, DataLength::Out(512));
    h.sent();
    let deadline = Some(h.now.saturating_add(Duration::from_secs(1)));
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    let itt = h.session.task_management(h.now, request, deadline).unwrap();
    h.sent();
    let held = on_lun(&mut h, 1, DataLength::Out(512));
    h.advance(Duration::from_secs(1));
    h.session.handle_timeout(h.now).unwrap();
    let result = Err(TaskError::unknown(TaskErrorKind::TimedOut, false));
    assert_eq!(h.events(), [Event::TaskManagementDone { itt, result }]);
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::ScsiCommand(c), _)] if c.itt == held));
    // It ended what came before it, and says nothing of what came after.
    let response = h.managed(itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let kind = TaskErrorKind::Terminated(Function::LogicalUnitReset);
    assert_eq!(h.done(command), Err(TaskError::unknown(kind, true)));
    h.good(held).unwrap();
    assert!(h.done(held).is_ok());
}

#[test]
fn a_command_in_the_queue_is_aborted_without_asking_the_target() {
    let mut h = Harness::new();
    let of = h.read(512);
    let request = TaskManagement::AbortTask(of);
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let (ended, last) = ends(&mut h);
    let kind = TaskErrorKind::Terminated(Function::AbortTask);
    assert_eq!(ended, [(of, TaskError::not_executed(kind))]);
    let result = answer(Code::FunctionComplete);
    assert_eq!(last, Event::TaskManagementDone { itt, result });
    assert!(h.sent().is_empty());
}

#[test]
fn an_answer_to_a_function_that_was_not_sent_ends_the_connection() {
    let mut h = Harness::new();
    let request = TaskManagement::TargetWarmReset;
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let response = h.managed(itt, Code::FunctionComplete);
    let error = PeerMisbehaved::UnknownTask(itt).into();
    assert_eq!(h.feed(response, &[]), Err(error));
}

#[test]
fn the_end_of_the_connection_ends_functions_too() {
    let mut h = Harness::new();
    let request = TaskManagement::TargetColdReset;
    let sent = h.session.task_management(h.now, request, None).unwrap();
    h.sent();
    let unsent = h.session.task_management(h.now, request, None).unwrap();
    h.session.handle_closed(Error::Closed);
    let kind = TaskErrorKind::ConnectionLost(Error::Closed);
    let ends = h.events().into_iter().map(|event| match event {
        Event::TaskManagementDone { itt, result } => (itt, result.unwrap_err()),
        other => panic!("{other:?}"),
    });
    let ends: BTreeMap<_, _> = ends.collect();
    assert_eq!(ends[&sent], TaskError::unknown(kind, false));
    assert_eq!(ends[&unsent], TaskError::not_executed(kind));
}

/// With FastAbort the data has stopped for good, though the function did nothing: the writes that lack
/// it would wait for ever, and those that have all of theirs go on.
#[test]
fn writes_that_a_failed_function_has_starved_are_ended_one_by_one() {
    for how in 0..3 {
        let p = Parameters {
            task_reporting: TaskReporting::FastAbort,
            ..parameters()
        };
        let mut h = Harness::with(p, SessionConfig::default());
        let starved = on_lun(&mut h, 1, DataLength::Out(4096));
        let whole = on_lun(&mut h, 1, DataLength::Out(512));
        h.sent();
        let deadline = Some(h.now.saturating_add(Duration::from_secs(1)));
        let request = TaskManagement::LogicalUnitReset(Lun::new(1));
        let itt = h.session.task_management(h.now, request, deadline).unwrap();
        let sent = h.sent();
        match how {
            0 => {
                let response = h.managed(itt, Code::NotSupported);
                h.feed(response, &[]).unwrap();
            }
            1 => {
                let reject = Reject {
                    reason: RejectReason::CommandNotSupported,
                    stat_sn: h.next_stat_sn(),
                    exp_cmd_sn: CmdSn(CMD_SN),
                    max_cmd_sn: CmdSn(h.max_cmd_sn),
                    data_sn: DataSn(0),
                    data_segment_length: 48,
                };
                h.feed(reject.emit(), sent[0].0.emit().as_bytes()).unwrap();
            }
            _ => {
                h.advance(Duration::from_secs(1));
                h.session.handle_timeout(h.now).unwrap();
            }
        }
        let events = h.events();
        assert!(
            matches!(
                events[..],
                [
                    Event::TaskManagementDone { .. },
                    Event::CommandLate { itt, rung: Rung::AbortTask, .. },
                ] if itt == starved
            ),
            "{events:?}"
        );
        let abort = function_in(&h.sent());
        assert_eq!(abort.referenced_task_tag, starved);
        let response = h.managed(abort.itt, Code::FunctionComplete);
        h.feed(response, &[]).unwrap();
        let kind = TaskErrorKind::Terminated(Function::AbortTask);
        assert_eq!(h.done(starved), Err(TaskError::unknown(kind, true)));
        h.good(whole).unwrap();
        assert!(h.done(whole).is_ok());
    }
}
