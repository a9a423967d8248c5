//! Data-Out: immediate, unsolicited, solicited.

use super::*;
use crate::{error::PeerMisbehaved, pdu::DataOut, session::TaskErrorKind};

fn data_outs(sent: &[(Pdu, Vec<u8>)]) -> Vec<(DataOut, Vec<u8>)> {
    sent.iter()
        .filter_map(|(pdu, data)| match pdu {
            Pdu::DataOut(out) => Some((*out, data.clone())),
            _ => None,
        })
        .collect()
}

/// Row C-37: the four combinations of InitialR2T and ImmediateData.
#[test]
fn unsolicited_data_is_what_was_negotiated_and_no_more() {
    for (initial_r2t, immediate_data, in_command, in_data_outs) in [
        (true, true, 512, 0),
        (true, false, 0, 0),
        (false, true, 512, 512),
        (false, false, 0, 1024),
    ] {
        let parameters = Parameters {
            initial_r2t,
            immediate_data,
            ..parameters()
        };
        let mut h = Harness::with(parameters, SessionConfig::default());
        h.write(4096);
        let sent = h.sent();
        let (Pdu::ScsiCommand(command), immediate) = &sent[0] else {
            panic!("{sent:?}")
        };
        assert_eq!(immediate.len(), in_command);
        assert_eq!(command.is_final, in_data_outs == 0);
        let outs = data_outs(&sent);
        assert_eq!(
            outs.iter().map(|(_, data)| data.len()).sum::<usize>(),
            in_data_outs
        );
        let all: Vec<u8> = immediate
            .iter()
            .copied()
            .chain(outs.iter().flat_map(|(_, d)| d.clone()))
            .collect();
        assert_eq!(all, pattern(0, all.len() as u32));
        for (i, (out, _)) in outs.iter().enumerate() {
            assert_eq!(out.ttt, TargetTransferTag::RESERVED);
            assert_eq!(out.data_sn, DataSn(i as u32));
            assert_eq!(out.is_final, i + 1 == outs.len());
        }
    }
}

#[test]
fn no_more_can_have_been_sent_than_was_planned() {
    let mut h = Harness::new();
    h.write(4096);
    assert!(h.session.poll_transmit(h.now, 4096, &h.memory));
    let planned = h.session.transmit_pieces().map(|piece| match piece {
        TransmitPiece::Inline(bytes) => bytes.len(),
        TransmitPiece::Data(data) => data.len as usize,
    });
    let planned: usize = planned.sum();
    let more = h.session.handle_transmitted(h.now, planned + 1);
    assert_eq!(more, Err(crate::error::ApiMisuse::PlanOverrun.into()));
}

/// A list of parameters is seldom a multiple of four bytes.
#[test]
fn data_is_padded_and_the_padding_is_not_counted() {
    for len in 1..=9 {
        let mut h = Harness::new();
        let data = DataLength::Out(len);
        h.submit(Cdb::write16(0, 1, false), data, pattern(0, len));
        let bytes = h.sent_bytes();
        let padded = len.next_multiple_of(4) as usize;
        assert_eq!(bytes.len(), Bhs::LEN + padded);
        let (sent, zeros) = bytes[Bhs::LEN..].split_at(len as usize);
        assert_eq!(
            (sent, zeros),
            (&pattern(0, len)[..], &[0; 3][..padded - len as usize])
        );
        assert_eq!(h.session.stats().pdus_out, 1);
        assert_eq!(bytes[5..8], [0, 0, len as u8]);
    }
}

/// Rows C-38, C-41, C-43, C-44, C-45, C-46.
#[test]
fn every_r2t_is_answered_exactly_and_data_sn_restarts() {
    let mut h = Harness::new();
    let itt = h.write(4096);
    h.sent();
    for (sn, offset, len) in [(0, 1024, 1100), (1, 2124, 1972)] {
        let r2t = h.r2t(itt, sn, offset, len);
        h.feed(r2t.emit(), &[]).unwrap();
        let outs = data_outs(&h.sent());
        let mut at = offset;
        for (i, (out, data)) in outs.iter().enumerate() {
            assert_eq!((out.ttt, out.itt, out.lun), (r2t.ttt, itt, Lun::new(1)));
            assert_eq!((out.data_sn, out.buffer_offset), (DataSn(i as u32), at));
            assert!(data.len() <= 512);
            assert_eq!(*data, pattern(at, data.len() as u32));
            at += data.len() as u32;
            assert_eq!(out.is_final, at == offset + len);
        }
        assert_eq!(at, offset + len);
    }
    h.good(itt).unwrap();
    assert_eq!(h.done(itt).unwrap().transferred, 4096);
}

