//! The rungs of the fencing ladder, over real sessions with a target whose back end keeps writes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome},
    initiator::Initiator,
    session::{DownReason, SessionEventKind, SessionState},
};
use iscsi_testkit::target::{LunConfig, Redirect, Reinstatement, TargetConfig, WriteHold};
use mpio::{
    MultipathDevice,
    core::{
        Config, ConfigBuilder, FenceRung, FormerLife, PathGroupingPolicy, TargetProfile, WriterMode,
    },
};

use crate::support::{LUN_SIZE, TARGET, World, paths, portal, read, stamp};

const SECOND: Duration = Duration::from_secs(1);
const HELD: Duration = Duration::from_secs(5);

/// Both portals in one portal group.
fn one_group(seed: u64) -> World {
    let config = TargetConfig::new(TARGET)
        .with_portal(portal(0), 1)
        .with_portal(portal(1), 1)
        .with_lun(LunConfig::new(0, LUN_SIZE).with_seed(1));
    World::with_target(seed, config)
}

fn barrier() -> ConfigBuilder {
    Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .target_profile(TargetProfile::LIO)
        // So that nothing but a login can prove anything.
        .quiet_time(None)
}

fn hold(world: &World, time: Duration) {
    let per_mille = if time.is_zero() { 0 } else { 1000 };
    let hold = WriteHold::new(per_mille, time, time);
    world.target.core().hold_writes(hold);
}

/// Writes block 0 through path 0, which is lost for good while the target has the write.
async fn lose_a_write(world: &World, device: &MultipathDevice, generation: u64) {
    hold(world, HELD);
    let write = device.write_bytes(0, Bytes::from(stamp(1, generation)));
    let loss = async {
        world.sim.sleep(Duration::from_millis(20)).await;
        hold(world, Duration::ZERO);
        world.sim.net().refuse(World::link(0));
        world.sim.net().reset(World::link(0));
    };
    join(write, loss)
        .await
        .0
        .expect("repeated through the other path");
}

fn done(device: &MultipathDevice, rung: FenceRung) -> u64 {
    device.snapshot().counters.fence.of(rung).done
}

#[test]
fn a_sibling_reinstates_the_nexus_of_a_path_that_stays_away() {
    for (seed, what) in [(1, Reinstatement::Ends), (2, Reinstatement::Waits)] {
        let world = one_group(seed);
        let core = world.target.core();
        core.set_reinstatement(what);
        let device = world.open(barrier().build().unwrap());
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            let lost = paths(&device)[0].id;
            let session = device.path(lost).unwrap().session().clone();
            let before = core.login_attempts().len();
            lose_a_write(&world, &device, 1).await;

            let begin = world.sim.elapsed();
            device
                .write_bytes(0, Bytes::from(stamp(1, 2)))
                .await
                .unwrap();
            assert!(
                world.sim.elapsed() - begin < SECOND,
                "{what:?}: not held for long"
            );
            assert_eq!(done(&device, FenceRung::SiblingReinstatement), 1);
            let logins = core.login_attempts();
            let through: Vec<_> = logins[before..]
                .iter()
                .map(|l| (l.portal, l.isid))
                .collect();
            assert_eq!(
                through,
                [(1, session.isid())],
                "the lost path's, and one is enough"
            );
            assert!(!matches!(session.state(), SessionState::Up));

            world.sim.sleep(3 * HELD).await;
            let block = read(&device, 0).await.unwrap();
            assert!(block == stamp(1, 2), "{what:?}: the newer write stands");

            // The path's own login is a reinstatement again, and nothing to worry about.
            world.sim.net().heal_all();
            assert!(world.all_usable(&device).await);
            let taken = |kind: &SessionEventKind| {
                matches!(
                    kind,
                    SessionEventKind::Down {
                        reason: DownReason::NexusTaken,
                        ..
                    }
                )
            };
            assert!(!session.events(0).iter().any(|event| taken(&event.kind)));
            world.sim.sleep(60 * SECOND).await;
            assert_eq!(core.sessions(), 2, "and none that is left over");
            let downs = paths(&device).iter().map(|p| p.counters.downs).sum::<u64>();
            assert_eq!(downs, 1);
        });
        world.end(device);
    }
}

/// A lost write of a shared unit waits for that login too, and for nothing else.
#[test]
fn with_several_writers_the_repetition_itself_waits_for_the_sibling() {
    let world = one_group(3);
    world.target.core().set_reinstatement(Reinstatement::Ends);
    let device = world.open(barrier().writer_mode(WriterMode::Shared).build().unwrap());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let begin = world.sim.elapsed();
        lose_a_write(&world, &device, 1).await;
        assert!(world.sim.elapsed() - begin < SECOND);
        assert_eq!(done(&device, FenceRung::SiblingReinstatement), 1);
        assert!(read(&device, 0).await.unwrap() == stamp(1, 1));
    });
    assert_eq!(world.target.core().late_writes(), 0);
    world.end(device);
}

/// Controllers of an array have a portal group each, so there it is no way.
#[test]
fn a_portal_of_another_group_is_no_sibling_and_the_range_stays_closed_after_the_limit() {
    let world = World::new(4);
    let device = world.open(barrier().fence_limit(3 * SECOND).build().unwrap());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        lose_a_write(&world, &device, 1).await;
        let begin = world.sim.elapsed();
        let over = device.write_bytes(0, Bytes::from(stamp(1, 2))).await;
        let error = over.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotExecuted, "{error}");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let waited = world.sim.elapsed() - begin;
        assert!(waited > 2 * SECOND && waited < 4 * SECOND, "{waited:?}");
        assert!(read(&device, 0).await.unwrap() == stamp(1, 1));
        assert_eq!(done(&device, FenceRung::SiblingReinstatement), 0);

        world.sim.net().heal_all();
        assert!(world.all_usable(&device).await);
        let over = device.write_bytes(0, Bytes::from(stamp(1, 3))).await;
        over.expect("the path's own login was the proof");
        assert_eq!(done(&device, FenceRung::Reinstatement), 1);
    });
    world.end(device);
}

