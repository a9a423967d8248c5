//! A discovery session carries no commands.

use super::*;
use crate::{
    error::{ApiMisuse, Consequence},
    session::{SubmitError, TaskManagement},
    text::SessionType,
};

fn discovery() -> Harness {
    let mut h = Harness::new();
    let mut login = LoggedIn::for_unit_tests(
        parameters(),
        CmdSn(CMD_SN),
        StatSn(STAT_SN),
        CmdSn(CMD_SN.wrapping_add(31)),
    );
    login.session_type = SessionType::Discovery;
    h.session = Session::new(h.now, login, SessionConfig::default()).expect("valid configuration");
    h
}

/// RFC 7143 section 4.3: it "is only used for SendTargets", and what else is asked is refused here.
#[test]
fn commands_and_functions_are_refused_and_nothing_is_sent() {
    let mut h = discovery();
    let refused = Err(SubmitError::Misuse(ApiMisuse::DiscoverySession));
    let command = Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None);
    assert_eq!(h.session.submit(h.now, &command), refused);
    assert_eq!(
        h.session.submit_extended(h.now, &command, &[0; 20]),
        refused
    );
    let function = TaskManagement::LogicalUnitReset(Lun::ZERO);
    assert_eq!(h.session.task_management(h.now, function, None), refused);
    assert!(h.sent().is_empty());
    let error = Error::ApiMisuse(ApiMisuse::DiscoverySession);
    assert_eq!(error.consequence(), Consequence::RefuseCall);
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    assert!(matches!(&h.sent()[..], [(Pdu::TextRequest(text), _)] if text.itt == itt));
}
