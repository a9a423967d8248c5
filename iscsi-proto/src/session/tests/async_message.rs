//! What a target says on its own account.

use super::*;
use crate::{
    error::PeerMisbehaved,
    pdu::{
        AsyncEvent, AsyncMessage, LogoutReason, TaskManagementFunction as Function,
        TaskManagementResponseCode as Code,
    },
    session::{SubmitError, TaskErrorKind},
    text::TaskReporting,
};

fn message(h: &mut Harness, event: AsyncEvent) -> AsyncMessage {
    AsyncMessage {
        lun: Lun::ZERO,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        event,
        vcode: 0,
        parameter1: 0,
        parameter2: 0,
        parameter3: 0,
        data_segment_length: 0,
    }
}

#[test]
fn a_scsi_event_comes_with_its_sense_data() {
    let mut h = Harness::new();
    let message = message(&mut h, AsyncEvent::ScsiEvent);
    let mut data = vec![0, 18, 0x70, 0, 6, 0, 0, 0, 0, 10];
    data.extend([0; 4]);
    data.extend([0x3f, 0x0e, 0, 0, 0, 0]);
    h.feed(message.emit(), &data).unwrap();
    let events = h.events();
    let [
        Event::Async {
            sense: Some(sense), ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((sense.code().0, sense.code().1), (0x3f, 0x0e));
}

/// Row H102: lies in the sense data, unknown and vendor's events are no errors.
#[test]
fn what_cannot_be_understood_is_told_and_harms_nobody() {
    for (event, data) in [
        (AsyncEvent::ScsiEvent, &[0xff, 0xff, 1][..]),
        (AsyncEvent::ScsiEvent, &[]),
        (AsyncEvent::Unknown(6), &[1, 2, 3]),
        (AsyncEvent::from_byte(248), &[9; 20]),
        (AsyncEvent::VendorSpecific, &[]),
    ] {
        let mut h = Harness::new();
        let pdu = message(&mut h, event);
        h.feed(pdu.emit(), data).unwrap();
        let events = h.events();
        assert!(
            matches!(&events[..], [Event::Async { message, .. }] if message.event == event),
            "{events:?}"
        );
    }
}

/// Row H11 for section 11.9.1: Parameter2 is Time2Wait and Parameter3 Time2Retain.
#[test]
fn the_announcement_of_a_drop_says_how_long_to_stay_away() {
    for event in [AsyncEvent::ConnectionDrop, AsyncEvent::SessionDrop] {
        let mut h = Harness::new();
        let mut drop = message(&mut h, event);
        (drop.parameter2, drop.parameter3) = (9, 20);
        let (wait, retain) = (Duration::from_secs(9), Duration::from_secs(20));
        assert_eq!(
            h.feed(drop.emit(), &[]),
            Err(Error::DropRequested { wait, retain }),
        );
        assert!(matches!(h.events()[..], [Event::Async { .. }]));
    }
}

#[test]
fn the_drop_of_a_connection_that_is_not_ours_is_only_told() {
    let mut h = Harness::new();
    let mut drop = message(&mut h, AsyncEvent::ConnectionDrop);
    drop.parameter1 = 77;
    h.feed(drop.emit(), &[]).unwrap();
    assert!(matches!(h.events()[..], [Event::Async { .. }]));
}

/// Row C-50: within Parameter3 seconds, with the time that commands under way need.
#[test]
fn a_wanted_logout_lets_commands_under_way_finish_and_sends_no_new_ones() {
    let mut h = Harness::new();
    let under_way = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    h.sent();
    let unsent = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    let mut wanted = message(&mut h, AsyncEvent::LogoutRequested);
    wanted.parameter3 = 4;
    h.feed(wanted.emit(), &[]).unwrap();
    let within = Duration::from_secs(4);
    let error = TaskError::not_executed(TaskErrorKind::LogoutRequested);
    assert_eq!(
        h.events()[1..],
        [
            Event::CommandDone {
                itt: unsent,
                result: Err(error)
            },
            Event::LogoutRequested { within },
        ]
    );
    let command = Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None);
    assert_eq!(h.session.submit(h.now, &command), Err(SubmitError::Closing));
    assert!(h.sent().is_empty(), "one command is still under way");
    h.good(under_way).unwrap();
    assert!(h.done(under_way).is_ok());
    let sent = h.sent();
    assert!(
        matches!(&sent[..], [(Pdu::LogoutRequest(r), _)] if r.reason == LogoutReason::CloseSession)
    );
}

#[test]
fn a_wanted_logout_does_not_wait_for_commands_longer_than_the_target_does() {
    for (parameter3, after) in [(0, 0), (4, 2), (3600, 5)] {
        let mut h = Harness::new();
        h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
        h.sent();
        let mut wanted = message(&mut h, AsyncEvent::LogoutRequested);
        wanted.parameter3 = parameter3;
        h.feed(wanted.emit(), &[]).unwrap();
        let due = h.now.saturating_add(Duration::from_secs(after));
        assert!(h.session.poll_timeout().unwrap() <= due);
        h.now = due;
        h.session.handle_timeout(h.now).unwrap();
        let sent = h.sent();
        assert!(
            sent.iter()
                .any(|(pdu, _)| matches!(pdu, Pdu::LogoutRequest(_))),
            "{parameter3}: {sent:?}"
        );
        // And nothing behind it, not even an answer to a ping.
        let ping = crate::pdu::NopIn {
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag(4),
            stat_sn: StatSn(h.stat_sn),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(h.max_cmd_sn),
            data_segment_length: 0,
        };
        h.feed(ping.emit(), &[]).unwrap();
        assert!(h.sent().is_empty());
    }
}

/// Event 5: data stops, the message is acknowledged with its LUN, and the tasks end once the target
/// has confirmed that it has none of them any more.
#[test]
fn terminated_tasks_end_when_the_target_confirms_it() {
    for fast_abort in [true, false] {
        let mut p = parameters();
        if fast_abort {
            p.task_reporting = TaskReporting::FastAbort;
        }
        let mut h = Harness::with(p, SessionConfig::default());
        let itt = h.write(4096);
        h.sent();
        let r2t = h.r2t(itt, 0, 1024, 2048);
        h.feed(r2t.emit(), &[]).unwrap();
        let mut terminated = message(&mut h, AsyncEvent::TasksTerminated);
        terminated.lun = Lun::new(1);
        h.feed(terminated.emit(), &[]).unwrap();
        let mut sent = h.sent();
        if fast_abort {
            let (Pdu::NopOut(nop), _) = sent.remove(0) else {
                panic!("an acknowledgement first")
            };
            assert_eq!(
                (nop.itt, nop.lun),
                (InitiatorTaskTag::RESERVED, Lun::new(1))
            );
            assert_eq!(nop.ttt, TargetTransferTag::RESERVED);
            assert_eq!(nop.exp_stat_sn, StatSn(h.stat_sn));
        }
        let abort = function_in(&sent);
        assert_eq!(sent.len(), 1, "no data: {sent:?}");
        assert_eq!(
            (abort.function, abort.lun),
            (Function::AbortTaskSet, Lun::new(1))
        );
        h.events();
        let response = h.managed(abort.itt, Code::FunctionComplete);
        h.feed(response, &[]).unwrap();
        let kind = TaskErrorKind::Terminated(Function::AbortTaskSet);
        assert_eq!(h.done(itt), Err(TaskError::unknown(kind, true)));
    }
}

#[test]
fn a_target_that_terminates_tasks_and_does_not_confirm_it_loses_the_connection() {
    let mut h = Harness::new();
    h.write(4096);
    h.sent();
    let mut terminated = message(&mut h, AsyncEvent::TasksTerminated);
    terminated.lun = Lun::new(1);
    h.feed(terminated.emit(), &[]).unwrap();
    let abort = function_in(&h.sent());
    let response = h.managed(abort.itt, Code::NotSupported);
    assert!(h.feed(response, &[]).is_err());
}

/// Nothing of ours was there.
#[test]
fn terminated_tasks_of_an_idle_unit_are_only_acknowledged() {
    let mut p = parameters();
    p.task_reporting = TaskReporting::FastAbort;
    let mut h = Harness::with(p, SessionConfig::default());
    let mut terminated = message(&mut h, AsyncEvent::TasksTerminated);
    terminated.lun = Lun::new(5);
    h.feed(terminated.emit(), &[]).unwrap();
    assert!(matches!(&h.sent()[..], [(Pdu::NopOut(_), _)]));
}

/// Each one wants a NOP-Out; a target that asks for more of them than it reads is refused.
#[test]
fn a_flood_of_terminations_is_bounded() {
    let p = Parameters {
        task_reporting: TaskReporting::FastAbort,
        ..parameters()
    };
    let mut h = Harness::with(p, SessionConfig::default());
    for n in 0..1000 {
        let terminated = message(&mut h, AsyncEvent::TasksTerminated);
        if let Err(error) = h.feed(terminated.emit(), &[]) {
            assert_eq!(error, PeerMisbehaved::Flood.into());
            assert_eq!(n, 64);
            return;
        }
        h.events();
    }
    panic!("no end");
}

#[test]
fn nothing_is_kept_of_an_extended_command_that_is_not_sent_any_more() {
    let mut h = Harness::new();
    let command = Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::None);
    let cdb = [0x7f; 32];
    let itt = h.session.submit_extended(h.now, &command, &cdb).unwrap();
    let wanted = message(&mut h, AsyncEvent::LogoutRequested);
    h.feed(wanted.emit(), &[]).unwrap();
    let events = h.events();
    assert!(
        matches!(events[1], Event::CommandDone { itt: of, .. } if of == itt),
        "{events:?}"
    );
    assert!(h.session.extended.is_empty());
}
