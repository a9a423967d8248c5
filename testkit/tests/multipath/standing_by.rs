//! Paths that no I/O takes: what their unit reports is heard all the same.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use iscsi_client::device::BlockDeviceExt;
use iscsi_testkit::target::{AluaConfig, PortState};
use mpio::core::{AutoResize, Config, NoPathRetry, PathGroupingPolicy};

use crate::support::{LUN_SIZE, World, paths, target_config};

fn world_with_a_path_that_stands_by(seed: u64) -> (World, mpio::MultipathDevice) {
    let world = World::new(seed);
    let config = Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .auto_resize(AutoResize::GrowShrink)
        .polling_interval(Duration::from_secs(2), Duration::from_secs(4));
    let device = world.open(config.build().unwrap());
    (world, device)
}

/// The device is as large as all of its paths say, so the one that is never asked must be.
#[test]
fn a_device_of_which_one_path_is_idle_grows_and_shrinks() {
    let (world, device) = world_with_a_path_that_stands_by(1);
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        for size in [2 * LUN_SIZE, LUN_SIZE / 2] {
            world.target.core().resize(0, size);
            world.sim.sleep(Duration::from_secs(10)).await;
            assert_eq!(device.info().size, size);
            device.read_bytes(size - 4096, 4096).await.unwrap();
        }
    });
    world.end(device);
}

/// It must not be found out only by the I/O that fails over to it.
#[test]
fn an_idle_path_that_leads_to_another_unit_is_found_by_its_check() {
    let (world, device) = world_with_a_path_that_stands_by(2);
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.target.core().remap(0, [0x60; 16], "another");
        world.sim.sleep(Duration::from_secs(10)).await;
        let usable = paths(&device).iter().filter(|p| p.is_usable()).count();
        assert_eq!(usable, 0);
    });
    world.end(device);
}

/// Between two states a path is neither used nor dead: I/O waits for the end of it, even where a device without
/// paths fails at once.
#[test]
fn io_waits_while_all_port_groups_are_between_two_states() {
    let world = World::with_target(3, target_config().with_alua(AluaConfig::default()));
    let config = Config::builder()
        .no_path_retry(NoPathRetry::Fail)
        .polling_interval(Duration::from_secs(2), Duration::from_secs(2));
    let device = world.open(config.build().unwrap());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        for group in [1, 2] {
            let core = world.target.core();
            core.set_port_state(group, PortState::Transitioning);
        }
        let read = pin!(device.read_bytes(0, 4096));
        let end = pin!(world.sim.sleep(Duration::from_secs(20)));
        let Either::Right(((), read)) = select(read, end).await else {
            panic!("it did not wait");
        };
        let down = paths(&device).iter().filter(|p| p.down.is_some()).count();
        assert_eq!(down, 0, "no path is dead");
        for group in [1, 2] {
            let core = world.target.core();
            core.set_port_state(group, PortState::Optimized);
        }
        let begun = world.sim.elapsed();
        read.await.unwrap();
        assert!(world.sim.elapsed() - begun < Duration::from_secs(2));
    });
    world.end(device);
}
