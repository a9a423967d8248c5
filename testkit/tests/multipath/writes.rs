//! No write lands late, where others write too: a lost write is tried again when it is proven dead.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome},
};
use mpio::core::{Config, PathGroupingPolicy, WriterMode};

use crate::support::{World, read, stamp};

/// All I/O on the first path while it works, so that the test knows which one to cut.
fn config(quiet: Option<Duration>) -> Config {
    Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .writer_mode(WriterMode::Shared)
        .quiet_time(quiet)
        .build()
        .unwrap()
}

/// The write reached the target, its answer never came: it may not be retried before the quiet time
/// is over, and a later write of the same block waits behind it.
#[test]
fn an_ambiguous_write_is_retried_only_after_the_quiet_time() {
    for seed in 0..10 {
        let world = World::new(seed);
        let quiet = Duration::from_secs(7);
        let device = world.open(config(Some(quiet)));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            world.target.core().set_delay(0, Duration::from_secs(30));
            let begin = world.sim.elapsed();
            let first = device.write_bytes(0, Bytes::from(stamp(1, 1)));
            let rest = async {
                world.sim.sleep(Duration::from_millis(50)).await;
                world.sim.net().cut(World::link(0));
                // Long enough for the path to be suspected: what is sent there before that is
                // ambiguous itself.
                world.sim.sleep(Duration::from_secs(1)).await;
                let elsewhere = device.write_bytes(8192, Bytes::from(stamp(2, 1)));
                elsewhere.await.expect("what does not overlap is not held");
                assert!(world.sim.elapsed() - begin < quiet);
                device.write_bytes(0, Bytes::from(stamp(1, 2))).await
            };
            let (first, second) = join(first, rest).await;
            first.expect("the caller sees no error");
            second.expect("nor does the one behind it");
            assert!(world.sim.elapsed() - begin >= quiet);
            let block = read(&device, 0).await.unwrap();
            assert!(block == stamp(1, 2), "the newer write stands");
        });
        assert!(device.snapshot().counters.ambiguous_writes >= 1);
        world.end(device);
    }
}

#[test]
fn without_any_proof_the_caller_is_told_that_the_outcome_is_unknown() {
    let world = World::new(3);
    let device = world.open(config(None));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.target.core().set_delay(0, Duration::from_secs(30));
        let write = device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let cut = async {
            world.sim.sleep(Duration::from_millis(50)).await;
            world.sim.net().reset(World::link(0));
        };
        let (result, ()) = join(write, cut).await;
        let error = result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_ne!(error.kind(), ErrorKind::NoPath);
        read(&device, 4096).await.expect("the device goes on");
    });
    world.end(device);
}

/// A write that never left the process moves at once.
#[test]
fn an_unsent_write_does_not_wait() {
    let world = World::new(4);
    let device = world.open(config(Some(Duration::from_secs(60))));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let net = world.sim.net();
        net.refuse(World::link(0));
        net.reset(World::link(0));
        let begin = world.sim.elapsed();
        device
            .write_bytes(0, Bytes::from(stamp(1, 1)))
            .await
            .unwrap();
        assert!(world.sim.elapsed() - begin < Duration::from_secs(1));
    });
    world.end(device);
}

/// On a target that is a barrier the first login after the loss is proof enough.
#[test]
fn a_barrier_needs_no_quiet_time() {
    let world = World::new(5);
    let device = world.open(
        Config::builder()
            .path_grouping_policy(PathGroupingPolicy::Failover)
            .writer_mode(WriterMode::Shared)
            .reinstatement_is_barrier(true)
            .build()
            .unwrap(),
    );
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.target.core().set_delay(0, Duration::from_millis(500));
        let begin = world.sim.elapsed();
        let write = device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let reset = async {
            world.sim.sleep(Duration::from_millis(50)).await;
            world.sim.net().reset(World::link(0));
        };
        let (write, ()) = join(write, reset).await;
        write.unwrap();
        assert!(world.sim.elapsed() - begin < Duration::from_secs(3));
    });
    assert_eq!(device.snapshot().counters.ambiguous_writes, 1);
    world.end(device);
}
