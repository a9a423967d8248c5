//! How an inventory ends, and that nothing is left of it.

use std::{sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use iscsi_client::device::BlockDeviceExt;
use mpio::inventory::InventoryError;

use crate::support::{SECOND, World, check, paths, wwid};

const MS: Duration = Duration::from_millis(1);

/// Until nobody but the test has the runtime: no task, no session, no device.
async fn until_alone(world: &World) {
    for _ in 0..20_000 {
        let alone = world.initiator.sessions().is_empty()
            && world.sim.net().connections() == 0
            // The test's own, and the initiator's two: its own and its limiter's.
            && Arc::strong_count(&world.runtime) == 3;
        if alone {
            return;
        }
        world.sim.sleep(MS).await;
    }
    let sessions = world.initiator.sessions().len();
    let connections = world.sim.net().connections();
    let holders = Arc::strong_count(&world.runtime);
    panic!("{sessions} sessions, {connections} connections, {holders} holders of the runtime");
}

#[test]
fn close_closes_all_devices_and_logs_out() {
    let world = World::new(1, 3);
    let (inventory, mut events) = world.scanned(World::builder());
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        inventory.close().await;
        assert_eq!(world.target.core().sessions(), 0);
        assert!(world.initiator.sessions().is_empty());
        device.read_bytes(0, 4096).await.unwrap_err();
        assert!(inventory.devices().is_empty());
        let closed = inventory.device(&wwid(1)).await.unwrap_err();
        assert_eq!(closed, InventoryError::Closed);
        inventory.wait_for(&wwid(1)).await.unwrap_err();
        inventory.rescan().await;
        inventory.close().await;
        while events.next().await.is_some() {}
        drop((inventory, device, events));
        until_alone(&world).await;
    });
    assert_eq!(world.target.core().violations(), []);
}

#[test]
fn a_dropped_inventory_leaves_nothing_behind() {
    let world = World::new(2, 3);
    let (inventory, events) = world.scanned(World::builder());
    let clone = inventory.clone();
    drop(inventory);
    world.sim.block_on(async {
        check(&clone.devices()[0], 1).await;
        drop((clone, events));
        until_alone(&world).await;
    });
    assert_eq!(world.target.core().sessions(), 0);
    assert_eq!(world.target.core().violations(), []);
}

#[test]
fn a_device_that_the_program_holds_outlives_its_inventory() {
    let world = World::new(3, 2);
    let (inventory, _) = world.scanned(World::builder());
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        drop(inventory);
        world.sim.sleep(10 * SECOND).await;
        check(&device, 2).await;
        assert_eq!((paths(&device), world.target.core().sessions()), (4, 4));
        let users: Vec<_> = world.initiator.sessions().iter().map(|s| s.users).collect();
        assert_eq!(users, [1; 4]);
        drop(device);
        until_alone(&world).await;
    });
    assert_eq!(world.target.core().violations(), []);
}

#[test]
fn a_dropped_driver_ends_the_inventory() {
    let world = World::new(4, 1);
    let (inventory, driver) = World::builder().open(&world.initiator).unwrap();
    drop(driver);
    world.sim.block_on(async {
        inventory.scanned().await;
        let closed = inventory.device(&wwid(0)).await.unwrap_err();
        assert_eq!(closed, InventoryError::Closed);
        inventory.close().await;
        until_alone(&world).await;
    });
}

/// In the middle of a login, a list, an opening, a join: whenever it is.
#[test]
fn an_inventory_may_be_dropped_or_closed_at_any_moment() {
    for step in 0..60 {
        let world = World::new(step, 2);
        if step % 3 == 0 {
            world.sim.net().cut(World::link(1));
        }
        let (inventory, _) = world.open(World::builder());
        world.sim.block_on(async {
            world.sim.sleep(Duration::from_micros(100 * step)).await;
            if step % 2 == 0 {
                inventory.close().await;
            }
            drop(inventory);
            until_alone(&world).await;
        });
        assert_eq!(world.target.core().violations(), [], "step {step}");
    }
}

#[test]
fn whoever_waits_may_leave() {
    let world = World::new(5, 1);
    let (inventory, _) = world.open(World::builder());
    world.sim.block_on(async {
        for _ in 0..100 {
            let waiting = std::pin::pin!(inventory.wait_for("nobody"));
            let rescan = std::pin::pin!(inventory.rescan());
            let both = select(waiting, rescan);
            let sleep = std::pin::pin!(world.sim.sleep(MS));
            assert!(matches!(select(both, sleep).await, Either::Right(_)));
        }
        // The scans that were asked for are made, as one.
        inventory.rescan().await;
        check(&inventory.device(&wwid(0)).await.unwrap(), 1).await;
        inventory.close().await;
        drop(inventory);
        until_alone(&world).await;
    });
}
