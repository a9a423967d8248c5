//! Data-In: placement, order, residuals, status.

use super::*;
use crate::{
    error::{DecodeError, PeerMisbehaved},
    scsi::sense::SenseKey,
    session::TaskErrorKind,
};

#[test]
fn segments_land_in_order_and_status_may_ride_on_the_last() {
    let mut h = Harness::new();
    let itt = h.read(4096);
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::ScsiCommand(c), _)]
        if c.read && !c.write && c.is_final && c.expected_data_transfer_length == 4096
            && c.cmd_sn == CmdSn(CMD_SN) && c.exp_stat_sn == StatSn(STAT_SN) && c.itt == itt));
    let first = h.data_in(itt, 0, 0, 3000);
    h.feed(first.emit(), &pattern(0, 3000)).unwrap();
    assert!(h.events().is_empty());
    let stat_sn = h.next_stat_sn();
    let last = DataIn {
        is_final: true,
        status: Some(ScsiStatus::Good),
        stat_sn,
        ..h.data_in(itt, 1, 3000, 1096)
    };
    h.feed(last.emit(), &pattern(3000, 1096)).unwrap();
    let response = h.done(itt).unwrap();
    assert_eq!(
        (response.status, response.transferred),
        (ScsiStatus::Good, 4096)
    );
    assert_eq!(h.memory.0[&itt.0], pattern(0, 4096));
}

#[test]
fn the_same_events_come_out_however_the_stream_is_cut() {
    for cut in [1usize, 3, 47, 48, 49, 100, 1000] {
        let mut h = Harness::new();
        let itt = h.read(1024);
        h.sent();
        let mut stream = encode(h.data_in(itt, 0, 0, 1021).emit(), &pattern(0, 1021), false);
        stream.extend(encode(
            h.data_in(itt, 1, 1021, 3).emit(),
            &pattern(1021, 3),
            false,
        ));
        let good = h.response(itt).emit();
        stream.extend(encode(good, &[], false));
        for chunk in stream.chunks(cut) {
            h.feed_bytes(chunk).unwrap();
        }
        assert_eq!(h.done(itt).unwrap().transferred, 1024, "cut {cut}");
        assert_eq!(h.memory.0[&itt.0], pattern(0, 1024));
    }
}

#[test]
fn a_large_segment_is_read_straight_into_the_callers_memory() {
    let mut h = Harness::new();
    let itt = h.read(65536);
    h.sent();
    let bytes = encode(
        h.data_in(itt, 0, 0, 65536).emit(),
        &pattern(0, 65536),
        false,
    );
    h.feed_bytes(&bytes[..48]).unwrap();
    let plan = h.session.recv_plan();
    assert_eq!(
        plan.payload,
        Some(DataRef {
            itt,
            offset: 0,
            len: 65536
        })
    );
    assert!(
        plan.scratch.len() <= 512,
        "what is read ahead of the next segment is copied"
    );
    h.feed_bytes(&bytes[48..]).unwrap();
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
    assert_eq!(h.memory.0[&itt.0], pattern(0, 65536));
}

/// Rows H70, H71, H72: outside, wrapping, twice.
#[test]
fn nothing_outside_the_buffer_is_ever_named() {
    for (offset, len) in [(4096, 512), (3840, 512), (0xffff_ff00, 0x200), (512, 512)] {
        let mut h = Harness::new();
        let itt = h.read(4096);
        h.sent();
        let pdu = h.data_in(itt, 0, offset, len);
        let error = h.feed(pdu.emit(), &vec![1; len as usize]).unwrap_err();
        assert_eq!(
            error,
            PeerMisbehaved::DataInRange {
                offset,
                length: len
            }
            .into()
        );
        assert!(h.memory.0[&itt.0].iter().all(|byte| *byte == 0xa5));
    }
}

#[test]
fn a_gap_in_data_sn_ends_the_connection() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let pdu = h.data_in(itt, 1, 0, 512);
    let error = h.feed(pdu.emit(), &[0; 512]).unwrap_err();
    assert_eq!(
        error,
        PeerMisbehaved::DataSn {
            expected: 0,
            found: 1
        }
        .into()
    );
}

/// Row H73: success without the data is no success.
#[test]
fn good_with_missing_data_is_reported_as_short() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let pdu = h.data_in(itt, 0, 0, 512);
    h.feed(pdu.emit(), &[0; 512]).unwrap();
    h.good(itt).unwrap();
    let error = h.done(itt).unwrap_err();
    assert_eq!(
        error.kind,
        TaskErrorKind::ShortData {
            received: 512,
            expected: 1024
        }
    );
}

#[test]
fn an_honest_underflow_is_a_short_transfer() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let pdu = h.data_in(itt, 0, 0, 36);
    h.feed(pdu.emit(), &[7; 36]).unwrap();
    let response = ScsiResponse {
        residual: Residual::Underflow(988),
        ..h.response(itt)
    };
    h.feed(response.emit(), &[]).unwrap();
    let response = h.done(itt).unwrap();
    assert_eq!(
        (response.transferred, response.residual),
        (36, Residual::Underflow(988))
    );
}

