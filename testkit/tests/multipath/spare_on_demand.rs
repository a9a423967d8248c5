//! Spares that log in when the target has a path wait, and leave when it is back.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use iscsi_client::device::BlockDeviceExt;
use iscsi_proto::{
    LoginStatus,
    scsi::{ReservationKey, ReservationType},
};
use iscsi_testkit::target::WriteHold;
use mpio::{
    MultipathBuilder, MultipathDevice, Spares,
    core::{Config, ConfigBuilder, Event, FormerLife, PathSelector, SpareState, TargetProfile},
};

use crate::support::{World, paths, portal, stamp, target_config};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// DefaultTime2Wait of the target.
const WAIT: Duration = Duration::from_secs(2);
const PATH: &str = "eth0 -> 10.0.0.1:3260";
const SPARE: &str = "eth0 -> 10.0.0.1:3260 spare";

/// A target that has an initiator wait before it logs in again.
fn world(seed: u64) -> World {
    let mut config = target_config();
    config.limits.time2wait = 2;
    World::with_target(seed, config)
}

fn config() -> ConfigBuilder {
    Config::builder().path_selector(PathSelector::RoundRobin)
}

fn builder(world: &World) -> MultipathBuilder {
    world.builder(config().build().unwrap())
}

fn open(world: &World, builder: &MultipathBuilder) -> MultipathDevice {
    let opened = builder.connect_spawned(&world.initiator);
    let device = world.sim.block_on(opened).unwrap();
    assert!(world.sim.block_on(world.all_usable(&device)));
    device
}

fn names(device: &MultipathDevice) -> Vec<String> {
    let mut names: Vec<_> = paths(device)
        .iter()
        .map(|path| path.name.to_string())
        .collect();
    names.sort();
    names
}

fn ios(device: &MultipathDevice, name: &str) -> u64 {
    let snapshot = device.snapshot();
    snapshot
        .path_named(name)
        .map_or(0, |path| path.counters.ios)
}

fn is_usable(device: &MultipathDevice, name: &str) -> bool {
    let snapshot = device.snapshot();
    snapshot
        .path_named(name)
        .is_some_and(|path| path.is_usable())
}

/// Until it is so, for a minute at most.
async fn until(world: &World, what: &str, is_so: impl Fn() -> bool) -> Duration {
    let begun = world.sim.handle().elapsed();
    while !is_so() {
        let waited = world.sim.handle().elapsed() - begun;
        assert!(waited < 60 * SECOND, "{what}");
        world.sim.sleep(MS).await;
    }
    world.sim.handle().elapsed() - begun
}

async fn read(device: &MultipathDevice, count: u64) {
    for at in 0..count {
        device.read_bytes(at * 4096, 4096).await.unwrap();
    }
}

#[test]
fn a_reset_costs_no_network_device_and_the_spare_leaves_when_the_path_is_back() {
    for seed in 0..10 {
        let world = world(seed);
        let device = open(&world, &builder(&world));
        world.sim.block_on(async {
            assert_eq!(
                (paths(&device).len(), world.target.core().sessions()),
                (2, 2)
            );
            let mut events = device.events();
            let begun = world.sim.handle().elapsed();
            world.sim.net().reset(World::link(0));
            loop {
                let event = events.next().await.expect("the device is open");
                if matches!(event.event, Event::SpareInUse { .. }) {
                    break;
                }
            }
            let took = world.sim.handle().elapsed() - begun;
            assert!(took < 100 * MS, "{took:?}");
            read(&device, 8).await;
            assert_eq!(ios(&device, SPARE), 4, "half of it all, as the path had");
            assert!(!is_usable(&device, PATH), "it has to wait");

            until(&world, "it is back", || is_usable(&device, PATH)).await;
            assert!(world.sim.handle().elapsed() - begun >= WAIT);
            let before = ios(&device, SPARE);
            read(&device, 8).await;
            assert_eq!(ios(&device, SPARE), before);
            let snapshot = device.snapshot();
            let spare = snapshot.path_named(SPARE).expect("it stays for a while");
            assert_eq!(spare.spare, Some(SpareState::StandsBy));
            until(&world, "it leaves", || paths(&device).len() == 2).await;
            let stayed = world.sim.handle().elapsed() - begun;
            assert!((10 * SECOND..12 * SECOND).contains(&stayed), "{stayed:?}");
            until(&world, "it logs out", || {
                world.target.core().sessions() == 2
            })
            .await;
            assert_eq!(device.topology().missing, []);

            // And once more.
            world.sim.net().reset(World::link(0));
            until(&world, "it is there again", || is_usable(&device, SPARE)).await;
            read(&device, 8).await;
        });
        world.end(device);
    }
}

