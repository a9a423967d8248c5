//! MaxRecvDataSegmentLength anew, in full feature phase.

use super::*;
use crate::{
    error::{ApiMisuse, DecodeError, PeerMisbehaved, TimedOut},
    pdu::{AsyncEvent, AsyncMessage, NopIn, TextResponse},
    session::{DataSegmentLengths, SubmitError, TaskErrorKind},
};

fn answer(h: &mut Harness, itt: InitiatorTaskTag, is_final: bool) -> Bhs {
    TextResponse {
        is_final,
        cont: false,
        lun: Lun::ZERO,
        itt,
        ttt: match is_final {
            true => TargetTransferTag::RESERVED,
            false => TargetTransferTag(8),
        },
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    }
    .emit()
}

fn text_of(sent: &[(Pdu, Vec<u8>)]) -> (InitiatorTaskTag, Vec<u8>) {
    match sent {
        [(Pdu::TextRequest(request), data)] => {
            assert!(request.is_final && !request.cont);
            (request.itt, data.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_limits_change_when_the_exchange_is_over() {
    let mut h = Harness::new();
    // 3072 bytes by R2T, of which the target wants 2048 now.
    let write = h.write(4096);
    h.sent();
    let itt = h.session.renegotiate(h.now, 128 * 1024).unwrap();
    let (sent, text) = text_of(&h.sent());
    assert_eq!(sent, itt);
    assert_eq!(text, b"MaxRecvDataSegmentLength=131072\0");
    let last = answer(&mut h, itt, true);
    h.feed(last, b"MaxRecvDataSegmentLength=1024\0").unwrap();
    let result = Ok(DataSegmentLengths {
        receive: 131_072,
        transmit: 1024,
    });
    assert_eq!(h.events(), [Event::Renegotiated { itt, result }]);
    assert_eq!(h.session.parameters().max_xmit_data_segment_length, 1024);
    // The command under way sends in the new size.
    let r2t = h.r2t(write, 0, 1024, 2048);
    h.feed(r2t.emit(), &[]).unwrap();
    let lengths: Vec<_> = h.sent().iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lengths, [1024, 1024]);
    // And what the target sends may be as long as we now say.
    let read = h.submit(
        Cdb::read16(0, 200, false),
        DataLength::In(102_400),
        vec![0; 102_400],
    );
    h.sent();
    let data = h.data_in(read, 0, 0, 102_400);
    h.feed(data.emit(), &vec![3; 102_400]).unwrap();
}

/// While it is under way the target may go by either limit, after it only by the new one.
#[test]
fn a_smaller_limit_holds_from_the_end_of_the_exchange_on() {
    let mut h = Harness::new();
    let itt = h.session.renegotiate(h.now, 512).unwrap();
    let read = h.read(4096);
    h.sent();
    let data = h.data_in(read, 0, 0, 1024);
    h.feed(data.emit(), &[0; 1024]).unwrap();
    let last = answer(&mut h, itt, true);
    h.feed(last, b"").unwrap();
    let result = Ok(DataSegmentLengths {
        receive: 512,
        transmit: 512,
    });
    assert_eq!(h.events(), [Event::Renegotiated { itt, result }]);
    let data = h.data_in(read, 1, 1024, 1024);
    let error = h.feed(data.emit(), &[0; 1024]).unwrap_err();
    assert!(matches!(
        error,
        Error::Decode(DecodeError::DataSegmentTooLong { .. })
    ));
}

#[test]
fn a_refused_length_changes_nothing() {
    let mut h = Harness::new();
    let itt = h.session.renegotiate(h.now, 1 << 20).unwrap();
    h.sent();
    let last = answer(&mut h, itt, true);
    h.feed(last, b"MaxRecvDataSegmentLength=Reject\0").unwrap();
    let result = Ok(DataSegmentLengths {
        receive: 64 * 1024,
        transmit: 512,
    });
    assert_eq!(h.events(), [Event::Renegotiated { itt, result }]);
}

/// A target that proposes keys of its own gets an answer to each: those of login are refused.
#[test]
fn proposals_of_the_target_are_answered() {
    let mut h = Harness::new();
    let itt = h.session.renegotiate(h.now, 8192).unwrap();
    h.sent();
    let more = answer(&mut h, itt, false);
    let text = b"MaxRecvDataSegmentLength=2048\0MaxBurstLength=512\0TargetAlias=x\0X-a.b=1\0";
    h.feed(more, text).unwrap();
    assert_eq!(
        h.session.parameters().max_xmit_data_segment_length,
        512,
        "not before the end"
    );
    let (_, reply) = text_of(&h.sent());
    assert_eq!(reply, b"MaxBurstLength=Reject\0X-a.b=NotUnderstood\0");
    let last = answer(&mut h, itt, true);
    h.feed(last, b"").unwrap();
    assert_eq!(h.session.parameters().max_xmit_data_segment_length, 2048);
}

#[test]
fn lies_end_the_connection() {
    for (text, error) in [
        (
            &b"MaxRecvDataSegmentLength=511\0"[..],
            Error::from(PeerMisbehaved::BadValue),
        ),
        (
            b"MaxRecvDataSegmentLength=16777216\0",
            PeerMisbehaved::BadValue.into(),
        ),
        (
            b"MaxRecvDataSegmentLength=512\0MaxRecvDataSegmentLength=1024\0",
            PeerMisbehaved::DuplicateKey.into(),
        ),
        (b"nonsense\0", DecodeError::Text { offset: 0 }.into()),
    ] {
        let mut h = Harness::new();
        let itt = h.session.renegotiate(h.now, 8192).unwrap();
        h.sent();
        let last = answer(&mut h, itt, true);
        assert_eq!(h.feed(last, text), Err(error));
    }
}

#[test]
fn one_exchange_at_a_time_and_only_lengths_that_exist() {
    let mut h = Harness::new();
    for length in [0, 511, 1 << 24] {
        let error = h.session.renegotiate(h.now, length);
        assert_eq!(error, Err(SubmitError::Misuse(ApiMisuse::OutOfRange)));
    }
    h.session.text(h.now, b"SendTargets=\0").unwrap();
    let error = h.session.renegotiate(h.now, 8192);
    assert_eq!(error, Err(SubmitError::QueueFull));
}

/// Asynchronous message 4: a Text Request within Parameter3 seconds, or the connection ends.
#[test]
fn a_wanted_negotiation_is_offered_in_time() {
    for (parameter3, limit) in [(3, 3), (0, 15)] {
        let config = SessionConfig {
            nop_interval: None,
            ..SessionConfig::default()
        };
        let mut h = Harness::with(parameters(), config);
        let wanted = AsyncMessage {
            lun: Lun::ZERO,
            stat_sn: h.next_stat_sn(),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(h.max_cmd_sn),
            event: AsyncEvent::NegotiationRequested,
            vcode: 0,
            parameter1: 0,
            parameter2: 0,
            parameter3,
            data_segment_length: 0,
        };
        h.feed(wanted.emit(), &[]).unwrap();
        let (itt, text) = text_of(&h.sent());
        assert_eq!(text, b"MaxRecvDataSegmentLength=65536\0");
        assert!(matches!(h.events()[..], [Event::Async { .. }]));
        if parameter3 == 3 {
            h.advance(Duration::from_secs(limit));
            let error = h.session.handle_timeout(h.now);
            assert_eq!(error, Err(TimedOut::Text.into()));
        } else {
            let last = answer(&mut h, itt, true);
            h.feed(last, b"MaxRecvDataSegmentLength=4096\0").unwrap();
            assert_eq!(h.session.parameters().max_xmit_data_segment_length, 4096);
            assert!(h.events().is_empty(), "nobody asked");
        }
    }
}

#[test]
fn an_echo_that_waited_while_the_limit_was_lowered_is_cut_to_it() {
    let p = Parameters {
        max_xmit_data_segment_length: 2048,
        ..parameters()
    };
    let mut h = Harness::with(p, SessionConfig::default());
    let itt = h.session.renegotiate(h.now, 8192).unwrap();
    h.sent();
    let ping = NopIn {
        lun: Lun::ZERO,
        itt: InitiatorTaskTag::RESERVED,
        ttt: TargetTransferTag(3),
        stat_sn: StatSn(h.stat_sn),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    };
    h.feed(ping.emit(), &[7; 1500]).unwrap();
    let last = answer(&mut h, itt, true);
    h.feed(last, b"MaxRecvDataSegmentLength=512\0").unwrap();
    let sent = h.sent();
    assert!(
        matches!(&sent[..], [(Pdu::NopOut(_), data)] if data[..] == [7; 512]),
        "{sent:?}"
    );
}

/// The target has had the first request, whatever becomes of the next.
#[test]
fn an_exchange_that_has_begun_is_not_reported_as_never_sent() {
    let mut h = Harness::new();
    let itt = h.session.renegotiate(h.now, 8192).unwrap();
    h.sent();
    let more = answer(&mut h, itt, false);
    h.feed(more, b"TargetAlias=x\0").unwrap();
    assert!(h.session.poll_transmit(h.now, 4096, &h.memory));
    h.session.handle_closed(Error::Closed);
    let kind = TaskErrorKind::ConnectionLost(Error::Closed);
    let result = Err(TaskError::unknown(kind, false));
    assert_eq!(h.events(), [Event::Renegotiated { itt, result }]);
}