/// Row H80: a residual above the expected length, and one that hides missing data.
#[test]
fn a_lying_residual_fails_the_command() {
    for (residual, kind) in [
        (2000, TaskErrorKind::Residual),
        (
            100,
            TaskErrorKind::ShortData {
                received: 36,
                expected: 924,
            },
        ),
    ] {
        let mut h = Harness::new();
        let itt = h.read(1024);
        h.sent();
        let pdu = h.data_in(itt, 0, 0, 36);
        h.feed(pdu.emit(), &[7; 36]).unwrap();
        let response = ScsiResponse {
            residual: Residual::Underflow(residual),
            ..h.response(itt)
        };
        h.feed(response.emit(), &[]).unwrap();
        assert_eq!(h.done(itt).unwrap_err().kind, kind);
    }
}

#[test]
fn check_condition_brings_its_sense() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let response = ScsiResponse {
        status: ScsiStatus::CheckCondition,
        residual: Residual::Underflow(1024),
        ..h.response(itt)
    };
    // SenseLength 18, fixed format, ILLEGAL REQUEST, 24/00.
    let mut segment = vec![0, 18, 0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0x00];
    segment.resize(20, 0);
    h.feed(response.emit(), &segment).unwrap();
    let response = h.done(itt).unwrap();
    assert_eq!(response.status, ScsiStatus::CheckCondition);
    let sense = response.sense.expect("sense");
    assert_eq!(sense.key(), SenseKey::IllegalRequest);
}

/// Row H93: a status byte of GOOD means nothing if the target says that it failed.
#[test]
fn target_failure_is_not_good() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let response = ScsiResponse {
        response: ServiceResponse::TargetFailure,
        ..h.response(itt)
    };
    h.feed(response.emit(), &[]).unwrap();
    assert_eq!(
        h.done(itt).unwrap_err().kind,
        TaskErrorKind::TargetFailure(1)
    );
}

/// Rows H74, H81: tags that name no read.
#[test]
fn data_for_nobody_ends_the_connection() {
    let mut h = Harness::new();
    let write = h.write(512);
    h.sent();
    for itt in [
        write,
        InitiatorTaskTag(0x1234_5678),
        InitiatorTaskTag::RESERVED,
    ] {
        let mut h2 = Harness::new();
        h2.write(512);
        h2.sent();
        let pdu = h2.data_in(itt, 0, 0, 4);
        let error = h2.feed(pdu.emit(), &[0; 4]).unwrap_err();
        assert_eq!(error, PeerMisbehaved::UnknownTask(itt).into());
    }
}

/// Row H77.
#[test]
fn flags_that_this_recovery_level_does_not_have_end_the_connection() {
    for (acknowledge, status, is_final) in
        [(true, None, true), (false, Some(ScsiStatus::Good), false)]
    {
        let mut h = Harness::new();
        let itt = h.read(512);
        h.sent();
        let pdu = DataIn {
            acknowledge,
            status,
            is_final,
            ..h.data_in(itt, 0, 0, 512)
        };
        assert!(h.feed(pdu.emit(), &[0; 512]).is_err());
    }
}

/// Row H03: refused by the header, before a byte is read or a buffer grown.
#[test]
fn a_segment_beyond_our_limit_is_refused_by_its_header() {
    let mut h = Harness::new();
    let itt = h.read(1024);
    h.sent();
    let mut bhs = h.data_in(itt, 0, 0, 0).emit();
    bhs.as_bytes_mut()[5..8].copy_from_slice(&[0xff; 3]);
    let error = h.feed_bytes(&bhs.as_bytes()[..]).unwrap_err();
    let limit = 64 * 1024;
    assert_eq!(
        error,
        DecodeError::DataSegmentTooLong {
            length: 0xff_ffff,
            limit
        }
        .into()
    );
}

/// What nobody wants is not worth a system call per 512 bytes.
#[test]
fn a_large_segment_that_is_discarded_is_read_in_large_pieces() {
    let mut h = Harness::new();
    let itt = h.read(128 * 1024);
    h.sent();
    let bytes = encode(h.data_in(itt, 0, 0, 65536).emit(), &[1; 65536], false);
    h.feed_bytes(&bytes[..1000]).unwrap();
    h.session.abandon(h.now, itt);
    let plan = h.session.recv_plan();
    assert!(plan.payload.is_none() && plan.scratch.len() >= 4 * 1024);
    h.feed_bytes(&bytes[1000..]).unwrap();
    let header = h.data_in(itt, 1, 65536, 65536).emit();
    h.feed_bytes(&encode(header, &[1; 65536], false)[..48])
        .unwrap();
    assert!(h.session.recv_plan().scratch.len() >= 32 * 1024);
}

/// Row H77: CHECK CONDITION has sense data, so it comes in a response of its own (section 11.7.3).
#[test]
fn check_condition_in_a_data_in_ends_the_connection() {
    let mut h = Harness::new();
    let itt = h.read(512);
    h.sent();
    let pdu = DataIn {
        is_final: true,
        status: Some(ScsiStatus::CheckCondition),
        stat_sn: h.next_stat_sn(),
        ..h.data_in(itt, 0, 0, 512)
    };
    let error = h.feed(pdu.emit(), &[0; 512]).unwrap_err();
    assert_eq!(error, PeerMisbehaved::Flags.into());
}
