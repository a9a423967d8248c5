//! Which paths become one device, and what is said of those that do not.

use std::time::Duration;

use iscsi_client::{device::BlockDeviceExt, initiator::SessionTarget, logical_unit::LogicalUnit};
use iscsi_proto::{LoginStatus, scsi::lun::Lun};
use iscsi_testkit::target::{LunConfig, SimTarget, TargetConfig};
use mpio::{
    ConnectError, JoinError, MultipathBuilder,
    core::{AutoResize, Config, PathAttributes, PathChecker},
};

use crate::support::{LUN_SIZE, TARGET, World, paths, portal, target_config};

fn connect(
    world: &World,
    builder: &MultipathBuilder,
) -> Result<mpio::MultipathDevice, ConnectError> {
    world
        .sim
        .block_on(builder.connect_spawned(&world.initiator))
}

/// Two targets of one name, as after a botched clone: same IQN, another disk behind it.
#[test]
fn two_luns_of_different_identity_are_not_joined() {
    let one = TargetConfig::new(TARGET)
        .with_portal(portal(0), 1)
        .with_lun(LunConfig::new(0, LUN_SIZE));
    let world = World::with_target(1, one);
    let mut lun = LunConfig::new(0, LUN_SIZE);
    lun.naa = [0x60, 1, 4, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let other = TargetConfig::new(TARGET)
        .with_portal(portal(1), 2)
        .with_lun(lun);
    let _other = SimTarget::start(&world.sim.handle(), other).unwrap();
    let error = connect(&world, &world.builder(Config::default())).unwrap_err();
    assert!(matches!(error, ConnectError::Join(_)), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn a_missing_lun_a_wrong_name_and_a_dead_portal_are_told_apart() {
    let world = World::new(2);
    let missing = world.builder(Config::default()).lun(Lun::new(5));
    let missing = connect(&world, &missing).unwrap_err().to_string();
    let wrong = MultipathBuilder::new("iqn.2026-01.example:nobody".parse().unwrap())
        .portal(portal(0).into());
    let wrong = connect(&world, &wrong).unwrap_err().to_string();
    (0..2).for_each(|index| world.sim.net().refuse(World::link(index)));
    let dead = connect(&world, &world.builder(Config::default()))
        .unwrap_err()
        .to_string();
    for text in [&missing, &wrong, &dead] {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(missing.contains("LUN"), "{missing}");
    assert!(wrong.contains("not found"), "{wrong}");
    assert!(dead.contains("refused"), "{dead}");
}

#[test]
fn a_path_that_cannot_be_opened_now_joins_later() {
    let world = World::new(3);
    let unavailable = LoginStatus {
        class: 3,
        detail: 1,
    };
    world.target.core().refuse_logins(1, Some(unavailable));
    let device = connect(&world, &world.builder(Config::default())).unwrap();
    assert_eq!(paths(&device).len(), 1);
    assert_eq!(device.topology().missing.len(), 1);
    world.target.core().refuse_logins(1, None);
    world.sim.block_on(async {
        device.read_bytes(0, 4096).await.unwrap();
        for _ in 0..6000 {
            if paths(&device).len() == 2 {
                return;
            }
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        panic!("the second path never joined");
    });
    assert!(device.topology().missing.is_empty());
    world.end(device);
}

/// Nobody is left who knew the old size better.
#[test]
fn a_device_without_a_path_takes_one_to_the_unit_that_was_resized_meanwhile() {
    let world = World::new(6);
    let config = Config::builder().auto_resize(AutoResize::GrowShrink);
    let device = connect(&world, &world.builder(config.build().unwrap())).unwrap();
    let changed = LUN_SIZE / 2;
    let add = || async {
        let target = SessionTarget::new(TARGET.parse().unwrap(), portal(0).into())
            .with_bind("eth0".parse().unwrap());
        let session = world.initiator.session(&target).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        device.add_path(PathAttributes::new("again"), unit)
    };
    world.sim.block_on(async {
        let [first, last] = &paths(&device)[..] else {
            panic!("two paths")
        };
        device.remove_path(first.id).unwrap();
        world.target.core().resize(0, changed);
        // The other path has not heard of it yet.
        let error = add().await.unwrap_err();
        assert!(matches!(error, JoinError::OtherSize { .. }), "{error}");
        device.remove_path(last.id).unwrap();
        while !paths(&device).is_empty() {
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        add().await.unwrap();
        assert_eq!(device.info().size, changed);
        device.read_bytes(changed - 4096, 4096).await.unwrap();
    });
    world.end(device);
}

/// The same session names after a restart: the target's old sessions are reinstated, none is left.
#[test]
fn a_restarted_program_takes_over_its_own_sessions() {
    let world = World::with_target(5, target_config());
    let first = connect(&world, &world.builder(Config::default())).unwrap();
    assert_eq!(world.target.core().sessions(), 2);
    // A crash, as the target sees it: the connections fall silent and nothing is ever closed. (The
    // first life goes on here, but does not notice before its next ping.)
    for index in 0..2 {
        world.sim.net().cut(World::link(index));
        world.sim.net().heal(World::link(index));
    }
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let runtime = std::sync::Arc::new(world.sim.handle());
    let again = iscsi_client::initiator::Initiator::builder(name, runtime).build();
    let second = world
        .sim
        .block_on(world.builder(Config::default()).connect_spawned(&again))
        .unwrap();
    assert_eq!(world.target.core().sessions(), 2);
    world.sim.block_on(async {
        second.read_bytes(0, 4096).await.unwrap();
    });
    drop(first);
    world.end(second);
}

/// An idle one is not told of anything, and a NOP asks its connection alone.
#[test]
fn a_path_that_tells_another_size_has_the_others_asked_for_theirs() {
    let world = World::new(7);
    let config = Config::builder().path_checker(PathChecker::Nop);
    let device = connect(&world, &world.builder(config.build().unwrap())).unwrap();
    let changed = LUN_SIZE * 2;
    world.sim.block_on(async {
        let first = paths(&device)[0].id;
        device.remove_path(first).unwrap();
        while paths(&device).len() > 1 {
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        world.target.core().resize(0, changed);
        world.sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(device.info().size, LUN_SIZE);
        let target = SessionTarget::new(TARGET.parse().unwrap(), portal(0).into())
            .with_bind("eth0".parse().unwrap());
        let session = world.initiator.session(&target).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        let attributes = || PathAttributes::new("again");
        let error = device.add_path(attributes(), unit.clone()).unwrap_err();
        assert!(matches!(error, JoinError::OtherSize { .. }), "{error}");
        world.sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(device.info().size, changed);
        device.add_path(attributes(), unit).unwrap();
    });
    world.end(device);
}
