//! All paths down: what waits, for how long, and what the caller is told.

use std::time::Duration;

use futures_util::future::join_all;
use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome},
};
use mpio::core::{Config, NoPathRetry};

use crate::support::World;

fn queue_for(seconds: u64) -> Config {
    Config::builder()
        .no_path_retry(NoPathRetry::QueueFor(Duration::from_secs(seconds)))
        .build()
        .unwrap()
}

fn cut_both(world: &World) {
    (0..2).for_each(|index| world.sim.net().cut(World::link(index)));
}

/// Queue for 10 s, both paths cut for 20 s: one typed error per I/O, and after the heal it works. The
/// time counts from the loss of the last path, which the keepalive finds out after about 5 s.
#[test]
fn queueing_for_a_time_ends_in_exactly_one_error_per_io() {
    for seed in 0..10 {
        let world = World::new(seed);
        let device = world.open(queue_for(10));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            cut_both(&world);
            let begin = world.sim.elapsed();
            let reads = (0..20u64).map(|i| device.read_bytes(i * 4096, 4096));
            let heal = async {
                world.sim.sleep(Duration::from_secs(20)).await;
                world.sim.net().heal_all();
            };
            let (results, ()) = futures_util::future::join(join_all(reads), heal).await;
            for result in results {
                let error = result.expect_err("both paths were cut");
                assert_eq!(error.kind(), ErrorKind::NoPath, "{error}");
                assert_ne!(error.outcome(), Outcome::Executed);
            }
            assert!(world.sim.elapsed() - begin >= Duration::from_secs(20));
            assert!(world.all_usable(&device).await);
            device.read_bytes(0, 4096).await.expect("paths are back");
        });
        world.end(device);
    }
}

#[test]
fn a_shorter_outage_than_the_queueing_time_is_not_seen_by_the_caller() {
    for seed in 0..10 {
        let world = World::new(seed);
        let device = world.open(queue_for(60));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            cut_both(&world);
            let reads = join_all((0..20u64).map(|i| device.read_bytes(i * 4096, 4096)));
            let heal = async {
                world.sim.sleep(Duration::from_secs(8)).await;
                world.sim.net().heal_all();
            };
            let (results, ()) = futures_util::future::join(reads, heal).await;
            results.into_iter().for_each(|result| drop(result.unwrap()));
        });
        world.end(device);
    }
}

#[test]
fn with_fail_the_error_comes_as_soon_as_the_paths_are_known_to_be_down() {
    let world = World::new(4);
    let config = Config::builder()
        .no_path_retry(NoPathRetry::Fail)
        .build()
        .unwrap();
    let device = world.open(config);
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let net = world.sim.net();
        (0..2).for_each(|index| {
            net.refuse(World::link(index));
            net.reset(World::link(index));
        });
        world.sim.sleep(Duration::from_millis(100)).await;
        let begin = world.sim.elapsed();
        let error = device.read_bytes(0, 4096).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoPath);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        assert!(world.sim.elapsed() - begin < Duration::from_secs(1));
    });
    world.end(device);
}