/// A process that died left a write behind, in the target's back end. Its successor has the same name and
/// the same local ends, and so the same nexuses.
fn succeed(seed: u64, what: Reinstatement, config: ConfigBuilder) -> (Duration, bool) {
    let world = World::new(seed);
    world.target.core().set_reinstatement(what);
    let first = world.open(Config::default());
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let second = Initiator::builder(name, std::sync::Arc::new(world.sim.handle())).build();
    let (took, stands) = world.sim.block_on(async {
        assert!(world.all_usable(&first).await);
        hold(&world, HELD);
        let mut write = Box::pin(first.write_bytes(0, Bytes::from(stamp(1, 1))));
        let died = world.sim.sleep(Duration::from_millis(20));
        futures_util::future::select(&mut write, Box::pin(died)).await;
        hold(&world, Duration::ZERO);
        // What it would still say is not heard.
        for link in [0, 1] {
            world.sim.net().refuse(World::link(link));
            world.sim.net().reset(World::link(link));
        }
        drop(write);
        drop(first);
        world.sim.sleep(Duration::from_millis(100)).await;
        world.sim.net().heal_all();

        let builder = world.builder(config.build().unwrap());
        let begin = world.sim.elapsed();
        let device = builder.connect_spawned(&second).await.unwrap();
        read(&device, 0).await.expect("a read waits for nothing");
        assert!(world.sim.elapsed() - begin < SECOND);
        device
            .write_bytes(0, Bytes::from(stamp(1, 2)))
            .await
            .unwrap();
        let took = world.sim.elapsed() - begin;
        world.sim.sleep(2 * HELD).await;
        let stands = read(&device, 0).await.unwrap() == stamp(1, 2);
        device.close().await;
        (took, stands)
    });
    assert_eq!(world.target.core().violations(), []);
    (took, stands)
}

#[test]
fn a_write_of_a_former_life_lands_over_one_of_this_if_nobody_asks_for_a_fence() {
    let (took, stands) = succeed(1, Reinstatement::Ignores, Config::builder());
    assert!(took < SECOND);
    assert!(!stands, "which is why there is one");
}

#[test]
fn the_first_write_waits_for_the_writes_of_a_former_life() {
    let fence = || Config::builder().former_life(FormerLife::Fence);
    let (took, stands) = succeed(2, Reinstatement::Ignores, fence());
    assert!(
        stands && took > 9 * SECOND && took < 11 * SECOND,
        "{took:?}"
    );
    let reset = fence().unit_reset(Some(SECOND));
    let (took, stands) = succeed(3, Reinstatement::Ignores, reset);
    assert!(stands && took > SECOND && took < 2 * SECOND, "{took:?}");
}

#[test]
fn on_a_barrier_the_first_logins_fence_a_former_life() {
    for (seed, what) in [(4, Reinstatement::Ends), (5, Reinstatement::Waits)] {
        let config = barrier().former_life(FormerLife::Fence);
        let (took, stands) = succeed(seed, what, config);
        assert!(stands && took < SECOND, "{what:?}: {took:?}");
    }
}

#[test]
fn what_never_left_is_counted_and_waits_for_nothing() {
    let world = World::new(6);
    let device = world.open(
        Config::builder()
            .writer_mode(WriterMode::Shared)
            .build()
            .unwrap(),
    );
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let net = world.sim.net();
        net.refuse(World::link(0));
        net.reset(World::link(0));
        let begin = world.sim.elapsed();
        for at in 0..4 {
            let write = device.write_bytes(at * 4096, Bytes::from(stamp(1, 1)));
            write.await.unwrap();
        }
        assert!(world.sim.elapsed() - begin < SECOND);
    });
    assert!(done(&device, FenceRung::Accounting) >= 1);
    assert_eq!(device.snapshot().counters.ambiguous_writes, 0);
    world.end(device);
}

/// A barrier for the nexus that logs in, and for no other: one whose login is sent to another portal group has
/// another nexus there, and its old one's writes land when they land.
#[test]
fn a_login_that_another_portal_group_takes_reinstates_nothing() {
    let world = World::new(8);
    let core = world.target.core();
    core.set_reinstatement(Reinstatement::Waits);
    let quiet = Duration::from_secs(7);
    let device = world.open(barrier().quiet_time(Some(quiet)).build().unwrap());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let session = device.path(paths(&device)[0].id).unwrap().session().clone();
        assert_eq!(session.nexus_changes(), 0);
        hold(&world, HELD);
        let begin = world.sim.elapsed();
        let write = device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let loss = async {
            world.sim.sleep(Duration::from_millis(20)).await;
            hold(&world, Duration::ZERO);
            let (to, permanent) = (portal(1).to_string(), false);
            core.redirect_logins(0, Some(Redirect { to, permanent }));
            world.sim.net().reset(World::link(0));
        };
        join(write, loss).await.0.expect("repeated");
        assert!(world.all_usable(&device).await);
        assert_eq!(session.nexus_changes(), 1);
        assert_eq!(done(&device, FenceRung::Reinstatement), 0);

        let newer = device.write_bytes(0, Bytes::from(stamp(1, 2)));
        newer.await.expect("after the quiet time");
        assert!(world.sim.elapsed() - begin >= quiet);
        assert_eq!(core.late_writes(), 1, "it was right to wait");
        assert!(read(&device, 0).await.unwrap() == stamp(1, 2));
        core.redirect_logins(0, None);
    });
    world.end(device);
}
