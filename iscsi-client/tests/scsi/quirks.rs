//! The table of quirks: every entry, what it does, and how it is overridden.

use std::{sync::Arc, time::Duration};

use iscsi_client::{
    device::{BlockDeviceExt, FlushOptions},
    error::ErrorKind,
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    quirks::{BUILT_IN, Effects, Quirk, QuirkTable},
    session::SessionOptions,
};
use iscsi_proto::{name::IscsiName, scsi::Lun};
use iscsi_testkit::target::{Answer, LunConfig};

use crate::support::{SIZE, World};

fn name(text: &str) -> IscsiName {
    text.parse().unwrap()
}

/// What the built-in table says of a unit.
fn unit(target: &str, vendor: &str, product: &str) -> Effects {
    QuirkTable::default().for_unit(Some(&name(target)), vendor, product)
}

const ANY: &str = "iqn.2026-01.example:disk";
const EQUALLOGIC: &str = "iqn.2001-05.com.equallogic:0-8a0906-83bcb3401-vol";
const NIMBLE: &str = "iqn.2007-11.com.nimblestorage:vol-1-v01a32bf8f45646a5";

#[test]
fn each_entry_is_true_of_those_it_names_and_of_nobody_else() {
    let none = Effects::default();
    assert_eq!(unit(ANY, "RUSTSDK", "TESTKIT DISK"), none);
    assert_eq!(unit(ANY, "LI", "TCMU device"), none, "a shorter name");

    let lio = unit(ANY, "LIO-ORG", "my-volume");
    assert!(lio.readiness_is_no_proof && !lio.one_path_at_a_time);
    let ceph = unit(ANY, "LIO-ORG", "TCMU device");
    assert!(ceph.readiness_is_no_proof && ceph.one_path_at_a_time);
    assert!(unit(EQUALLOGIC, "EQLOGIC", "100E-00").missing_unit_has_moved);
    for (vendor, product) in [("SYNOLOGY", "Storage"), ("QNAP", "iSCSI Storage")] {
        let slow = unit(ANY, vendor, product).flush_timeout;
        assert_eq!(slow, Some(Duration::from_secs(120)), "{vendor}");
    }
    // What is known of a unit is not applied to a target that might have others too.
    let table = QuirkTable::default();
    assert_eq!(table.for_target(&name(ANY)), none);
    let nimble = table.for_target(&name(NIMBLE));
    let ten = Some(Duration::from_secs(10));
    assert_eq!((nimble.nop_interval, nimble.nop_timeout), (ten, ten));
    assert!(table.for_target(&name(EQUALLOGIC)).missing_unit_has_moved);
}

#[test]
fn every_entry_has_a_name_of_its_own_an_effect_a_source_and_can_be_removed() {
    for quirk in BUILT_IN {
        let same = BUILT_IN.iter().filter(|other| other.name() == quirk.name());
        assert_eq!(same.count(), 1, "{}", quirk.name());
        assert_ne!(quirk.effects(), Effects::default(), "{}", quirk.name());
        assert!(quirk.source().contains('#'), "{}", quirk.name());
        let without = QuirkTable::default().without(quirk.name().to_owned());
        assert_eq!(without.entries().count(), BUILT_IN.len() - 1);
        assert!(without.entries().all(|other| other.name() != quirk.name()));
    }
    assert_eq!(QuirkTable::none().entries().count(), 0);
    assert_eq!(QuirkTable::default().entries().count(), BUILT_IN.len());
}

#[test]
fn an_entry_of_the_same_name_replaces_and_a_later_one_wins() {
    let mut effects = Effects::default();
    effects.flush_timeout = Some(Duration::from_secs(7));
    let table = QuirkTable::default().with(Quirk::new("synology", effects).vendor("SYNOLOGY"));
    let found = table.for_unit(None, "SYNOLOGY", "x");
    assert_eq!(found.flush_timeout, Some(Duration::from_secs(7)));
    assert_eq!(table.entries().count(), BUILT_IN.len());
    effects.flush_timeout = Some(Duration::from_secs(9));
    let table = table.with(Quirk::new("all", effects).because("we say so"));
    let found = table.for_unit(None, "SYNOLOGY", "x");
    assert_eq!(found.flush_timeout, Some(Duration::from_secs(9)));
    let table = table.without("all");
    let found = table.for_unit(None, "SYNOLOGY", "x");
    assert_eq!(found.flush_timeout, Some(Duration::from_secs(7)));
    // Of a target that is not known, an entry about a name is not true.
    let by_name = Quirk::new("named", effects).target("iqn.2026-01.example:");
    let table = QuirkTable::none().with(by_name);
    assert_eq!(table.for_unit(None, "x", "y"), Effects::default());
}

#[test]
fn timers_change_only_where_the_caller_left_the_default() {
    let world = World::new(|mut config| {
        config.name = NIMBLE.into();
        config.with_lun(LunConfig::new(0, SIZE))
    });
    world.run(async {
        let ten = Duration::from_secs(10);
        let session = world.session(0).await;
        let core = &session.options().core;
        assert_eq!((core.nop_interval, core.nop_timeout), (Some(ten), ten));
        let mut options = SessionOptions::default();
        options.core.nop_interval = None;
        let session = world.session_with(1, options).await;
        let core = &session.options().core;
        assert_eq!((core.nop_interval, core.nop_timeout), (None, ten));
    });
    world.run(async {
        let mut options = SessionOptions::default();
        options.quirks = Arc::new(QuirkTable::none());
        let default = options.core.clone();
        let session = world.session_with(0, options).await;
        let core = &session.options().core;
        assert_eq!(core.nop_interval, default.nop_interval);
    });
}

