//! What is there becomes devices.

use std::time::Duration;

use iscsi_client::initiator::Initiator;
use iscsi_proto::login::{Authentication, ChapCredentials, Secret};
use iscsi_testkit::{
    sim::{Link, SimRuntime},
    target::{AluaConfig, Answer, ChapConfig, LunConfig, PortState, SimTarget, TargetConfig},
};
use mpio::{
    arrays::{Array, ArraySettings, ArrayTable},
    core::{Config, PathGroupingPolicy},
    inventory::{Inventory, InventoryError, RouteState, Rule},
};

use crate::support::{
    LUN_SIZE, OTHER, SECOND, TARGET, World, check, count, other_config, other_wwid, paths, portal,
    target_config, told, until_told, wwid, wwids,
};

#[test]
fn two_nics_two_portals_and_four_units_are_four_devices_of_four_paths() {
    let world = World::new(1, 4);
    let (inventory, mut events) = world.scanned(World::builder());
    assert_eq!(wwids(&inventory), [wwid(0), wwid(1), wwid(2), wwid(3)]);
    for (device, seed) in inventory.devices().iter().zip(1..) {
        assert_eq!(paths(device), 4);
        world.sim.block_on(check(device, seed));
    }
    // One session for each pair, with all its units: each a user of its own, and the inventory itself.
    assert_eq!(world.target.core().sessions(), 4);
    let users: Vec<_> = world.initiator.sessions().iter().map(|s| s.users).collect();
    assert_eq!(users, [5; 4]);
    let lines = told(&mut events);
    for (part, times) in [
        (": found", 4),
        ("path added", 16),
        ("logged in", 4),
        ("1 targets", 2),
        ("portal ", 2),
        ("scan over: 4 devices", 1),
    ] {
        assert_eq!(count(&lines, part), times, "{part} in {lines:#?}");
    }
    let snapshot = inventory.snapshot();
    assert_eq!((snapshot.routes.len(), snapshot.devices.len()), (4, 4));
    assert!(snapshot.devices.iter().all(|device| device.paths == 4));
    assert!(snapshot.to_string().contains(&wwid(3)), "{snapshot}");
    world.end(inventory);
}

#[test]
fn a_portal_that_swallows_everything_costs_the_others_nothing_and_joins_when_it_is_back() {
    let world = World::new(2, 1);
    world.sim.net().cut(World::link(1));
    let (inventory, mut events) = world.open(World::builder());
    world.sim.block_on(async {
        let device = inventory.device(&wwid(0)).await.unwrap();
        assert!(world.sim.elapsed() < SECOND, "{:?}", world.sim.elapsed());
        check(&device, 1).await;
        inventory.scanned().await;
        assert_eq!(paths(&device), 2);
        let failed = told(&mut events);
        assert_eq!(count(&failed, "no login"), 2, "{failed:#?}");
        // It is tried again and again, and told once.
        world.sim.sleep(600 * SECOND).await;
        let quiet = told(&mut events);
        assert_eq!(count(&quiet, "no login"), 0, "{quiet:#?}");
        world.sim.net().heal(World::link(1));
        until_told(&mut events, "path added").await;
        until_told(&mut events, "path added").await;
        assert_eq!(paths(&device), 4);
    });
    world.end(inventory);
}

#[test]
fn a_portal_that_refuses_is_told_with_its_reason() {
    let world = World::new(3, 1);
    world.sim.net().refuse(World::link(1));
    let (inventory, mut events) = world.scanned(World::builder());
    let lines = told(&mut events);
    assert_eq!(count(&lines, "no login: "), 2, "{lines:#?}");
    assert_eq!(count(&lines, "refused"), 2, "{lines:#?}");
    let snapshot = inventory.snapshot();
    let failed = |state: &RouteState| matches!(state, RouteState::Failed(_));
    let failed = snapshot.routes.iter().filter(|route| failed(&route.state));
    assert_eq!(failed.count(), 2);
    world.end(inventory);
}

