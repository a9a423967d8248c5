//! Port groups that change their states: no I/O on one that takes none, no error, no wait for a timer.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, join_all};
use iscsi_client::device::BlockDeviceExt;
use iscsi_proto::scsi::AccessState;
use iscsi_testkit::target::{AluaConfig, PortState};
use mpio::{
    ConnectError, JoinError, MultipathDevice,
    core::{Config, Event, NoPathRetry, PathGroupingPolicy},
};

use crate::support::{LUN_SIZE, World, paths, stamp, target_config};

const MS: Duration = Duration::from_millis(1);

fn world(seed: u64, alua: AluaConfig) -> (World, MultipathDevice) {
    let world = World::with_target(seed, target_config().with_alua(alua));
    // The hardest one: where there is no path for a moment, I/O fails.
    let config = Config::builder().no_path_retry(NoPathRetry::Fail);
    let device = world.open(config.build().unwrap());
    (world, device)
}

fn states(first: PortState, second: PortState) -> AluaConfig {
    let mut alua = AluaConfig::default();
    alua.states = vec![(1, first), (2, second)];
    alua
}

impl World {
    /// Until both paths have these states; how long that took.
    async fn known(&self, device: &MultipathDevice, wanted: [AccessState; 2]) -> Duration {
        let begun = self.sim.elapsed();
        for _ in 0..10_000 {
            let mut known: Vec<_> = paths(device);
            known.sort_by_key(|path| Arc::clone(&path.name));
            if known.iter().map(|path| path.access).eq(wanted.map(Some)) {
                return self.sim.elapsed() - begun;
            }
            self.sim.sleep(MS).await;
        }
        panic!("{:?}", paths(device));
    }
}

/// Reads and writes for as long as `until` says; how often. None may fail.
async fn load(world: &World, device: &MultipathDevice, until: Duration) -> u64 {
    let worker = |number: u64| {
        let device = device.clone();
        async move {
            let mut done = 0;
            while world.sim.elapsed() < until {
                let offset = number * 4096;
                let block = stamp(number, done);
                let now = || format!("{:?}: {}", world.sim.elapsed(), device.paths());
                if let Err(error) = device.write_at(offset, &block).await {
                    panic!("{error:#} at {}", now());
                }
                match device.read_bytes(offset, 4096).await {
                    Ok(read) => assert!(*read == *block, "an old block at {}", now()),
                    Err(error) => panic!("{error:#} at {}", now()),
                }
                done += 1;
            }
            done
        }
    };
    join_all((0..8).map(worker)).await.into_iter().sum()
}

#[test]
fn groups_that_flip_every_two_seconds_cost_no_error() {
    for (seed, resting) in [
        (1, PortState::Standby),
        (2, PortState::Unavailable),
        (3, PortState::NonOptimized),
    ] {
        let (world, device) = world(seed, states(PortState::Optimized, resting));
        world.sim.block_on(async {
            let end = world.sim.elapsed() + Duration::from_secs(30);
            let flips = async {
                let core = world.target.core();
                for round in 0..14 {
                    world.sim.sleep(Duration::from_secs(2)).await;
                    let (old, new) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
                    // As an array does it: both are on their way for a while, then one has arrived before the other.
                    core.set_port_state(old, PortState::Transitioning);
                    core.set_port_state(new, PortState::Transitioning);
                    world.sim.sleep(20 * MS).await;
                    core.set_port_state(old, resting);
                    world.sim.sleep(5 * MS).await;
                    core.set_port_state(new, PortState::Optimized);
                }
            };
            let (done, ()) = join(load(&world, &device, end), flips).await;
            assert!(done > 10_000, "{done}");
        });
        let ios: Vec<_> = paths(&device)
            .iter()
            .map(|path| path.counters.ios)
            .collect();
        let all: u64 = ios.iter().sum();
        assert!(
            ios.iter().all(|ios| *ios > all / 3),
            "each in turn: {ios:?}"
        );
        world.end(device);
    }
}

/// The unit is told of a change by a unit attention, and asks at once which.
#[test]
fn a_change_is_known_within_milliseconds() {
    let (world, device) = world(4, states(PortState::Optimized, PortState::Standby));
    world.sim.block_on(async {
        use AccessState::{ActiveNonOptimized, ActiveOptimized, Standby};
        world.known(&device, [ActiveOptimized, Standby]).await;
        world.sim.sleep(Duration::from_secs(1)).await;
        world
            .target
            .core()
            .set_port_state(2, PortState::NonOptimized);
        device.read_bytes(0, 4096).await.unwrap();
        let took = world
            .known(&device, [ActiveOptimized, ActiveNonOptimized])
            .await;
        assert!(took < 20 * MS, "{took:?}");
    });
    world.end(device);
}

