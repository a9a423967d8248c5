//! What the target holds against an initiator that breaks the rules.

use iscsi_proto::{
    TargetTransferTag,
    pdu::{Bhs, Pdu, RejectReason},
};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

/// Lets `mischief` happen on a fresh session, and returns what was held against it.
fn violations(keys: &[(&str, &str)], mischief: impl FnOnce(&mut Script<Direct>)) -> Vec<String> {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(keys);
    mischief(&mut script);
    core.violations()
        .iter()
        .map(|(_, violation)| violation.to_string())
        .collect()
}

#[test]
fn command_numbers_must_count() {
    let found = violations(&[], |script| {
        script.cmd_sn = script.cmd_sn.plus(1);
        script.command(0, &[0], 0, Direction::None, &[]);
        let (Pdu::Reject(reject), header) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(
            (reject.reason, header.len()),
            (RejectReason::ProtocolError, 48)
        );
    });
    assert_eq!(found, ["CmdSN 1, expected 0"]);
}

#[test]
fn the_window_must_be_kept() {
    let found = violations(&[("ImmediateData", "No")], |script| {
        for _ in 0..129 {
            script.command(0, &rw10(0x2a, 0, 1), 512, Direction::Write, &[]);
        }
    });
    assert_eq!(found, ["CmdSN 128 is beyond MaxCmdSN 127"]);
}

#[test]
fn statuses_that_were_not_sent_must_not_be_acknowledged() {
    let found = violations(&[], |script| {
        script.stat_sn = script.stat_sn.plus(5);
        script.command(0, &[0], 0, Direction::None, &[]);
    });
    assert!(found[0].starts_with("ExpStatSN"), "{found:?}");
}

#[test]
fn task_tags_must_be_free() {
    let found = violations(&[("ImmediateData", "No")], |script| {
        let mut command = script.scsi(0, &rw10(0x2a, 0, 1), 512, Direction::Write);
        script.send(&command.emit(), &[]);
        command.cmd_sn = script.cmd_sn();
        script.send(&command.emit(), &[]);
    });
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("in use"));
}

#[test]
fn reserved_bits_must_be_zero() {
    let found = violations(&[], |script| {
        let mut bhs = script.scsi(0, &[0], 0, Direction::None).emit();
        bhs.as_bytes_mut()[2] = 1;
        script.send(&bhs, &[]);
        assert_eq!(script.status().0, 0);
    });
    assert_eq!(found, ["reserved bits set in opcode 0x01, header byte 2"]);
}

#[test]
fn garbage_is_rejected() {
    let found = violations(&[], |script| {
        let mut bhs = Bhs::default();
        bhs.as_bytes_mut()[0] = 0x1f;
        script.send(&bhs, &[]);
        let (Pdu::Reject(reject), _) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(reject.reason, RejectReason::CommandNotSupported);
        assert_eq!(script.read_blocks(0, 1).len(), 512, "the session goes on");
    });
    assert_eq!(found, ["malformed PDU, opcode 0x1f"]);
}

#[test]
fn data_must_follow_the_rules_of_its_sequence() {
    type Change = fn(&mut Script<Direct>, iscsi_proto::InitiatorTaskTag, TargetTransferTag);
    let cases: [(Change, &str); 6] = [
        (
            |s, itt, ttt| s.data_out(itt, (ttt, 1, 0), &[0; 1024], true),
            "DataSN 1, expected 0",
        ),
        (
            |s, itt, ttt| s.data_out(itt, (ttt, 0, 512), &[0; 512], true),
            "Buffer Offset 512, expected 0",
        ),
        (
            |s, itt, ttt| s.data_out(itt, (ttt, 0, 0), &[0; 512], true),
            "a sequence of 1024 bytes got 512",
        ),
        (
            |s, itt, ttt| s.data_out(itt, (ttt, 0, 0), &[0; 1024], false),
            "F bit wrong in opcode 0x05",
        ),
        (
            |s, itt, ttt| s.data_out(itt, (TargetTransferTag(ttt.0 + 1), 0, 0), &[0; 1024], true),
            "no such transfer",
        ),
        (
            |s, itt, _| s.data_out(itt, (TargetTransferTag::RESERVED, 0, 0), &[0; 1024], true),
            "no such transfer",
        ),
    ];
    for (change, expected) in cases {
        let found = violations(&[("ImmediateData", "No")], |script| {
            let itt = script.command(0, &rw10(0x2a, 0, 2), 1024, Direction::Write, &[]);
            let (Pdu::R2t(r2t), _) = script.receive().unwrap() else {
                panic!()
            };
            change(script, itt, r2t.ttt);
        });
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{found:?}: {expected}"
        );
    }
}

#[test]
fn unsolicited_data_must_have_been_negotiated() {
    let found = violations(&[("ImmediateData", "No")], |script| {
        script.command(0, &rw10(0x2a, 0, 1), 512, Direction::Write, &[0; 512]);
    });
    assert_eq!(found, ["unsolicited data that was not negotiated"]);
    let found = violations(&[("InitialR2T", "Yes")], |script| {
        let mut command = script.scsi(0, &rw10(0x2a, 0, 1), 512, Direction::Write);
        command.is_final = false;
        script.send(&command.emit(), &[]);
    });
    assert_eq!(found, ["unsolicited data that was not negotiated"]);
    let found = violations(
        &[("InitialR2T", "No"), ("FirstBurstLength", "512")],
        |script| {
            script.command(0, &rw10(0x2a, 0, 2), 1024, Direction::Write, &[0; 1024]);
        },
    );
    assert_eq!(found, ["a sequence of 512 bytes got 1024"]);
}
