//! A spare beside a session that has to wait, for as long as it is needed.

use std::time::Duration;

use iscsi_proto::LoginStatus;
use iscsi_testkit::target::TargetConfig;
use mpio::{
    MultipathDevice,
    core::SpareState,
    inventory::{Inventory, InventoryEvents, Limits},
};

use crate::support::{SECOND, World, check, paths, target_config, told, until_told};

const PATH: &str = "eth0 -> 10.0.0.1:3260";
const SPARE: &str = "eth0 -> 10.0.0.1:3260 spare";

/// A target that has an initiator wait before it logs in again.
fn config(units: u16) -> TargetConfig {
    let mut config = target_config(units);
    config.limits.time2wait = 2;
    config
}

fn routes(inventory: &Inventory) -> usize {
    inventory.snapshot().routes.len()
}

fn is_usable(device: &MultipathDevice, name: &str) -> bool {
    let snapshot = device.snapshot();
    snapshot
        .path_named(name)
        .is_some_and(|path| path.is_usable())
}

fn spare(device: &MultipathDevice) -> Option<SpareState> {
    device.snapshot().path_named(SPARE)?.spare
}

async fn until(world: &World, what: &str, is_so: impl Fn() -> bool) -> Duration {
    let begun = world.sim.handle().elapsed();
    while !is_so() {
        let waited = world.sim.handle().elapsed() - begun;
        assert!(waited < 60 * SECOND, "{what}");
        world.sim.sleep(Duration::from_millis(1)).await;
    }
    world.sim.handle().elapsed() - begun
}

/// Both sessions through the first portal are lost at once, one for each NIC.
async fn lose(world: &World, device: &MultipathDevice) {
    world.sim.net().reset(World::link(0));
    until(world, "it is lost", || !is_usable(device, PATH)).await;
}

#[test]
fn it_comes_at_the_loss_and_leaves_when_its_path_is_back() {
    let world = World::with_target(1, config(2));
    let (inventory, mut events) = world.scanned(World::builder());
    let devices = inventory.devices();
    world.sim.block_on(async {
        assert_eq!(routes(&inventory), 4);
        for _ in 0..2 {
            lose(&world, &devices[0]).await;
            let came = until(&world, "they are in use", || {
                devices
                    .iter()
                    .all(|device| spare(device) == Some(SpareState::InUse))
            });
            let came = came.await;
            assert!(came < SECOND / 5, "{came:?}");
            until(&world, "all are there", || paths(&devices[1]) == 6).await;
            assert_eq!((routes(&inventory), paths(&devices[0])), (6, 6));
            check(&devices[0], 1).await;
            check(&devices[1], 2).await;
            until(&world, "it is back", || is_usable(&devices[0], PATH)).await;
            assert_eq!(spare(&devices[0]), Some(SpareState::StandsBy));
            until(&world, "they leave", || routes(&inventory) == 4).await;
            until(&world, "they are closed", || paths(&devices[1]) == 4).await;
            until(&world, "they log out", || {
                world.target.core().sessions() == 4
            })
            .await;
        }
        let lines = told(&mut events);
        let left = lines
            .iter()
            .filter(|line| line.contains("its path is back"));
        assert_eq!(left.count(), 8, "two units, two NICs, twice: {lines:#?}");
    });
    drop(devices);
    world.end(inventory);
}

/// What the program has taken out comes back by no other way.
#[test]
fn a_path_that_the_program_has_removed_has_none() {
    let world = World::with_target(2, config(2));
    let (inventory, mut events) = world.scanned(World::builder());
    let devices = inventory.devices();
    world.sim.block_on(async {
        devices[0]
            .remove_path(devices[0].path_named(PATH).unwrap())
            .unwrap();
        until_told(&mut events, "the program removed it").await;
        lose(&world, &devices[1]).await;
        until(&world, "it is in use", || {
            spare(&devices[1]) == Some(SpareState::InUse)
        })
        .await;
        until(&world, "they leave", || routes(&inventory) == 4).await;
        assert_eq!(count_of(&mut events, SPARE, "lun 0"), 0);
        assert_eq!(paths(&devices[0]), 3);
    });
    drop(devices);
    world.end(inventory);
}

/// How many events say something of a unit through a route.
fn count_of(events: &mut InventoryEvents, route: &str, unit: &str) -> usize {
    let lines = told(events);
    let lines = lines
        .iter()
        .filter(|line| line.contains(route) && line.contains(unit));
    lines.count()
}

#[test]
fn where_there_is_no_room_for_one_there_is_none_and_nobody_is_told_of_a_limit() {
    let world = World::with_target(3, config(1));
    let limits = Limits::default().with_sessions(4);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    let device = inventory.devices().remove(0);
    world.sim.block_on(async {
        lose(&world, &device).await;
        until(&world, "it is back", || is_usable(&device, PATH)).await;
        inventory.rescan().await;
        assert_eq!(routes(&inventory), 4);
        let lines = told(&mut events);
        assert!(
            !lines.iter().any(|line| line.contains("sessions")),
            "{lines:#?}"
        );
    });
    drop(device);
    world.end(inventory);
}

/// It is not tried again and again beside a path that cannot log in either.
#[test]
fn one_that_cannot_log_in_is_given_up() {
    let world = World::with_target(4, config(1));
    let (inventory, _) = world.scanned(World::builder());
    let device = inventory.devices().remove(0);
    world.sim.block_on(async {
        let busy = LoginStatus {
            class: 3,
            detail: 1,
        };
        world.target.core().refuse_logins(0, Some(busy));
        lose(&world, &device).await;
        until(&world, "it is tried", || routes(&inventory) == 6).await;
        until(&world, "it is given up", || routes(&inventory) == 4).await;
        assert!(!is_usable(&device, PATH));
        world.sim.sleep(30 * SECOND).await;
        assert_eq!(routes(&inventory), 4);
        world.target.core().refuse_logins(0, None);
        until(&world, "it is back", || is_usable(&device, PATH)).await;
    });
    drop(device);
    world.end(inventory);
}

#[test]
fn one_that_is_in_use_goes_with_its_inventory() {
    let world = World::with_target(5, config(1));
    let (inventory, _) = world.scanned(World::builder());
    let device = inventory.devices().remove(0);
    world.sim.block_on(async {
        lose(&world, &device).await;
        until(&world, "it is in use", || {
            spare(&device) == Some(SpareState::InUse)
        })
        .await;
        inventory.close().await;
        until(&world, "all are gone", || {
            world.target.core().sessions() == 0
        })
        .await;
    });
    drop(device);
    assert_eq!(world.target.core().violations(), []);
}
