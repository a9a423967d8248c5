//! Targets, portals and units come and go.

use std::time::Duration;

use futures_util::future::{Either, select};
use iscsi_client::{
    device::{BlockDevice, BlockDeviceExt},
    session::SessionOptions,
};
use iscsi_proto::pdu::AsyncEvent;
use iscsi_testkit::{
    sim::Direction,
    target::{Answer, Notice},
};
use mpio::{MultipathDevice, inventory::Inventory};

use crate::support::{
    OTHER, SECOND, World, check, count, other_wwid, paths, portal, told, until_told, wwid, wwids,
};

/// The list of a target that has nothing.
fn no_units() -> Answer {
    Answer::Data(vec![0; 8])
}

const REPORT_LUNS: &[u8] = &[0xa0];

async fn until_paths(world: &World, device: &MultipathDevice, number: usize) {
    while paths(device) != number {
        world.sim.sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_target_that_is_told_of_later_appears_at_the_next_scan() {
    let world = World::new(1, 1);
    let _other = world.start_other();
    let (inventory, mut events) = world.scanned(World::builder());
    assert_eq!(wwids(&inventory), [wwid(0)]);
    world.tell_of_other();
    world.sim.block_on(async {
        inventory.rescan().await;
        check(&inventory.device(&other_wwid()).await.unwrap(), 100).await;
    });
    let lines = told(&mut events);
    assert_eq!(count(&lines, "2 targets"), 2, "{lines:#?}");
    assert_eq!(count(&lines, "logged in"), 6, "{lines:#?}");
    assert_eq!(paths(&inventory.devices()[1]), 2);
    world.end(inventory);
}

#[test]
fn a_path_that_the_program_removes_stays_out_until_it_asks_for_a_scan() {
    let world = World::new(30, 2);
    let builder = World::builder().rescan_interval(Some(10 * SECOND));
    let (inventory, mut events) = world.scanned(builder);
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        let all = paths(&device);
        let first = device.snapshot().paths().next().unwrap().id;
        device.remove_path(first).unwrap();
        let line = until_told(&mut events, "the program removed it").await;
        assert!(line.contains(&wwid(1)), "{line}");
        // By itself it looks again and again, and leaves it out.
        for _ in 0..2 {
            until_told(&mut events, "scan over").await;
        }
        assert_eq!(paths(&device), all - 1);
        let counted: Vec<_> = inventory
            .snapshot()
            .devices
            .iter()
            .map(|d| d.paths)
            .collect();
        assert_eq!(counted, [all, all - 1]);
        inventory.rescan().await;
        assert_eq!(paths(&device), all);
        check(&device, 2).await;
    });
    world.end(inventory);
}

/// Nor by a list that leaves everything out for once, with which what is known of the unit is gone.
#[test]
fn a_path_that_the_program_has_removed_stays_out_when_its_unit_is_listed_anew() {
    let world = World::new(32, 2);
    let builder = World::builder().rescan_interval(Some(10 * SECOND));
    let (inventory, mut events) = world.scanned(builder);
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        let all = paths(&device);
        let first = device.snapshot().paths().next().unwrap().id;
        device.remove_path(first).unwrap();
        until_told(&mut events, "the program removed it").await;
        let units = |inventory: &Inventory| -> usize {
            let snapshot = inventory.snapshot();
            snapshot.routes.iter().map(|route| route.units.len()).sum()
        };
        let before = units(&inventory);
        world
            .target
            .core()
            .answer(0, REPORT_LUNS, no_units(), all as u32);
        until_told(&mut events, "scan over").await;
        assert_eq!(units(&inventory), before - 1);
        for _ in 0..2 {
            until_told(&mut events, "scan over").await;
        }
        assert_eq!(units(&inventory), before);
        assert_eq!(paths(&device), all - 1);
        inventory.rescan().await;
        assert_eq!(paths(&device), all);
    });
    world.end(inventory);
}

