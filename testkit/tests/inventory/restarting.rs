//! Who we are to a target stays the same over a restart.

use std::{collections::BTreeMap, sync::Arc};

use iscsi_client::initiator::Initiator;
use iscsi_testkit::target::{LunConfig, SimTarget, TargetConfig};
use mpio::inventory::{Inventory, InventoryBuilder};

use crate::support::{LUN_SIZE, TARGET, World, check, portal, wwid, wwids};

/// The session identifier of each route, by local end and portal.
fn isids(inventory: &Inventory) -> BTreeMap<String, String> {
    let snapshot = inventory.snapshot();
    let routes = snapshot.routes.iter();
    let isids: BTreeMap<_, _> = routes
        .map(|route| (route.route.to_string(), route.isid.unwrap().to_string()))
        .collect();
    let mut different: Vec<_> = isids.values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), isids.len(), "{isids:#?}");
    isids
}

fn of(world: &World, builder: InventoryBuilder) -> BTreeMap<String, String> {
    let (inventory, _) = world.scanned(builder);
    let isids = isids(&inventory);
    world.end(inventory);
    isids
}

#[test]
fn session_identifiers_depend_on_nothing_but_the_two_ends() {
    let usual = of(&World::new(1, 1), World::builder());
    assert_eq!(usual.len(), 4);
    // Portals in another order, in other groups, and one more.
    let config = TargetConfig::new(TARGET)
        .with_portal(portal(2), 7)
        .with_portal(portal(1), 8)
        .with_portal(portal(0), 9)
        .with_lun(LunConfig::new(0, LUN_SIZE));
    // Local ends in another order, and one more.
    let builder = Inventory::builder()
        .bind("any".parse().unwrap())
        .bind("eth1".parse().unwrap())
        .bind("eth0".parse().unwrap())
        .discover(portal(1).into());
    let more = of(&World::with_target(2, config), builder);
    assert_eq!(more.len(), 9);
    for (route, isid) in usual {
        assert_eq!(more.get(&route), Some(&isid), "{route}");
    }
}

#[test]
fn a_restarted_program_takes_over_its_own_sessions() {
    let world = World::new(3, 2);
    let (first, _) = world.scanned(World::builder());
    assert_eq!(world.target.core().sessions(), 4);
    // A crash, as the target sees it: the connections fall silent and nothing is ever closed.
    for index in 0..2 {
        world.sim.net().cut(World::link(index));
        world.sim.net().heal(World::link(index));
    }
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let again = Initiator::builder(name, Arc::new(world.sim.handle())).build();
    let second = World::builder().open_spawned(&again).unwrap();
    world.sim.block_on(async {
        second.scanned().await;
        assert_eq!(world.target.core().sessions(), 4);
        assert_eq!(isids(&second), isids(&first));
        check(&second.device(&wwid(1)).await.unwrap(), 2).await;
        drop(first);
        second.close().await;
    });
}

/// Two programs of one process may each want to know what is there.
#[test]
fn two_inventories_of_one_initiator_share_their_sessions() {
    let world = World::new(4, 1);
    let (one, _) = world.scanned(World::builder());
    let (two, _) = world.scanned(World::builder());
    assert_eq!(world.target.core().sessions(), 4);
    world.sim.block_on(one.close());
    assert_eq!(world.target.core().sessions(), 4);
    world.sim.block_on(check(&two.devices()[0], 1));
    assert_eq!(wwids(&two), [wwid(0)]);
    world.end(two);
}

#[test]
fn a_target_that_moves_all_portals_to_another_group_is_the_same_to_us() {
    let world = World::new(5, 1);
    let (inventory, _) = world.scanned(World::builder());
    let before = isids(&inventory);
    world.end(inventory);
    let config = TargetConfig::new(TARGET)
        .with_portal(portal(0), 5)
        .with_portal(portal(1), 5)
        .with_lun(LunConfig::new(0, LUN_SIZE));
    let World {
        sim,
        target,
        initiator,
        ..
    } = world;
    drop(target);
    sim.block_on(sim.sleep(crate::support::SECOND));
    let target = SimTarget::start(&sim.handle(), config).unwrap();
    let inventory = World::builder().open_spawned(&initiator).unwrap();
    sim.block_on(inventory.scanned());
    assert_eq!(isids(&inventory), before);
    sim.block_on(inventory.close());
    assert_eq!(target.core().violations(), []);
}