#[test]
fn the_only_path_is_not_missed_either() {
    let world = world(1);
    let builder = MultipathBuilder::new(crate::support::TARGET.parse().unwrap())
        .portal(portal(0).into())
        .config(config().build().unwrap());
    let device = open(&world, &builder);
    world.sim.block_on(async {
        world.sim.net().reset(World::link(0));
        let begun = world.sim.handle().elapsed();
        read(&device, 4).await;
        let took = world.sim.handle().elapsed() - begun;
        assert!(took < 100 * MS, "{took:?}");
    });
    world.end(device);
}

#[test]
fn none_is_opened_where_nobody_has_to_wait_nor_where_none_is_wanted() {
    for (seed, time2wait, spares) in [(2, 0, Spares::OnDemand), (3, 2, Spares::None)] {
        let mut config = target_config();
        config.limits.time2wait = time2wait;
        let world = World::with_target(seed, config);
        let device = open(&world, &builder(&world).spares(spares));
        world.sim.block_on(async {
            for _ in 0..3 {
                world.sim.net().reset(World::link(0));
                until(&world, "it is lost", || !is_usable(&device, PATH)).await;
                until(&world, "it is back", || is_usable(&device, PATH)).await;
                world.sim.sleep(20 * SECOND).await;
            }
            let isids = world.target.core().login_attempts();
            let mut isids: Vec<_> = isids.iter().map(|attempt| attempt.isid).collect();
            isids.sort();
            isids.dedup();
            assert_eq!(isids.len(), 2);
        });
        world.end(device);
    }
}

/// A cable takes all connections away, and a spare that dials there as well would only be one more.
#[test]
fn none_is_opened_for_a_path_that_is_silent() {
    let world = world(4);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        world.sim.net().cut(World::link(0));
        while is_usable(&device, PATH) {
            read(&device, 1).await;
        }
        world.sim.sleep(20 * SECOND).await;
        read(&device, 8).await;
        assert_eq!(names(&device).len(), 2);
        assert_eq!(device.topology().missing, []);
        world.sim.net().heal_all();
        until(&world, "it is back", || is_usable(&device, PATH)).await;
    });
    world.end(device);
}

#[test]
fn one_that_is_refused_is_missing_until_the_path_is_back_and_tries_as_long_as_that_has_to_wait() {
    let (full, denied) = ((3, 2), (2, 2));
    for (seed, status, tries) in [(5, full, 2..10), (6, denied, 1..2)] {
        let world = world(seed);
        let device = open(&world, &builder(&world));
        world.sim.block_on(async {
            let known: Vec<_> = world.target.core().login_attempts();
            let known: Vec<_> = known.iter().map(|attempt| attempt.isid).collect();
            let attempts = || {
                let attempts = world.target.core().login_attempts();
                let of_spares = attempts.iter().filter(|one| !known.contains(&one.isid));
                of_spares.count()
            };
            let (class, detail) = status;
            let status = LoginStatus { class, detail };
            world.target.core().refuse_logins(0, Some(status));
            world.sim.net().reset(World::link(0));
            until(&world, "it is missing", || {
                !device.topology().missing.is_empty()
            })
            .await;
            let missing = device.topology().missing;
            assert_eq!(&*missing[0].0, SPARE);
            let tried = attempts();
            assert!(tries.contains(&tried), "{tried}");
            read(&device, 8).await;
            world.target.core().refuse_logins(0, None);
            until(&world, "it is back", || is_usable(&device, PATH)).await;
            assert_eq!(device.topology().missing, []);
            assert_eq!(names(&device).len(), 2);
            assert_eq!(attempts(), tried);
        });
        world.end(device);
    }
}

#[test]
fn it_comes_within_the_wait_if_the_target_is_back_by_then() {
    let world = world(7);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        world.sim.net().refuse(World::link(0));
        world.sim.net().reset(World::link(0));
        let begun = world.sim.handle().elapsed();
        world.sim.sleep(SECOND).await;
        world.sim.net().heal_all();
        until(&world, "it is there", || is_usable(&device, SPARE)).await;
        let took = world.sim.handle().elapsed() - begun;
        assert!(took < WAIT, "{took:?}");
    });
    world.end(device);
}

