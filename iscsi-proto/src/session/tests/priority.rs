//! What RFC 7144 added to commands and their answers; and task attributes.

use super::*;
use crate::{error::ApiMisuse, pdu::TaskAttribute, session::SubmitError};

fn level2() -> Harness {
    let p = Parameters {
        protocol_level: 2,
        ..parameters()
    };
    Harness::with(p, SessionConfig::default())
}

fn command() -> Command {
    Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::None)
}

#[test]
fn a_priority_goes_out_only_where_it_was_negotiated() {
    let mut h = level2();
    let mut urgent = command();
    urgent.priority = 3;
    h.session.submit(h.now, &urgent).unwrap();
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::ScsiCommand(c), _)] if c.priority == 3));
    urgent.priority = 16;
    let error = h.session.submit(h.now, &urgent);
    assert_eq!(error, Err(SubmitError::Misuse(ApiMisuse::OutOfRange)));

    let mut h = Harness::new();
    urgent.priority = 3;
    let error = h.session.submit(h.now, &urgent);
    assert_eq!(error, Err(SubmitError::Misuse(ApiMisuse::ProtocolLevel)));
}

#[test]
fn every_task_attribute_goes_out_as_it_is() {
    for (attribute, code) in [
        (TaskAttribute::Untagged, 0),
        (TaskAttribute::Simple, 1),
        (TaskAttribute::Ordered, 2),
        (TaskAttribute::HeadOfQueue, 3),
        (TaskAttribute::Aca, 4),
    ] {
        let mut h = Harness::new();
        let mut command = command();
        command.attribute = attribute;
        h.session.submit(h.now, &command).unwrap();
        assert_eq!(h.sent_bytes()[1] & 7, code);
    }
    let mut h = Harness::new();
    let mut strange = command();
    strange.attribute = TaskAttribute::Unknown(6);
    let error = h.session.submit(h.now, &strange);
    assert_eq!(error, Err(SubmitError::Misuse(ApiMisuse::OutOfRange)));
}

/// SAM-5 section 5.3.2: hundreds of milliseconds, below two bits of scope.
#[test]
fn a_status_qualifier_says_how_long_to_stay_away() {
    let cases = [
        (0x0000, None),
        (0x0003, Some(300)),
        (0x4003, Some(300)),
        (0x3fef, Some(1_636_700)),
        (0x3ff0, None),
        (0x3fff, None),
    ];
    for (qualifier, millis) in cases {
        let mut h = level2();
        let itt = h.session.submit(h.now, &command()).unwrap();
        h.sent();
        let mut busy = h.response(itt);
        busy.status = ScsiStatus::Busy;
        busy.status_qualifier = qualifier;
        h.feed(busy.emit(), &[]).unwrap();
        let response = h.done(itt).unwrap();
        assert_eq!(response.status_qualifier, qualifier);
        assert_eq!(response.retry_delay(), millis.map(Duration::from_millis));
    }
    let mut h = Harness::new();
    let itt = h.session.submit(h.now, &command()).unwrap();
    h.sent();
    let mut busy = h.response(itt);
    busy.status = ScsiStatus::Busy;
    busy.status_qualifier = 7;
    h.feed(busy.emit(), &[]).unwrap();
    let response = h.done(itt).unwrap();
    assert_eq!(response.status_qualifier, 0, "the field is reserved there");
}