/// Two networks, and one portal to ask that only one NIC reaches.
#[test]
fn what_one_nic_has_learnt_is_tried_from_all() {
    let world = World::new(4, 1);
    let [first, second] = ["10.0.0.10", "10.0.1.10"].map(|address| address.parse().unwrap());
    world.sim.net().cut(Link::between(second, portal(0)));
    world.sim.net().cut(Link::between(first, portal(1)));
    let (inventory, mut events) = world.scanned(World::builder());
    let device = world.sim.block_on(inventory.device(&wwid(0))).unwrap();
    let names: Vec<_> = device
        .snapshot()
        .paths()
        .map(|p| p.name.to_string())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in ["eth0 -> 10.0.0.1:3260", "eth1 -> 10.0.1.1:3260"] {
        assert!(names.iter().any(|other| other == name), "{names:?}");
    }
    assert_eq!(count(&told(&mut events), "nothing can be reached"), 0);
    world.end(inventory);
}

#[test]
fn a_nic_that_reaches_nothing_is_told_and_is_not_fatal() {
    let world = World::new(5, 1);
    let builder = World::builder().bind("eth9".parse().unwrap());
    let (inventory, mut events) = world.scanned(builder);
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, "eth9: nothing can be reached"),
        1,
        "{lines:#?}"
    );
    assert_eq!(count(&lines, "nothing can be reached"), 1);
    let device = world.sim.block_on(inventory.device(&wwid(0))).unwrap();
    assert_eq!(paths(&device), 4);
    world.end(inventory);
}

#[test]
fn a_target_needs_no_discovery_where_its_portal_is_known() {
    let world = World::new(6, 1);
    let builder = Inventory::builder().target(TARGET.parse().unwrap(), portal(0).into());
    let (inventory, _) = world.scanned(builder);
    let device = world.sim.block_on(inventory.device(&wwid(0))).unwrap();
    assert_eq!(paths(&device), 1);
    assert_eq!(world.target.core().counters(0).logins, 1);
    world.end(inventory);
    let nothing = Inventory::builder().open(&world.initiator).unwrap_err();
    assert_eq!(nothing, InventoryError::NothingToAsk);
}

#[test]
fn a_device_that_is_not_there_is_not_found_at_the_end_of_the_scan() {
    let world = World::new(7, 1);
    let (inventory, _) = world.open(World::builder());
    let missing = world.sim.block_on(inventory.device("3600")).unwrap_err();
    let wwid = "3600".into();
    assert_eq!(missing, InventoryError::NotFound { wwid });
    assert_eq!(inventory.snapshot().scans, 1);
    world.end(inventory);
}

/// RFC 7143 appendix C: one portal may tell of targets that listen elsewhere.
#[test]
fn each_target_of_a_portal_has_its_own_credentials() {
    let mut config = other_config();
    config.chap = Some(ChapConfig::new("other", b"a secret of sixteen"));
    let mut first = target_config(1);
    first.chap = Some(ChapConfig::new("first", b"another one of them"));
    let world = World::with_target(8, first);
    let other = SimTarget::start(&world.sim.handle(), config).unwrap();
    world.tell_of_other();
    let chap = |name: &str, secret: &[u8]| {
        Authentication::Chap(ChapCredentials::new(name, Secret::new(secret)).unwrap())
    };
    let builder = |other_secret: &[u8]| {
        World::builder()
            .rescan_interval(None)
            .authentication(
                TARGET.parse().unwrap(),
                chap("first", b"another one of them"),
            )
            .authentication(OTHER.parse().unwrap(), chap("other", other_secret))
            .discover_with({
                let portal = portal(0).into();
                iscsi_client::discovery::Discovery::new(portal)
                    .with_authentication(chap("first", b"another one of them"))
            })
    };
    let (inventory, _) = world.scanned(builder(b"a secret of sixteen"));
    assert_eq!(wwids(&inventory), [wwid(0), other_wwid()]);
    world.end(inventory);
    // One that is wrong is not tried until the account is locked.
    let (inventory, mut events) = world.scanned(builder(b"some other, wrong one"));
    let failures = other.core().counters(0).login_failures;
    assert!(failures >= 2, "{failures}");
    world.sim.block_on(world.sim.sleep(600 * SECOND));
    assert_eq!(wwids(&inventory), [wwid(0)]);
    let lines = told(&mut events);
    assert_eq!(
        count(&lines, &format!("{OTHER}: no login")),
        2,
        "{lines:#?}"
    );
    assert_eq!(other.core().counters(0).login_failures, failures);
    world.end(inventory);
}

