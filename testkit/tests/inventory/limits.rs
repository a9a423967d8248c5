//! How much a target can make of us.

use iscsi_proto::scsi::Lun;
use iscsi_testkit::target::Answer;
use mpio::inventory::Limits;

use crate::support::{OTHER, SECOND, World, count, paths, portal, told, wwid, wwids};

#[test]
fn ten_thousand_portals_are_a_few_sessions() {
    let world = World::new(1, 1);
    let addresses: Vec<_> = (0..10_000)
        .map(|number| format!("10.{}.{}.1:3260,1", 1 + number / 250, number % 250))
        .collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    world.target.core().tell_of(&[(OTHER, &addresses)]);
    let limits = Limits::default().with_portals(4);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    // Two of the target that is there, four of the other one.
    assert_eq!(inventory.snapshot().routes.len(), 2 * (2 + 4));
    let lines = told(&mut events);
    let part = "more than the limit of 4 portals of a target: left out";
    assert_eq!(count(&lines, part), 1, "{lines:#?}");
    world.end(inventory);
}

/// Both local ends ask, and each is told the same. The program asks again while that is under way.
#[test]
fn what_is_left_out_is_counted_once_whoever_tells_of_it() {
    let world = World::new(6, 1);
    let addresses: Vec<_> = (0..30).map(|n| format!("10.9.{n}.1:3260,1")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    world.target.core().tell_of(&[(OTHER, &addresses)]);
    let limits = Limits::default().with_portals(10).with_sessions(18);
    let (inventory, mut events) = world.open(World::builder().limits(limits));
    world.sim.block_on(async {
        futures_util::future::join(inventory.rescan(), inventory.rescan()).await;
    });
    let lines = told(&mut events);
    // Two local ends with ten portals of the one and two of the other target.
    for part in [
        "20 more than the limit of 10 portals of a target: left out",
        "6 more than the limit of 18 sessions: left out",
    ] {
        assert_eq!(count(&lines, part), 1, "{part} {lines:#?}");
    }
    world.end(inventory);
}

#[test]
fn of_an_answer_with_too_many_targets_the_first_ones_are_used_and_the_rest_is_told() {
    let world = World::new(7, 1);
    let names: Vec<_> = (0..5000).map(|n| format!("{OTHER}.{n:04}")).collect();
    let address = ["10.9.9.9:3260,1"];
    let targets: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), &address[..]))
        .collect();
    world.target.core().tell_of(&targets);
    let limits = Limits::default().with_sessions(20);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    assert_eq!(inventory.snapshot().routes.len(), 20);
    let lines = told(&mut events);
    // The target itself is one of the answer.
    let part = "more than the limit of 4096 targets of an answer: left out";
    assert_eq!(count(&lines, part), 1, "{lines:#?}");
    world.end(inventory);
}

/// It was told of before, and slid behind the cut: nobody has said that it is gone.
#[test]
fn a_target_that_slid_behind_the_cut_of_an_answer_is_kept() {
    let world = World::new(9, 1);
    let _other = world.start_other();
    world.tell_of_other();
    let limits = Limits::default().with_sessions(20);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    told(&mut events);
    let names: Vec<_> = (0..5000).map(|n| format!("{OTHER}.{n:04}")).collect();
    let (nowhere, there) = (["10.9.9.9:3260,1"], [&*format!("{},1", portal(2))]);
    let mut targets: Vec<_> = names.iter().map(|name| (&**name, &nowhere[..])).collect();
    targets.push((OTHER, &there));
    world.target.core().tell_of(&targets);
    world.sim.block_on(inventory.rescan());
    let lines = told(&mut events);
    let part = "more than the limit of 4096 targets of an answer: left out";
    assert_eq!(count(&lines, part), 1, "{lines:#?}");
    assert_eq!(
        count(&lines, "is not told of any more"),
        0,
        "it may be there"
    );
    world.target.core().tell_of(&[]);
    world.sim.block_on(inventory.rescan());
    let lines = told(&mut events);
    let gone = format!("{OTHER}: portal");
    let gone = lines.iter().filter(|line| line.contains(&gone));
    let gone = gone.filter(|line| line.contains("is not told of any more"));
    assert_eq!(gone.count(), 1, "{lines:#?}");
    world.end(inventory);
}

