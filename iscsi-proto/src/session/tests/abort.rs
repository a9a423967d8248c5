//! ABORT TASK: abandoned commands and passed deadlines.

use super::*;
use crate::{
    error::TimedOut,
    pdu::TaskManagementFunction,
    session::{Execution, Rung, TaskErrorKind},
};

#[test]
fn an_abandoned_command_that_was_not_sent_leaves_no_trace() {
    let mut h = Harness::new();
    let itt = h.read(512);
    h.session.abandon(h.now, itt);
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.kind, error.execution, error.is_dead),
        (TaskErrorKind::Abandoned, Execution::NotExecuted, true)
    );
    assert!(h.sent().is_empty());
}

/// Rows C-62 and H96: the abort names its task; late data is discarded; the answer proves death.
#[test]
fn an_abandoned_read_gives_its_memory_back_at_once() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let first = h.data_in(itt, 0, 0, 512);
    let bytes = encode(first.emit(), &[1; 512], false);
    h.feed_bytes(&bytes[..148]).unwrap();
    h.session.abandon(h.now, itt);
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.execution, error.is_dead),
        (Execution::Unknown, false)
    );
    h.memory.0.remove(&itt.0).expect("given back");

    // The rest of that segment and a whole further one arrive: any store would panic now.
    h.feed_bytes(&bytes[148..]).unwrap();
    let late = h.data_in(itt, 1, 512, 512);
    h.feed(late.emit(), &[2; 512]).unwrap();

    let request = function_in(&h.sent());
    assert_eq!(request.function, TaskManagementFunction::AbortTask);
    assert_eq!(
        (request.referenced_task_tag, request.ref_cmd_sn),
        (itt, CmdSn(CMD_SN))
    );
    assert_eq!(request.lun, Lun::new(1));
    assert!(request.immediate);
    let response = h.managed(request.itt, TaskManagementResponseCode::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
}

#[test]
fn the_answer_of_an_abandoned_command_frees_it_too() {
    let mut h = Harness::new();
    let itt = h.write(512);
    h.sent();
    h.session.abandon(h.now, itt);
    assert!(h.done(itt).is_err());
    let request = function_in(&h.sent());
    h.good(itt).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
    let response = h.managed(request.itt, TaskManagementResponseCode::TaskDoesNotExist);
    h.feed(response, &[]).unwrap();
    assert!(h.events().is_empty());
}

/// Its target may merely be slow: then the answer comes, and nothing was asked of the target but the read.
#[test]
fn a_detached_read_gives_its_memory_back_and_is_left_to_its_end() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let first = h.data_in(itt, 0, 0, 512);
    let bytes = encode(first.emit(), &[1; 512], false);
    h.feed_bytes(&bytes[..148]).unwrap();
    h.session.detach(h.now, itt);
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.kind, error.execution, error.is_dead),
        (TaskErrorKind::Abandoned, Execution::Unknown, false)
    );
    h.memory.0.remove(&itt.0).expect("given back");
    assert!(h.sent().is_empty());

    // Any store would panic now.
    h.feed_bytes(&bytes[148..]).unwrap();
    let late = h.data_in(itt, 1, 512, 512);
    h.feed(late.emit(), &[2; 512]).unwrap();
    h.good(itt).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
    assert_eq!(h.session.stats().aborts, 0);
}

#[test]
fn a_detached_command_that_is_not_answered_is_aborted_in_the_end() {
    let mut h = Harness::new();
    let mut command = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(300)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, vec![0; 512]);
    h.sent();
    h.session.detach(h.now, itt);
    assert!(h.done(itt).is_err());
    // Its own deadline is nobody's any more.
    h.advance(Duration::from_millis(4_999));
    h.session.handle_timeout(h.now).unwrap();
    let aborts = |sent: Vec<_>| {
        let is_abort = |(pdu, _): &_| matches!(pdu, Pdu::TaskManagementRequest(_));
        sent.iter().filter(|sent| is_abort(sent)).count()
    };
    assert_eq!(aborts(h.sent()), 0);
    h.advance(Duration::from_millis(1));
    h.session.handle_timeout(h.now).unwrap();
    let request = function_in(&h.sent());
    assert_eq!(request.referenced_task_tag, itt);
    let response = h.managed(request.itt, TaskManagementResponseCode::FunctionComplete);
    h.events();
    h.feed(response, &[]).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
}

