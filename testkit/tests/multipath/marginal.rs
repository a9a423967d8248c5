//! Paths that work badly: a cable that comes and goes, and one on which everything is repeated.

use std::{cell::Cell, pin::pin, time::Duration};

use futures_util::future::{join_all, select};
use iscsi_client::device::BlockDeviceExt;
use iscsi_testkit::pattern;
use mpio::{
    MultipathDevice,
    core::{Config, LatencyLimit, MarginalCause, MarginalConfig, PathSnapshot},
};

use crate::support::{World, paths};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn open(world: &World) -> MultipathDevice {
    let limit = LatencyLimit::DEFAULT.sustained(5 * S, 16);
    let marginal = MarginalConfig::DEFAULT
        .losses(3)
        .probation(10 * S, 60 * S)
        .latency(Some(limit));
    let config = Config::builder().marginal(Some(marginal)).build().unwrap();
    world.open(config)
}

/// The path through the NIC of this number.
fn path(device: &MultipathDevice, index: usize) -> PathSnapshot {
    let name = ["eth0", "eth1"][index];
    let all = paths(device);
    all.into_iter()
        .find(|path| path.name.contains(name))
        .unwrap()
}

/// Four programs read, and check what they read, until the other future is ready. The longest wait of one of them.
async fn reading(
    world: &World,
    device: &MultipathDevice,
    until: impl Future<Output = ()>,
) -> Duration {
    let longest = Cell::new(Duration::ZERO);
    let programs = (0..4_u64).map(|program| {
        let longest = &longest;
        async move {
            for at in (0..128).cycle() {
                let offset = (program << 20) + at * 4096;
                let begun = world.sim.elapsed();
                let bytes = device.read_bytes(offset, 4096).await.expect("no error");
                longest.set(longest.get().max(world.sim.elapsed() - begun));
                assert_eq!(pattern::verify(1, offset, &bytes), Ok(()));
                world.sim.sleep(5 * MS).await;
            }
        }
    });
    select(pin!(join_all(programs)), pin!(until)).await;
    longest.get()
}

/// Until that is so; within two minutes.
async fn becomes(world: &World, what: &str, is: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if is() {
            return;
        }
        world.sim.sleep(10 * MS).await;
    }
    panic!("not {what} within two minutes");
}

#[test]
fn a_path_that_is_cut_and_healed_again_and_again_is_left_alone_until_it_is_good() {
    let world = World::new(1);
    let device = open(&world);
    let is_marginal = || path(&device, 0).marginal.is_some();
    let cut_and_heal = || async {
        world.sim.net().cut(World::link(0));
        world.sim.sleep(3 * S).await;
        world.sim.net().heal(World::link(0));
        assert!(world.all_usable(&device).await);
        world.sim.sleep(2 * S).await;
    };
    world.sim.block_on(reading(&world, &device, async {
        world.sim.sleep(2 * S).await;
        for _ in 0..3 {
            assert!(!is_marginal());
            cut_and_heal().await;
        }
        let cause = path(&device, 0).marginal;
        assert!(
            matches!(cause, Some(MarginalCause::Flapping { losses: 3, .. })),
            "{cause:?}"
        );
        let text = device.topology().to_string();
        assert!(text.contains("status=enabled marginal"), "{text}");
        let text = device.paths().to_string();
        assert!(
            text.contains("marginal_st") && text.contains("normal"),
            "{text}"
        );
    }));

    // It costs nobody anything any more.
    let before = path(&device, 0).counters.ios;
    let longest = world.sim.block_on(reading(&world, &device, cut_and_heal()));
    assert!(longest < 50 * MS, "{longest:?}");
    assert_eq!(path(&device, 0).counters.ios, before);
    assert!(is_marginal());

    // Without another one it is used.
    world.sim.block_on(reading(&world, &device, async {
        world.sim.net().cut(World::link(1));
        world.sim.sleep(4 * S).await;
        assert!(path(&device, 0).counters.ios > before);
        world.sim.net().heal(World::link(1));
        assert!(world.all_usable(&device).await);
        let before = path(&device, 0).counters.ios;
        world.sim.sleep(S).await;
        assert_eq!(path(&device, 0).counters.ios, before, "and no longer");
        becomes(&world, "sound", || !is_marginal()).await;
        world.sim.sleep(S).await;
        assert!(path(&device, 0).counters.ios > before);
    }));
    world.end(device);
}

#[test]
fn a_path_on_which_everything_takes_long_is_left_alone_until_it_is_quick() {
    let world = World::new(2);
    let device = open(&world);
    let is_marginal = || path(&device, 1).marginal.is_some();
    world.sim.block_on(reading(&world, &device, async {
        world.sim.sleep(2 * S).await;
        // Less than the silence after which reads leave it.
        world.target.core().set_delay(1, 60 * MS);
        becomes(&world, "marginal", is_marginal).await;
    }));
    let Some(MarginalCause::Latency { mean, best }) = path(&device, 1).marginal else {
        panic!("{}", path(&device, 1));
    };
    assert!(mean > 55 * MS && best < 5 * MS, "{mean:?} {best:?}");
    let wait = world.sim.sleep(20 * S);
    let longest = world.sim.block_on(reading(&world, &device, wait));
    assert!(longest < 20 * MS, "{longest:?}");
    assert!(is_marginal(), "its checks are as slow");
    world.target.core().set_delay(1, Duration::ZERO);
    world
        .sim
        .block_on(becomes(&world, "sound", || !is_marginal()));
    world.end(device);
}

/// The target itself is what fails.
#[test]
fn what_befalls_all_paths_makes_none_marginal() {
    let world = World::new(3);
    let device = open(&world);
    world.sim.block_on(reading(&world, &device, async {
        for _ in 0..8 {
            for index in [0, 1] {
                world.sim.net().reset(World::link(index));
                world.sim.net().refuse(World::link(index));
            }
            world.sim.sleep(2 * S).await;
            world.sim.net().heal_all();
            assert!(world.all_usable(&device).await);
            world.sim.sleep(2 * S).await;
        }
        for index in [0, 1] {
            world.target.core().set_delay(index, 100 * MS);
        }
        world.sim.sleep(30 * S).await;
    }));
    for path in paths(&device) {
        assert_eq!(
            (path.marginal, path.counters.demotions),
            (None, 0),
            "{path}"
        );
        assert!(path.counters.downs >= 8, "{path}");
    }
    world.end(device);
}
