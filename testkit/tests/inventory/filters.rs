//! What is taken and what is left out, and how much of it is looked at.

use iscsi_proto::scsi::Lun;
use mpio::{
    arrays::{Array, ArraySettings, ArrayTable},
    inventory::{Filter, InventoryBuilder, Rule},
};

use crate::support::{OTHER, World, count, other_wwid, paths, told, wwid, wwids};

fn with(filter: Filter) -> InventoryBuilder {
    World::builder().filter(filter)
}

#[test]
fn a_target_that_is_left_out_is_never_logged_in_to() {
    let world = World::new(1, 1);
    let other = world.start_other();
    world.tell_of_other();
    let filter = Filter::new().exclude(Rule::target("*:other"));
    let (inventory, mut events) = world.scanned(with(filter));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    assert_eq!(other.core().counters(0).connections, 0);
    let lines = told(&mut events);
    let expected = "excluded by the rule target *:other";
    assert_eq!(count(&lines, expected), 1, "{lines:#?}");
    world.sim.block_on(inventory.rescan());
    assert_eq!(count(&told(&mut events), expected), 0);
    world.end(inventory);
}

#[test]
fn one_portal_of_two_may_be_left_out() {
    let world = World::new(2, 1);
    let filter = Filter::new().exclude(Rule::portal("10.0.1.*"));
    let (inventory, _) = world.scanned(with(filter));
    assert_eq!(paths(&inventory.devices()[0]), 2);
    assert_eq!(world.target.core().counters(1).connections, 0);
    world.end(inventory);
}

#[test]
fn units_are_left_out_by_number_name_and_what_they_say_with_exceptions() {
    let world = World::new(3, 6);
    let filter = Filter::new()
        .exclude(Rule::lun(Lun::new(5)))
        .exclude(Rule::wwid("3600*"))
        .except(Rule::wwid(&wwid(1)))
        .except(Rule::wwid(&wwid(2)))
        .exclude(Rule::property("serial number 2", |unit| {
            unit.info.identity.serial.as_deref() == Some("TESTKIT00000002")
        }))
        .only(Rule::device("*", "*"));
    let (inventory, mut events) = world.scanned(with(filter));
    assert_eq!(wwids(&inventory), [wwid(1)]);
    let lines = told(&mut events);
    for (part, times) in [
        ("LUN 5: excluded by the rule lun 5", 4),
        ("LUN 2: excluded by the rule property serial number 2", 4),
        ("excluded by the rule wwid 3600*", 3 * 4),
    ] {
        assert_eq!(count(&lines, part), times, "{part} in {lines:#?}");
    }
    // As they were at the first scan, and as quiet.
    world.sim.block_on(inventory.rescan());
    assert_eq!(wwids(&inventory), [wwid(1)]);
    assert_eq!(count(&told(&mut events), "excluded"), 0);
    world.end(inventory);
}

#[test]
fn only_what_is_named_is_taken() {
    let world = World::new(4, 3);
    let _other = world.start_other();
    world.tell_of_other();
    let filter = Filter::new().only(Rule::target(OTHER));
    let (inventory, mut events) = world.scanned(with(filter));
    assert_eq!(wwids(&inventory), [other_wwid()]);
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, "by target only others are taken"),
        2,
        "{lines:#?}"
    );
    assert_eq!(world.target.core().sessions(), 0);
    world.end(inventory);
}

#[test]
fn what_is_no_disk_by_the_table_of_arrays_is_left_out_unless_it_is_excepted() {
    let table = || {
        let settings = ArraySettings::default().no_disk();
        ArrayTable::none().with(Array::new(
            "access-lun",
            "RUSTSDK",
            "TESTKIT DISK",
            settings,
        ))
    };
    let world = World::new(40, 1);
    let (inventory, mut events) = world.scanned(World::builder().arrays(table()));
    assert_eq!(inventory.devices().len(), 0);
    let lines = told(&mut events);
    let part = "no disk, by the row access-lun of the table of arrays";
    assert_eq!(count(&lines, part), 4, "{lines:#?}");
    world.end(inventory);

    let world = World::new(41, 1);
    let filter = Filter::new().except(Rule::device("RUSTSDK", "*"));
    let (inventory, _) = world.scanned(World::builder().arrays(table()).filter(filter));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    world.end(inventory);
}

#[test]
fn from_a_local_end_that_is_left_out_there_are_no_sessions() {
    let world = World::new(42, 1);
    let filter = Filter::new().exclude(Rule::bind("eth1"));
    let (inventory, mut events) = world.scanned(World::builder().filter(filter));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    let snapshot = inventory.snapshot();
    assert_eq!(snapshot.routes.len(), 2);
    let lines = told(&mut events);
    let part = "excluded by the rule bind eth1";
    assert_eq!(count(&lines, part), 2, "{lines:#?}");
    world.sim.block_on(inventory.rescan());
    assert_eq!(count(&told(&mut events), part), 0, "it is told once");
    world.end(inventory);
}
