//! A device that holds its I/O back.

use std::time::Duration;

use futures_util::future::{join, join3};
use iscsi_client::{device::BlockDeviceExt, error::ErrorKind};
use mpio::core::Config;

use crate::support::{World, stamp};

const MS: Duration = Duration::from_millis(1);

#[test]
fn it_is_quiet_until_it_is_resumed() {
    let world = World::new(1);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        let load = async {
            for generation in 0..200 {
                device.write_at(0, &stamp(1, generation)).await.unwrap();
            }
        };
        let operator = async {
            world.sim.sleep(10 * MS).await;
            device.suspend().await.unwrap();
            let ios = || {
                device
                    .snapshot()
                    .paths()
                    .map(|p| p.counters.ios)
                    .sum::<u64>()
            };
            let before = ios();
            assert!((1..200).contains(&before), "in the middle of it: {before}");
            world.sim.sleep(1000 * MS).await;
            assert_eq!(ios(), before);
            assert!(device.snapshot().paths().all(|path| path.in_flight == 0));
            assert!(device.snapshot().is_suspended);
            device.resume();
        };
        join(load, operator).await;
        assert_eq!(device.read_bytes(0, 4096).await.unwrap(), stamp(1, 199));
    });
    world.end(device);
}

/// Whoever takes a snapshot must not believe in a quiet that there was not.
#[test]
fn a_quiet_that_did_not_come_is_an_error() {
    let world = World::new(2);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        // Nothing gets through, so the write stays in flight.
        world.sim.net().stall(World::link(0));
        world.sim.net().stall(World::link(1));
        let block = stamp(1, 1);
        let writing = device.write_at(0, &block);
        let resuming = async {
            world.sim.sleep(10 * MS).await;
            device.resume();
            world.sim.net().heal_all();
        };
        let suspending = async {
            world.sim.sleep(MS).await;
            device.suspend().await
        };
        let (written, suspended, ()) = join3(writing, suspending, resuming).await;
        written.unwrap();
        assert_eq!(suspended.unwrap_err().kind(), ErrorKind::Aborted);
        device.close().await;
        let closed = device.suspend().await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Closed);
    });
    world.end(device);
}
