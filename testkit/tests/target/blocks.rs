//! Commands on blocks beyond plain reads and writes, and what a unit does not take.

use std::sync::Arc;

use iscsi_proto::pdu::{Pdu, Residual};
use iscsi_testkit::target::{LunConfig, TargetConfig, TargetCore};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, TARGET, config, rw10},
};

const GOOD: (u8, [u8; 3]) = (0, [0, 0, 0]);
const INVALID_FIELD: (u8, [u8; 3]) = (2, [5, 0x24, 0]);
const MISCOMPARE: (u8, [u8; 3]) = (2, [0x0e, 0x1d, 0]);

fn thin(space: u64) -> (Arc<TargetCore>, Script<Direct>) {
    let mut unit = LunConfig::new(0, 1 << 30).with_thin_provisioning();
    unit.write_space = space;
    unit.fua = true;
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(unit)
        .with_lun(LunConfig::new(1, 1 << 20));
    let core = core(config);
    let script = Script::direct(&core).logged_in(&[]);
    (core, script)
}

/// Status, then sense key, additional sense code and qualifier.
fn outcome((status, sense): (u8, Vec<u8>)) -> (u8, [u8; 3]) {
    let at = |index| sense.get(index).copied().unwrap_or(0);
    (status, [at(2), at(12), at(13)])
}

fn write(script: &mut Script<Direct>, cdb: &[u8], data: &[u8]) -> (u8, [u8; 3]) {
    script.command(0, cdb, data.len() as u32, Direction::Write, data);
    outcome(script.status())
}

fn read(script: &mut Script<Direct>, cdb: &[u8], len: u32) -> Vec<u8> {
    script.command(0, cdb, len, Direction::Read, &[]);
    let (data, status) = script.data();
    assert_eq!(status, 0);
    data
}

fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[test]
fn every_size_of_read_and_write_reaches_the_same_blocks() {
    let (core, mut script) = thin(1 << 20);
    let twelve = |opcode| [opcode, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0];
    let writes: [&[u8]; 6] = [
        &[0x0a, 0, 0, 7, 2, 0],
        &rw10(0x2a, 7, 2),
        &twelve(0xaa),
        &cdb16(0x8a, 0, 7, 2),
        &rw10(0x2e, 7, 2),
        &cdb16(0x8e, 0x02, 7, 2),
    ];
    for (cdb, fill) in writes.into_iter().zip(1..) {
        let data = [fill; 1024];
        assert_eq!(write(&mut script, cdb, &data), GOOD);
        let reads: [&[u8]; 4] = [
            &[0x08, 0, 0, 7, 2, 0],
            &rw10(0x28, 7, 2),
            &twelve(0xa8),
            &cdb16(0x88, 0x18, 7, 2),
        ];
        for cdb in reads {
            assert_eq!(read(&mut script, cdb, 1024), data, "{cdb:x?}");
        }
    }
    // Six bytes: a length of 0 is 256 blocks, and the block number has 21 bits.
    assert_eq!(
        read(&mut script, &[0x08, 0xe0, 0, 0, 0, 0], 256 * 512).len(),
        256 * 512
    );
    assert_eq!(core.violations(), []);
}

#[test]
fn dpo_and_fua_that_a_unit_lacks_are_refused() {
    let (_core, mut script) = thin(1 << 20);
    for opcode in [0x88, 0x8a, 0x8b] {
        for flags in [0x08, 0x10] {
            script.command(1, &cdb16(opcode, flags, 0, 1), 0, Direction::None, &[]);
            assert_eq!(outcome(script.status()), INVALID_FIELD, "{opcode:x}");
        }
    }
}

#[test]
fn protection_that_a_unit_lacks_is_refused() {
    let (_core, mut script) = thin(1 << 20);
    for flags in [0x20, 0xe0] {
        for opcode in [0x8a, 0x8b, 0x8e, 0x93, 0x89] {
            let cdb = cdb16(opcode, flags, 0, 1);
            assert_eq!(
                write(&mut script, &cdb, &[0; 512]),
                INVALID_FIELD,
                "{opcode:x}"
            );
        }
        for opcode in [0x88, 0x8f] {
            script.command(0, &cdb16(opcode, flags, 0, 1), 0, Direction::None, &[]);
            assert_eq!(outcome(script.status()), INVALID_FIELD, "{opcode:x}");
        }
    }
}

#[test]
fn blocks_are_compared_before_they_are_written() {
    let (core, mut script) = thin(1 << 20);
    let (old, new) = ([1; 512], [2; 512]);
    assert_eq!(write(&mut script, &rw10(0x2a, 9, 1), &old), GOOD);
    let verify = cdb16(0x8f, 0x02, 9, 1);
    assert_eq!(write(&mut script, &verify, &old), GOOD);
    assert_eq!(write(&mut script, &verify, &new), MISCOMPARE);
    // BYTCHK 11b: one block for all.
    assert_eq!(
        write(&mut script, &cdb16(0x8f, 0x06, 9, 2), &old),
        MISCOMPARE
    );

    let mut compare = cdb16(0x89, 0, 9, 0);
    compare[13] = 1;
    assert_eq!(
        write(&mut script, &compare, &[new, new].concat()),
        MISCOMPARE
    );
    assert_eq!(script.read_blocks(9, 1), old);
    assert_eq!(write(&mut script, &compare, &[old, new].concat()), GOOD);
    assert_eq!(script.read_blocks(9, 1), new);

    assert_eq!(write(&mut script, &cdb16(0x8b, 0, 9, 1), &[4; 512]), GOOD);
    assert_eq!(script.read_blocks(9, 1), [6; 512]);
    assert_eq!(core.violations(), []);
}