#[test]
fn one_that_was_refused_is_not_missing_any_more_when_its_path_is_removed() {
    let world = world(34);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        let busy = LoginStatus {
            class: 3,
            detail: 1,
        };
        world.target.core().refuse_logins(0, Some(busy));
        world.sim.net().reset(World::link(0));
        until(&world, "it is missing", || {
            !device.topology().missing.is_empty()
        })
        .await;
        device
            .remove_path(device.path_named(PATH).unwrap())
            .unwrap();
        assert_eq!(device.topology().missing, []);
        until(&world, "it is gone", || paths(&device).len() == 1).await;
        device.register(ReservationKey(7)).await.unwrap();
        let kind = ReservationType::WriteExclusive;
        device.reserve(kind).await.expect("there is one path");
        device.release(kind).await.unwrap();
        device.unregister().await.unwrap();
    });
    world.end(device);
}

#[test]
fn after_a_loss_at_which_it_was_refused_it_comes_at_the_next_one() {
    let world = world(35);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        let busy = LoginStatus {
            class: 3,
            detail: 1,
        };
        world.sim.net().reset(World::link(0));
        world.target.core().refuse_logins(0, Some(busy));
        // Its last attempt was refused, and the path has not tried yet.
        world.sim.sleep(WAIT - 30 * MS).await;
        world.target.core().refuse_logins(0, None);
        until(&world, "it is back", || is_usable(&device, PATH)).await;
        assert_eq!(
            (paths(&device).len(), device.topology().missing),
            (2, vec![])
        );
        world.target.core().refuse_logins(0, Some(busy));
        world.sim.net().reset(World::link(0));
        world.sim.sleep(SECOND).await;
        world.target.core().refuse_logins(0, None);
        let took = until(&world, "its spare is there", || is_usable(&device, SPARE)).await;
        assert!(took < SECOND / 2, "{took:?}");
    });
    world.end(device);
}

/// Whoever has lost a write must not go before that is known to be dead: nobody else could reinstate its nexus.
#[test]
fn one_of_which_a_write_may_still_land_stays() {
    let world = world(8);
    let profile = TargetProfile::LIO;
    let config = config().target_profile(profile).quiet_time(None);
    let device = open(&world, &world.builder(config.build().unwrap()));
    world.sim.block_on(async {
        world.sim.net().reset(World::link(0));
        until(&world, "it is there", || is_usable(&device, SPARE)).await;
        world
            .target
            .core()
            .hold_writes(WriteHold::new(1000, 30 * SECOND, 30 * SECOND));
        let load = futures_util::future::join_all((0..2).map(|at| {
            let bytes = Bytes::from(stamp(1, at));
            device.write_bytes(at * 4096, bytes)
        }));
        let loss = async {
            world.sim.sleep(20 * MS).await;
            world.target.core().hold_writes(WriteHold::default());
            // The path is back by its own login, and the spare is not.
            let spare = device.path(device.path_named(SPARE).unwrap()).unwrap();
            spare.session().reconnect();
            let busy = LoginStatus {
                class: 3,
                detail: 1,
            };
            world.target.core().refuse_logins(0, Some(busy));
        };
        for written in join(load, loss).await.0 {
            written.unwrap();
        }
        assert!(device.snapshot().ghosts > 0);
        world.sim.sleep(25 * SECOND).await;
        assert!(device.path_named(SPARE).is_some());
        world.target.core().refuse_logins(0, None);
        until(&world, "it is proven dead", || {
            device.snapshot().ghosts == 0
        })
        .await;
        until(&world, "it leaves", || device.path_named(SPARE).is_none()).await;
    });
    world.end(device);
}

#[test]
fn it_is_registered_like_any_path_and_gives_its_key_back() {
    let world = world(9);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        device.register(ReservationKey(7)).await.unwrap();
        let kind = ReservationType::WriteExclusiveRegistrantsOnly;
        device.reserve(kind).await.unwrap();
        let keys = async || device.reservation_keys().await.unwrap().keys.len();
        for link in [0, 1] {
            let name = ["eth0 -> 10.0.0.1:3260 spare", "eth1 -> 10.0.1.1:3260 spare"][link];
            world.sim.net().reset(World::link(link));
            let begun = world.sim.handle().elapsed();
            while !is_usable(&device, name) {
                assert!(
                    world.sim.handle().elapsed() - begun < 60 * SECOND,
                    "{link} {}",
                    device.topology()
                );
                device
                    .write_bytes(0, stamp(1, 1).into())
                    .await
                    .expect("no path is used unregistered");
            }
            assert_eq!(keys().await, 3);
            until(&world, "it leaves", || device.path_named(name).is_none()).await;
            assert_eq!(keys().await, 2);
            device.write_bytes(0, stamp(1, 2).into()).await.unwrap();
        }
        assert_eq!(device.snapshot().reservation, Some(kind));
        device.release(kind).await.unwrap();
        device.unregister().await.unwrap();
    });
    world.end(device);
}