/// What it has removed was a disk, and not a number.
#[test]
fn another_unit_under_the_number_of_a_path_that_the_program_has_removed_is_a_new_one() {
    let world = World::new(33, 2);
    let builder = World::builder().rescan_interval(Some(10 * SECOND));
    let (inventory, mut events) = world.scanned(builder);
    let mut naa = iscsi_testkit::target::LunConfig::new(1, 1 << 20).naa;
    naa[8] = 7;
    let other = wwid(1).replace("15c51d0000", "15c51d0007");
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        let all = paths(&device);
        let first = device.snapshot().paths().next().unwrap().id;
        device.remove_path(first).unwrap();
        until_told(&mut events, "the program removed it").await;
        world.target.core().remap(1, naa, "ANOTHER");
        let device = inventory.wait_for(&other).await.unwrap();
        for _ in 0..2 {
            until_told(&mut events, "scan over").await;
        }
        assert_eq!(paths(&device), all);
        check(&device, 2).await;
    });
    world.end(inventory);
}

/// What is closed with its device was not removed.
#[test]
fn the_paths_of_a_device_that_the_program_closes_are_not_told_one_by_one() {
    let world = World::new(31, 1);
    let (inventory, mut events) = world.scanned(World::builder());
    world.sim.block_on(async {
        inventory.devices()[0].close().await;
        until_told(&mut events, "the program closed it").await;
        inventory.rescan().await;
        check(&inventory.device(&wwid(0)).await.unwrap(), 1).await;
    });
    let lines = told(&mut events);
    assert_eq!(count(&lines, "removed it"), 0, "{lines:#?}");
    world.end(inventory);
}

#[test]
fn scans_repeat_by_themselves() {
    let world = World::new(2, 1);
    let _other = world.start_other();
    let builder = World::builder().rescan_interval(Some(10 * SECOND));
    let (inventory, _) = world.scanned(builder);
    world.tell_of_other();
    world.sim.block_on(async {
        let begin = world.sim.elapsed();
        inventory.wait_for(&other_wwid()).await.unwrap();
        let took = world.sim.elapsed() - begin;
        assert!(took < 11 * SECOND, "{took:?}");
    });
    world.end(inventory);
}

/// Its neighbours report that the list has changed (3F/0E), which the checks of their paths find.
#[test]
fn a_unit_that_is_unmapped_loses_its_paths_and_then_its_device() {
    let world = World::new(3, 3);
    let builder = World::builder().rescan_interval(None);
    let (inventory, mut events) = world.scanned(builder);
    told(&mut events);
    let gone = world.sim.block_on(inventory.device(&wwid(1))).unwrap();
    world.target.core().set_mapped(1, false);
    world.sim.block_on(async {
        let begin = world.sim.elapsed();
        until_told(&mut events, "no path is left").await;
        let took = world.sim.elapsed() - begin;
        assert!(took < 30 * SECOND, "{took:?}");
        assert_eq!(wwids(&inventory).len(), 3);
        let lost = until_told(&mut events, "lost").await;
        assert_eq!(lost, format!("{}: lost: no path came back", wwid(1)));
        let kept = world.sim.elapsed() - begin - took;
        assert!(kept >= 60 * SECOND, "{kept:?}");
        assert_eq!(wwids(&inventory), [wwid(0), wwid(2)]);
        gone.read_bytes(0, 4096).await.unwrap_err();
        for (device, seed) in inventory.devices().iter().zip([1, 3]) {
            check(device, seed).await;
        }
        world.target.core().set_mapped(1, true);
        let back = inventory.wait_for(&wwid(1)).await.unwrap();
        check(&back, 2).await;
        until_paths(&world, &back, 4).await;
    });
    world.end(inventory);
}

