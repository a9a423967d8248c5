//! The command window on the wire.

use super::*;
use crate::{error::PeerMisbehaved, pdu::NopIn, session::SubmitError};

fn nop_in(h: &Harness, exp: u32, max: u32) -> NopIn {
    NopIn {
        lun: Lun::ZERO,
        itt: InitiatorTaskTag::RESERVED,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: StatSn(h.stat_sn),
        exp_cmd_sn: CmdSn(exp),
        max_cmd_sn: CmdSn(max),
        data_segment_length: 0,
    }
}

/// Rows C-30, C-32: numbers without gaps across the wrap, and nothing past MaxCmdSN.
#[test]
fn commands_wait_for_the_window_and_keep_their_order() {
    let mut h = Harness::new();
    let tags: Vec<_> = (0..40).map(|_| h.read(512)).collect();
    let sent = h.sent();
    assert_eq!(sent.len(), 32);
    for (i, (pdu, _)) in sent.iter().enumerate() {
        let Pdu::ScsiCommand(command) = pdu else {
            panic!("{pdu:?}")
        };
        assert_eq!(command.cmd_sn, CmdSn(CMD_SN.wrapping_add(i as u32)));
        assert_eq!(command.itt, tags[i]);
    }
    let news = nop_in(&h, CMD_SN.wrapping_add(3), CMD_SN.wrapping_add(34));
    h.feed(news.emit(), &[]).unwrap();
    assert_eq!(h.sent().len(), 3);
    assert_eq!(h.session.stats().queued, 5);
}

/// Row C-31: a ping goes past a closed window, carries the next CmdSN and does not consume it.
#[test]
fn immediate_pdus_pass_a_closed_window() {
    let mut h = Harness::new();
    for _ in 0..33 {
        h.read(512);
    }
    assert_eq!(h.sent().len(), 32);
    h.session.ping(h.now, None).unwrap();
    let sent = h.sent();
    assert!(matches!(&sent[..], [(Pdu::NopOut(nop), _)]
        if nop.immediate && nop.cmd_sn == CmdSn(CMD_SN.wrapping_add(32))));
    let news = nop_in(&h, CMD_SN, CMD_SN.wrapping_add(32));
    h.feed(news.emit(), &[]).unwrap();
    assert!(matches!(&h.sent()[..], [(Pdu::ScsiCommand(c), _)]
        if c.cmd_sn == CmdSn(CMD_SN.wrapping_add(32))));
}

/// Row H69.
#[test]
fn acknowledging_what_was_not_sent_ends_the_connection() {
    let mut h = Harness::new();
    let news = nop_in(&h, CMD_SN.wrapping_add(1), CMD_SN.wrapping_add(40));
    assert_eq!(
        h.feed(news.emit(), &[]),
        Err(PeerMisbehaved::ExpCmdSn.into())
    );
}

/// Row H67: a window of 2^31 - 1 does not move our own limit.
#[test]
fn the_queue_is_bounded_by_us_whatever_the_target_allows() {
    let config = SessionConfig {
        max_tasks: 4,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let news = nop_in(&h, CMD_SN, CMD_SN.wrapping_add(0x7fff_fffe));
    h.feed(news.emit(), &[]).unwrap();
    for _ in 0..4 {
        h.read(512);
    }
    let command = Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None);
    assert_eq!(
        h.session.submit(h.now, &command),
        Err(SubmitError::QueueFull)
    );
    // Pings have slots of their own.
    assert!(h.session.ping(h.now, None).is_ok());
}

/// Rows H63, H64.
#[test]
fn a_status_that_is_missing_or_comes_again_ends_the_connection() {
    for found in [STAT_SN + 1, STAT_SN - 1, STAT_SN.wrapping_add(1 << 31)] {
        let mut h = Harness::new();
        let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, Vec::new());
        h.sent();
        let response = ScsiResponse {
            stat_sn: StatSn(found),
            ..h.response(itt)
        };
        let error = h.feed(response.emit(), &[]).unwrap_err();
        assert_eq!(
            error,
            PeerMisbehaved::StatSn {
                expected: STAT_SN,
                found
            }
            .into()
        );
    }
}