#[test]
fn after_a_former_life_they_log_in_with_the_paths_and_leave() {
    let world = world(10);
    let fencing = config()
        .target_profile(TargetProfile::LIO)
        .quiet_time(None)
        .former_life(FormerLife::Fence);
    let builder = world.builder(fencing.build().unwrap());
    // One of them cannot log in yet, and may have written.
    let busy = LoginStatus {
        class: 3,
        detail: 1,
    };
    world.sim.block_on(async {
        let plain = world.builder(config().build().unwrap());
        let plain = plain.connect_spawned(&world.initiator).await.unwrap();
        world.target.core().refuse_logins(1, Some(busy));
        // The paths share the sessions that are there.
        let device = builder.connect_spawned(&world.initiator).await.unwrap();
        plain.close().await;
        let spare = "eth1 -> 10.0.1.1:3260 spare";
        assert_eq!(&*device.topology().missing[0].0, spare);
        let write = device.write_bytes(0, stamp(1, 1).into());
        let login = async {
            // Neither what becomes of its path nor of another one makes good for it.
            for link in [1, 0] {
                world.sim.sleep(5 * SECOND).await;
                world.sim.net().reset(World::link(link));
            }
            world.sim.sleep(15 * SECOND).await;
            assert_eq!(device.snapshot().unfinished, 1, "it waits");
            world.target.core().refuse_logins(1, None);
        };
        join(write, login).await.0.unwrap();
        until(&world, "they leave", || paths(&device).len() == 2).await;
        assert_eq!(device.topology().missing, []);
        device.close().await;
    });
    assert_eq!(world.target.core().violations(), []);
}

#[test]
fn one_that_carries_the_io_of_a_removed_path_stays_for_as_long_as_it_is_the_last() {
    let world = world(11);
    let device = open(&world, &builder(&world));
    world.sim.block_on(async {
        world.sim.net().reset(World::link(0));
        until(&world, "it is there", || is_usable(&device, SPARE)).await;
        device
            .remove_path(device.path_named(PATH).unwrap())
            .unwrap();
        let other = device.path_named("eth1 -> 10.0.1.1:3260").unwrap();
        device.fail_path(other).unwrap();
        world.sim.sleep(30 * SECOND).await;
        read(&device, 4).await;
        assert!(ios(&device, SPARE) >= 4);
        device.reinstate_path(other).unwrap();
        until(&world, "it leaves", || device.path_named(SPARE).is_none()).await;
        read(&device, 4).await;
    });
    world.end(device);
}

#[test]
fn a_device_that_is_closed_while_one_logs_in_leaves_no_session_behind() {
    let mut begun = [0, 0];
    for seed in 12..32 {
        let world = world(seed);
        let device = open(&world, &builder(&world));
        world.sim.block_on(async {
            world.sim.net().reset(World::link(0));
            world
                .sim
                .sleep(MS * u32::try_from(seed - 12).unwrap() / 2)
                .await;
            let attempts = world.target.core().login_attempts().len() - 2;
            begun[0] += attempts;
            begun[1] += usize::from(attempts > 0 && device.path_named(SPARE).is_none());
            device.close().await;
            until(&world, "all are gone", || {
                world.target.core().sessions() == 0
            })
            .await;
        });
        world.end(device);
    }
    assert!(begun[0] > 5 && begun[1] > 1, "{begun:?}");
}

#[test]
fn a_number_that_leaves_no_room_for_them_goes_without() {
    let world = world(33);
    let device = open(&world, &builder(&world).session_number(0x4000));
    world.sim.block_on(async {
        world.sim.net().reset(World::link(0));
        until(&world, "it is lost", || !is_usable(&device, PATH)).await;
        until(&world, "it is back", || is_usable(&device, PATH)).await;
        assert_eq!(device.topology().missing, []);
        assert_eq!(names(&device).len(), 2);
    });
    world.end(device);
}

#[test]
fn such_a_number_keeps_no_former_life_from_being_fenced() {
    let world = world(36);
    let fencing = config()
        .target_profile(TargetProfile::LIO)
        .quiet_time(None)
        .former_life(FormerLife::Fence);
    let builder = world.builder(fencing.build().unwrap());
    let device = open(&world, &builder.session_number(0x4000));
    world.sim.block_on(async {
        let begun = world.sim.handle().elapsed();
        device.write_bytes(0, stamp(1, 1).into()).await.unwrap();
        let took = world.sim.handle().elapsed() - begun;
        assert!(took < SECOND, "{took:?}");
    });
    world.end(device);
}