#[test]
fn each_path_that_goes_is_told_with_its_reason() {
    let world = World::new(4, 2);
    let (inventory, mut events) = world.scanned(World::builder());
    told(&mut events);
    world.target.core().set_mapped(1, false);
    world.sim.block_on(inventory.rescan());
    let lines = told(&mut events);
    let removed = format!("{}: path removed", wwid(1));
    assert_eq!(count(&lines, &removed), 4, "{lines:#?}");
    assert_eq!(count(&lines, "the unit is gone"), 4, "{lines:#?}");
    world.end(inventory);
}

/// Somebody takes the wrong unit away and gives it back: what was asked of it meanwhile is answered.
#[test]
fn a_unit_that_comes_back_in_time_is_the_same_device() {
    let world = World::new(5, 2);
    let (inventory, mut events) = world.scanned(World::builder());
    let device = world.sim.block_on(inventory.device(&wwid(1))).unwrap();
    world.target.core().set_mapped(1, false);
    world.sim.block_on(async {
        inventory.rescan().await;
        let waiting = check(&device, 2);
        let coming = async {
            world.sim.sleep(20 * SECOND).await;
            world.target.core().set_mapped(1, true);
            inventory.rescan().await;
        };
        futures_util::future::join(waiting, coming).await;
        until_paths(&world, &device, 4).await;
        world.sim.sleep(100 * SECOND).await;
        check(&device, 2).await;
    });
    assert_eq!(count(&told(&mut events), "lost"), 0);
    world.end(inventory);
}

/// Storage that is mapped anew under a number that was in use: what was there must not be read as this.
#[test]
fn another_unit_under_a_known_number_becomes_another_device() {
    let world = World::new(6, 2);
    let (inventory, mut events) = world.scanned(World::builder().rescan_interval(None));
    told(&mut events);
    let mut naa = iscsi_testkit::target::LunConfig::new(1, 1 << 20).naa;
    naa[8] = 7;
    let other = wwid(1).replace("15c51d0000", "15c51d0007");
    world.target.core().remap(1, naa, "ANOTHER");
    world.sim.block_on(async {
        let device = inventory.wait_for(&other).await.unwrap();
        until_paths(&world, &device, 4).await;
        check(&device, 2).await;
    });
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, "it leads to another unit now"),
        4,
        "{lines:#?}"
    );
    assert_eq!(count(&lines, "no path is left"), 1, "{lines:#?}");
    world.end(inventory);
}

/// A controller that is starting, or one that makes a mistake.
#[test]
fn a_list_without_a_unit_that_works_takes_nothing_away() {
    let world = World::new(7, 2);
    let (inventory, mut events) = world.scanned(World::builder());
    world.target.core().answer(0, REPORT_LUNS, no_units(), 8);
    world.sim.block_on(async {
        inventory.rescan().await;
        assert_eq!(wwids(&inventory).len(), 2);
        check(&inventory.devices()[1], 2).await;
    });
    let lines = told(&mut events);
    assert_eq!(count(&lines, "path removed"), 0, "{lines:#?}");
    world.end(inventory);
}

#[test]
fn a_portal_that_is_told_of_no_more_goes_with_its_session_and_not_before() {
    let world = World::new(8, 1);
    let other = world.start_other();
    world.tell_of_other();
    let (inventory, mut events) = world.scanned(World::builder());
    let device = world.sim.block_on(inventory.device(&other_wwid())).unwrap();
    told(&mut events);
    world.target.core().tell_of(&[]);
    world.sim.block_on(async {
        inventory.rescan().await;
        let lines = told(&mut events);
        assert_eq!(count(&lines, "is not told of any more"), 1, "{lines:#?}");
        assert_eq!(paths(&device), 2);
        check(&device, 100).await;
        drop(other);
        until_told(&mut events, "no path is left").await;
        assert_eq!(inventory.snapshot().routes.len(), 4);
        until_told(&mut events, "lost").await;
    });
    assert_eq!(wwids(&inventory), [wwid(0)]);
    world.end(inventory);
}

