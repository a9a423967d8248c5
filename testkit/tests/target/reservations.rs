//! Persistent reservations: who may register, reserve, preempt, and what the others find.

use std::sync::Arc;

use iscsi_testkit::target::TargetCore;

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const GOOD: u8 = 0;
const CHECK: u8 = 2;
const CONFLICT: u8 = 0x18;

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;

const WRITE_EXCLUSIVE: u8 = 1;
const EXCLUSIVE_REGISTRANTS: u8 = 6;
const WRITE_ALL_REGISTRANTS: u8 = 7;

fn two() -> (Arc<TargetCore>, Script<Direct>, Script<Direct>) {
    let core = core(config());
    let one = Script::direct(&core).logged_in(&[]);
    let mut two = Script::direct(&core);
    two.isid.0[5] = 9;
    let two = two.logged_in(&[]);
    (core, one, two)
}

/// PERSISTENT RESERVE OUT: action, type, key, service action key.
fn out(script: &mut Script<Direct>, action: u8, kind: u8, keys: [u64; 2]) -> (u8, Vec<u8>) {
    let mut list = keys[0].to_be_bytes().to_vec();
    list.extend(keys[1].to_be_bytes());
    list.resize(24, 0);
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    script.command(0, &cdb, 24, Direction::Write, &list);
    script.status()
}

fn ok(script: &mut Script<Direct>, action: u8, kind: u8, keys: [u64; 2]) {
    assert_eq!(out(script, action, kind, keys).0, GOOD);
}

/// PERSISTENT RESERVE IN: PRGENERATION and what follows the length.
fn report(script: &mut Script<Direct>, action: u8) -> (u32, Vec<u8>) {
    let cdb = [0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0];
    script.command(0, &cdb, 256, Direction::Read, &[]);
    let (data, status) = script.data();
    assert_eq!(status, GOOD);
    let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    assert_eq!(number(4) as usize, data.len() - 8);
    (number(0), data[8..].to_vec())
}

fn read(script: &mut Script<Direct>) -> u8 {
    script.command(0, &rw10(0x28, 0, 1), 512, Direction::Read, &[]);
    script.data().1
}

fn write(script: &mut Script<Direct>) -> u8 {
    script.command(0, &rw10(0x2a, 0, 1), 512, Direction::Write, &[1; 512]);
    script.status().0
}

/// Takes a unit attention: additional sense code and qualifier.
fn attention(script: &mut Script<Direct>) -> (u8, u8) {
    script.command(0, &[0], 0, Direction::None, &[]);
    let (status, sense) = script.status();
    assert_eq!((status, sense[2]), (CHECK, 6));
    (sense[12], sense[13])
}

#[test]
fn only_who_knows_its_key_changes_anything() {
    let (_core, mut one, mut two) = two();
    assert_eq!(out(&mut one, REGISTER, 0, [7, 1]).0, CONFLICT);
    assert_eq!(out(&mut one, RESERVE, WRITE_EXCLUSIVE, [0, 0]).0, CONFLICT);
    ok(&mut one, REGISTER, 0, [0, 1]);
    ok(&mut two, REGISTER, 0, [0, 2]);
    ok(&mut two, REGISTER, 0, [2, 3]);
    let keys = [1_u64.to_be_bytes(), 3_u64.to_be_bytes()].concat();
    assert_eq!(report(&mut one, 0), (3, keys));
    assert_eq!(out(&mut two, CLEAR, 0, [2, 0]).0, CONFLICT);
    ok(&mut two, CLEAR, 0, [3, 0]);
    assert_eq!(report(&mut two, 0), (4, vec![]));
    assert_eq!(attention(&mut one), (0x2a, 0x03));
}

#[test]
fn a_reservation_keeps_the_others_out() {
    let (core, mut one, mut two) = two();
    ok(&mut one, REGISTER, 0, [0, 1]);
    ok(&mut one, RESERVE, WRITE_EXCLUSIVE, [1, 0]);
    let mut held = 1_u64.to_be_bytes().to_vec();
    held.extend([0, 0, 0, 0, 0, WRITE_EXCLUSIVE, 0, 0]);
    assert_eq!(report(&mut two, 1), (1, held));
    assert_eq!((read(&mut two), write(&mut two)), (GOOD, CONFLICT));
    ok(&mut two, REGISTER, 0, [0, 2]);
    assert_eq!((read(&mut two), write(&mut two)), (GOOD, CONFLICT));
    assert_eq!(out(&mut two, RESERVE, WRITE_EXCLUSIVE, [2, 0]).0, CONFLICT);
    ok(&mut two, RELEASE, WRITE_EXCLUSIVE, [2, 0]); // not its own: nothing happens
    let (status, sense) = out(&mut one, RELEASE, EXCLUSIVE_REGISTRANTS, [1, 0]);
    assert_eq!((status, sense[12], sense[13]), (CHECK, 0x26, 0x04));
    ok(&mut one, RELEASE, WRITE_EXCLUSIVE, [1, 0]);
    assert_eq!(write(&mut two), GOOD);

    ok(&mut one, RESERVE, EXCLUSIVE_REGISTRANTS, [1, 0]);
    assert_eq!((read(&mut two), write(&mut two)), (GOOD, GOOD));
    ok(&mut two, REGISTER, 0, [2, 0]);
    assert_eq!((read(&mut two), write(&mut two)), (CONFLICT, CONFLICT));
    // TEST UNIT READY, and the capacity.
    for cdb in [&[0x00][..], &[0x25]] {
        let read = cdb[0] != 0;
        let (len, direction) = if read {
            (8, Direction::Read)
        } else {
            (0, Direction::None)
        };
        two.command(0, cdb, len, direction, &[]);
        let status = if read { two.data().1 } else { two.status().0 };
        assert_eq!(status, GOOD, "{cdb:x?}");
    }
    assert_eq!(core.violations(), []);
}

