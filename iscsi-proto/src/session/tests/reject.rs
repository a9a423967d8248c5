//! Reject: what the target did not accept.

use super::*;
use crate::{
    error::{PeerMisbehaved, TimedOut},
    pdu::{LogoutReason, NopIn, Reject, RejectReason, TaskManagementResponseCode as Code},
    serial::DataSn,
    session::{Execution, TaskErrorKind, TaskManagement},
};

/// A Reject of a PDU that the session sent; ExpCmdSN stands `consumed` after the first one.
fn reject(h: &mut Harness, reason: RejectReason, pdu: &Pdu, consumed: u32) -> Result<(), Error> {
    let reject = Reject {
        reason,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN).plus(consumed),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_sn: DataSn(0),
        data_segment_length: 48,
    };
    h.feed(reject.emit(), pdu.emit().as_bytes())
}

#[test]
fn a_refused_command_was_not_executed_and_the_connection_lives_on() {
    for reason in [
        RejectReason::DataDigestError,
        RejectReason::ProtocolError,
        RejectReason::CommandNotSupported,
        RejectReason::InvalidPduField,
        RejectReason::Unknown(0x55),
    ] {
        let mut h = Harness::new();
        let itt = h.write(512);
        let sent = h.sent();
        reject(&mut h, reason, &sent[0].0, 1).unwrap();
        let error = h.done(itt).unwrap_err();
        assert_eq!(
            error,
            TaskError::not_executed(TaskErrorKind::Rejected(reason))
        );
        let next = h.read(512);
        h.sent();
        let data = h.data_in(next, 0, 0, 512);
        h.feed(data.emit(), &[1; 512]).unwrap();
        h.good(next).unwrap();
        assert!(h.done(next).is_ok());
        assert_eq!(h.session.stats().rejects, 1);
    }
}

/// Section 7.3: the CmdSN of a rejected command may not count as received; section 11.5.1: an ABORT
/// TASK that names it fills the gap.
#[test]
fn a_gap_in_the_order_of_commands_is_plugged_by_an_abort() {
    let mut h = Harness::new();
    let itt = h.write(512);
    let sent = h.sent();
    let reason = RejectReason::InvalidPduField;
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    assert!(h.events().is_empty());
    let abort = function_in(&h.sent());
    assert_eq!(
        (abort.referenced_task_tag, abort.ref_cmd_sn),
        (itt, CmdSn(CMD_SN))
    );
    let response = h.managed(abort.itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let error = h.done(itt).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::Rejected(reason));
    assert_eq!(error.execution, Execution::NotExecuted);
}

#[test]
fn a_rejected_command_is_not_executed_though_the_connection_ends_before_the_gap_is_filled() {
    let mut h = Harness::new();
    let itt = h.write(512);
    let sent = h.sent();
    let reason = RejectReason::CommandNotSupported;
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    h.session.handle_closed(Error::Closed);
    let want = TaskError::not_executed(TaskErrorKind::Rejected(reason));
    assert_eq!(h.done(itt), Err(want));
}

/// A target that knows our tag for another task, or answers a SNACK that was never sent.
#[test]
fn where_the_two_sides_disagree_the_connection_ends() {
    for reason in [
        RejectReason::TaskInProgress,
        RejectReason::SnackReject,
        RejectReason::InvalidDataAck,
    ] {
        let mut h = Harness::new();
        h.write(512);
        let sent = h.sent();
        let error = reject(&mut h, reason, &sent[0].0, 1);
        let want = PeerMisbehaved::Rejected(reason.to_byte()).into();
        assert_eq!(error, Err(want));
    }
}

#[test]
fn a_command_that_was_worked_on_cannot_be_rejected() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    let sent = h.sent();
    let data = h.data_in(itt, 0, 0, 512);
    h.feed(data.emit(), &[1; 512]).unwrap();
    let error = reject(&mut h, RejectReason::ProtocolError, &sent[0].0, 1);
    assert_eq!(error, Err(PeerMisbehaved::Rejected(4).into()));
}

/// Row H106.
#[test]
fn a_reject_of_nothing_known_ends_the_connection() {
    let mut h = Harness::new();
    h.write(512);
    let sent = h.sent();
    let mut strange = sent[0].0;
    if let Pdu::ScsiCommand(command) = &mut strange {
        command.itt = InitiatorTaskTag(0x7777_7777);
    }
    let error = reject(&mut h, RejectReason::ProtocolError, &strange, 1);
    assert_eq!(error, Err(PeerMisbehaved::Rejected(4).into()));

    let mut h = Harness::new();
    let short = Reject {
        reason: RejectReason::ProtocolError,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_sn: DataSn(0),
        data_segment_length: 47,
    };
    let error = h.feed(short.emit(), &[0; 47]);
    assert_eq!(error, Err(PeerMisbehaved::Rejected(4).into()));
}