/// GET LBA STATUS: the first descriptor, as its length in blocks and its provisioning status.
fn status_of(script: &mut Script<Direct>, lba: u64) -> (u32, u8) {
    let data = read(script, &cdb16(0x9e, 0x12, lba, 24), 24);
    assert_eq!(data[8..16], lba.to_be_bytes());
    (
        u32::from_be_bytes(data[16..20].try_into().unwrap()),
        data[20],
    )
}

fn unmap(script: &mut Script<Direct>, descriptors: &[(u64, u32)]) -> (u8, [u8; 3]) {
    let bytes = descriptors.len() as u16 * 16;
    let mut list = (bytes + 6).to_be_bytes().to_vec();
    list.extend(bytes.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in descriptors {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    let mut cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[7..9].copy_from_slice(&(list.len() as u16).to_be_bytes());
    write(script, &cdb, &list)
}

#[test]
fn unmapped_blocks_read_as_zeros_until_they_are_written() {
    let (core, mut script) = thin(1 << 20);
    assert_eq!(unmap(&mut script, &[(10, 5), (20, 1)]), GOOD);
    assert_eq!(script.read_blocks(10, 5), [0; 5 * 512]);
    assert_ne!(script.read_blocks(9, 1), [0; 512]);
    assert_eq!(status_of(&mut script, 0), (10, 0));
    assert_eq!(status_of(&mut script, 11), (4, 1));
    assert_eq!(write(&mut script, &rw10(0x2a, 12, 1), &[1; 512]), GOOD);
    assert_eq!(status_of(&mut script, 11), (1, 1));
    assert_eq!(status_of(&mut script, 12), (1, 0));
    // WRITE SAME with UNMAP deallocates for zeros only.
    assert_eq!(
        write(&mut script, &cdb16(0x93, 0x08, 30, 9), &[0; 512]),
        GOOD
    );
    assert_eq!(
        write(&mut script, &cdb16(0x93, 0x08, 40, 9), &[3; 512]),
        GOOD
    );
    assert_eq!(
        (status_of(&mut script, 30), status_of(&mut script, 40).1),
        ((9, 1), 0)
    );
    assert_eq!(script.read_blocks(40, 9), [3; 9 * 512]);
    // All of a list or nothing.
    let beyond = unmap(&mut script, &[(50, 1), ((1 << 21) - 1, 2)]);
    assert_eq!(beyond, (2, [5, 0x21, 0]));
    assert_eq!(status_of(&mut script, 50).1, 0);
    assert_eq!(
        unmap(&mut script, &[(0, 1 << 20), (0, 1)]),
        (2, [5, 0x26, 0])
    );
    // The other unit is not thin.
    script.command(
        1,
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        0,
        Direction::None,
        &[],
    );
    assert_eq!(outcome(script.status()), (2, [5, 0x20, 0]));
    assert_eq!(core.violations(), []);
}

#[test]
fn a_unit_without_space_refuses_what_would_take_more() {
    let (_core, mut script) = thin(4 * 512);
    assert_eq!(write(&mut script, &rw10(0x2a, 0, 4), &[1; 2048]), GOOD);
    let full = (2, [7, 0x27, 7]);
    assert_eq!(write(&mut script, &rw10(0x2a, 3, 2), &[2; 1024]), full);
    assert_eq!(
        write(&mut script, &cdb16(0x93, 0, 0, 65_535), &[2; 512]),
        full
    );
    assert_eq!(script.read_blocks(3, 1), [1; 512]);
    assert_eq!(write(&mut script, &rw10(0x2a, 0, 4), &[3; 2048]), GOOD);
    assert_eq!(unmap(&mut script, &[(0, 1)]), GOOD);
    assert_eq!(write(&mut script, &rw10(0x2a, 9, 1), &[2; 512]), GOOD);
}

#[test]
fn a_write_of_fewer_bytes_than_its_cdb_says_writes_those_that_are_blocks() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    for (announced, status, residual) in [(0, 0, 1024), (512, 0, 512), (200, 2, 824)] {
        let data = vec![7; announced];
        script.command(
            0,
            &rw10(0x2a, 0, 2),
            announced as u32,
            Direction::Write,
            &data,
        );
        let (Pdu::ScsiResponse(response), _) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(response.status.to_byte(), status);
        assert_eq!(response.residual, Residual::Overflow(residual));
    }
    let mut block = [0; 1024];
    core.peek(0, 0, &mut block);
    assert_eq!(block[..512], [7; 512]);
    assert_ne!(block[512..], [7; 512]);
}