fn with_quirk(effects: Effects) -> SessionOptions {
    let table = QuirkTable::none().with(Quirk::new("test", effects).vendor("RUSTSDK"));
    let mut options = SessionOptions::default();
    options.quirks = Arc::new(table);
    options
}

#[test]
fn a_health_check_reads_where_readiness_is_no_proof() {
    let world = World::with_disk();
    world.run(async {
        let sick = Answer::Sense(0x04, 0x44, 0x00);
        let unit = world.open().await;
        world.core().answer(0, &[0x28], sick, u32::MAX);
        unit.check(None).await.unwrap();
        let mut effects = Effects::default();
        effects.readiness_is_no_proof = true;
        let session = world.session_with(1, with_quirk(effects)).await;
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        assert_eq!(unit.quirks(), effects);
        let error = unit.check(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Hardware);
    });
}

#[test]
fn a_slow_flush_gets_its_time_unless_the_caller_says_otherwise() {
    let world = World::with_disk();
    world.run(async {
        let mut effects = Effects::default();
        effects.flush_timeout = Some(Duration::from_secs(120));
        let session = world.session_with(0, with_quirk(effects)).await;
        let open = |options| LogicalUnit::open_with(session.clone(), Lun::ZERO, options);
        let unit = open(LogicalUnitOptions::default()).await.unwrap();
        let mut own = LogicalUnitOptions::default();
        own.flush_timeout = Some(Duration::from_secs(1));
        let impatient = open(own).await.unwrap();
        world.core().set_delay(0, Duration::from_secs(60));
        let error = impatient.flush(FlushOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let begin = world.sim.elapsed();
        unit.flush(FlushOptions::default()).await.unwrap();
        assert!(world.sim.elapsed() - begin >= Duration::from_secs(60));
    });
}

#[test]
fn a_unit_that_has_moved_is_found_again_by_a_new_login() {
    let missing = || Answer::Sense(0x05, 0x25, 0x00);
    let mut effects = Effects::default();
    effects.missing_unit_has_moved = true;
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(0, with_quirk(effects)).await;
        let unit = LogicalUnit::open(session.clone(), Lun::ZERO).await.unwrap();
        let logins = session.logins();
        world.core().answer(0, &[0x28], missing(), 1);
        unit.read_bytes(0, 512).await.unwrap();
        assert_eq!(session.logins(), logins + 1);
        // Missing for good: an error, after a bounded number of logins.
        world.core().answer(0, &[0x28], missing(), u32::MAX);
        let error = unit.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchUnit);
        session.wait_up().await.unwrap();
        assert!(session.logins() <= logins + 6, "{}", session.logins());
    });
    // Nobody else's session is dropped for it.
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        world.core().answer(0, &[0x28], missing(), u32::MAX);
        let error = unit.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchUnit);
        assert_eq!(unit.session().logins(), 1);
    });
}

/// Many users of a unit that does not come back: they do not make the session storm the target.
#[test]
fn a_unit_that_stays_away_is_looked_for_at_the_pace_of_the_back_off() {
    let missing = Answer::Sense(0x05, 0x25, 0x00);
    let mut effects = Effects::default();
    effects.missing_unit_has_moved = true;
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(0, with_quirk(effects)).await;
        let options = LogicalUnitOptions::default().fail_fast();
        let unit = LogicalUnit::open_with(session.clone(), Lun::ZERO, options);
        let unit = unit.await.unwrap();
        for cdb in [0x28, 0x12, 0x00] {
            world.core().answer(0, &[cdb], missing.clone(), u32::MAX);
        }
        let end = world.sim.elapsed() + Duration::from_secs(30);
        let mut failed = 0;
        while world.sim.elapsed() < end {
            let reads = [0, 512, 1024].map(|offset| unit.read_bytes(offset, 512));
            for read in futures_util::future::join_all(reads).await {
                assert!(read.is_err());
                failed += 1;
            }
            session.wait_up().await.unwrap();
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        assert!(failed > 20, "{failed}");
        // 0, 0.1, 0.2, 0.4 s and so on, less jitter.
        assert!(session.logins() < 14, "{}", session.logins());
    });
}

#[test]
fn a_unit_that_was_never_there_has_not_moved() {
    let mut effects = Effects::default();
    effects.missing_unit_has_moved = true;
    let world = World::with_disk();
    world.run(async {
        let table = QuirkTable::none().with(Quirk::new("test", effects));
        let mut options = SessionOptions::default();
        options.quirks = Arc::new(table);
        let session = world.session_with(0, options).await;
        let missing = Answer::Sense(0x05, 0x25, 0x00);
        world.core().answer(0, &[0x12], missing, u32::MAX);
        let error = LogicalUnit::open(session.clone(), Lun::ZERO).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NoSuchUnit);
        assert!(session.state().is_up());
        assert_eq!(session.logins(), 1);
    });
}
