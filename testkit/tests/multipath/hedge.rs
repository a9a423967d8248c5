//! Reads leave a silent path at the question: what it takes, and what it spares a target that is merely slow.

use std::time::Duration;

use futures_util::future::join_all;
use iscsi_client::device::BlockDeviceExt;
use iscsi_testkit::pattern;
use mpio::{
    MultipathDevice,
    core::{Config, PathSelector},
};

use crate::support::{World, paths};

const MS: Duration = Duration::from_millis(1);

fn config() -> Config {
    let builder = Config::builder().path_selector(PathSelector::RoundRobin);
    builder.build().expect("in range")
}

/// So many loops read for so long; the longest read.
async fn load(world: &World, device: &MultipathDevice, loops: u64, time: Duration) -> Duration {
    let end = world.sim.elapsed() + time;
    let readers = (0..loops).map(|at| async move {
        let (mut longest, offset) = (Duration::ZERO, at * 4096);
        while world.sim.elapsed() < end {
            let start = world.sim.elapsed();
            let bytes = device.read_bytes(offset, 4096).await.expect("no error");
            longest = longest.max(world.sim.elapsed() - start);
            assert_eq!(pattern::verify(1, offset, &bytes), Ok(()));
            world.sim.sleep(MS).await;
        }
        longest
    });
    let longest = join_all(readers).await;
    longest.into_iter().max().unwrap_or_default()
}

fn logins(device: &MultipathDevice) -> Vec<u64> {
    let units = paths(device).into_iter().map(|path| device.path(path.id));
    units
        .map(|unit| unit.expect("there").session().stats().logins)
        .collect()
}

fn aborts(device: &MultipathDevice) -> u64 {
    let units = paths(device).into_iter().map(|path| device.path(path.id));
    units
        .map(|unit| unit.expect("there").session().stats().aborts_sent)
        .sum()
}

#[test]
fn a_read_on_a_path_that_is_cut_takes_little_more_than_a_tenth_of_a_second() {
    for seed in 0..20 {
        let world = World::new(seed);
        let device = world.open(config());
        let longest = world.sim.block_on(async {
            load(&world, &device, 8, 100 * MS).await;
            world.sim.net().cut(World::link(seed as usize % 2));
            load(&world, &device, 8, 2000 * MS).await
        });
        assert!(longest < 130 * MS, "seed {seed}: {longest:?}");
        assert!(longest >= 100 * MS, "seed {seed}: {longest:?}");
        let counters = device.snapshot().counters;
        assert!((1..=8).contains(&counters.reads_hedged), "{counters:?}");
        world.end(device);
    }
}

/// A target that does nothing for a while is not a dead network: nothing moves, whatever was the last to be heard.
#[test]
fn a_target_that_stalls_keeps_its_reads() {
    for seed in 0..20 {
        let world = World::new(seed);
        let device = world.open(config());
        let net = world.sim.net();
        world.sim.block_on(async {
            load(&world, &device, 8, 100 * MS).await;
            let stall = async {
                world.sim.sleep(50 * MS).await;
                (0..2).for_each(|path| net.stall(World::link(path)));
                world.sim.sleep(300 * MS).await;
                (0..2).for_each(|path| net.heal(World::link(path)));
            };
            let load = load(&world, &device, 8, 1000 * MS);
            futures_util::future::join(stall, load).await;
        });
        let snapshot = device.snapshot();
        assert_eq!(snapshot.counters.reads_hedged, 0, "seed {seed}");
        assert_eq!(
            snapshot
                .paths()
                .map(|path| path.counters.downs)
                .sum::<u64>(),
            0
        );
        assert_eq!(logins(&device), [1, 1]);
        world.end(device);
    }
}

/// One connection stalls for less than its question may take: its reads are done elsewhere, it is asked for nothing
/// else, and has its session after it.
#[test]
fn a_path_that_stalls_for_a_moment_keeps_its_session_and_gets_no_abort() {
    for seed in 0..20 {
        let world = World::new(seed);
        let device = world.open(config());
        let link = World::link(seed as usize % 2);
        world.sim.block_on(async {
            load(&world, &device, 8, 100 * MS).await;
            let stall = async {
                world.sim.sleep(50 * MS).await;
                world.sim.net().stall(link);
                world.sim.sleep(250 * MS).await;
                world.sim.net().heal(link);
            };
            let load = load(&world, &device, 8, 1000 * MS);
            let ((), longest) = futures_util::future::join(stall, load).await;
            assert!(longest < 130 * MS, "seed {seed}: {longest:?}");
        });
        let snapshot = device.snapshot();
        let wasted = snapshot.paths().map(|path| path.counters.hedges_wasted);
        assert!(snapshot.counters.reads_hedged > 0, "seed {seed}");
        assert_eq!(snapshot.counters.reads_hedged, wasted.sum::<u64>());
        assert_eq!(aborts(&device), 0);
        assert_eq!(logins(&device), [1, 1]);
        world.end(device);
    }
}