#[test]
fn several_r2ts_may_be_outstanding_but_not_more_than_negotiated() {
    let mut h = Harness::new();
    let itt = h.write(8192);
    h.sent();
    for sn in 0..2 {
        let r2t = h.r2t(itt, sn, 1024 + sn * 1024, 1024);
        h.feed(r2t.emit(), &[]).unwrap();
    }
    let third = h.r2t(itt, 2, 3072, 1024);
    assert_eq!(
        h.feed(third.emit(), &[]),
        Err(PeerMisbehaved::TooManyR2ts.into())
    );
}

/// Rows H82, H83, H86, H87: outside, wrapping, empty, beyond MaxBurstLength, twice the same.
#[test]
fn an_r2t_that_does_not_fit_sends_nothing() {
    for (offset, len) in [
        (4096, 512),
        (1024, 3584),
        (0xffff_ff00, 0x200),
        (1024, 0),
        (0, 512),
        (1024, u32::MAX),
    ] {
        let mut h = Harness::new();
        let itt = h.write(4096);
        h.sent();
        let r2t = h.r2t(itt, 0, offset, len);
        let error = h.feed(r2t.emit(), &[]).unwrap_err();
        assert_eq!(
            error,
            PeerMisbehaved::R2tRange {
                offset,
                length: len
            }
            .into()
        );
        assert!(h.sent().is_empty());
    }
    let mut h = Harness::new();
    let read = h.read(512);
    h.sent();
    let r2t = h.r2t(read, 0, 0, 512);
    assert_eq!(
        h.feed(r2t.emit(), &[]),
        Err(PeerMisbehaved::UnknownTask(read).into())
    );
}

#[test]
fn r2t_sn_must_not_skip() {
    let mut h = Harness::new();
    let itt = h.write(4096);
    h.sent();
    let r2t = h.r2t(itt, 1, 1024, 512);
    let error = h.feed(r2t.emit(), &[]).unwrap_err();
    assert_eq!(
        error,
        PeerMisbehaved::R2tSn {
            expected: 0,
            found: 1
        }
        .into()
    );
}

#[test]
fn an_early_error_waits_for_the_payload_that_is_being_sent() {
    let mut h = Harness::new();
    let itt = h.write(512);
    assert!(h.session.poll_transmit(h.now, 4096, &h.memory));
    // Header and a part of the immediate data have left; the rest is still named.
    h.session.handle_transmitted(h.now, 48 + 100).unwrap();
    let response = ScsiResponse {
        status: ScsiStatus::Busy,
        ..h.response(itt)
    };
    h.feed(response.emit(), &[]).unwrap();
    assert!(h.events().is_empty(), "its memory is still in the plan");
    h.session.handle_transmitted(h.now, 412).unwrap();
    assert_eq!(h.done(itt).unwrap().status, ScsiStatus::Busy);
}

#[test]
fn good_for_a_write_that_was_never_fetched_is_not_believed() {
    let mut h = Harness::new();
    let itt = h.write(4096);
    h.sent();
    h.good(itt).unwrap();
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        error.kind,
        TaskErrorKind::ShortData {
            received: 1024,
            expected: 4096
        }
    );
}

#[test]
fn data_for_older_commands_goes_before_new_commands() {
    let mut h = Harness::new();
    let itt = h.write(4096);
    h.sent();
    let r2t = h.r2t(itt, 0, 1024, 512);
    h.feed(r2t.emit(), &[]).unwrap();
    h.read(512);
    let sent = h.sent();
    assert!(matches!(
        &sent[..],
        [(Pdu::DataOut(_), _), (Pdu::ScsiCommand(_), _)]
    ));
}

/// GOOD may not vouch for bytes that were asked for and never left us.
#[test]
fn good_before_the_data_that_was_asked_for_was_sent_is_not_passed_on() {
    let mut h = Harness::new();
    let itt = h.write(2048);
    h.sent();
    let r2t = h.r2t(itt, 0, 1024, 1024);
    h.feed(r2t.emit(), &[]).unwrap();
    h.good(itt).unwrap();
    let error = h.done(itt).unwrap_err();
    let (received, expected) = (1024, 2048);
    assert_eq!(error.kind, TaskErrorKind::ShortData { received, expected });
}