/// What is left of the ladder would end the connection, or the commands of others.
#[test]
fn without_an_abort_a_detached_command_keeps_its_own_deadline() {
    let mut config = SessionConfig {
        nop_interval: None,
        acknowledge_after: None,
        ..SessionConfig::default()
    };
    config.ladder.abort_task = None;
    let mut h = Harness::with(parameters(), config);
    let mut command = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
    command.deadline = Some(h.now.saturating_add(Duration::from_secs(30)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, vec![0; 512]);
    h.sent();
    h.session.detach(h.now, itt);
    assert!(h.done(itt).is_err());
    for _ in 0..29 {
        h.advance(Duration::from_secs(1));
        h.session.handle_timeout(h.now).unwrap();
    }
    assert!(h.events().is_empty() && h.sent().is_empty());
    h.advance(Duration::from_secs(1));
    let error = h.session.handle_timeout(h.now);
    assert_eq!(error, Err(TimedOut::Command.into()));
}

/// Nothing ends them but the target, and it never does: they may have half of the tasks, and no more.
#[test]
fn commands_that_nothing_would_ever_end_do_not_take_up_the_whole_session() {
    for give_up in [Session::detach, Session::abandon] {
        let mut config = SessionConfig {
            nop_interval: None,
            acknowledge_after: None,
            max_tasks: 4,
            ..SessionConfig::default()
        };
        config.ladder.abort_task = None;
        let mut h = Harness::with(parameters(), config);
        let give_one_up = |h: &mut Harness| {
            let cdb = Cdb::read16(0, 1, false);
            let command = Command::new(Lun::new(1), cdb, DataLength::In(512));
            let itt = h.session.submit(h.now, &command).unwrap();
            h.memory.0.insert(itt.0, vec![0; 512]);
            h.sent();
            give_up(&mut h.session, h.now, itt);
            assert!(h.done(itt).is_err());
        };
        give_one_up(&mut h);
        give_one_up(&mut h);
        h.advance(Duration::from_secs(86_400));
        h.session.handle_timeout(h.now).unwrap();
        assert!(h.events().is_empty());
        give_one_up(&mut h);
        h.advance(Duration::from_millis(4_999));
        h.session.handle_timeout(h.now).unwrap();
        h.advance(Duration::from_millis(1));
        let error = h.session.handle_timeout(h.now);
        assert_eq!(error, Err(TimedOut::Command.into()));
    }
}

#[test]
fn one_that_is_being_aborted_already_stays_so_when_it_is_detached() {
    let mut h = Harness::new();
    let mut command = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(300)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, vec![0; 512]);
    h.sent();
    h.advance(Duration::from_millis(300));
    h.session.handle_timeout(h.now).unwrap();
    let request = function_in(&h.sent());
    h.session.detach(h.now, itt);
    assert!(h.done(itt).is_err());
    let response = h.managed(request.itt, TaskManagementResponseCode::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
}

#[test]
fn a_detached_command_that_was_not_sent_leaves_no_trace() {
    let mut h = Harness::new();
    let itt = h.read(512);
    h.session.detach(h.now, itt);
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.execution, error.is_dead),
        (Execution::NotExecuted, true)
    );
    assert!(h.sent().is_empty());
}

#[test]
fn a_passed_deadline_aborts_and_reports_a_dead_command() {
    let mut h = Harness::new();
    let mut command = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(300)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, vec![0; 512]);
    h.sent();
    assert_eq!(h.session.poll_timeout(), command.deadline);
    h.advance(Duration::from_millis(300));
    h.session.handle_timeout(h.now).unwrap();
    let request = function_in(&h.sent());
    let late = Event::CommandLate {
        itt,
        lun: Lun::new(1),
        rung: Rung::AbortTask,
    };
    assert_eq!(h.events(), [late], "no end before the target has answered");
    assert_eq!(
        (h.session.stats().timeouts, h.session.stats().aborts),
        (1, 1)
    );
    let response = h.managed(request.itt, TaskManagementResponseCode::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.kind, error.execution, error.is_dead),
        (TaskErrorKind::TimedOut, Execution::Unknown, true)
    );
}

#[test]
fn an_answer_that_overtakes_the_abort_counts() {
    let mut h = Harness::new();
    let mut command = Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::None);
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(1)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.sent();
    h.advance(Duration::from_millis(1));
    h.session.handle_timeout(h.now).unwrap();
    let request = function_in(&h.sent());
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
    let response = h.managed(request.itt, TaskManagementResponseCode::TaskDoesNotExist);
    h.feed(response, &[]).unwrap();
    assert!(h.events().is_empty());
}

#[test]
fn an_unanswered_or_refused_abort_ends_the_connection() {
    for refused in [false, true] {
        let mut h = Harness::new();
        let itt = h.read(512);
        h.sent();
        h.session.abandon(h.now, itt);
        let request = function_in(&h.sent());
        let error = if refused {
            let code = TaskManagementResponseCode::NotSupported;
            let response = h.managed(request.itt, code);
            h.feed(response, &[]).unwrap_err()
        } else {
            h.advance(Duration::from_secs(5));
            h.session.handle_timeout(h.now).unwrap_err()
        };
        let want = if refused {
            TimedOut::Command
        } else {
            TimedOut::TaskManagement
        };
        assert_eq!(error, want.into());
    }
}

#[test]
fn a_deadline_in_the_queue_is_not_executed() {
    let config = SessionConfig {
        max_tasks: 64,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    for _ in 0..32 {
        h.read(512);
    }
    let mut command = Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::None);
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(1)));
    let waiting = h.session.submit(h.now, &command).unwrap();
    h.sent();
    h.advance(Duration::from_millis(2));
    h.session.handle_timeout(h.now).unwrap();
    let error = h.done(waiting).unwrap_err();
    assert_eq!(
        (error.kind, error.execution),
        (TaskErrorKind::TimedOut, Execution::NotExecuted)
    );
}

