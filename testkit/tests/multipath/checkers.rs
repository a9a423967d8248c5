//! What each path checker finds, and what it costs the target.

use std::time::Duration;

use futures_util::future::join_all;
use iscsi_testkit::target::{AluaConfig, Answer};
use mpio::{
    MultipathDevice, Path,
    core::{Config, PathChecker, PathSnapshot, ProbeKind, ProbeResult},
};

use crate::support::{World, paths, target_config};

fn with(checker: PathChecker) -> Config {
    let config = Config::builder().path_checker(checker);
    config.build().unwrap()
}

fn usable(device: &MultipathDevice) -> usize {
    let paths = paths(device);
    paths.iter().filter(|path| path.is_usable()).count()
}

/// One whose unit has two target port groups.
fn world_with_groups(seed: u64) -> World {
    World::with_target(seed, target_config().with_alua(AluaConfig::default()))
}

/// The network is cut while nobody does I/O.
#[test]
fn each_checker_finds_a_path_that_is_gone() {
    for checker in [
        PathChecker::Tur,
        PathChecker::Read,
        PathChecker::Rtpg,
        PathChecker::Nop,
    ] {
        let world = world_with_groups(1);
        let device = world.open(with(checker));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            world.sim.net().cut(World::link(1));
            world.sim.sleep(Duration::from_secs(25)).await;
            assert_eq!(usable(&device), 1, "{checker:?}");
            world.sim.net().heal_all();
            assert!(world.all_usable(&device).await, "{checker:?}");
        });
        world.end(device);
    }
}

/// A unit that says that it is ready and is not.
#[test]
fn only_a_read_finds_a_unit_that_cannot_be_read() {
    for (checker, left) in [(PathChecker::Tur, 2), (PathChecker::Read, 0)] {
        let world = World::new(2);
        let device = world.open(with(checker));
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            let sick = Answer::Sense(0x04, 0x44, 0x00);
            world.target.core().answer(0, &[0x28], sick, u32::MAX);
            world.sim.sleep(Duration::from_secs(25)).await;
            assert_eq!(usable(&device), left, "{checker:?}");
        });
        world.end(device);
    }
}

/// SCSI commands of an idle device in a minute, and PDUs.
fn costs(checker: PathChecker) -> (u64, u64) {
    costs_in(&World::new(3), checker)
}

fn costs_in(world: &World, checker: PathChecker) -> (u64, u64) {
    let device = world.open(with(checker));
    let counted = |world: &World| {
        let counters = world.target.core().counters(0);
        (counters.commands, counters.pdus_in)
    };
    let (before, after) = world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.sim.sleep(Duration::from_secs(20)).await;
        let before = counted(world);
        world.sim.sleep(Duration::from_secs(60)).await;
        assert!(paths(&device).iter().all(PathSnapshot::is_usable));
        (before, counted(world))
    });
    world.end(device);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn where_the_connection_is_enough_the_unit_is_left_alone() {
    let (commands, pdus) = costs(PathChecker::Tur);
    assert_eq!(commands, 3, "one per 20 s");
    assert!(
        (11..=13).contains(&pdus),
        "{pdus}: for each there is a ping less"
    );
    let (commands, pdus) = costs(PathChecker::Nop);
    assert_eq!(commands, 0);
    assert!(
        (11..=12).contains(&pdus),
        "{pdus}: the pings of the session"
    );
}

/// Where units have access states there are two questions of every path, or one.
#[test]
fn a_check_by_report_needs_no_question_of_its_own_for_access_states() {
    let (commands, _) = costs_in(&world_with_groups(4), PathChecker::Tur);
    assert!(
        commands > 3,
        "{commands}: TURs, and the reports of one path"
    );
    let (commands, _) = costs_in(&world_with_groups(4), PathChecker::Rtpg);
    assert_eq!(commands, 3, "one per 20 s");
}

#[test]
fn a_unit_that_refuses_to_report_is_asked_whether_it_is_ready() {
    let world = world_with_groups(5);
    let device = world.open(with(PathChecker::Rtpg));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let refusal = Answer::Sense(0x05, 0x20, 0x00);
        world.target.core().answer(0, &[0xa3], refusal, u32::MAX);
        world.sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(usable(&device), 2);
        let sick = Answer::Sense(0x04, 0x44, 0x00);
        world.target.core().answer(0, &[0x00], sick, u32::MAX);
        world.sim.sleep(Duration::from_secs(25)).await;
        assert_eq!(usable(&device), 0);
    });
    world.end(device);
}

/// A session has so many pings under way at most, and units behind it may be more.
#[test]
fn more_units_than_a_session_has_pings_are_checked_at_once() {
    let world = World::new(9);
    let device = world.open(with(PathChecker::Nop));
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let unit = device.path(paths(&device)[0].id).unwrap();
        let probe = |_| unit.probe(ProbeKind::Nop, Duration::from_secs(5));
        let results = join_all((0..32).map(probe)).await;
        assert!(
            results.iter().all(|result| *result == ProbeResult::Ready),
            "{results:?}"
        );
    });
    world.end(device);
}
