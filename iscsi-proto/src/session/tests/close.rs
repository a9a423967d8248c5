//! The end of a connection: every task with its true outcome; and logout.

use super::*;
use crate::{
    error::PeerMisbehaved,
    pdu::{LogoutReason, LogoutResponse, LogoutResponseCode},
    session::{Execution, SubmitError},
};

/// What a failover asks: has a byte of this command left the process?
#[test]
fn what_never_left_is_not_executed_and_everything_else_unknown() {
    let mut h = Harness::new();
    let tags = [h.write(512), h.write(512), h.write(512)];
    assert!(h.session.poll_transmit(h.now, 100_000, &h.memory));
    // All of the first PDU and one byte of the second were written.
    h.session.handle_transmitted(h.now, 48 + 512 + 1).unwrap();
    let queued = h.write(512);
    h.session.handle_closed(Error::Closed);
    let outcomes: BTreeMap<_, _> = h
        .events()
        .into_iter()
        .map(|event| match event {
            Event::CommandDone {
                itt,
                result: Err(error),
            } => (itt, (error.execution, error.is_dead)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes[&tags[0]], (Execution::Unknown, false));
    assert_eq!(outcomes[&tags[1]], (Execution::Unknown, false));
    assert_eq!(outcomes[&tags[2]], (Execution::NotExecuted, true));
    assert_eq!(outcomes[&queued], (Execution::NotExecuted, true));
    let command = Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None);
    assert_eq!(h.session.submit(h.now, &command), Err(SubmitError::Closing));
    assert!(!h.session.poll_transmit(h.now, 4096, &h.memory));
    assert_eq!(h.session.poll_timeout(), None);
}

#[test]
fn a_command_reported_before_the_close_is_not_reported_again() {
    let mut h = Harness::new();
    let itt = h.read(512);
    h.sent();
    h.session.abandon(h.now, itt);
    assert!(h.done(itt).is_err());
    h.session.handle_closed(Error::Closed);
    assert!(h.events().is_empty());
}

#[test]
fn logout_waits_for_what_was_submitted_and_refuses_what_comes_after() {
    let mut h = Harness::new();
    let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, Vec::new());
    h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
    let command = Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None);
    assert_eq!(h.session.submit(h.now, &command), Err(SubmitError::Closing));
    assert!(matches!(&h.sent()[..], [(Pdu::ScsiCommand(_), _)]));
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
    let sent = h.sent();
    let [(Pdu::LogoutRequest(request), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    let response = LogoutResponse {
        response: LogoutResponseCode::Closed,
        itt: request.itt,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        time2wait: 2,
        time2retain: 0,
    };
    h.feed(response.emit(), &[]).unwrap();
    assert_eq!(h.events(), [Event::LoggedOut { response }]);
}

/// istgt does so, though an immediate PDU does not advance CmdSN (RFC 7143 section 4.2.2.1).
#[test]
fn a_target_that_counts_the_logout_in_exp_cmd_sn_has_logged_us_out() {
    let mut h = Harness::new();
    h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
    let sent = h.sent();
    let [(Pdu::LogoutRequest(request), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    let response = LogoutResponse {
        response: LogoutResponseCode::Closed,
        itt: request.itt,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(request.cmd_sn.0 + 1),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        time2wait: 0,
        time2retain: 0,
    };
    h.feed(response.emit(), &[]).unwrap();
    assert_eq!(h.events(), [Event::LoggedOut { response }]);
}

/// However the transport cuts our writes, each command completes exactly once at the close.
#[test]
fn every_command_ends_exactly_once_wherever_the_connection_breaks() {
    for written in 0..=3 * (48 + 512) {
        let mut h = Harness::new();
        let tags: Vec<_> = (0..3).map(|_| h.write(512)).collect();
        assert!(h.session.poll_transmit(h.now, 100_000, &h.memory));
        h.session.handle_transmitted(h.now, written).unwrap();
        h.session.abandon(h.now, tags[1]);
        h.session.handle_closed(Error::Closed);
        let mut ended: Vec<_> = h
            .events()
            .into_iter()
            .map(|event| match event {
                Event::CommandDone { itt, .. } => itt,
                other => panic!("{other:?}"),
            })
            .collect();
        ended.sort();
        let mut want = tags.clone();
        want.sort();
        assert_eq!(ended, want, "{written} bytes written");
    }
}

/// The same for a command that was abandoned: its memory was still named, so its end was not
/// reported yet, and now it is known that nothing of it has left.
#[test]
fn an_abandoned_write_that_never_left_is_not_executed() {
    let mut h = Harness::new();
    let tags = [h.write(512), h.write(512)];
    assert!(h.session.poll_transmit(h.now, 100_000, &h.memory));
    h.session.handle_transmitted(h.now, 48 + 512).unwrap();
    h.session.abandon(h.now, tags[1]);
    assert!(h.events().is_empty(), "its memory is still named");
    h.session.handle_closed(Error::Closed);
    let ended = h.events().into_iter().find_map(|event| match event {
        Event::CommandDone {
            itt,
            result: Err(error),
        } if itt == tags[1] => Some((error.execution, error.is_dead)),
        _ => None,
    });
    assert_eq!(ended, Some((Execution::NotExecuted, true)));
}

#[test]
fn an_answer_to_a_logout_that_was_not_sent_ends_the_connection() {
    let mut h = Harness::new();
    h.read(512);
    h.sent();
    h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
    let response = LogoutResponse {
        response: LogoutResponseCode::Closed,
        itt: InitiatorTaskTag(1),
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        time2wait: 0,
        time2retain: 0,
    };
    assert_eq!(
        h.feed(response.emit(), &[]),
        Err(PeerMisbehaved::UnknownTask(response.itt).into())
    );
}

/// Every slot may be taken by commands and unanswered aborts when the logout is asked for.
#[test]
fn a_logout_for_which_there_is_no_slot_yet_is_not_forgotten() {
    let config = SessionConfig {
        max_tasks: 64,
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let pings: Vec<_> = core::iter::from_fn(|| h.session.ping(h.now, None).ok()).collect();
    h.sent();
    h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
    assert!(h.sent().is_empty());
    let pong = crate::pdu::NopIn {
        lun: Lun::ZERO,
        itt: pings[0],
        ttt: TargetTransferTag::RESERVED,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    };
    h.feed(pong.emit(), &[]).unwrap();
    assert!(matches!(&h.sent()[..], [(Pdu::LogoutRequest(_), _)]));
}

#[test]
fn after_the_end_no_plan_names_the_memory_of_a_command() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let data = h.data_in(itt, 0, 0, 1024);
    let bytes = encode(data.emit(), &[1; 1024], false);
    h.feed_bytes(&bytes[..100]).unwrap();
    assert!(h.session.recv_plan().payload.is_some());
    h.session.handle_closed(Error::Closed);
    assert!(h.done(itt).is_err());
    assert_eq!(h.session.recv_plan().payload, None);
}
