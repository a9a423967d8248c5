//! Devices for several LUNs of one target, and several sessions for one path.

use std::{sync::Arc, time::Duration};

use iscsi_client::{
    device::BlockDeviceExt,
    initiator::{Initiator, SessionTarget},
    session::Session,
};
use iscsi_proto::scsi::lun::Lun;
use iscsi_testkit::{
    pattern,
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, DownReason},
};

use crate::support::{LUN_SIZE, TARGET, World, paths, portal, target_config};

fn two_luns(seed: u64) -> World {
    let config = target_config().with_lun(LunConfig::new(1, LUN_SIZE).with_seed(2));
    World::with_target(seed, config)
}

fn connect(world: &World, builder: &MultipathBuilder) -> MultipathDevice {
    world
        .sim
        .block_on(builder.connect_spawned(&world.initiator))
        .unwrap()
}

async fn check(device: &MultipathDevice, seed: u64) {
    let block = device.read_bytes(4096, 4096).await.unwrap();
    assert_eq!(pattern::verify(seed, 4096, &block), Ok(()));
}

#[test]
fn two_luns_of_one_target_share_their_sessions_and_close_for_themselves() {
    let world = two_luns(1);
    let one = connect(&world, &world.builder(Config::default()));
    let two = connect(&world, &world.builder(Config::default()).lun(Lun::new(1)));
    assert_ne!(one.topology().wwid(), two.topology().wwid());
    assert_eq!(world.target.core().sessions(), 2);
    let users: Vec<_> = world.initiator.sessions().iter().map(|s| s.users).collect();
    assert_eq!(users, [2, 2]);
    world.sim.block_on(async {
        check(&one, 1).await;
        check(&two, 2).await;
        let before = paths(&one);
        two.close().await;
        assert_eq!(world.target.core().sessions(), 2);
        check(&one, 1).await;
        let failovers = one.snapshot().counters.failovers;
        assert_eq!((before.len(), failovers), (2, 0));
    });
    let users: Vec<_> = world.initiator.sessions().iter().map(|s| s.users).collect();
    assert_eq!(users, [1, 1]);
    // It comes back to the sessions that are there.
    let two = connect(&world, &world.builder(Config::default()).lun(Lun::new(1)));
    let logins = |index| world.target.core().counters(index).logins;
    assert_eq!((logins(0), logins(1)), (1, 1));
    world.sim.block_on(async {
        one.close().await;
        check(&two, 2).await;
        two.close().await;
        assert_eq!(world.target.core().sessions(), 0);
    });
    assert!(world.initiator.sessions().is_empty());
    world.end(one);
}

/// A loss is felt by both, and both are back over the one new session.
#[test]
fn both_devices_survive_the_loss_of_a_session_they_share() {
    for seed in 0..5 {
        let world = two_luns(seed);
        let one = connect(&world, &world.builder(Config::default()));
        let two = connect(&world, &world.builder(Config::default()).lun(Lun::new(1)));
        world.sim.block_on(async {
            for index in [0, 1, 0, 1] {
                world.sim.net().cut(World::link(index));
                for _ in 0..20 {
                    check(&one, 1).await;
                    check(&two, 2).await;
                    world.sim.sleep(Duration::from_millis(100)).await;
                }
                world.sim.net().heal(World::link(index));
                assert!(world.all_usable(&one).await);
                assert!(world.all_usable(&two).await);
            }
            assert_eq!(world.target.core().sessions(), 2);
            two.close().await;
            check(&one, 1).await;
        });
        world.end(one);
    }
}

#[test]
fn a_number_of_its_own_sets_a_device_apart() {
    let world = two_luns(3);
    let one = connect(&world, &world.builder(Config::default()));
    let builder = world.builder(Config::default()).lun(Lun::new(1));
    let two = connect(&world, &builder.session_number(1));
    assert_eq!(world.target.core().sessions(), 4);
    world.sim.block_on(async {
        check(&two, 2).await;
        two.close().await;
        check(&one, 1).await;
    });
    assert_eq!(world.target.core().sessions(), 2);
    world.end(one);
}

