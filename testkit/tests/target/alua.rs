//! Asymmetric access: what each state lets pass, how it is reported, and who is told of a change.

use std::sync::Arc;

use iscsi_testkit::target::{AluaConfig, PortState, TargetCore};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

fn alua(change: impl FnOnce(&mut AluaConfig)) -> Arc<TargetCore> {
    let mut alua = AluaConfig::default();
    change(&mut alua);
    core(config().with_alua(alua))
}

fn report(script: &mut Script<Direct>, format: u8) -> Vec<u8> {
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa3, format << 5 | 0x0a, 255);
    script.command(0, &cdb, 255, Direction::Read, &[]);
    script.data().0
}

fn failure(script: &mut Script<Direct>, cdb: &[u8]) -> (u8, u8, u8, u8) {
    let direction = if cdb[0] == 0 {
        Direction::None
    } else {
        Direction::Read
    };
    let len = if cdb[0] == 0 { 0 } else { 512 };
    script.command(0, cdb, len, direction, &[]);
    let (status, sense) = script.status();
    (status, sense[2], sense[12], sense[13])
}

#[test]
fn a_target_without_asymmetric_access_says_so_and_refuses_the_command() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    script.command(0, &[0x12, 0, 0, 0, 36, 0], 36, Direction::Read, &[]);
    assert_eq!(script.data().0[5] & 0x30, 0);
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa3, 0x0a, 255);
    assert_eq!(failure(&mut script, &cdb), (2, 5, 0x20, 0));
    // And no state of it is in the way.
    core.set_port_state(1, PortState::Standby);
    script.read_blocks(0, 1);
}

#[test]
fn groups_are_the_portal_group_tags_in_either_format() {
    let core = alua(|alua| {
        alua.states = vec![(2, PortState::NonOptimized)];
        (alua.preferred, alua.transition_time) = (Some(1), 45);
    });
    let mut script = Script::direct(&core).logged_in(&[]);
    let groups = [
        [0x80, 0xdf, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        [0x01, 0xdf, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
    ]
    .concat();
    let plain = [&[0, 0, 0, 24][..], &groups].concat();
    assert_eq!(report(&mut script, 0), plain);
    let extended = [&[0, 0, 0, 28, 0x10, 45, 0, 0][..], &groups].concat();
    assert_eq!(report(&mut script, 1), extended);
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa3, 0x4a, 255);
    assert_eq!(failure(&mut script, &cdb), (2, 5, 0x24, 0));
    script.command(0, &[0x12, 0, 0, 0, 36, 0], 36, Direction::Read, &[]);
    assert_eq!(script.data().0[5] & 0x30, 0x30);
    // The port's own group, and relative identifier, in the identification page.
    script.command(0, &[0x12, 1, 0x83, 0, 255, 0], 255, Direction::Read, &[]);
    let page = script.data().0;
    let has = |designator: &[u8]| page.windows(designator.len()).any(|w| w == designator);
    assert!(has(&[0x51, 0x94, 0, 4, 0, 0, 0, 1]));
    assert!(has(&[0x51, 0x95, 0, 4, 0, 0, 0, 1]));
    assert!(has(b"iqn.2026-01.example:disk,t,0x0001\0"));
}

#[test]
fn a_target_that_knows_no_extended_header_refuses_it() {
    let core = alua(|alua| alua.extended_header = false);
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa3, 0x2a, 255);
    assert_eq!(failure(&mut script, &cdb), (2, 5, 0x24, 0));
    assert_eq!(report(&mut script, 0)[3], 24);
}

#[test]
fn every_state_lets_pass_what_it_should_and_every_nexus_is_told_once() {
    let core = alua(|_| ());
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut other = Script::direct(&core);
    other.isid.0[5] = 2;
    let mut other = other.logged_in(&[]);
    for (state, qualifier) in [
        (PortState::Standby, 0x0b),
        (PortState::Unavailable, 0x0c),
        (PortState::Offline, 0x12),
        (PortState::Transitioning, 0x0a),
    ] {
        core.set_port_state(1, state);
        assert_eq!(core.port_state(1), Some(state));
        for script in [&mut script, &mut other] {
            assert_eq!(failure(script, &[0; 6]), (2, 6, 0x2a, 6));
            assert_eq!(failure(script, &[0; 6]), (2, 2, 4, qualifier));
            assert_eq!(failure(script, &rw10(0x28, 0, 1)), (2, 2, 4, qualifier));
            let list = report(script, 0);
            assert_eq!((list[4], list[9]), (state as u8, 2));
            script.command(0, &[0x12, 0, 0, 0, 36, 0], 36, Direction::Read, &[]);
            assert_eq!(script.data().1, 0);
        }
    }
    for state in [
        PortState::NonOptimized,
        PortState::LogicalBlockDependent,
        PortState::Optimized,
    ] {
        core.set_port_state(1, state);
        assert_eq!(failure(&mut script, &[0; 6]), (2, 6, 0x2a, 6));
        script.read_blocks(0, 1);
    }
    assert_eq!(core.port_state(7), None);
    assert_eq!(core.violations(), []);
}

fn set(script: &mut Script<Direct>, list: &[u8]) -> (u8, Vec<u8>) {
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa4, 0x0a, list.len() as u8);
    script.command(0, &cdb, list.len() as u32, Direction::Write, list);
    script.status()
}

#[test]
fn set_target_port_groups_changes_all_it_names_or_nothing_and_tells_the_others() {
    let core = alua(|_| ());
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut other = Script::direct(&core);
    other.isid.0[5] = 2;
    let mut other = other.logged_in(&[]);
    let bad: [&[u8]; 5] = [
        &[0, 0, 0, 0, 1, 0, 0, 1, 0xf, 0, 0, 2], // transitioning
        &[0, 0, 0, 0, 1, 0, 0, 1, 0x4, 0, 0, 2], // logical block dependent
        &[0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9],   // no such group
        &[0, 0, 0, 0, 1, 0],
        &[0, 0],
    ];
    for list in bad {
        let (status, sense) = set(&mut script, list);
        assert_eq!((status, sense[2]), (2, 5), "{list:x?}");
        let expected = if list.len() == 12 { 0x26 } else { 0x1a };
        assert_eq!(sense[12], expected, "{list:x?}");
        assert_eq!(core.port_state(1), Some(PortState::Optimized));
    }
    let list = [0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2];
    assert_eq!(set(&mut script, &list).0, 0);
    assert_eq!(core.port_state(1), Some(PortState::NonOptimized));
    assert_eq!(core.port_state(2), Some(PortState::Standby));
    assert_eq!(report(&mut script, 0)[9], 1, "status: set by command");
    script.read_blocks(0, 1);
    assert_eq!(failure(&mut other, &[0; 6]), (2, 6, 0x2a, 6));
    assert_eq!(core.violations(), []);
}

#[test]
fn a_target_that_changes_states_by_itself_only_takes_no_orders() {
    let core = alua(|alua| alua.explicit = false);
    let mut script = Script::direct(&core).logged_in(&[]);
    let (status, sense) = set(&mut script, &[0, 0, 0, 0, 1, 0, 0, 1]);
    assert_eq!((status, sense[2], sense[12]), (2, 5, 0x20));
}
