//! What is discovered, and what a session knows of its portal group.

use iscsi_client::{
    bind::Bind,
    discovery::Discovery,
    error::LoginFailure,
    session::{SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    Error as CoreError, PeerIncompatible, TargetPortalGroupTag,
    portal::Portal,
    text::{OperationalOffer, TaskReporting},
};
use iscsi_testkit::target::LoginConduct;

use crate::support::{TARGET, World, address, assert_pattern, config, read, to};

fn many_portals() -> World {
    let mut config = config();
    for n in 2..60 {
        config = config.with_portal(format!("10.0.1.{n}:3260").parse().unwrap(), n);
    }
    config = config.with_portal("[2001:db8::1]:3261".parse().unwrap(), 60);
    World::with_config(1, config)
}

/// Row C-87: the answer takes several PDUs where our limit is small.
#[test]
fn an_answer_over_several_pdus_is_joined_and_keeps_the_groups() {
    let world = many_portals();
    let mut options = SessionOptions::default();
    let offer = OperationalOffer::default().with_max_recv_data_segment_length(512);
    options.offer = offer.unwrap();
    let initiator = world.builder().build();
    let all = Discovery::new(address().into()).with_options(options.clone());
    let found = world.sim.block_on(initiator.discover_with(&all)).unwrap();
    assert!(world.target.core().counters(0).pdus_out > 5);
    let [target] = &found.targets[..] else {
        panic!("{found:?}")
    };
    assert_eq!(target.portals.len(), 60);
    let last = target.portals[59].to_string();
    assert_eq!(last, "[2001:db8::1]:3261,60");
    let groups = target.portals.iter().filter_map(|portal| portal.tpgt);
    assert_eq!(
        groups.map(|tag| u32::from(tag.0)).sum::<u32>(),
        1 + (2..=60).sum::<u32>()
    );

    let one = all.clone().with_target(TARGET.parse().unwrap());
    let same = world.sim.block_on(initiator.discover_with(&one)).unwrap();
    assert_eq!(same, found);
    let other = all.with_target("iqn.2026-01.example:other".parse().unwrap());
    let none = world.sim.block_on(initiator.discover_with(&other)).unwrap();
    assert!(none.targets.is_empty());

    // And in a normal session, where it means the target at the other end.
    let normal = to().with_options(options);
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&normal))
        .unwrap();
    let own = world.sim.block_on(session.send_targets()).unwrap();
    assert_eq!(own, found);
    world.assert_clean();
}

#[test]
fn every_address_of_a_name_is_asked() {
    let world = World::new(2);
    let dead = "10.0.0.9".parse().unwrap();
    let net = world.sim.net();
    net.add_host("storage.example", &[dead, address().ip()]);
    let portal: Portal = "storage.example:3260".parse().unwrap();
    let initiator = world.builder().build();
    let found = world.sim.block_on(initiator.discover(&portal, &Bind::Any));
    assert_eq!(found.unwrap().targets.len(), 1);
}

/// C-27.
#[test]
fn another_portal_group_than_discovered_is_told_or_refused() {
    let world = World::new(3);
    let mut to = to();
    let tag = TargetPortalGroupTag;
    to.portal.tpgt = Some(tag(1));
    let initiator = world.builder().build();
    let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
    assert_eq!(session.login().portal_group(), Some(tag(1)));
    assert!(matches!(
        session.events(0)[0].kind,
        SessionEventKind::Up { .. }
    ));
    world.sim.block_on(session.close());

    to.portal.tpgt = Some(tag(7));
    let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
    let event = session.events(0).remove(0).kind;
    let SessionEventKind::PortalGroup { expected, found } = event else {
        panic!("{event:?}")
    };
    assert_eq!((expected, found), (tag(7), Some(tag(1))));
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
    world.sim.block_on(session.close());

    let mut options = SessionOptions::default();
    options.require_portal_group = true;
    let strict = to.with_options(options);
    let error = world.sim.block_on(initiator.connect(&strict)).unwrap_err();
    let wrong = PeerIncompatible::PortalGroup {
        expected: tag(7),
        found: Some(tag(1)),
    };
    let LoginFailure::Protocol(CoreError::PeerIncompatible(why)) = error.failure() else {
        panic!("{error:?}")
    };
    assert_eq!(*why, wrong);
    assert!(error.advice().contains("Discover"), "{}", error.advice());
}

/// Section 6.2, C-12, C-18, C-28: texts longer than a PDU in both directions, and an answer to each
/// key that the target brings up.
#[test]
fn long_texts_go_both_ways_and_every_key_of_the_target_is_answered() {
    let mut login = LoginConduct::default();
    login.alias = Some("third shelf".into());
    login.announce = (0..900)
        .map(|n| (format!("X-com.example.{n}"), "1".to_owned()))
        .collect();
    let own = [
        ("IFMarker", "Yes", "No"),
        ("OFMarkInt", "2048", "Reject"),
        ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
        ("headerdigest", "CRC32C", "NotUnderstood"),
    ];
    for (key, value, _) in own {
        login.announce.push((key.into(), value.into()));
    }
    let world = World::with_config(4, config().with_login(login));
    let session = world.connect(SessionOptions::default());
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
    let answers = world.target.core().login_answers();
    assert_eq!(answers.len(), 904);
    assert!(
        answers[..900]
            .iter()
            .all(|(_, value)| value == "NotUnderstood")
    );
    for ((name, answer), (key, _, expected)) in answers[900..].iter().zip(own) {
        assert_eq!((name.as_str(), answer.as_str()), (key, expected));
    }
    let parameters = session.login().parameters.clone();
    assert_eq!(parameters.target_alias.as_deref(), Some("third shelf"));
    assert_eq!(parameters.task_reporting, TaskReporting::Rfc3720);
    world.assert_clean();
}

/// Section 6.3 demands the tag; not everybody sends it.
#[test]
fn a_target_without_a_group_tag_is_served_unless_one_is_required() {
    let mut login = LoginConduct::default();
    login.hides_portal_group = true;
    login.segment = 64;
    let world = World::with_config(5, config().with_login(login));
    let session = world.connect(SessionOptions::default());
    assert_eq!(session.login().portal_group(), None);
    world.sim.block_on(session.close());
    let mut options = SessionOptions::default();
    options.require_portal_group = true;
    let mut to = to().with_options(options);
    to.portal.tpgt = Some(TargetPortalGroupTag(1));
    let initiator = world.builder().build();
    let error = world.sim.block_on(initiator.connect(&to)).unwrap_err();
    assert!(error.to_string().contains("named none"), "{error}");
}
