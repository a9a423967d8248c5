//! What a target puts initiators through for a while.

use std::{sync::Arc, time::Duration};

use iscsi_proto::{
    Instant, TargetTransferTag,
    pdu::{NopOut, Pdu},
    scsi::Lun,
};
use iscsi_testkit::target::{DigestPolicy, Limits, TargetCore, Violation, WriteHold};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const TEST_UNIT_READY: [u8; 6] = [0; 6];

fn narrow() -> Arc<TargetCore> {
    let mut limits = Limits::default();
    limits.queue_depth = 4;
    core(config().with_limits(limits))
}

/// Commands that the window has room for, as the answer to a command says.
fn room_after_command(script: &mut Script<Direct>) -> u32 {
    script.command(0, &TEST_UNIT_READY, 0, Direction::None, &[]);
    match script.receive().unwrap().0 {
        Pdu::ScsiResponse(response) => {
            assert_eq!(response.exp_cmd_sn, script.cmd_sn);
            (response.max_cmd_sn.0.wrapping_add(1)).wrapping_sub(response.exp_cmd_sn.0)
        }
        other => panic!("{other}"),
    }
}

/// The same, of a read whose status comes in its last Data-In.
fn room_after_read(script: &mut Script<Direct>) -> u32 {
    script.command(0, &rw10(0x28, 0, 1), 512, Direction::Read, &[]);
    match script.receive().unwrap().0 {
        Pdu::DataIn(data) => (data.max_cmd_sn.0.wrapping_add(1)).wrapping_sub(data.exp_cmd_sn.0),
        other => panic!("{other}"),
    }
}

fn room_after_ping(script: &mut Script<Direct>) -> u32 {
    let ping = NopOut {
        immediate: true,
        lun: Lun::ZERO,
        itt: script.itt(),
        ttt: TargetTransferTag::RESERVED,
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
        data_segment_length: 0,
    };
    script.send(&ping.emit(), &[]);
    match script.receive().unwrap().0 {
        Pdu::NopIn(pong) => (pong.max_cmd_sn.0.wrapping_add(1)).wrapping_sub(pong.exp_cmd_sn.0),
        other => panic!("{other}"),
    }
}

#[test]
fn a_window_narrows_as_commands_come_and_opens_again() {
    for read in [false, true] {
        let core = narrow();
        let mut script = Script::direct(&core).logged_in(&[]);
        let next = |script: &mut Script<Direct>| {
            if read {
                room_after_read(script)
            } else {
                room_after_command(script)
            }
        };
        assert_eq!(next(&mut script), 4);
        core.squeeze_window(Some(0));
        let narrower: Vec<u32> = (0..4).map(|_| next(&mut script)).collect();
        assert_eq!(narrower, [3, 2, 1, 0], "none of it is taken back");
        assert_eq!(room_after_ping(&mut script), 0);
        core.squeeze_window(Some(1));
        assert_eq!(room_after_ping(&mut script), 1);
        assert_eq!(next(&mut script), 1);
        core.squeeze_window(None);
        assert_eq!(room_after_ping(&mut script), 4);
        assert_eq!(next(&mut script), 4);
        assert_eq!(core.violations(), []);
        core.squeeze_window(Some(0));
        for _ in 0..4 {
            next(&mut script);
        }
        script.command(0, &TEST_UNIT_READY, 0, Direction::None, &[]);
        let violations = core.violations();
        assert!(
            matches!(violations[..], [(0, Violation::Window { .. })]),
            "{violations:?}"
        );
    }
}

#[test]
fn wrong_digests_are_excused_where_bits_flip() {
    for excused in [false, true] {
        let always = DigestPolicy::Require;
        let core = core(config().with_digests(always, always));
        core.excuse_digests(excused);
        let offer = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];
        let mut script = Script::direct(&core).logged_in(&offer);
        // From now on it sends none, so that data lies where one belongs.
        script.digests.0 = false;
        script.command(0, &rw10(0x2a, 0, 1), 512, Direction::Write, &[1; 512]);
        assert_eq!(core.digest_errors(), 1);
        assert_eq!(core.violations().is_empty(), excused);
        assert!(script.receive().is_err(), "it is closed in any case");
    }
}

#[test]
fn a_controller_dies_and_the_other_goes_on() {
    for keeps in [false, true] {
        let core = core(config());
        let second = Duration::from_secs(1);
        core.hold_writes(WriteHold::new(1000, second, second));
        let mut one = Script::direct(&core).logged_in(&[]);
        let mut other = Script::direct_through(&core, 1).logged_in(&[]);
        for (script, block) in [(&mut one, 0), (&mut other, 1)] {
            script.command(0, &rw10(0x2a, block, 1), 512, Direction::Write, &[7; 512]);
        }
        let mut before = [0; 512];
        core.peek(0, 0, &mut before);
        core.fail_controller(1, keeps);
        assert_eq!(core.sessions(), 1);
        let due = Instant::ZERO.saturating_add(second);
        core.run_back_end(due);
        let mut after = [0; 512];
        core.peek(0, 0, &mut after);
        assert_eq!(after, if keeps { [7; 512] } else { before });
        other.stream.1 = due;
        assert_eq!(other.status().0, 0, "as ever");
        drop(one);
    }
}
