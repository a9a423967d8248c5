//! Logins that fail, and say why.

use crate::support::{TARGET, World, address, assert_pattern, config, read, to};
use iscsi_client::{
    bind::Bind,
    error::{Error, ErrorKind, LoginError, LoginFailure},
    initiator::SessionTarget,
    isid::SessionSlot,
};
use iscsi_proto::{
    Error as CoreError, LoginStatus,
    login::{ChapCredentials, Secret},
    portal::Portal,
};
use iscsi_testkit::{
    sim::Link,
    target::{ChapConfig, TargetConfig},
};

fn chap() -> TargetConfig {
    config().with_chap(ChapConfig::new(
        "user",
        iscsi_testkit::canary::OURS.as_bytes(),
    ))
}

fn credentials(secret: &[u8]) -> ChapCredentials {
    ChapCredentials::new("user", Secret::new(secret)).unwrap()
}

#[track_caller]
fn rejected(error: &LoginError, class: u8, detail: u8) {
    let status = LoginStatus { class, detail };
    match error.failure() {
        LoginFailure::Protocol(CoreError::LoginRejected(found)) => assert_eq!(*found, status),
        other => panic!("{other:?}"),
    }
    assert!(!error.advice().is_empty());
}

#[test]
fn a_wrong_target_name_is_target_not_found() {
    let world = World::new(0);
    let initiator = world.builder().build();
    let wrong = SessionTarget::new(
        "iqn.2026-01.example:other".parse().unwrap(),
        address().into(),
    );
    let error = world.sim.block_on(initiator.connect(&wrong)).unwrap_err();
    rejected(&error, 2, 3);
}

#[test]
fn the_right_secret_logs_in_and_the_wrong_one_is_an_authentication_failure() {
    let world = World::with_config(1, chap());
    let initiator = world
        .builder()
        .credentials(credentials(iscsi_testkit::canary::OURS.as_bytes()))
        .build();
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
    let initiator = world
        .builder()
        .credentials(credentials(b"another secret here"))
        .build();
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    rejected(&error, 2, 1);
    assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
}

#[test]
fn a_target_that_wants_credentials_is_told_apart_from_one_that_refuses_them() {
    let world = World::with_config(2, chap());
    let error = world.connect_with_driver().unwrap_err();
    assert!(
        matches!(error.failure(), LoginFailure::Protocol(_)),
        "{error}"
    );
    assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
}

#[test]
fn a_refused_port_is_a_connect_failure_with_its_portal() {
    let world = World::new(3);
    world.sim.net().refuse(Link::to(address()));
    let error = world.connect_with_driver().unwrap_err();
    let LoginFailure::Connect(cause) = error.failure() else {
        panic!("{error:?}")
    };
    assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(error.portal(), &Portal::from(address()));
    assert!(error.is_transient());
}

#[test]
fn a_silent_portal_is_given_up_at_the_deadline() {
    let world = World::new(4);
    world.sim.net().cut(Link::to(address()));
    let error = world.connect_with_driver().unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::Connect(_)));
    assert_eq!(world.sim.elapsed().as_secs(), 5);
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let world = World::new(5);
    let dead = "10.0.0.9".parse().unwrap();
    world
        .sim
        .net()
        .add_host("storage.example", &[dead, address().ip()]);
    let portal: Portal = "storage.example:3260".parse().unwrap();
    let initiator = world.builder().build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), portal);
    let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
}

#[test]
fn two_sessions_of_one_initiator_never_log_each_other_out() {
    let world = World::new(6);
    let initiator = world.builder().build();
    let first = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::SessionExists));
    let second = to().with_slot(SessionSlot {
        number: 1,
        ..SessionSlot::default()
    });
    let second = world
        .sim
        .block_on(initiator.connect_spawned(&second))
        .unwrap();
    assert_ne!(first.isid(), second.isid());
    assert_eq!(world.target.core().sessions(), 2);
    let isid = first.isid();
    world.sim.block_on(first.close());
    let again = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    assert_eq!(
        again.isid(),
        isid,
        "the slot is free after the close, its ISID the same"
    );
}

#[test]
fn discovery_names_the_targets_and_leaves_nothing_behind() {
    let world = World::new(7);
    let initiator = world.builder().build();
    let portal = address().into();
    let found = world
        .sim
        .block_on(initiator.discover(&portal, &Bind::Any))
        .unwrap();
    assert_eq!(found.targets.len(), 1);
    assert_eq!(found.targets[0].name.as_str(), TARGET);
    assert_eq!(found.targets[0].portals[0].to_string(), "10.0.0.1:3260,1");
    assert_eq!(world.target.core().sessions(), 0);
    world.assert_clean();
}
