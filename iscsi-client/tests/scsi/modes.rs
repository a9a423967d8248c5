//! What a unit says of its medium: write protection, cache, FUA, provisioning, rotation.

use iscsi_client::{
    device::{ProvisioningType, RotationRate},
    logical_unit::LogicalUnit,
};
use iscsi_proto::scsi::{ControlMode, DiskModes};
use iscsi_testkit::target::{Answer, LunConfig};

use crate::support::{SIZE, World};

const SIX: &[u8] = &[0x1a];
const TEN: &[u8] = &[0x5a];

fn disk(change: impl FnOnce(&mut LunConfig)) -> World {
    let mut lun = LunConfig::new(0, SIZE);
    change(&mut lun);
    World::new(|config| config.with_lun(lun))
}

fn opened(world: &World) -> (bool, bool, bool) {
    let mut found = None;
    world.run(async {
        let unit: LogicalUnit = world.open().await;
        let info = unit.info();
        found = Some((info.read_only, info.fua, info.write_cache));
    });
    found.unwrap()
}

#[test]
fn modes_come_from_the_unit() {
    assert_eq!(opened(&disk(|_| ())), (false, false, true));
    let other = disk(|lun| (lun.read_only, lun.fua, lun.write_cache) = (true, true, false));
    assert_eq!(opened(&other), (true, true, false));
}

#[test]
fn software_write_protection_makes_a_unit_read_only_too() {
    let world = disk(|_| ());
    let modes = DiskModes {
        write_cache: Some(false),
        control: Some(ControlMode {
            software_write_protect: true,
            ..ControlMode::default()
        }),
        ..DiskModes::default()
    };
    let answer = Answer::Data(modes.emit10());
    world.core().answer(0, TEN, answer, u32::MAX);
    assert_eq!(opened(&world), (true, false, false));
}

#[test]
fn a_unit_that_knows_only_one_command_or_only_all_pages_is_asked_so() {
    let refusal = || Answer::Sense(0x05, 0x20, 0x00);
    let modes = DiskModes {
        write_protected: true,
        dpo_fua: true,
        write_cache: Some(false),
        control: None,
    };
    // Only the short command.
    let world = disk(|_| ());
    world.core().answer(0, TEN, refusal(), u32::MAX);
    let answer = Answer::Data(modes.emit());
    world.core().answer(0, SIX, answer, u32::MAX);
    assert_eq!(opened(&world), (true, true, false));
    // Only all pages at once, by either command.
    for short in [false, true] {
        let world = disk(|_| ());
        let field = || Answer::Sense(0x05, 0x24, 0x00);
        let (prefix, data) = match short {
            true => (&[0x1a, 0x08, 0x3f][..], modes.emit()),
            false => (&[0x5a, 0x08, 0x3f][..], modes.emit10()),
        };
        world.core().answer(0, prefix, Answer::Data(data), u32::MAX);
        world.core().answer(0, SIX, field(), u32::MAX);
        world.core().answer(0, TEN, field(), u32::MAX);
        assert_eq!(opened(&world), (true, true, false), "{short}");
    }
    // None at all: it may have a cache.
    let world = disk(|_| ());
    world.core().answer(0, SIX, refusal(), u32::MAX);
    world.core().answer(0, TEN, refusal(), u32::MAX);
    assert_eq!(opened(&world), (false, false, true));
}

#[test]
fn provisioning_and_rotation_are_told() {
    let world = disk(|lun| lun.rotation_rate = 7200);
    world.run(async {
        let info = world.open().await.info();
        assert_eq!(info.rotation, RotationRate::Rpm(7200));
        assert_eq!(info.provisioning, ProvisioningType::NotReported);
        assert!(!info.unmap && !info.unmapped_reads_zeros);
    });
    let world = disk(|lun| lun.thin = true);
    world.run(async {
        let info = world.open().await.info();
        assert_eq!(info.rotation, RotationRate::NonRotating);
        assert_eq!(info.provisioning, ProvisioningType::Thin);
        assert!(info.unmap && info.unmapped_reads_zeros);
    });
    // A page that makes no sense keeps nobody from the blocks.
    let world = disk(|_| ());
    let nonsense = Answer::Data(vec![0, 0x99]);
    world.core().answer(0, &[0x12, 1, 0xb1], nonsense, u32::MAX);
    world.run(async {
        let info = world.open().await.info();
        assert_eq!(info.rotation, RotationRate::NotReported);
    });
}