/// Its successor would know nothing of that write.
#[test]
fn a_device_without_a_path_is_kept_for_as_long_as_a_write_of_it_may_land() {
    let world = World::new(14, 1);
    let _other = world.start_other();
    world.tell_of_other();
    let builder = World::builder().keep_without_path(SECOND);
    let (inventory, mut events) = world.scanned(builder);
    let device = world.sim.block_on(inventory.device(&other_wwid())).unwrap();
    world.target.core().tell_of(&[]);
    world.sim.block_on(async {
        inventory.rescan().await;
        // The answers are lost, and then all else.
        let answers = World::link(2).only(Direction::FromPortal);
        world.sim.net().cut(answers);
        let write = async { _ = device.write_at(0, &[1; 4096]).await };
        let watch = async {
            world.sim.sleep(Duration::from_millis(10)).await;
            world.sim.net().refuse(World::link(2));
            world.sim.net().reset(World::link(2));
            until_told(&mut events, "no path is left").await;
            world.sim.sleep(3 * SECOND).await;
            assert!(device.snapshot().ghosts > 0);
            assert_eq!(count(&told(&mut events), "lost"), 0);
            until_told(&mut events, "lost").await;
            assert_eq!(device.snapshot().ghosts, 0);
        };
        futures_util::future::join(write, watch).await;
    });
    assert_eq!(wwids(&inventory), [wwid(0)]);
    world.end(inventory);
}

/// Nobody asks for the scan that finds it, and the usual pause between two is as long as the device is kept.
#[test]
fn a_device_without_a_path_is_looked_for_before_it_is_given_up() {
    let world = World::new(15, 1);
    let (inventory, mut events) = world.scanned(World::builder());
    let device = world.sim.block_on(inventory.device(&wwid(0))).unwrap();
    world.target.core().set_mapped(0, false);
    world.sim.block_on(async {
        inventory.rescan().await;
        until_told(&mut events, "no path is left").await;
        let waiting = check(&device, 1);
        let coming = async {
            world.sim.sleep(40 * SECOND).await;
            world.target.core().set_mapped(0, true);
        };
        futures_util::future::join(waiting, coming).await;
        until_paths(&world, &device, 4).await;
        world.sim.sleep(100 * SECOND).await;
    });
    assert_eq!(count(&told(&mut events), "lost"), 0);
    world.end(inventory);
}

/// The program closes a device of which a write may still land, and has it opened again.
#[test]
fn a_device_that_is_opened_again_waits_for_what_the_one_before_it_left() {
    for is_lost in [false, true] {
        let world = World::new(17, 1);
        let (inventory, mut events) = world.scanned(World::builder().rescan_interval(None));
        let device = world.sim.block_on(inventory.device(&wwid(0))).unwrap();
        let took = world.sim.block_on(async {
            if is_lost {
                // Whichever path it takes, its answer is lost.
                for index in 0..2 {
                    let answers = World::link(index).only(Direction::FromPortal);
                    world.sim.net().cut(answers);
                }
                let write = Box::pin(device.write_at(0, &[1; 4096]));
                let lose = Box::pin(async {
                    world.sim.sleep(Duration::from_millis(10)).await;
                    for index in 0..2 {
                        world.sim.net().reset(World::link(index));
                    }
                    while device.snapshot().ghosts == 0 {
                        world.sim.sleep(Duration::from_millis(1)).await;
                    }
                });
                drop(select(write, lose).await);
            }
            device.close().await;
            world.sim.net().heal_all();
            until_told(&mut events, "lost").await;
            inventory.rescan().await;
            let again = inventory.wait_for(&wwid(0)).await.unwrap();
            let begun = world.sim.elapsed();
            again.write_at(0, &[2; 4096]).await.unwrap();
            world.sim.elapsed() - begun
        });
        assert_eq!(took > 5 * SECOND, is_lost, "{took:?}");
        world.end(inventory);
    }
}

