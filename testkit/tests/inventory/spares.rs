//! A spare beside each session that an inventory opens.

use std::collections::BTreeMap;

use iscsi_proto::LoginStatus;
use mpio::{
    MultipathDevice, Spares,
    core::{PathSnapshot, SpareState},
    inventory::{Inventory, Limits, Rule},
};

use crate::support::{
    OTHER, SECOND, World, check, count, other_wwid, paths, portal, told, until_told, wwid, wwids,
};

/// The sessions, with their ISIDs.
fn sessions(inventory: &Inventory) -> BTreeMap<String, String> {
    let snapshot = inventory.snapshot();
    let routes = snapshot.routes.iter();
    let isid =
        |isid: Option<_>| isid.map_or_else(String::new, |isid: iscsi_proto::Isid| isid.to_string());
    routes
        .map(|route| (route.route.to_string(), isid(route.isid)))
        .collect()
}

fn named(device: &MultipathDevice, name: &str) -> PathSnapshot {
    let snapshot = device.snapshot();
    snapshot.path_named(name).expect(name).clone()
}

#[test]
fn each_path_has_a_spare_of_the_same_two_ends() {
    let world = World::new(1, 4);
    let rule = Rule::path("eth1 -> 10.0.1.1:3260");
    let builder = World::builder().spares(Spares::Warm).priority_by(rule, 30);
    let (inventory, _) = world.scanned(builder);
    assert_eq!(inventory.snapshot().routes.len(), 8);
    assert_eq!(world.target.core().sessions(), 8);
    for device in inventory.devices() {
        let snapshot = device.snapshot();
        assert_eq!(snapshot.paths().count(), 8);
        let spares = snapshot.paths().filter(|path| path.spare.is_some());
        let spares: Vec<_> = spares.collect();
        for spare in &spares {
            assert_eq!(spare.spare, Some(SpareState::StandsBy), "{}", spare.name);
            let principal = spare.name.strip_suffix(" spare").unwrap();
            let principal = snapshot.path_named(principal).unwrap();
            assert_eq!(spare.priority, principal.priority, "{}", spare.name);
        }
        assert_eq!(spares.len(), 4);
        assert_eq!(named(&device, "eth1 -> 10.0.1.1:3260 spare").priority, 30);
    }
    world.end(inventory);
}

#[test]
fn it_takes_over_from_a_path_that_cannot_log_in() {
    let world = World::new(2, 1);
    let (inventory, _) = world.scanned(World::builder().spares(Spares::Warm));
    let device = inventory.devices().remove(0);
    world.sim.block_on(async {
        let unavailable = LoginStatus {
            class: 3,
            detail: 1,
        };
        world.target.core().refuse_logins(0, Some(unavailable));
        let name = "eth0 -> 10.0.0.1:3260";
        device
            .path(named(&device, name).id)
            .unwrap()
            .session()
            .reconnect();
        world.sim.sleep(SECOND).await;
        assert!(!named(&device, name).is_usable());
        let spare = named(&device, "eth0 -> 10.0.0.1:3260 spare");
        assert_eq!(spare.spare, Some(SpareState::InUse));
        let before = spare.counters.ios;
        for _ in 0..16 {
            check(&device, 1).await;
        }
        assert!(named(&device, &spare.name).counters.ios > before);
        world.target.core().refuse_logins(0, None);
        while !named(&device, name).is_usable() {
            world.sim.sleep(SECOND / 10).await;
        }
        let spare = named(&device, &spare.name);
        assert_eq!(spare.spare, Some(SpareState::StandsBy));
    });
    world.end(inventory);
}

#[test]
fn it_comes_with_the_portal_of_its_path_and_goes_with_it() {
    let world = World::new(3, 1);
    let other = world.start_other();
    let (inventory, mut events) = world.scanned(World::builder().spares(Spares::Warm));
    assert_eq!(inventory.snapshot().routes.len(), 8);
    world.tell_of_other();
    world.sim.block_on(inventory.rescan());
    assert_eq!(inventory.snapshot().routes.len(), 12);
    let device = world.sim.block_on(inventory.device(&other_wwid())).unwrap();
    assert_eq!(paths(&device), 4);
    world.target.core().tell_of(&[]);
    world.sim.block_on(async {
        inventory.rescan().await;
        assert_eq!(paths(&device), 4, "they work");
        drop(other);
        until_told(&mut events, "no path is left").await;
        assert_eq!(inventory.snapshot().routes.len(), 8);
        while world.initiator.sessions().len() > 8 {
            world.sim.sleep(SECOND / 100).await;
        }
    });
    world.end(inventory);
}

#[test]
fn isids_are_the_same_after_a_restart_and_those_of_paths_the_same_without_spares() {
    let (mut with, mut without) = (Vec::new(), BTreeMap::new());
    for (seed, spares) in [(4, Spares::Warm), (5, Spares::Warm), (6, Spares::None)] {
        let world = World::new(seed, 1);
        let (inventory, _) = world.scanned(World::builder().spares(spares));
        match spares {
            Spares::Warm => with.push(sessions(&inventory)),
            _ => without = sessions(&inventory),
        }
        world.end(inventory);
    }
    assert_eq!(with[0], with[1]);
    let mut different: Vec<_> = with[0].values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 8, "{with:#?}");
    assert_eq!(without.len(), 4);
    for (route, isid) in &without {
        assert_eq!(with[0].get(route), Some(isid));
    }
}

#[test]
fn sessions_that_are_limited_are_those_of_paths_before_those_of_spares() {
    let world = World::new(7, 1);
    let limits = Limits::default().with_sessions(6);
    let builder = World::builder().spares(Spares::Warm).limits(limits);
    let (inventory, mut events) = world.scanned(builder);
    let spares = sessions(&inventory);
    let spares = spares.keys().filter(|name| name.ends_with("(spare)"));
    assert_eq!(spares.count(), 2);
    assert_eq!(inventory.snapshot().routes.len(), 6);
    let part = "2 more than the limit of 6 sessions: left out";
    let lines = told(&mut events);
    assert_eq!(count(&lines, part), 1, "{lines:#?}");
    world.end(inventory);
}

/// There is nothing to be spared.
#[test]
fn a_portal_that_cannot_be_logged_in_to_has_no_spare() {
    let world = World::new(8, 1);
    let addresses = [&*format!("{},1", portal(2))];
    world.target.core().tell_of(&[(OTHER, &addresses)]);
    let (inventory, _) = world.scanned(World::builder().spares(Spares::Warm));
    assert_eq!(inventory.snapshot().routes.len(), 8 + 2);
    assert_eq!(wwids(&inventory), [wwid(0)]);
    world.end(inventory);
}