/// The target ends such a task with a response of its own, which is waited for, but not for ever.
#[test]
fn after_a_rejected_data_out_the_commands_own_answer_counts() {
    for answered in [true, false] {
        let config = SessionConfig {
            nop_interval: None,
            ..SessionConfig::default()
        };
        let mut h = Harness::with(parameters(), config);
        let itt = h.write(1024);
        let sent = h.sent();
        let Some((data_out, _)) = sent.get(1) else {
            panic!("{sent:?}")
        };
        reject(&mut h, RejectReason::DataDigestError, data_out, 1).unwrap();
        if answered {
            let mut response = h.response(itt);
            response.status = ScsiStatus::CheckCondition;
            h.feed(response.emit(), &[]).unwrap();
            let status = h.done(itt).map(|response| response.status);
            assert_eq!(status, Ok(ScsiStatus::CheckCondition));
        } else {
            h.advance(Duration::from_secs(5));
            h.session.handle_timeout(h.now).unwrap();
            assert_eq!(function_in(&h.sent()).referenced_task_tag, itt);
        }
    }
}

/// Its command was over before the data arrived.
#[test]
fn a_rejected_data_out_of_a_finished_command_means_nothing() {
    let mut h = Harness::new();
    let itt = h.write(1024);
    let sent = h.sent();
    let mut response = h.response(itt);
    response.status = ScsiStatus::Busy;
    h.feed(response.emit(), &[]).unwrap();
    assert!(h.done(itt).is_ok());
    reject(&mut h, RejectReason::InvalidPduField, &sent[1].0, 1).unwrap();
    assert!(h.events().is_empty());
}

#[test]
fn one_immediate_request_too_many_is_sent_again_later() {
    let mut h = Harness::new();
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let reason = RejectReason::ImmediateCommandReject;
    for _ in 0..3 {
        let sent = h.sent();
        assert_eq!(function_in(&sent).itt, itt);
        reject(&mut h, reason, &sent[0].0, 0).unwrap();
        assert!(h.sent().is_empty(), "not at once");
        h.now = h.session.poll_timeout().unwrap();
        h.session.handle_timeout(h.now).unwrap();
    }
    h.sent();
    let response = h.managed(itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert!(matches!(
        h.events()[..],
        [Event::TaskManagementDone { result: Ok(_), .. }]
    ));
    assert!(h.now < Instant::from_nanos(1_000_000_000));
}

/// Its own time bounds that: a function given up while it waited is not sent any more.
#[test]
fn sending_again_ends_with_the_time_of_the_rung() {
    let config = SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let itt = h.write(512);
    h.sent();
    h.session.abandon(h.now, itt);
    let reason = RejectReason::ImmediateCommandReject;
    let mut sent = h.sent();
    for _ in 0..1000 {
        for (pdu, _) in &sent {
            reject(&mut h, reason, pdu, 1).unwrap();
        }
        h.now = h.session.poll_timeout().unwrap();
        if let Err(error) = h.session.handle_timeout(h.now) {
            assert_eq!(error, TimedOut::TaskManagement.into());
            assert_eq!(h.now, Instant::from_nanos(5_000_000_000));
            return;
        }
        sent = h.sent();
    }
    panic!("no end");
}

#[test]
fn a_rejected_abort_is_the_next_rung_and_a_rejected_function_is_the_callers() {
    let mut h = Harness::new();
    let command = h.write(512);
    h.sent();
    let request = TaskManagement::ClearAca(Lun::new(1));
    let itt = h.session.task_management(h.now, request, None).unwrap();
    let sent = h.sent();
    let reason = RejectReason::CommandNotSupported;
    reject(&mut h, reason, &sent[0].0, 1).unwrap();
    let result = Err(TaskError::not_executed(TaskErrorKind::Rejected(reason)));
    assert_eq!(h.events(), [Event::TaskManagementDone { itt, result }]);

    h.session.abandon(h.now, command);
    let sent = h.sent();
    let error = reject(&mut h, reason, &sent[0].0, 1);
    assert_eq!(error, Err(TimedOut::Command.into()));
}

#[test]
fn pings_and_texts_that_were_rejected_end_by_themselves() {
    let mut h = Harness::new();
    let ping = h.session.ping(h.now, None).unwrap();
    let sent = h.sent();
    let reason = RejectReason::ImmediateCommandReject;
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    let result = Err(TaskError::not_executed(TaskErrorKind::Rejected(reason)));
    assert_eq!(h.events(), [Event::PingDone { itt: ping, result }]);

    let text = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    let sent = h.sent();
    let reason = RejectReason::LongOperationReject;
    reject(&mut h, reason, &sent[0].0, 1).unwrap();
    let result = Err(TaskError::not_executed(TaskErrorKind::Rejected(reason)));
    assert_eq!(h.events(), [Event::TextDone { itt: text, result }]);
    assert!(h.session.text(h.now, b"SendTargets=All\0").is_ok());
}

#[test]
fn waiting_for_logout_makes_us_log_out() {
    let mut h = Harness::new();
    let under_way = h.read(512);
    let itt = h.write(512);
    let sent = h.sent();
    let reason = RejectReason::WaitingForLogout;
    reject(&mut h, reason, &sent[1].0, 2).unwrap();
    let events = h.events();
    let error = TaskError::not_executed(TaskErrorKind::Rejected(reason));
    let within = Duration::ZERO;
    assert_eq!(
        events,
        [
            Event::LogoutRequested { within },
            Event::CommandDone {
                itt,
                result: Err(error)
            }
        ]
    );
    h.session.handle_timeout(h.now).unwrap();
    let sent = h.sent();
    assert!(
        matches!(&sent[..], [(Pdu::LogoutRequest(r), _)] if r.reason == LogoutReason::CloseSession),
        "{under_way} is not waited for: {sent:?}"
    );
}

/// The timers of an idle connection would only be in the way.
fn quiet() -> Harness {
    let config = SessionConfig {
        nop_interval: None,
        nop_timeout: Duration::from_secs(60),
        acknowledge_after: None,
        ..SessionConfig::default()
    };
    Harness::with(parameters(), config)
}

fn nop_in(h: &mut Harness, itt: InitiatorTaskTag, consumed: u32) -> Bhs {
    NopIn {
        lun: Lun::ZERO,
        itt,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN).plus(consumed),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    }
    .emit()
}

