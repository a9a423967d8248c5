//! Spares: sessions that are logged in beforehand, and take over from a lost one.

use std::{sync::Arc, time::Duration};

use iscsi_client::{device::BlockDeviceExt, initiator::Initiator};
use iscsi_proto::{Isid, LoginStatus};
use mpio::{
    MultipathBuilder, MultipathDevice, Spares,
    core::{Config, Event, PathSelector, PathSnapshot, SpareState},
};

use crate::support::{LUN_SIZE, World, paths};

const NAMES: [&str; 4] = [
    "eth0 -> 10.0.0.1:3260",
    "eth1 -> 10.0.1.1:3260",
    "eth0 -> 10.0.0.1:3260 spare",
    "eth1 -> 10.0.1.1:3260 spare",
];

fn builder(world: &World) -> MultipathBuilder {
    let config = Config::builder().path_selector(PathSelector::RoundRobin);
    world.builder(config.build().unwrap()).spares(Spares::Warm)
}

fn open(world: &World, builder: &MultipathBuilder) -> MultipathDevice {
    let opened = builder.connect_spawned(&world.initiator);
    world.sim.block_on(opened).unwrap()
}

fn named(device: &MultipathDevice, name: &str) -> PathSnapshot {
    let mut paths = paths(device).into_iter();
    paths.find(|path| *path.name == *name).expect(name)
}

fn ios(device: &MultipathDevice) -> [u64; 4] {
    NAMES.map(|name| named(device, name).counters.ios)
}

/// Reads, one after the other, and how many went where.
async fn read(device: &MultipathDevice, count: u64) -> [u64; 4] {
    let before = ios(device);
    for at in 0..count {
        let offset = at * 4096 % LUN_SIZE;
        device.read_bytes(offset, 4096).await.unwrap();
    }
    let after = ios(device);
    std::array::from_fn(|at| after[at] - before[at])
}

/// The ISIDs of the paths, by name.
fn isids(device: &MultipathDevice, names: &[&str]) -> Vec<Isid> {
    let isid = |name: &&str| {
        let path = device.path(named(device, name).id).unwrap();
        path.session().isid()
    };
    names.iter().map(isid).collect()
}

#[test]
fn one_aborted_connection_costs_no_network_device() {
    for seed in 0..10 {
        let world = World::new(seed);
        let device = open(&world, &builder(&world));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            assert_eq!(read(&device, 8).await, [4, 4, 0, 0]);
            let mut events = device.events();

            // It cannot come back before it may.
            let unavailable = LoginStatus {
                class: 3,
                detail: 1,
            };
            world.target.core().refuse_logins(0, Some(unavailable));
            let lost = named(&device, NAMES[0]).id;
            let session = device.path(lost).unwrap().session().clone();
            let began = world.sim.handle().elapsed();
            session.reconnect();
            let spare = named(&device, NAMES[2]).id;
            let took_over = Event::SpareInUse {
                path: spare,
                instead_of: lost,
            };
            loop {
                let event = events.next().await.expect("the device is open");
                if event.event == took_over {
                    break;
                }
            }
            let took = world.sim.handle().elapsed() - began;
            assert!(took < Duration::from_millis(50), "{took:?}");
            assert_eq!(read(&device, 8).await, [0, 4, 4, 0]);
            assert_eq!(named(&device, NAMES[2]).spare, Some(SpareState::InUse));

            world.target.core().refuse_logins(0, None);
            assert!(world.all_usable(&device).await);
            assert_eq!(read(&device, 8).await, [4, 4, 0, 0]);
            let shown = device.topology();
            assert_eq!(shown.snapshot.counters.takeovers, 1, "{shown}");
        });
        world.end(device);
    }
}

#[test]
fn a_reset_under_load_is_an_error_to_nobody() {
    for seed in 0..10 {
        let world = World::new(seed);
        let device = open(&world, &builder(&world));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            for round in 0..6 {
                let at = [0, 1, 0, 2, 0, 1][round];
                let path = device.path(named(&device, NAMES[at]).id).unwrap();
                let load = futures_util::future::join_all((0..8).map(|worker| {
                    let device = &device;
                    async move {
                        for at in 0..20 {
                            let offset = (worker * 64 + at) * 4096;
                            device.write_at(offset, &[7; 4096]).await.unwrap();
                            device.read_bytes(offset, 4096).await.unwrap();
                        }
                    }
                }));
                let loss = async {
                    world.sim.sleep(Duration::from_millis(2)).await;
                    path.session().reconnect();
                };
                futures_util::future::join(load, loss).await;
            }
            assert!(world.all_usable(&device).await);
        });
        world.end(device);
    }
}