/// A second opening of the same LUN is a second device over the same sessions.
#[test]
fn dropping_a_device_in_the_background_leaves_its_neighbours_alone() {
    let world = two_luns(4);
    let one = connect(&world, &world.builder(Config::default()));
    for _ in 0..10 {
        drop(connect(
            &world,
            &world.builder(Config::default()).lun(Lun::new(1)),
        ));
        world.sim.block_on(check(&one, 1));
    }
    world.sim.block_on(async {
        while world.initiator.sessions().iter().any(|s| s.users > 1) {
            world.sim.sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(one.snapshot().counters.failovers, 0);
    assert_eq!(world.target.core().counters(0).logins, 1);
    world.end(one);
}

#[test]
fn several_sessions_for_a_path_are_paths_with_numbers() {
    let world = two_luns(5);
    let device = connect(
        &world,
        &world.builder(Config::default()).sessions_per_path(3),
    );
    let names: Vec<_> = paths(&device).iter().map(|p| p.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "eth0 -> 10.0.0.1:3260 #1",
            "eth0 -> 10.0.0.1:3260 #2",
            "eth0 -> 10.0.0.1:3260 #3",
            "eth1 -> 10.0.1.1:3260 #1",
            "eth1 -> 10.0.1.1:3260 #2",
            "eth1 -> 10.0.1.1:3260 #3",
        ]
    );
    let sessions = world.initiator.sessions();
    let mut isids: Vec<_> = sessions.iter().map(|s| s.isid).collect();
    isids.dedup();
    assert_eq!((isids.len(), world.target.core().sessions()), (6, 6));
    world.sim.block_on(async {
        for _ in 0..12 {
            check(&device, 1).await;
        }
        // One session is lost and no other one.
        let lost = paths(&device)[1].id;
        device.path(lost).unwrap().session().reconnect();
        world.sim.sleep(Duration::from_micros(1)).await;
        let down: Vec<_> = paths(&device)
            .into_iter()
            .filter(|p| !p.is_usable())
            .collect();
        assert_eq!(down.len(), 1);
        assert_eq!(down[0].id, lost);
        check(&device, 1).await;
        assert!(world.all_usable(&device).await);
    });
    let logins = |index| world.target.core().counters(index).logins;
    assert_eq!((logins(0), logins(1)), (4, 3));
    world.end(device);
}

#[test]
fn a_session_number_beyond_the_last_is_refused_in_one_line() {
    let world = two_luns(6);
    let builder = world
        .builder(Config::default())
        .session_number(u16::MAX)
        .sessions_per_path(2);
    let device = connect(&world, &builder);
    let topology = device.topology();
    assert_eq!((paths(&device).len(), topology.missing.len()), (2, 2));
    for (path, why) in &topology.missing {
        assert!(path.ends_with("#2"), "{path}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
    world.end(device);
}

/// A target that is not there at first: two devices wait for one login.
#[test]
fn devices_that_wait_for_a_portal_share_its_session_when_it_comes() {
    let one_portal = TargetConfig::new(TARGET)
        .with_portal(portal(0), 1)
        .with_lun(LunConfig::new(0, LUN_SIZE).with_seed(1))
        .with_lun(LunConfig::new(1, LUN_SIZE).with_seed(2));
    let world = World::with_target(7, one_portal.clone());
    let one = connect(&world, &world.builder(Config::default()));
    let two = connect(&world, &world.builder(Config::default()).lun(Lun::new(1)));
    assert_eq!((paths(&one).len(), paths(&two).len()), (1, 1));
    let late = TargetConfig::new(TARGET)
        .with_portal(portal(1), 2)
        .with_lun(LunConfig::new(0, LUN_SIZE).with_seed(1))
        .with_lun(LunConfig::new(1, LUN_SIZE).with_seed(2));
    let late = SimTarget::start(&world.sim.handle(), late).unwrap();
    world.sim.block_on(async {
        while paths(&one).len() + paths(&two).len() < 4 {
            world.sim.sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(late.core().counters(0).logins, 1);
    world.sim.block_on(two.close());
    world.sim.block_on(check(&one, 1));
    world.end(one);
}

/// A clone of this host, whose sessions have the same names, on one of the paths.
#[test]
fn a_path_whose_nexus_another_host_takes_says_so_and_costs_no_error() {
    for seed in 0..5 {
        let world = World::new(seed);
        let device = connect(&world, &world.builder(Config::default()));
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let clone = Initiator::builder(name, Arc::new(world.sim.handle())).build();
        let to = SessionTarget::new(TARGET.parse().unwrap(), portal(0).into());
        let named = |session: &Session| session.stats().nexus_taken > 0;
        world.sim.block_on(async {
            let theirs = clone.session(&to).await.unwrap();
            let ours = paths(&device)[0].id;
            let ours = device.path(ours).unwrap().session().clone();
            assert_eq!(ours.isid(), theirs.isid());
            let mut told = false;
            for _ in 0..1200 {
                check(&device, 1).await;
                world.sim.sleep(Duration::from_millis(100)).await;
                told |= paths(&device)[0].down == Some(DownReason::NexusTaken);
            }
            assert!(named(&ours) || named(&theirs));
            assert_eq!(told, named(&ours), "the path says what its session says");
            theirs.close().await;
            assert!(world.all_usable(&device).await);
        });
        drop(clone);
        world.end(device);
    }
}