#[test]
fn a_target_is_found_over_ipv6_and_by_name() {
    let sim = SimRuntime::new(9);
    let address = "[fd00::1]:3260".parse().unwrap();
    sim.net().add_device("eth0", "fd00::10".parse().unwrap());
    sim.net()
        .add_host("storage.example", &["fd00::1".parse().unwrap()]);
    let config = TargetConfig::new(TARGET)
        .with_portal(address, 1)
        .with_lun(LunConfig::new(0, 1 << 20));
    let target = SimTarget::start(&sim.handle(), config).unwrap();
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, std::sync::Arc::new(sim.handle())).build();
    let inventory = Inventory::builder()
        .discover("storage.example".parse().unwrap())
        .bind("fd00::10".parse().unwrap())
        .bind("10.0.0.10".parse().unwrap())
        .open_spawned(&initiator)
        .unwrap();
    sim.block_on(async {
        let device = inventory.device(&wwid(0)).await.unwrap();
        let names: Vec<_> = device
            .snapshot()
            .paths()
            .map(|p| p.name.to_string())
            .collect();
        assert_eq!(names, ["fd00::10 -> [fd00::1]:3260"]);
        // An IPv4 address is not even tried.
        assert_eq!(inventory.snapshot().routes.len(), 1);
        inventory.close().await;
    });
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_unit_without_a_name_is_refused_and_told() {
    let world = World::new(10, 2);
    // The list of pages, without the one of names.
    let pages = Answer::Data(vec![0, 0, 0, 1, 0]);
    world
        .target
        .core()
        .answer(1, &[0x12, 1, 0], pages, u32::MAX);
    let (inventory, mut events) = world.scanned(World::builder());
    assert_eq!(wwids(&inventory), [wwid(0)]);
    let lines = told(&mut events);
    assert_eq!(count(&lines, "LUN 1: "), 4, "{lines:#?}");
    assert_eq!(count(&lines, "reports no identity"), 4, "{lines:#?}");
    // The same at the next scan is not told again.
    world.sim.block_on(inventory.rescan());
    assert_eq!(count(&told(&mut events), "LUN 1: "), 0);
    world.end(inventory);
}

#[test]
fn a_device_has_the_settings_that_its_rule_or_the_program_says() {
    let world = World::new(11, 3);
    let config = |policy| {
        let builder = Config::builder().path_grouping_policy(policy);
        builder.build().unwrap()
    };
    let by_wwid = config(PathGroupingPolicy::Failover);
    let others = config(PathGroupingPolicy::Multibus);
    let builder = World::builder()
        .config(others.clone())
        .config_for(Rule::wwid(&wwid(1)), by_wwid.clone())
        .config_for(Rule::wwid("*0001"), others)
        .config_by(move |unit| {
            let chosen = unit.lun == iscsi_proto::scsi::Lun::new(2);
            chosen.then(|| by_wwid.clone())
        })
        .path_attributes(|unit, usual| {
            let portal = unit.route.portal.to_string();
            usual.with_priority(if portal.starts_with("10.0.0.") { 10 } else { 5 })
        });
    let (inventory, _) = world.scanned(builder);
    let groups: Vec<_> = inventory
        .devices()
        .iter()
        .map(|device| device.snapshot().groups.len())
        .collect();
    assert_eq!(groups, [1, 4, 4]);
    let device = &inventory.devices()[0];
    let mut priorities: Vec<_> = device.snapshot().paths().map(|p| p.priority).collect();
    priorities.sort_unstable();
    assert_eq!(priorities, [5, 5, 10, 10]);
    world.end(inventory);
}

