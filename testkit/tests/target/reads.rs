//! Commands without data to the target: inquiries, reads, sense, residuals, digests.

use std::sync::Arc;

use iscsi_proto::pdu::{NopOut, Pdu, Residual};
use iscsi_proto::{TargetTransferTag, scsi::Lun};
use iscsi_testkit::{
    pattern,
    target::{Limits, TargetConfig, TargetCore},
};

use crate::script::{Direction, Script, config, rw10};

pub(crate) fn core(config: TargetConfig) -> Arc<TargetCore> {
    let addresses: Vec<_> = config.portals.iter().map(|portal| portal.address).collect();
    TargetCore::new(config, &addresses)
}

fn limits(change: impl FnOnce(&mut Limits)) -> TargetConfig {
    let mut limits = Limits::default();
    change(&mut limits);
    config().with_limits(limits)
}

#[test]
fn a_read_comes_in_segments_and_bursts_of_the_negotiated_size() {
    let core = core(config());
    let keys = [("MaxBurstLength", "8192")];
    let mut script = Script::direct(&core).logged_in(&keys);
    script.command(0, &rw10(0x28, 7, 40), 20480, Direction::Read, &[]);
    let mut pdus = Vec::new();
    while pdus.last().is_none_or(|(_, _, done)| !done) {
        let (Pdu::DataIn(pdu), _) = script.receive().unwrap() else {
            panic!()
        };
        pdus.push((pdu.data_segment_length, pdu.is_final, pdu.status.is_some()));
    }
    assert_eq!(
        pdus,
        [(8192, true, false), (8192, true, false), (4096, true, true)]
    );
}

#[test]
fn status_may_come_in_a_pdu_of_its_own() {
    let core = core(limits(|limits| limits.status_in_data = false));
    let mut script = Script::direct(&core).logged_in(&[]);
    script.command(0, &rw10(0x28, 7, 1), 512, Direction::Read, &[]);
    let (Pdu::DataIn(pdu), data) = script.receive().unwrap() else {
        panic!()
    };
    assert!(pdu.is_final && pdu.status.is_none());
    assert_eq!(pattern::verify(1, 7 * 512, &data), Ok(()));
    let (Pdu::ScsiResponse(response), _) = script.receive().unwrap() else {
        panic!()
    };
    assert_eq!(response.exp_data_sn.0, 1);
}

#[test]
fn digests_are_made_and_checked_in_both_directions() {
    let core = core(config());
    let keys = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];
    let mut script = Script::direct(&core).logged_in(&keys);
    assert_eq!(script.digests, (true, true));
    let data = script.read_blocks(3, 300);
    assert_eq!(pattern::verify(1, 3 * 512, &data), Ok(()));
    assert_eq!(core.violations(), []);
    // A header whose digest is wrong ends the connection.
    script.digests.0 = false;
    script.command(0, &rw10(0x28, 0, 1), 512, Direction::Read, &[]);
    script.command(0, &rw10(0x28, 0, 1), 512, Direction::Read, &[]);
    assert!(script.receive().is_err());
    assert_eq!(core.violations()[0].1.to_string(), "header digest mismatch");
}

#[test]
fn errors_come_with_sense_data() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let last = u32::try_from((1u64 << 20) / 4096).unwrap();
    for (lun, cdb, sense) in [
        (0, vec![0xff], (5, 0x20, 0)),
        (1, rw10(0x28, last, 1).to_vec(), (5, 0x21, 0)),
        (9, vec![0x00], (5, 0x25, 0)),
        (0, vec![0x12, 1, 0x99, 0, 255], (5, 0x24, 0)),
    ] {
        script.command(lun, &cdb, 4096, Direction::Read, &[]);
        let (Pdu::ScsiResponse(response), data) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(response.status.to_byte(), 2);
        assert_eq!(response.residual, Residual::Underflow(4096));
        assert_eq!((data[4], data[14], data[15]), sense, "{cdb:x?}");
    }
}

#[test]
fn inquiries_tell_who_the_unit_is() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut inquiry = |lun, page: Option<u8>| {
        let cdb = [0x12, u8::from(page.is_some()), page.unwrap_or(0), 0, 255, 0];
        script.command(lun, &cdb, 255, Direction::Read, &[]);
        script.data().0
    };
    assert_eq!(&inquiry(0, None)[8..16], b"RUSTSDK ");
    assert_eq!(
        inquiry(0, Some(0x00))[4..],
        [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]
    );
    assert_eq!(&inquiry(1, Some(0x80))[4..], b"TESTKIT00000001");
    let (zero, one) = (inquiry(0, Some(0x83)), inquiry(1, Some(0x83)));
    assert_eq!(zero[..8], [0, 0x83, 0, zero[3], 1, 3, 0, 16]);
    assert_ne!(zero, one);
    assert_eq!(
        inquiry(0, Some(0xb0))[8..12],
        (16u32 << 20 >> 9).to_be_bytes()
    );
    assert_eq!(inquiry(7, None)[0], 0x7f, "no unit there");
}

#[test]
fn capacity_and_luns_are_reported() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    script.command(1, &[0x25], 8, Direction::Read, &[]);
    assert_eq!(script.data().0, [0, 0, 0, 255, 0, 0, 0x10, 0]);
    script.command(0, &[0x25], 8, Direction::Read, &[]);
    assert_eq!(script.data().0[..4], 0x7fff_ffff_u32.to_be_bytes());
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
    script.command(0, &cdb, 32, Direction::Read, &[]);
    assert_eq!(script.data().0[..8], ((1u64 << 40) / 512 - 1).to_be_bytes());
    let mut cdb = [0; 12];
    (cdb[0], cdb[9]) = (0xa0, 64);
    script.command(0, &cdb, 64, Direction::Read, &[]);
    let (list, _) = script.data();
    assert_eq!(list[..4], 16u32.to_be_bytes());
    assert_eq!(list[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn pings_go_both_ways() {
    let core = core(limits(|limits| limits.ping_every = 3));
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut ping = NopOut {
        immediate: true,
        lun: Lun::ZERO,
        itt: script.itt(),
        ttt: TargetTransferTag::RESERVED,
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
        data_segment_length: 3,
    };
    script.send(&ping.emit(), b"abc");
    let (Pdu::NopIn(pong), data) = script.receive().unwrap() else {
        panic!()
    };
    assert_eq!((pong.itt, &data[..]), (ping.itt, &b"abc"[..]));
    // The third command of the session: two were test unit ready.
    script.command(0, &rw10(0x28, 7, 1), 512, Direction::Read, &[]);
    let (Pdu::NopIn(asks), _) = script.receive().unwrap() else {
        panic!()
    };
    script.data();
    ping.itt = iscsi_proto::InitiatorTaskTag::RESERVED;
    (ping.ttt, ping.data_segment_length) = (asks.ttt, 0);
    (ping.cmd_sn, ping.exp_stat_sn) = (script.cmd_sn, script.stat_sn);
    script.send(&ping.emit(), &[]);
    assert_eq!(core.violations(), []);
    script.send(&ping.emit(), &[]);
    assert_eq!(
        core.violations()[0].1.to_string(),
        "answer to an unknown ping"
    );
}
