//! Logouts of every kind.

use super::*;
use crate::{
    error::{ApiMisuse, TimedOut},
    pdu::{LogoutReason, LogoutResponse, LogoutResponseCode, Reject, RejectReason},
};

fn request(h: &mut Harness) -> crate::pdu::LogoutRequest {
    let sent = h.sent();
    let [(Pdu::LogoutRequest(request), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    *request
}

/// Row C-65, and section 11.14: what a reason names.
#[test]
fn session_and_connection_can_be_closed_and_nothing_else() {
    for reason in [LogoutReason::CloseSession, LogoutReason::CloseConnection] {
        let mut h = Harness::new();
        h.session.logout(h.now, reason).unwrap();
        let request = request(&mut h);
        assert_eq!((request.reason, request.immediate), (reason, true));
    }
    for (reason, misuse) in [
        (
            LogoutReason::RemoveForRecovery,
            ApiMisuse::ErrorRecoveryLevel,
        ),
        (LogoutReason::Unknown(9), ApiMisuse::OutOfRange),
    ] {
        let mut h = Harness::new();
        assert_eq!(h.session.logout(h.now, reason), Err(misuse));
        assert!(h.sent().is_empty());
        h.read(512);
    }
}

/// Row C-66: every answer is an end, and says how long to stay away.
#[test]
fn every_answer_is_told_with_its_times() {
    for response in [
        LogoutResponseCode::Closed,
        LogoutResponseCode::CidNotFound,
        LogoutResponseCode::RecoveryNotSupported,
        LogoutResponseCode::CleanupFailed,
        LogoutResponseCode::Unknown(77),
    ] {
        let mut h = Harness::new();
        h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
        let request = request(&mut h);
        let response = LogoutResponse {
            response,
            itt: request.itt,
            stat_sn: h.next_stat_sn(),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(h.max_cmd_sn),
            time2wait: 3,
            time2retain: 20,
        };
        h.feed(response.emit(), &[]).unwrap();
        assert_eq!(h.events(), [Event::LoggedOut { response }]);
    }
}

#[test]
fn a_logout_that_was_one_immediate_request_too_many_is_sent_again() {
    let mut h = Harness::new();
    h.session
        .logout(h.now, LogoutReason::CloseConnection)
        .unwrap();
    let first = request(&mut h);
    let reject = Reject {
        reason: RejectReason::ImmediateCommandReject,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_sn: DataSn(0),
        data_segment_length: 48,
    };
    h.feed(reject.emit(), first.emit().as_bytes()).unwrap();
    assert!(h.sent().is_empty());
    h.now = h.session.poll_timeout().unwrap();
    h.session.handle_timeout(h.now).unwrap();
    let again = request(&mut h);
    assert_eq!(again.reason, LogoutReason::CloseConnection);
}

#[test]
fn an_unanswered_logout_ends_the_connection() {
    let mut h = Harness::new();
    h.session.logout(h.now, LogoutReason::CloseSession).unwrap();
    request(&mut h);
    h.advance(Duration::from_secs(5));
    let error = h.session.handle_timeout(h.now);
    assert_eq!(error, Err(TimedOut::Logout.into()));
}