/// Section 7.3, of a Text Request, which has a CmdSN as commands have: what was sent behind it would
/// never begin.
#[test]
fn a_gap_that_a_rejected_text_leaves_is_filled_by_a_ping() {
    let reason = RejectReason::ProtocolError;
    for (answered, passed) in [(true, true), (false, true), (false, false)] {
        let mut h = quiet();
        let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
        let behind = h.read(512);
        let sent = h.sent();
        reject(&mut h, reason, &sent[0].0, 0).unwrap();
        let result = Err(TaskError::not_executed(TaskErrorKind::Rejected(reason)));
        assert_eq!(h.events(), [Event::TextDone { itt, result }]);
        let sent = h.sent();
        let [(Pdu::NopOut(plug), _)] = &sent[..] else {
            panic!("{sent:?}")
        };
        assert_eq!((plug.immediate, plug.cmd_sn), (false, CmdSn(CMD_SN)));
        assert_ne!(plug.itt, InitiatorTaskTag::RESERVED);
        if answered {
            let answer = nop_in(&mut h, plug.itt, 2);
            h.feed(answer, &[]).unwrap();
        } else if passed {
            // The target had counted the text after all, and the ping is a repetition to it.
            let mut response = h.response(behind);
            response.status = ScsiStatus::Busy;
            response.exp_cmd_sn = CmdSn(CMD_SN).plus(2);
            h.feed(response.emit(), &[]).unwrap();
            assert!(h.done(behind).is_ok());
        }
        h.advance(Duration::from_secs(5));
        let result = h.session.handle_timeout(h.now);
        let want = if passed {
            Ok(())
        } else {
            Err(TimedOut::Text.into())
        };
        assert_eq!(result, want);
        assert!(h.events().is_empty(), "nobody waits for that ping");
    }
    let mut h = quiet();
    h.session.text(h.now, b"SendTargets=All\0").unwrap();
    let sent = h.sent();
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    let plug = h.sent();
    let error = reject(&mut h, reason, &plug[0].0, 0);
    assert_eq!(error, Err(PeerMisbehaved::Rejected(4).into()));
}

/// The target said that it does not have it, so nothing can follow, and its slot is free.
#[test]
fn a_function_given_up_while_the_target_had_no_room_for_it_leaves_nothing_behind() {
    let mut h = quiet();
    let deadline = Some(h.now.saturating_add(Duration::from_millis(50)));
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    let itt = h.session.task_management(h.now, request, deadline).unwrap();
    let sent = h.sent();
    let reason = RejectReason::ImmediateCommandReject;
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    h.advance(Duration::from_millis(50));
    h.session.handle_timeout(h.now).unwrap();
    let result = Err(TaskError::not_executed(TaskErrorKind::TimedOut));
    assert_eq!(h.events(), [Event::TaskManagementDone { itt, result }]);
    assert_eq!(h.session.tasks.tags().count(), 0);
    assert_eq!(h.session.poll_timeout(), None);
}