/// A target that talks but does not read: the abort itself cannot leave.
#[test]
fn a_deadline_holds_though_the_abort_cannot_be_sent() {
    for abandoned in [false, true] {
        let config = SessionConfig {
            nop_interval: None,
            ..SessionConfig::default()
        };
        let mut h = Harness::with(parameters(), config);
        let mut command =
            Command::new(Lun::new(1), Cdb::write16(0, 1, false), DataLength::Out(512));
        command.deadline = Some(h.now.saturating_add(Duration::from_secs(1)));
        let itt = h.session.submit(h.now, &command).unwrap();
        h.memory.0.insert(itt.0, vec![0; 512]);
        // Staged to the limit, and nothing of it taken by the transport.
        assert!(h.session.poll_transmit(h.now, 100, &h.memory));
        if abandoned {
            h.session.abandon(h.now, itt);
        }
        let mut ended = None;
        for _ in 0..100 {
            let Some(due) = h.session.poll_timeout() else {
                break;
            };
            h.now = due;
            ended = h.session.handle_timeout(h.now).err();
            if ended.is_some() {
                break;
            }
            assert!(h.session.poll_transmit(h.now, 100, &h.memory));
        }
        assert_eq!(ended, Some(TimedOut::Command.into()), "{abandoned}");
        h.session.handle_closed(TimedOut::Command.into());
        let error = h.done(itt).unwrap_err();
        assert_eq!(
            (error.execution, error.is_dead),
            (Execution::NotExecuted, true),
            "not a byte has left"
        );
    }
}

#[test]
fn an_abandoned_write_is_called_abandoned_though_its_abort_is_answered_first() {
    let mut h = Harness::new();
    let itt = h.write(1024);
    assert!(h.session.poll_transmit(h.now, 600, &h.memory));
    h.session.handle_transmitted(h.now, 48).unwrap();
    h.session.abandon(h.now, itt);
    assert!(h.session.poll_transmit(h.now, 100_000, &h.memory));
    // The answer cannot really come before the abort has left; a target may still claim so.
    let abort = InitiatorTaskTag(itt.0 + 1);
    let response = h.managed(abort, TaskManagementResponseCode::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let rest = h.session.transmit_pieces().map(|piece| match piece {
        TransmitPiece::Inline(bytes) => bytes.len(),
        TransmitPiece::Data(data) => data.len as usize,
    });
    let rest = rest.sum();
    h.session.handle_transmitted(h.now, rest).unwrap();
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        (error.kind, error.is_dead),
        (TaskErrorKind::Abandoned, true)
    );
}

/// Row H96: the answers of a task that the target has just declared dead.
#[test]
fn late_answers_of_an_aborted_command_are_ignored() {
    let mut h = Harness::new();
    let (read, write) = (h.read(1024), h.write(4096));
    h.sent();
    for itt in [read, write] {
        h.session.abandon(h.now, itt);
        assert!(h.done(itt).is_err());
        h.memory.0.remove(&itt.0);
        let request = function_in(&h.sent());
        let code = TaskManagementResponseCode::FunctionComplete;
        let response = h.managed(request.itt, code);
        h.feed(response, &[]).unwrap();
        assert_eq!(h.events(), [Event::TaskDead { itt }]);
    }
    let data = h.data_in(read, 0, 0, 512);
    h.feed(data.emit(), &[1; 512]).unwrap();
    let r2t = h.r2t(write, 0, 1024, 512);
    h.feed(r2t.emit(), &[]).unwrap();
    h.good(read).unwrap();
    h.good(write).unwrap();
    assert!(h.events().is_empty() && h.sent().is_empty());
}

/// The verdict is the target's answer, also while a staged PDU still names the memory.
#[test]
fn an_answer_to_the_abort_does_not_replace_the_commands_own_answer() {
    let mut h = Harness::new();
    let cdb = Cdb::write16(0, 1, false);
    let mut command = Command::new(Lun::new(1), cdb, DataLength::Out(512));
    command.deadline = Some(h.now.saturating_add(Duration::from_millis(1)));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, pattern(0, 512));
    // Of the command and its data only the header leaves.
    assert!(h.session.poll_transmit(h.now, 4096, &h.memory));
    h.session.handle_transmitted(h.now, 48).unwrap();
    h.advance(Duration::from_millis(1));
    h.session.handle_timeout(h.now).unwrap();
    assert!(h.session.poll_transmit(h.now, 4096, &h.memory));
    let mut refused = h.response(itt);
    refused.status = ScsiStatus::Busy;
    h.feed(refused.emit(), &[]).unwrap();
    let abort = h
        .session
        .tasks
        .tags()
        .find(|tag| *tag != itt)
        .expect("an abort under way");
    let gone = h.managed(abort, TaskManagementResponseCode::TaskDoesNotExist);
    h.feed(gone, &[]).unwrap();
    let rest = h.session.connection.plan.pending() as usize;
    h.session.handle_transmitted(h.now, rest).unwrap();
    assert_eq!(
        h.done(itt).map(|response| response.status),
        Ok(ScsiStatus::Busy)
    );
}
