//! How much of the links a device uses, over real sessions.

use std::time::Duration;

use futures_util::future::join_all;
use iscsi_client::{buf::ReadBuf, device::ReadOptions};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, PathSelector},
};

use crate::support::{TARGET, World, portal};

const GBIT: u64 = 125_000_000;
const MS: Duration = Duration::from_millis(1);
const BLOCK: usize = 64 << 10;
const DEPTH: u64 = 16;

fn world(rates: [u64; 2]) -> World {
    let world = World::new(1);
    for (index, rate) in rates.into_iter().enumerate() {
        world.sim.net().limit(World::link(index), Some(rate));
    }
    world
}

/// A device over one of the paths.
fn single(world: &World, index: usize) -> MultipathDevice {
    let builder = MultipathBuilder::new(TARGET.parse().unwrap())
        .portal(portal(index).into())
        .bind(["eth0", "eth1"][index].parse().unwrap());
    let opened = builder.connect_spawned(&world.initiator);
    world.sim.block_on(opened).unwrap()
}

/// Bytes per second that reads bring, with as many of them under way as ever.
fn measure(world: &World, device: &MultipathDevice, time: Duration) -> u64 {
    let end = world.sim.elapsed() + time;
    let slots = (0..DEPTH).map(|slot| async move {
        let mut buf = ReadBuf::zeroed(BLOCK);
        let mut done = 0;
        while world.sim.elapsed() < end {
            let offset = (slot * 1024 + done % 64) * BLOCK as u64;
            let read = device.read(offset, buf, ReadOptions::default()).await;
            read.result.unwrap();
            buf = read.buf;
            // What ends later is not counted, and what began earlier is.
            done += u64::from(world.sim.elapsed() <= end);
        }
        done
    });
    let done: u64 = world.sim.block_on(join_all(slots)).into_iter().sum();
    done * BLOCK as u64 * 1000 / u64::try_from(time.as_millis()).unwrap()
}

/// What each link brings alone, and what both bring together.
fn shares(rates: [u64; 2], selector: PathSelector) -> ([u64; 2], u64) {
    let alone = [0, 1].map(|index| {
        let world = world(rates);
        let device = single(&world, index);
        measure(&world, &device, 200 * MS);
        let alone = measure(&world, &device, 300 * MS);
        world.end(device);
        alone
    });
    let world = world(rates);
    let config = Config::builder().path_selector(selector).build().unwrap();
    let device = world.open(config);
    world.sim.block_on(world.all_usable(&device));
    measure(&world, &device, 300 * MS);
    let both = measure(&world, &device, 500 * MS);
    world.end(device);
    (alone, both)
}

#[test]
fn two_equal_links_bring_twice_as_much_as_one() {
    let selector = Config::default().path_selector();
    let ([a, b], both) = shares([GBIT, GBIT], selector);
    assert!(a > GBIT * 9 / 10, "{a}: the link is what limits it");
    let least = a.min(b);
    assert!(both * 100 >= least * 195, "{both} of {a} and {b}");
}

#[test]
fn unequal_links_bring_their_sum() {
    let selector = Config::default().path_selector();
    let ([a, b], both) = shares([GBIT, GBIT / 5], selector);
    assert!(a > 4 * b, "{a} and {b}");
    assert!(both * 100 >= (a + b) * 95, "{both} of {a} and {b}");
}

/// And the faster one is worth the more.
#[test]
fn a_link_that_gets_slow_and_quick_again_is_followed() {
    let world = world([GBIT, GBIT]);
    let device = world.open(Config::default());
    world.sim.block_on(world.all_usable(&device));
    measure(&world, &device, 300 * MS);
    for rate in [GBIT / 10, GBIT] {
        world.sim.net().limit(World::link(1), Some(rate));
        measure(&world, &device, 700 * MS);
        let both = measure(&world, &device, 500 * MS);
        let wanted = GBIT + rate;
        // Headers and turns of the loop cost a little, as they do with one link.
        assert!(both * 100 >= wanted * 90, "{both} of {wanted}");
    }
    world.end(device);
}