#[test]
fn priorities_and_arrays_are_given_by_rules() {
    let world = World::new(13, 2);
    let settings = ArraySettings::default().path_grouping_policy(PathGroupingPolicy::Failover);
    let table = ArrayTable::none().with(Array::new("testkit", "RUSTSDK", "*", settings));
    let builder = World::builder()
        .arrays(table)
        .config_for(
            Rule::wwid(&wwid(1)),
            Config::builder()
                .path_grouping_policy(PathGroupingPolicy::Multibus)
                .build()
                .unwrap(),
        )
        .priority_by(Rule::path("eth0 -> 10.0.0.*"), 30)
        .priority_by(Rule::bind("eth0"), 20);
    let (inventory, _) = world.scanned(builder);
    let devices = inventory.devices();
    let groups: Vec<_> = devices
        .iter()
        .map(|device| device.snapshot().groups.len())
        .collect();
    assert_eq!(groups, [4, 1], "what the program has set stays");
    let mut priorities: Vec<_> = devices[0].snapshot().paths().map(|p| p.priority).collect();
    priorities.sort_unstable();
    assert_eq!(priorities, [1, 1, 20, 30]);
    assert_eq!(devices[0].topology().array.as_deref(), Some("testkit"));
    world.end(inventory);
}

/// A target that is being started: nobody listens at first.
#[test]
fn a_target_that_starts_later_is_waited_for() {
    let world = World::new(12, 1);
    (0..2).for_each(|index| world.sim.net().refuse(World::link(index)));
    let (inventory, mut events) = world.scanned(World::builder());
    let lines = told(&mut events);
    assert_eq!(count(&lines, "no discovery"), 2, "{lines:#?}");
    assert_eq!(count(&lines, "nothing can be reached"), 2, "{lines:#?}");
    world.sim.net().heal_all();
    world.sim.block_on(async {
        let begin = world.sim.elapsed();
        let device = inventory.wait_for(&wwid(0)).await.unwrap();
        let took = world.sim.elapsed() - begin;
        assert!(took < Duration::from_secs(31), "{took:?}");
        check(&device, 1).await;
    });
    world.end(inventory);
}

/// It does not know how large the device is, and needs another path that says so.
#[test]
fn paths_that_stand_by_join_the_device_that_an_active_one_makes() {
    for standby in [1, 2] {
        let mut alua = AluaConfig::default();
        alua.states = vec![(standby, PortState::Standby)];
        let world = World::with_target(9, target_config(1).with_alua(alua));
        let (inventory, _) = world.scanned(World::builder());
        world.sim.block_on(async {
            let device = inventory.device(&wwid(0)).await.unwrap();
            let begun = world.sim.elapsed();
            while paths(&device) < 4 {
                world.sim.sleep(SECOND / 100).await;
                assert!(
                    world.sim.elapsed() - begun < SECOND,
                    "no rescan is waited for"
                );
            }
            check(&device, 1).await;
        });
        world.end(inventory);
    }
}

/// What is written there would be lost, and what is read whatever that target likes.
#[test]
fn another_target_that_claims_an_identifier_gets_none_of_its_io() {
    let claim = |across: bool| {
        let world = World::new(10, 1);
        let mut lun = LunConfig::new(0, LUN_SIZE).with_seed(100);
        lun.naa = LunConfig::new(0, LUN_SIZE).naa;
        let other = TargetConfig::new(OTHER).with_portal(portal(2), 1);
        let _other = SimTarget::start(&world.sim.handle(), other.with_lun(lun)).unwrap();
        let builder = match across {
            true => World::builder().across_targets(),
            false => World::builder(),
        };
        let (inventory, mut events) = world.scanned(builder);
        world.tell_of_other();
        world.sim.block_on(inventory.rescan());
        let paths = paths(&inventory.devices()[0]);
        if !across {
            world.sim.block_on(check(&inventory.devices()[0], 1));
        }
        let lines = told(&mut events);
        world.end(inventory);
        (
            paths,
            count(
                &lines,
                "one array's, set `InventoryBuilder::across_targets`",
            ),
        )
    };
    assert_eq!(claim(false), (4, 2));
    assert_eq!(claim(true), (6, 0), "two controllers of one array");
}
