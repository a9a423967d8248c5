//! What a platform that tells of its connections' bytes changes: a dead network and a slow target are not the same.

use std::time::Duration;

use futures_util::FutureExt;
use iscsi_client::device::BlockDeviceExt;
use iscsi_testkit::sim::{Direction, SimConfig};
use mpio::{
    MultipathDevice,
    core::{Config, Delivery, Event, PathSelector},
};

use crate::support::{World, paths, target_config};

const MS: Duration = Duration::from_millis(1);

fn world(seed: u64, tells: bool) -> World {
    let mut options = SimConfig::new(seed);
    options.tells_progress = tells;
    World::with_options(options, target_config())
}

fn open(world: &World) -> MultipathDevice {
    let builder = Config::builder().path_selector(PathSelector::RoundRobin);
    world.open(builder.build().expect("in range"))
}

fn logins(device: &MultipathDevice) -> Vec<u64> {
    let units = paths(device).into_iter().map(|path| device.path(path.id));
    units
        .map(|unit| unit.expect("there").session().stats().logins)
        .collect()
}

async fn deliveries(device: &MultipathDevice, until: impl Future<Output = ()>) -> Vec<Delivery> {
    let mut events = device.events();
    until.await;
    let mut seen = Vec::new();
    while let Some(event) = events.try_next() {
        if let Event::Delivery { delivery, .. } = event.event {
            seen.push(delivery);
        }
    }
    seen
}

/// How many connections were lost, and what was told, 900 ms after these links were cut under a write. The write is done
/// once they are whole again.
async fn cut(world: &World, device: &MultipathDevice, both: bool) -> (u64, Vec<Delivery>) {
    assert!(device.read_bytes(0, 4096).await.is_ok());
    // One I/O, on either of the paths; the other one is idle.
    let mut write = std::pin::pin!(device.write_bytes(0, vec![1; 4096].into()));
    assert!(write.as_mut().now_or_never().is_none());
    let at = paths(device).iter().position(|path| path.in_flight > 0);
    let at = at.expect("in flight");
    world.sim.net().cut(World::link(at));
    if both {
        world.sim.net().cut(World::link(1 - at));
    }
    let seen = deliveries(device, world.sim.sleep(900 * MS)).await;
    let downs = paths(device).iter().map(|path| path.counters.downs).sum();
    world.sim.net().heal(World::link(0));
    world.sim.net().heal(World::link(1));
    write.await.expect("repeated, or answered at last");
    (downs, seen)
}

/// It is told, and the session of that network ends early, since the other one hears from the target.
#[test]
fn a_network_that_acknowledges_nothing_is_dead() {
    for (seed, tells) in (0..10).flat_map(|seed| [(seed, true), (seed, false)]) {
        let world = world(seed, tells);
        let device = open(&world);
        let (downs, seen) = world.sim.block_on(cut(&world, &device, false));
        let expected: &[Delivery] = if tells {
            &[Delivery::Unacknowledged]
        } else {
            &[]
        };
        assert_eq!((downs, &*seen), (1, expected), "seed {seed}");
        world.end(device);
    }
}

/// A switch that is started anew: nobody hears anything, and no session ends early. (Whoever hears first when it is back
/// is a witness against those that do not.)
#[test]
fn no_session_ends_early_while_all_networks_are_out() {
    for (seed, tells) in (0..10).flat_map(|seed| [(seed, true), (seed, false)]) {
        let world = world(seed, tells);
        let device = open(&world);
        let (downs, seen) = world.sim.block_on(cut(&world, &device, true));
        assert_eq!(downs, 0, "seed {seed}");
        assert_eq!(seen.is_empty(), !tells, "seed {seed}");
        assert!(seen.iter().all(|seen| *seen == Delivery::Unacknowledged));
        world.end(device);
    }
}

/// What was sent arrives, and no answer comes: a target that is stuck with one connection. Its session is left alone, and
/// the write is answered when it goes on, where it would have been of unknown outcome.
#[test]
fn a_target_that_has_what_was_sent_keeps_its_session() {
    for (seed, tells) in (0..10).flat_map(|seed| [(seed, true), (seed, false)]) {
        let world = world(seed, tells);
        let device = open(&world);
        let seen = world.sim.block_on(async {
            let mut write = std::pin::pin!(device.write_bytes(0, vec![1; 4096].into()));
            assert!(write.as_mut().now_or_never().is_none());
            let at = paths(&device).iter().position(|path| path.in_flight > 0);
            let link = World::link(at.expect("in flight")).only(Direction::FromPortal);
            world.sim.net().stall(link);
            let seen = deliveries(&device, world.sim.sleep(3000 * MS)).await;
            let reads = device.read_bytes(1 << 20, 4096).await;
            assert!(reads.is_ok(), "elsewhere");
            world.sim.net().heal(link);
            write.await.expect("answered");
            seen
        });
        let downs: u64 = paths(&device).iter().map(|path| path.counters.downs).sum();
        if tells {
            assert_eq!(seen, [Delivery::Acknowledged], "seed {seed}");
            assert_eq!((downs, logins(&device)), (0, vec![1, 1]), "seed {seed}");
        } else {
            assert_eq!((downs, seen), (1, vec![]), "seed {seed}");
        }
        world.end(device);
    }
}