#[test]
fn a_reservation_outlives_its_session_and_is_preempted() {
    let (core, mut one, mut two) = two();
    ok(&mut one, REGISTER, 0, [0, 1]);
    ok(&mut one, RESERVE, WRITE_EXCLUSIVE, [1, 0]);
    drop(one);
    assert_eq!(write(&mut two), CONFLICT);
    ok(&mut two, REGISTER, 0, [0, 2]);
    let (status, sense) = out(&mut two, PREEMPT, WRITE_EXCLUSIVE, [2, 0]);
    assert_eq!((status, sense[12]), (CHECK, 0x26), "no key to preempt");
    assert_eq!(out(&mut two, PREEMPT, WRITE_EXCLUSIVE, [2, 9]).0, CONFLICT);
    ok(&mut two, PREEMPT, WRITE_EXCLUSIVE, [2, 1]);
    assert_eq!(report(&mut two, 0).1, 2_u64.to_be_bytes());
    assert_eq!(write(&mut two), GOOD);
    let mut one = Script::direct(&core).logged_in(&[]);
    assert_eq!((read(&mut one), write(&mut one)), (GOOD, CONFLICT));
    // And while it is there it is told.
    ok(&mut one, REGISTER, 0, [0, 5]);
    ok(&mut two, PREEMPT, WRITE_EXCLUSIVE, [2, 5]);
    assert_eq!(attention(&mut one), (0x2a, 0x05));
}

#[test]
fn a_reservation_of_all_registrants_ends_with_the_last_of_them() {
    let (_core, mut one, mut two) = two();
    ok(&mut one, REGISTER, 0, [0, 1]);
    ok(&mut two, REGISTER, 0, [0, 2]);
    ok(&mut one, RESERVE, WRITE_ALL_REGISTRANTS, [1, 0]);
    ok(&mut two, RESERVE, WRITE_ALL_REGISTRANTS, [2, 0]);
    assert_eq!(report(&mut one, 1).1[..8], [0; 8], "no one key");
    ok(&mut one, REGISTER, 0, [1, 0]);
    assert_eq!((write(&mut one), write(&mut two)), (CONFLICT, GOOD));
    // READ FULL STATUS: the key, that it holds, its type, and the name of its port.
    let status = report(&mut one, 3).1;
    assert_eq!(status[..8], 2_u64.to_be_bytes());
    assert_eq!(status[12..14], [1, WRITE_ALL_REGISTRANTS]);
    let name = String::from_utf8_lossy(&status[28..]);
    assert_eq!(
        name.trim_end_matches('\0'),
        "iqn.2026-01.example:host,i,0x800000010009"
    );
    ok(&mut two, REGISTER, 0, [2, 0]);
    assert_eq!(report(&mut one, 1).1, []);
    assert_eq!(write(&mut one), GOOD);
}

#[test]
fn what_the_unit_does_not_do_it_says_and_refuses() {
    let (_core, mut one, _two) = two();
    let (_, capabilities) = {
        one.command(
            0,
            &[0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0],
            8,
            Direction::Read,
            &[],
        );
        let (data, status) = one.data();
        (status, data)
    };
    assert_eq!(capabilities, [0, 8, 0, 0x80, 0xea, 0x01, 0, 0]);
    for action in [7, 8, 0x1f] {
        one.command(
            0,
            &[0x5f, action, 0, 0, 0, 0, 0, 0, 24, 0],
            24,
            Direction::Write,
            &[0; 24],
        );
        let (status, sense) = one.status();
        assert_eq!((status, sense[12]), (CHECK, 0x24));
    }
    // APTPL, and a list of another length.
    let mut list = [0; 24];
    list[20] = 1;
    one.command(
        0,
        &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        24,
        Direction::Write,
        &list,
    );
    assert_eq!(one.status().1[12], 0x26);
    one.command(
        0,
        &[0x5f, 0, 0, 0, 0, 0, 0, 0, 28, 0],
        28,
        Direction::Write,
        &[0; 28],
    );
    assert_eq!(one.status().1[12], 0x1a);
    ok(&mut one, REGISTER, 0, [0, 1]);
    let (status, sense) = out(&mut one, RESERVE, 0x11, [1, 0]);
    assert_eq!((status, sense[12]), (CHECK, 0x24), "another scope");
}