/// The portal group that a login has to find is the one that was told last.
#[test]
fn a_portal_that_moves_to_another_group_is_logged_in_to_there() {
    let world = World::new(13, 1);
    let _other = world.start_other();
    let old = [&*format!("{},9", portal(2))];
    world.target.core().tell_of(&[(OTHER, &old)]);
    let mut options = SessionOptions::default();
    options.require_portal_group = true;
    let builder = World::builder().session_options(options);
    let (inventory, mut events) = world.scanned(builder);
    let lines = told(&mut events);
    assert_eq!(count(&lines, "no login"), 2, "{lines:#?}");
    world.tell_of_other();
    world.sim.block_on(inventory.rescan());
    assert_eq!(wwids(&inventory), [wwid(0), other_wwid()]);
    assert_eq!(inventory.snapshot().routes.len(), 6);
    world.end(inventory);
}

#[test]
fn a_session_that_is_lost_is_told_and_its_units_are_looked_at_when_it_is_back() {
    let world = World::new(9, 1);
    let (inventory, mut events) = world.scanned(World::builder().rescan_interval(None));
    let lists = || world.target.core().counters(1).commands;
    told(&mut events);
    world.sim.net().reset(World::link(1));
    world.sim.block_on(async {
        until_told(&mut events, "down").await;
        until_told(&mut events, "logged in").await;
        let before = lists();
        world.sim.sleep(SECOND).await;
        assert!(lists() > before);
        assert_eq!(wwids(&inventory), [wwid(0)]);
        until_paths(&world, &inventory.devices()[0], 4).await;
    });
    world.end(inventory);
}

#[test]
fn an_asynchronous_message_about_the_list_is_enough() {
    let world = World::new(10, 2);
    // The first list of each session has LUN 0 alone, and no unit says that this has changed.
    let mut list = vec![0, 0, 0, 8, 0, 0, 0, 0];
    list.extend([0; 8]);
    let core = world.target.core();
    core.answer(0, REPORT_LUNS, Answer::Data(list), 4);
    let (inventory, _) = world.scanned(World::builder().rescan_interval(None));
    world.sim.block_on(world.sim.sleep(60 * SECOND));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    // Sense data behind its length (RFC 7143 section 11.9.4), fixed format.
    let mut sense = vec![0, 18, 0x70, 0, 6, 0, 0, 0, 0, 10];
    sense.extend([0, 0, 0, 0, 0x3f, 0x0e, 0, 0, 0, 0]);
    let notice = Notice::new(AsyncEvent::ScsiEvent, [0; 3]).with_data(sense);
    world.target.core().announce(0, notice);
    world.sim.block_on(async {
        check(&inventory.devices()[0], 1).await;
        check(&inventory.wait_for(&wwid(1)).await.unwrap(), 2).await;
    });
    world.end(inventory);
}

#[test]
fn what_the_program_closes_stays_away_until_it_asks_for_a_scan() {
    let world = World::new(11, 2);
    let builder = World::builder().rescan_interval(Some(10 * SECOND));
    let (inventory, mut events) = world.scanned(builder);
    world.sim.block_on(async {
        let device = inventory.device(&wwid(1)).await.unwrap();
        BlockDevice::close(&device).await.unwrap();
        let line = until_told(&mut events, "lost").await;
        assert_eq!(line, format!("{}: lost: the program closed it", wwid(1)));
        world.sim.sleep(60 * SECOND).await;
        assert_eq!(wwids(&inventory), [wwid(0)]);
        inventory.rescan().await;
        check(&inventory.device(&wwid(1)).await.unwrap(), 2).await;
    });
    world.end(inventory);
}

