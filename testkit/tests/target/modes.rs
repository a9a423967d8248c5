//! MODE SENSE and the VPD pages that describe the medium.

use iscsi_testkit::target::{LunConfig, TargetConfig};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, TARGET},
};

fn unit(change: impl FnOnce(&mut LunConfig)) -> Script<Direct> {
    let mut lun = LunConfig::new(0, 1 << 30);
    change(&mut lun);
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(lun)
        .with_lun(LunConfig::new(1, 1 << 20));
    Script::direct(&core(config)).logged_in(&[])
}

fn data(script: &mut Script<Direct>, cdb: &[u8]) -> Vec<u8> {
    script.command(0, cdb, 255, Direction::Read, &[]);
    let (data, status) = script.data();
    assert_eq!(status, 0, "{cdb:x?}");
    data
}

fn refusal(script: &mut Script<Direct>, cdb: &[u8]) -> (u8, u8) {
    script.command(0, cdb, 255, Direction::Read, &[]);
    let (status, sense) = script.status();
    assert_eq!((status, sense[2]), (2, 5), "{cdb:x?}");
    (sense[12], sense[13])
}

#[test]
fn the_header_says_what_the_unit_is_configured_for() {
    let mut script = unit(|_| ());
    let six = data(&mut script, &[0x1a, 8, 0x08, 0, 255, 0]);
    assert_eq!(six[..7], [23, 0, 0, 0, 0x08, 0x12, 0x04]);
    assert_eq!(six.len(), 24);
    let mut script = unit(|lun| {
        (lun.read_only, lun.fua, lun.write_cache) = (true, true, false);
    });
    let ten = data(&mut script, &[0x5a, 8, 0x08, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(ten[..11], [0, 26, 0, 0x90, 0, 0, 0, 0, 0x08, 0x12, 0]);
    assert_eq!(ten.len(), 28);
}

#[test]
fn all_pages_and_block_descriptors_come_where_they_are_asked_for() {
    let mut script = unit(|_| ());
    let six = data(&mut script, &[0x1a, 0, 0x3f, 0, 255, 0]);
    assert_eq!(six[..12], [43, 0, 0, 8, 0, 0x20, 0, 0, 0, 0, 2, 0]);
    assert_eq!((six[12], six[32], six.len()), (0x08, 0x0a, 44));
    let ten = data(&mut script, &[0x5a, 0x10, 0x0a, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!((ten[4], ten[7], ten.len()), (1, 16, 36));
    assert_eq!(ten[8..16], (1_u64 << 21).to_be_bytes());
    assert_eq!((ten[24], ten[27]), (0x0a, 0x10));
    // Nothing can be changed.
    let changeable = data(&mut script, &[0x1a, 8, 0x48, 0, 255, 0]);
    assert!(changeable[6..].iter().all(|byte| *byte == 0));
    // The allocation length cuts, and MODE DATA LENGTH stays.
    let short = data(&mut script, &[0x1a, 8, 0x3f, 0, 4, 0]);
    assert_eq!(short, [35, 0, 0, 0]);
}

#[test]
fn what_there_is_not_is_refused() {
    let mut script = unit(|_| ());
    assert_eq!(refusal(&mut script, &[0x1a, 8, 0x1c, 0, 255, 0]), (0x24, 0));
    assert_eq!(refusal(&mut script, &[0x1a, 8, 0x0a, 1, 255, 0]), (0x24, 0));
    assert_eq!(refusal(&mut script, &[0x1a, 8, 0xc8, 0, 255, 0]), (0x39, 0));
}

#[test]
fn the_rotation_rate_is_reported() {
    let mut script = unit(|lun| lun.rotation_rate = 7200);
    let page = data(&mut script, &[0x12, 1, 0xb1, 0, 255, 0]);
    assert_eq!(page[..6], [0, 0xb1, 0, 60, 0x1c, 0x20]);
}
