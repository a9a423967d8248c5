//! Text exchanges.

use super::*;
use crate::{
    error::{ApiMisuse, DecodeError, PeerMisbehaved, TimedOut},
    pdu::TextResponse,
    session::SubmitError,
};

fn answer(h: &mut Harness, itt: InitiatorTaskTag, ttt: u32, is_final: bool) -> Bhs {
    TextResponse {
        is_final,
        cont: false,
        lun: Lun::ZERO,
        itt,
        ttt: TargetTransferTag(ttt),
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    }
    .emit()
}

/// Row C-87.
#[test]
fn continuations_are_asked_for_with_the_targets_tag_and_joined() {
    let mut h = Harness::new();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    let sent = h.sent();
    let [(Pdu::TextRequest(request), data)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (request.itt, request.ttt),
        (itt, TargetTransferTag::RESERVED)
    );
    assert_eq!(data, b"SendTargets=All\0");
    for (i, part) in [b"TargetName=", b"iqn.2026-01"].into_iter().enumerate() {
        let more = answer(&mut h, itt, 0x10 + i as u32, false);
        h.feed(more, part).unwrap();
        let sent = h.sent();
        let [(Pdu::TextRequest(request), data)] = &sent[..] else {
            panic!("{sent:?}")
        };
        assert_eq!(request.ttt, TargetTransferTag(0x10 + i as u32));
        assert!(data.is_empty());
    }
    let last = answer(&mut h, itt, u32::MAX, true);
    h.feed(last, b".x:y\0").unwrap();
    let result = Ok(b"TargetName=iqn.2026-01.x:y\0".to_vec());
    assert_eq!(h.events(), [Event::TextDone { itt, result }]);
}

/// Section 11.10.4: "the initiator MUST ignore the Target Transfer Tag in the Text Response when the
/// F bit is set to 1".
#[test]
fn the_tag_of_the_last_answer_means_nothing() {
    let mut h = Harness::new();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    let last = answer(&mut h, itt, 5, true);
    h.feed(last, b"a=b\0").unwrap();
    let result = Ok(b"a=b\0".to_vec());
    assert_eq!(h.events(), [Event::TextDone { itt, result }]);
    h.session.text(h.now, b"SendTargets=All\0").unwrap();
    let sent = h.sent();
    let [(Pdu::TextRequest(request), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(request.ttt, TargetTransferTag::RESERVED);
}

/// Section 11.10.4: a target that hands out a tag says with which LUN it goes.
#[test]
fn a_continuation_names_the_lun_that_came_with_the_tag() {
    let mut h = Harness::new();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    let mut more = answer(&mut h, itt, 5, false);
    more.as_bytes_mut()[8..16].copy_from_slice(&Lun::new(3).to_wire());
    h.feed(more, b"a=").unwrap();
    let sent = h.sent();
    let [(Pdu::TextRequest(request), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(request.lun, Lun::new(3));
}

/// One request, one response: a second one would make us ask twice.
#[test]
fn an_answer_to_what_was_not_sent_ends_the_connection() {
    let mut h = Harness::new();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    let early = answer(&mut h, itt, 5, false);
    assert_eq!(h.feed(early, b"a="), Err(PeerMisbehaved::Phase.into()));

    let mut h = Harness::new();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    let more = answer(&mut h, itt, 5, false);
    h.feed(more, b"a=").unwrap();
    let again = answer(&mut h, itt, 5, false);
    assert_eq!(h.feed(again, b"b"), Err(PeerMisbehaved::Phase.into()));
}

#[test]
fn text_that_fits_no_request_is_refused_for_good() {
    let mut h = Harness::new();
    let error = h.session.text(h.now, &[b'a'; 513]).unwrap_err();
    assert_eq!(error, SubmitError::Misuse(ApiMisuse::OutOfRange));
}

/// Row H39.
#[test]
fn contradictions_and_empty_continuations_end_the_connection() {
    for (ttt, is_final, data, want) in [
        (u32::MAX, false, &b"a"[..], PeerMisbehaved::Flags),
        (5, false, b"", PeerMisbehaved::Stalled(1)),
    ] {
        let mut h = Harness::new();
        let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
        h.sent();
        let pdu = answer(&mut h, itt, ttt, is_final);
        assert_eq!(h.feed(pdu, data), Err(want.into()));
    }
}

/// Row H36: the text is bounded.
#[test]
fn endless_text_is_cut_off_at_the_cap() {
    let config = SessionConfig {
        max_text: 1000,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    let more = answer(&mut h, itt, 7, false);
    h.feed(more, &[b'a'; 900]).unwrap();
    h.sent();
    let more = answer(&mut h, itt, 7, false);
    let error = h.feed(more, &[b'a'; 900]).unwrap_err();
    assert_eq!(
        error,
        DecodeError::TextTooLong {
            length: 1800,
            limit: 1000
        }
        .into()
    );
}

#[test]
fn an_unanswered_exchange_times_out() {
    let config = SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    h.advance(Duration::from_secs(15));
    assert_eq!(h.session.handle_timeout(h.now), Err(TimedOut::Text.into()));
}