/// A target that says so at every command would else be asked without end. The device has its own reasons to ask
/// after such an attention, with and without an inventory.
#[test]
fn a_target_whose_list_changes_without_end_is_asked_once_a_second() {
    let world = World::new(12, 1);
    let (inventory, _) = world.scanned(World::builder().rescan_interval(None));
    let device = inventory.devices().remove(0);
    let commands = || -> u64 {
        let counters = (0..2).map(|index| world.target.core().counters(index).commands);
        counters.sum()
    };
    let ask = async || {
        let before = commands();
        for _ in 0..1000 {
            world.target.core().raise_attention(0, 0x3f, 0x0e);
            check(&device, 1).await;
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        commands() - before
    };
    let with = world.sim.block_on(ask());
    drop(inventory);
    let without = world.sim.block_on(ask());
    // Four sessions, some fifteen seconds, and a list and a look at the unit for each.
    assert!(with < without + 4 * 15 * 10, "{with}, {without}");
    drop(device);
    assert_eq!(world.target.core().violations(), []);
}

/// Whoever waits for a scan is not kept by a target that never comes to rest, nor are the other targets.
#[test]
fn a_scan_ends_though_a_list_changes_without_end() {
    let world = World::new(16, 1);
    let builder = World::builder().scan_timeout(5 * SECOND);
    let (inventory, _) = world.scanned(builder);
    let changes = async {
        loop {
            world.target.core().raise_attention(0, 0x3f, 0x0e);
            check(&inventory.devices()[0], 1).await;
            world.sim.sleep(Duration::from_millis(10)).await;
        }
    };
    let scans = async {
        let begun = world.sim.elapsed();
        world.sim.sleep(SECOND).await;
        inventory.rescan().await;
        inventory.rescan().await;
        world.sim.elapsed() - begun
    };
    let (changes, scans) = (Box::pin(changes), Box::pin(scans));
    let took = match world.sim.block_on(select(changes, scans)) {
        Either::Right((took, changes)) => {
            drop(changes);
            took
        }
        Either::Left(_) => unreachable!("it changes without end"),
    };
    assert!(took <= 21 * SECOND, "{took:?}");
    world.end(inventory);
}

/// Nothing is asked twice, and nothing is forgotten, whenever the questions come.
#[test]
fn scans_that_overlap_end_together() {
    for seed in 0..20 {
        let world = World::new(seed, 2);
        let (inventory, mut events) = world.open(World::builder());
        let late = async {
            world.sim.sleep(Duration::from_micros(seed * 137)).await;
            inventory.rescan().await;
        };
        let all = futures_util::future::join3(inventory.rescan(), late, inventory.scanned());
        world.sim.block_on(all);
        assert_eq!(wwids(&inventory), [wwid(0), wwid(1)]);
        let lines = told(&mut events);
        assert_eq!(count(&lines, "path added"), 8, "{lines:#?}");
        world.end(inventory);
    }
}

/// Cuts, losses, units that come and go: at the end all is as if nothing had been.
#[test]
fn whatever_happens_meanwhile_the_end_is_what_is_there() {
    for seed in 0..10 {
        let world = World::new(seed, 3);
        let (inventory, _): (Inventory, _) = world.open(World::builder());
        world.sim.block_on(async {
            for step in 0..20_u64 {
                let dice = (seed + 1) * 7919 + step * 104_729;
                let link = World::link((dice % 2) as usize);
                match dice % 5 {
                    0 => world.sim.net().cut(link),
                    1 => world.sim.net().reset(link),
                    2 => world.target.core().set_mapped(1, dice % 3 == 0),
                    3 => world.sim.net().heal(link),
                    _ => inventory.rescan().await,
                }
                world.sim.sleep(Duration::from_millis(dice % 3000)).await;
            }
            world.sim.net().heal_all();
            world.target.core().set_mapped(1, true);
            for number in 0..3 {
                let device = inventory.wait_for(&wwid(number)).await.unwrap();
                until_paths(&world, &device, 4).await;
                check(&device, u64::from(number) + 1).await;
            }
        });
        assert_eq!(world.target.core().sessions(), 4, "seed {seed}");
        assert_eq!(world.target.portal(0), portal(0));
        world.end(inventory);
    }
}