#[test]
fn a_cable_takes_both_away_and_the_other_carries_all() {
    let world = World::new(7);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.sim.net().cut(World::link(0));
        while named(&device, NAMES[0]).is_usable() {
            device.read_bytes(0, 4096).await.unwrap();
        }
        assert_eq!(read(&device, 32).await, [0, 32, 0, 0]);
        assert_eq!(device.snapshot().counters.takeovers, 0);
        world.sim.net().heal_all();
        assert!(world.all_usable(&device).await);
        assert_eq!(read(&device, 8).await, [4, 4, 0, 0]);
    });
    world.end(device);
}

#[test]
fn isids_are_the_same_after_a_restart_and_those_of_paths_the_same_without_spares() {
    let world = World::new(3);
    let device = open(&world, &builder(&world));
    let first = isids(&device, &NAMES);
    for (at, isid) in first.iter().enumerate() {
        assert!(!first[..at].contains(isid), "{first:?}");
    }
    world.sim.block_on(device.close());
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let restarted = Initiator::builder(name, Arc::new(world.sim.handle())).build();
    let device = world
        .sim
        .block_on(builder(&world).connect_spawned(&restarted))
        .unwrap();
    assert_eq!(isids(&device, &NAMES), first);
    world.sim.block_on(device.close());
    let device = open(&world, &builder(&world).spares(Spares::None));
    assert_eq!(paths(&device).len(), 2);
    assert_eq!(isids(&device, &NAMES[..2]), first[..2]);
    world.end(device);
}

#[test]
fn each_of_several_sessions_has_a_spare_of_its_own() {
    let world = World::new(4);
    let device = open(&world, &builder(&world).sessions_per_path(2));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
    });
    let mut names: Vec<String> = paths(&device).iter().map(|p| p.name.to_string()).collect();
    names.sort();
    let wanted = ["eth0 -> 10.0.0.1:3260", "eth1 -> 10.0.1.1:3260"].map(|path| {
        ["#1", "#1 spare", "#2", "#2 spare"].map(|session| format!("{path} {session}"))
    });
    assert_eq!(names, wanted.concat());
    assert_eq!(world.target.core().sessions(), 8);
    world.end(device);
}

#[test]
fn the_spare_of_a_removed_path_is_a_path_like_any_other() {
    let world = World::new(5);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        device.remove_path(named(&device, NAMES[0]).id).unwrap();
        while paths(&device).len() > 3 {
            world.sim.sleep(Duration::from_millis(1)).await;
        }
        let before = named(&device, NAMES[2]).counters.ios;
        for at in 0..8 {
            device.read_bytes(at * 4096, 4096).await.unwrap();
        }
        assert_eq!(named(&device, NAMES[2]).counters.ios, before + 4);
        device.remove_path(named(&device, NAMES[2]).id).unwrap();
        device.read_bytes(0, 4096).await.unwrap();
    });
    world.end(device);
}

#[test]
fn spares_are_seen_in_the_topology_and_among_the_paths() {
    let world = World::new(6);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
    });
    let topology = device.topology().to_string();
    let line = format!("{} active ready running (spare)\n", NAMES[2]);
    assert!(topology.contains(&line), "{topology}");
    let table = device.paths().to_string();
    let columns: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(columns[0].last(), Some(&"spare_st"), "{table}");
    let mut states: Vec<&str> = columns[1..]
        .iter()
        .filter_map(|c| c.last().copied())
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["-", "-", "standby", "standby"], "{table}");
    world.end(device);
}

/// The target has room for so many sessions and no more: the device works, and says what is missing.
#[test]
fn a_spare_that_cannot_log_in_is_missing_and_joins_later() {
    let world = World::new(8);
    let full = LoginStatus {
        class: 3,
        detail: 2,
    };
    let plain = open(&world, &builder(&world).spares(Spares::None));
    world.target.core().refuse_logins(0, Some(full));
    world.target.core().refuse_logins(1, Some(full));
    // The paths share the sessions that are there.
    let device = open(&world, &builder(&world));
    assert_eq!(paths(&device).len(), 2);
    let missing = device.topology().missing;
    let names: Vec<&str> = missing.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, NAMES[2..]);
    world.target.core().refuse_logins(0, None);
    world.target.core().refuse_logins(1, None);
    world.sim.block_on(async {
        while paths(&device).len() < 4 {
            world.sim.sleep(Duration::from_millis(100)).await;
        }
        plain.close().await;
    });
    world.end(device);
}

#[test]
fn a_number_that_leaves_no_room_for_spares_is_refused() {
    let world = World::new(9);
    let builder = builder(&world).session_number(0x4000);
    let opened = world
        .sim
        .block_on(builder.connect_spawned(&world.initiator))
        .unwrap();
    let missing = opened.topology().missing.len();
    assert_eq!((paths(&opened).len(), missing), (2, 2));
    world.end(opened);
}
