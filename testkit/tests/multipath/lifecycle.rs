//! How a device ends, and what becomes of requests whose callers leave early.

use std::time::Duration;

use futures_util::future::{Either, join, select};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDevice, Generation, ReadOptions, WriteOptions},
    error::{ErrorKind, Outcome},
};
use iscsi_testkit::conformance;
use mpio::core::{Config, NoPathRetry};

use crate::support::{World, paths};

const MS: Duration = Duration::from_millis(1);

/// The output of `future`, or `None` if it takes longer than `limit`; it is dropped then.
async fn within<F: Future>(world: &World, limit: Duration, future: F) -> Option<F::Output> {
    let sleep = std::pin::pin!(world.sim.sleep(limit));
    match select(std::pin::pin!(future), sleep).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

fn slow(world: &World, delay: Duration) {
    (0..2).for_each(|index| world.target.core().set_delay(index, delay));
}

#[test]
fn it_keeps_the_contract_of_a_block_device() {
    let world = World::new(1);
    let device = world.open(Config::default());
    let suite = conformance::block_device(&device, 0..32 << 20);
    world.sim.block_on(suite);
    world.end(device);
}

#[test]
fn close_lets_finish_what_runs_and_logs_out() {
    let world = World::new(2);
    let device = world.open(Config::default());
    slow(&world, 20 * MS);
    world.sim.block_on(async {
        assert_eq!(world.target.core().sessions(), 2);
        let running = device.read(0, ReadBuf::zeroed(4096), ReadOptions::default());
        let closing = async {
            world.sim.sleep(5 * MS).await;
            device.close().await;
        };
        let (running, ()) = join(running, closing).await;
        running.result.unwrap();
        assert_eq!(world.target.core().sessions(), 0);
        let late = device.read(0, ReadBuf::zeroed(4096), ReadOptions::default());
        assert_eq!(late.await.result.unwrap_err().kind(), ErrorKind::Closed);
        let info = BlockDevice::info_changed(&device, Generation::default());
        assert_eq!(info.await.unwrap_err().kind(), ErrorKind::Closed);
    });
    world.end(device);
}

#[test]
fn the_last_handle_closes_the_device_in_the_background() {
    let world = World::new(3);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        let mut events = device.events();
        drop(device);
        let closed = async { while events.next().await.is_some() {} };
        assert_eq!(within(&world, 10_000 * MS, closed).await, Some(()));
        assert_eq!(world.target.core().sessions(), 0);
    });
}

#[test]
fn a_dropped_driver_closes_the_device() {
    let world = World::new(4);
    world.sim.block_on(async {
        let builder = world.builder(Config::default());
        let (device, driver) = builder.connect(&world.initiator).await.unwrap();
        drop(driver);
        let late = device.read(0, ReadBuf::zeroed(4096), ReadOptions::default());
        assert_eq!(late.await.result.unwrap_err().kind(), ErrorKind::Closed);
        device.close().await;
        world.sim.sleep(1000 * MS).await;
        assert_eq!(world.target.core().sessions(), 0);
    });
}

/// It is seen to its end by the driver; until then its range is not written again.
#[test]
fn a_dropped_write_guards_its_range_until_its_outcome_is_known() {
    let world = World::new(5);
    let device = world.open(Config::default());
    slow(&world, 200 * MS);
    world.sim.block_on(async {
        let first = WriteBuf::from(vec![1; 4096]);
        let first = device.write(0, first, WriteOptions::default());
        assert!(within(&world, 20 * MS, first).await.is_none());
        let begin = world.sim.elapsed();
        let second = WriteBuf::from(vec![2; 4096]);
        let second = device.write(0, second, WriteOptions::default()).await;
        second.result.unwrap();
        let took = world.sim.elapsed() - begin;
        assert!(took > 350 * MS, "one after the other: {took:?}");
        let snapshot = device.snapshot();
        assert_eq!((snapshot.unfinished, snapshot.ghosts), (0, 0));
        assert!(snapshot.paths().all(mpio::core::PathSnapshot::is_usable));
    });
    world.end(device);
}