#[test]
fn only_optimized_paths_carry_io_as_long_as_there_is_one() {
    let (world, device) = world(5, states(PortState::NonOptimized, PortState::Optimized));
    world.sim.block_on(async {
        use AccessState::{ActiveNonOptimized, ActiveOptimized};
        world
            .known(&device, [ActiveNonOptimized, ActiveOptimized])
            .await;
        let before: Vec<_> = paths(&device);
        let end = world.sim.elapsed() + Duration::from_secs(2);
        let done = load(&world, &device, end).await;
        let after = paths(&device);
        let moved = |state| {
            let ios = |paths: &[mpio::core::PathSnapshot]| -> u64 {
                let of_state = paths.iter().filter(|path| path.access == Some(state));
                of_state.map(|path| path.counters.ios).sum()
            };
            ios(&after) - ios(&before)
        };
        assert_eq!(
            (moved(ActiveNonOptimized), moved(ActiveOptimized)),
            (0, 2 * done)
        );
        let text = device.topology().to_string();
        assert!(
            text.contains("hwhandler='1 alua'") && text.contains("prio=50 status=active"),
            "{text}"
        );
        assert!(text.contains("prio=10 status=enabled"), "{text}");
        let text = device.paths().to_string();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        assert_eq!(
            lines[0].join(" "),
            "hcil dev pri dm_st chk_st dev_st next_check"
        );
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (lines[1][0], lines[1][2], lines[1][3]),
            ("1:0:0:0", "50", "active"),
            "{text}"
        );
        assert_eq!((lines[2][0], lines[2][2]), ("0:0:0:0", "10"), "{text}");
    });
    world.end(device);
}

/// Explicit access: what stands by is asked to take over.
#[test]
fn a_group_that_stands_by_takes_over_when_it_is_asked() {
    for (seed, resting) in [(6, PortState::Standby), (7, PortState::Unavailable)] {
        let mut alua = states(PortState::Optimized, resting);
        alua.implicit = false;
        let (world, device) = world(seed, alua);
        world.sim.block_on(async {
            world.sim.sleep(Duration::from_secs(1)).await;
            let mut events = device.events();
            let end = world.sim.elapsed() + Duration::from_secs(4);
            let cut = async {
                world.sim.sleep(Duration::from_secs(1)).await;
                world.sim.net().refuse(World::link(0));
                world.sim.net().reset(World::link(0));
            };
            let (done, ()) = join(load(&world, &device, end), cut).await;
            assert!(done > 1000, "{done}");
            let mut activated = 0;
            while let Some(event) = events.try_next() {
                activated += u32::from(matches!(event.event, Event::Activating { group: 2, .. }));
            }
            assert_eq!(activated, 1);
        });
        world.end(device);
    }
}

/// Without being asked to, the device uses what the array offers; with, it does as it is told.
#[test]
fn the_grouping_can_be_given_whatever_the_array_says() {
    let world = World::with_target(
        8,
        target_config().with_alua(states(PortState::Optimized, PortState::NonOptimized)),
    );
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::Multibus);
    let device = world.open(config.build().unwrap());
    world.sim.block_on(async {
        let end = world.sim.elapsed() + Duration::from_secs(1);
        load(&world, &device, end).await;
        assert!(paths(&device).iter().all(|path| path.counters.ios > 100));
    });
    world.end(device);
}

/// How large it is cannot be found out then, and a device without a size is none.
#[test]
fn a_device_needs_a_path_with_access_to_begin_with() {
    let alua = states(PortState::Standby, PortState::Unavailable);
    let world = World::with_target(9, target_config().with_alua(alua));
    let connect = |world: &World| {
        let builder = world.builder(Config::default());
        let connecting = builder.connect_spawned(&world.initiator);
        world.sim.block_on(connecting)
    };
    let error = connect(&world).unwrap_err();
    let expected = matches!(error, ConnectError::Join(JoinError::NoAccess));
    assert!(expected, "{error}");
    world
        .target
        .core()
        .set_port_state(2, PortState::NonOptimized);
    let device = connect(&world).unwrap();
    assert_eq!(device.info().size, LUN_SIZE);
    world.end(device);
}
