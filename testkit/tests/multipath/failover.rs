//! Paths fail and come back, one at a time; the caller notices nothing.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use iscsi_client::device::BlockDeviceExt;
use iscsi_testkit::{pattern, sim::Rng};
use mpio::core::{Config, PathGroupingPolicy, PathSelector};

use crate::support::{LUN_SIZE, World, paths, portal, read, seeds, stamp};

const WORKERS: u64 = 6;
/// Operations of each worker.
const OPERATIONS: u64 = 120;

/// Each worker owns one block: writes it, reads it back, and reads from the rest of the LUN. What it
/// reads must be what it wrote last, whichever path carried either.
async fn work(world: &World, device: &mpio::MultipathDevice, worker: u64, seed: u64) {
    let mut rng = Rng::new(seed ^ (worker << 32));
    let own = worker * 4096;
    let mut generation = 0;
    for _ in 0..OPERATIONS {
        match rng.below(3) {
            0 => {
                generation += 1;
                let bytes = Bytes::from(stamp(worker, generation));
                device.write_bytes(own, bytes).await.expect("no error");
            }
            1 if generation > 0 => {
                let block = read(device, own).await.expect("no error");
                assert!(block == stamp(worker, generation), "an old write is back");
            }
            _ => {
                let offset = (1 << 20) + rng.below(LUN_SIZE / 4096 - 1024) * 4096;
                let len = 4096 << rng.below(7);
                let len = len.min((LUN_SIZE - offset) as usize);
                let bytes = device.read_bytes(offset, len).await.expect("no error");
                assert_eq!(pattern::verify(1, offset, &bytes), Ok(()));
            }
        }
        world.sim.sleep(Duration::from_millis(rng.below(100))).await;
    }
    if generation > 0 {
        let block = read(device, own).await.expect("no error");
        assert!(block == stamp(worker, generation));
    }
}

/// Cuts, stalls and resets one path after the other, never both at a time.
async fn disturb(world: &World, device: &mpio::MultipathDevice, seed: u64) -> u64 {
    let mut rng = Rng::new(seed.wrapping_mul(31));
    let net = world.sim.net();
    for _ in 0..3 {
        world
            .sim
            .sleep(Duration::from_millis(200 + rng.below(1500)))
            .await;
        assert!(
            world.all_usable(device).await,
            "a healed path is used again"
        );
        let link = World::link(rng.below(2) as usize);
        match rng.below(3) {
            0 => net.cut(link),
            1 => net.stall(link),
            _ => net.reset(link),
        }
        world
            .sim
            .sleep(Duration::from_millis(50 + rng.below(4000)))
            .await;
        net.heal(link);
    }
    device.snapshot().counters.failovers
}

fn run(seed: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let policy = match rng.below(2) {
        0 => PathGroupingPolicy::Multibus,
        _ => PathGroupingPolicy::Failover,
    };
    let selector = match rng.below(2) {
        0 => PathSelector::RoundRobin,
        _ => PathSelector::QueueLength,
    };
    let config = Config::builder()
        .path_grouping_policy(policy)
        .path_selector(selector)
        .build()
        .unwrap();
    let world = World::new(seed);
    let device = world.open(config);
    let failovers = world.sim.block_on(async {
        let workers = join_all((0..WORKERS).map(|worker| work(&world, &device, worker, seed)));
        let (_, failovers) = join(workers, disturb(&world, &device, seed)).await;
        failovers
    });
    world.end(device);
    (failovers, world.sim.trace_hash())
}

#[test]
fn fifty_seeds_of_failover_show_no_error_and_no_old_data() {
    let seeds = seeds(0..50);
    let count = seeds.end - seeds.start;
    let failovers: u64 = seeds.map(|seed| run(seed).0).sum();
    assert!(
        failovers >= count,
        "only {failovers} failovers in {count} seeds"
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(7), run(7));
}

/// With library defaults, the longest that a read waits for a silent path.
#[test]
fn reads_leave_a_silent_path_within_a_second() {
    for seed in 0..20 {
        let world = World::new(seed);
        let device = world.open(Config::default());
        let longest = world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            let reader = |worker: u64| {
                let (world, device) = (&world, &device);
                async move {
                    let mut longest = Duration::ZERO;
                    for i in 0..400u64 {
                        let begin = world.sim.elapsed();
                        let offset = (worker * 400 + i) * 65536;
                        let bytes = device.read_bytes(offset, 65536).await.unwrap();
                        longest = longest.max(world.sim.elapsed() - begin);
                        assert_eq!(pattern::verify(1, offset, &bytes), Ok(()));
                    }
                    longest
                }
            };
            let cut = async {
                world.sim.sleep(Duration::from_millis(40)).await;
                world.sim.net().cut(World::link(0));
            };
            let (longest, ()) = join(join_all((0..8).map(reader)), cut).await;
            longest.into_iter().max().unwrap()
        });
        assert!(
            longest < Duration::from_secs(1),
            "{longest:?} with seed {seed}"
        );
        world.end(device);
    }
}

#[test]
fn both_paths_carry_the_load_of_a_multibus() {
    let world = World::new(3);
    let device = world.open(
        Config::builder()
            .path_grouping_policy(PathGroupingPolicy::Multibus)
            .build()
            .unwrap(),
    );
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        for i in 0..100u64 {
            device.read_bytes(i * 4096, 4096).await.unwrap();
        }
    });
    for path in paths(&device) {
        let ios = path.counters.ios;
        assert!((40..=60).contains(&ios), "{}: {ios} of 100", path.name);
    }
    assert_eq!(world.target.core().counters(0).logins, 1);
    assert_eq!(world.target.portal(1), portal(1));
    world.end(device);
}