#[test]
fn dropped_reads_leave_nothing_behind() {
    let world = World::new(6);
    let device = world.open(Config::default());
    slow(&world, 15 * MS);
    world.sim.block_on(async {
        for i in 0..200 {
            let buf = ReadBuf::zeroed(4096);
            let read = device.read(u64::from(i) * 4096, buf, ReadOptions::default());
            drop(within(&world, MS * (i % 40), read).await);
        }
        let snapshot = device.snapshot();
        assert_eq!((snapshot.unfinished, snapshot.counters.failovers), (0, 0));
    });
    world.end(device);
}

/// Whether it waits for a path or sits on a silent one; and the buffer comes back.
#[test]
fn the_callers_timeout_ends_a_request_wherever_it_is() {
    let world = World::new(7);
    let config = Config::builder().no_path_retry(NoPathRetry::Queue);
    let device = world.open(config.build().unwrap());
    world.sim.block_on(async {
        (0..2).for_each(|index| world.sim.net().cut(World::link(index)));
        // At first the paths are silent, then suspected, then down.
        for _ in 0..5 {
            let begin = world.sim.elapsed();
            let options = ReadOptions::default().with_timeout(2000 * MS);
            let read = device.read(0, ReadBuf::zeroed(4096), options);
            let options = WriteOptions::default().with_timeout(2000 * MS);
            let write = device.write(8192, WriteBuf::from(vec![1; 4096]), options);
            let (read, write) = join(read, write).await;
            let took = world.sim.elapsed() - begin;
            assert!(took >= 2000 * MS && took < 2100 * MS, "{took:?}");
            assert_eq!(read.result.unwrap_err().kind(), ErrorKind::Timeout);
            assert_eq!((read.buf.len(), write.buf.len()), (4096, 4096));
            let error = write.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_ne!(error.outcome(), Outcome::Executed);
        }
    });
    world.end(device);
}

#[test]
fn a_slow_target_is_not_a_dead_network() {
    let world = World::new(8);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        for delay in [800 * MS, 3000 * MS] {
            slow(&world, delay);
            for i in 0..4 {
                let read = device.read(i * 4096, ReadBuf::zeroed(4096), ReadOptions::default());
                read.await.result.unwrap();
            }
        }
    });
    assert_eq!(device.snapshot().counters.failovers, 0);
    assert!(
        paths(&device)
            .iter()
            .all(|path| path.counters.suspicions == 0)
    );
    slow(&world, Duration::ZERO);
    world.end(device);
}

#[test]
fn an_idle_path_that_was_cut_is_found_before_it_is_needed() {
    let world = World::new(9);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        world.sim.net().cut(World::link(1));
        world.sim.sleep(12_000 * MS).await;
        assert_eq!(paths(&device).iter().filter(|p| p.is_usable()).count(), 1);
        for i in 0..4 {
            let begin = world.sim.elapsed();
            let read = device.read(i * 4096, ReadBuf::zeroed(4096), ReadOptions::default());
            read.await.result.unwrap();
            assert!(world.sim.elapsed() - begin < 10 * MS);
        }
    });
    world.end(device);
}

#[test]
fn the_topology_looks_like_multipath_ll() {
    let world = World::new(10);
    let device = world.open(Config::default());
    let text = device.topology().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("36001405f15c51d00"), "{text}");
    assert_eq!(
        lines[1..],
        [
            "size=1.0G features='1 queue_if_no_path' hwhandler='0' wp=rw",
            "`-+- policy='service-time 0' prio=1 status=active",
            "  |- eth0 -> 10.0.0.1:3260 active ready running",
            "  `- eth1 -> 10.0.1.1:3260 active ready running",
        ]
    );
    world.end(device);
}