#[test]
fn a_thousand_targets_are_as_many_sessions_as_are_allowed() {
    let world = World::new(2, 1);
    let names: Vec<_> = (0..1000)
        .map(|number| format!("{OTHER}.{number:04}"))
        .collect();
    let address = ["10.9.9.9:3260,1"];
    let targets: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), &address[..]))
        .collect();
    world.target.core().tell_of(&targets);
    let limits = Limits::default().with_sessions(20);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    assert_eq!(inventory.snapshot().routes.len(), 20);
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, "more than the limit of 20 sessions"),
        1,
        "{lines:#?}"
    );
    world.end(inventory);
}

#[test]
fn ten_thousand_units_are_as_many_as_are_allowed() {
    let world = World::new(3, 2);
    let mut list = 80_000_u32.to_be_bytes().to_vec();
    list.resize(8, 0);
    list.extend((0..10_000).flat_map(|number| Lun::new(number).to_wire()));
    let core = world.target.core();
    core.answer(0, &[0xa0], Answer::Data(list), u32::MAX);
    let limits = Limits::default().with_units(100);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    assert_eq!(wwids(&inventory), [wwid(0), wwid(1)]);
    let snapshot = inventory.snapshot();
    assert!(snapshot.routes.iter().all(|route| route.units.len() == 100));
    let lines = told(&mut events);
    let part = "39600 more than the limit of 100 logical units behind a session";
    assert_eq!(count(&lines, part), 1, "{lines:#?}");
    // The same at the next scan is not told again.
    world.sim.block_on(inventory.rescan());
    assert_eq!(count(&told(&mut events), "more than the limit"), 0);
    world.end(inventory);
}

#[test]
fn devices_past_the_limit_are_left_out_and_those_that_are_there_stay() {
    let world = World::new(4, 4);
    let limits = Limits::default().with_devices(2);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    let first = wwids(&inventory);
    assert_eq!(first.len(), 2);
    assert_eq!(
        count(&told(&mut events), "more than the limit of 2 devices"),
        1
    );
    world.sim.block_on(inventory.rescan());
    assert_eq!(wwids(&inventory), first);
    world.end(inventory);
}

/// What an earlier list had, and was not looked at yet, does not come on top of the present one.
#[test]
fn lists_that_are_new_each_time_are_no_more_than_one() {
    let world = World::new(5, 1);
    let core = world.target.core();
    core.answer(0, &[0x12], Answer::Unanswered, u32::MAX);
    let limits = Limits::default().with_units(100);
    let builder = World::builder().limits(limits).scan_timeout(SECOND);
    let (inventory, _) = world.open(builder);
    world.sim.block_on(async {
        for round in 0..10 {
            let mut list = 800_u32.to_be_bytes().to_vec();
            list.resize(8, 0);
            // LUN 0, which does not answer, and those that are new.
            let luns = (0..99).map(|number| 1 + round * 100 + number);
            list.extend(
                [0].into_iter()
                    .chain(luns)
                    .flat_map(|number| Lun::new(number).to_wire()),
            );
            core.answer(0, &[0xa0], Answer::Data(list), 4);
            inventory.rescan().await;
        }
    });
    let snapshot = inventory.snapshot();
    for route in &snapshot.routes {
        // And those that are being looked at.
        assert!(route.units.len() <= 108, "{}", route.units.len());
    }
    world.end(inventory);
}

#[test]
fn paths_past_the_limit_of_a_device_are_left_out() {
    let world = World::new(6, 1);
    let limits = Limits::default().with_paths(3);
    let (inventory, mut events) = world.scanned(World::builder().limits(limits));
    assert_eq!(paths(&inventory.devices()[0]), 3);
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, "more than the limit of 3 paths of a device"),
        1
    );
    world.end(inventory);
}