/// Else each of them would be sent again, and remembered until then.
#[test]
fn what_waits_to_be_sent_again_cannot_be_rejected_again() {
    let reason = RejectReason::ImmediateCommandReject;
    let want = Err(PeerMisbehaved::Rejected(6).into());
    let mut h = quiet();
    let request = TaskManagement::LogicalUnitReset(Lun::new(1));
    h.session.task_management(h.now, request, None).unwrap();
    let sent = h.sent();
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    assert_eq!(reject(&mut h, reason, &sent[0].0, 0), want);

    let mut h = quiet();
    h.session
        .logout(h.now, LogoutReason::CloseSession)
        .expect("a reason");
    let sent = h.sent();
    let Some((Pdu::LogoutRequest(request), _)) = sent.first() else {
        panic!("{sent:?}")
    };
    let mut other = *request;
    other.itt = InitiatorTaskTag(0x7777_7777);
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    assert_eq!(reject(&mut h, reason, &sent[0].0, 0), want);

    let mut h = quiet();
    let other = Pdu::LogoutRequest(other);
    assert_eq!(reject(&mut h, reason, &other, 0), want, "none was sent");
}

#[test]
fn a_logout_that_is_never_taken_ends_with_the_time_of_the_logout() {
    let mut h = quiet();
    h.session
        .logout(h.now, LogoutReason::CloseSession)
        .expect("a reason");
    for _ in 0..1000 {
        let sent = h.sent();
        reject(&mut h, RejectReason::ImmediateCommandReject, &sent[0].0, 0).unwrap();
        h.now = h.session.poll_timeout().unwrap();
        if let Err(error) = h.session.handle_timeout(h.now) {
            assert_eq!(error, TimedOut::Logout.into());
            assert_eq!(h.now, Instant::from_nanos(5_000_000_000));
            return;
        }
    }
    panic!("no end");
}

/// A ping of the keepalive would get a deadline, and an end that nobody waits for.
#[test]
fn a_rejected_data_out_of_something_that_is_no_command_ends_the_connection() {
    let mut h = Harness::new();
    h.write(1024);
    let sent = h.sent();
    let Some((Pdu::DataOut(data), _)) = sent.get(1) else {
        panic!("{sent:?}")
    };
    let mut strange = *data;
    strange.itt = h.session.ping(h.now, None).unwrap();
    h.sent();
    let reason = RejectReason::ProtocolError;
    let error = reject(&mut h, reason, &Pdu::DataOut(strange), 1);
    assert_eq!(error, Err(PeerMisbehaved::Rejected(4).into()));
}

/// A target that asks for data of a command that it rejected works on it: whether it was carried out
/// is not known any more.
#[test]
fn a_rejected_command_that_is_worked_on_after_all_may_have_been_executed() {
    let mut h = Harness::new();
    let itt = h.write(4096);
    let sent = h.sent();
    reject(&mut h, RejectReason::ProtocolError, &sent[0].0, 0).unwrap();
    let r2t = h.r2t(itt, 0, 1024, 2048);
    h.feed(r2t.emit(), &[]).unwrap();
    h.session.handle_closed(Error::Closed);
    let kind = TaskErrorKind::ConnectionLost(Error::Closed);
    assert_eq!(h.done(itt), Err(TaskError::unknown(kind, false)));

    let mut h = Harness::new();
    let itt = h.read(1024);
    let sent = h.sent();
    reject(&mut h, RejectReason::ProtocolError, &sent[0].0, 0).unwrap();
    let data = h.data_in(itt, 0, 0, 512);
    h.feed(data.emit(), &[1; 512]).unwrap();
    h.session.handle_closed(Error::Closed);
    assert_eq!(h.done(itt), Err(TaskError::unknown(kind, false)));
}

/// Section 11.6.1: "task does not exist" says nothing of the CmdSN, unlike "function complete".
#[test]
fn a_gap_that_the_abort_did_not_fill_is_filled_by_a_ping() {
    let mut h = Harness::new();
    let itt = h.write(512);
    let sent = h.sent();
    let reason = RejectReason::InvalidPduField;
    reject(&mut h, reason, &sent[0].0, 0).unwrap();
    let abort = function_in(&h.sent());
    let response = h.managed(abort.itt, Code::TaskDoesNotExist);
    h.feed(response, &[]).unwrap();
    let want = TaskError::not_executed(TaskErrorKind::Rejected(reason));
    assert_eq!(h.done(itt), Err(want));
    let sent = h.sent();
    assert!(
        matches!(&sent[..], [(Pdu::NopOut(plug), _)] if !plug.immediate && plug.cmd_sn == CmdSn(CMD_SN)),
        "{sent:?}"
    );
}
