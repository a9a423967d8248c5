//! CHAP with the target of the testkit, which has hashes and state machines of its own.

use std::{future::poll_fn, time::Duration};

use futures_util::future::join;
use iscsi_client::{
    error::{LoginError, LoginFailure},
    isid::SessionSlot,
    runtime::Runtime,
    session::{Session, SessionOptions},
};
use iscsi_proto::{
    Error as CoreError, LoginStatus, PeerIncompatible, PeerMisbehaved,
    login::{ChapAlgorithm, ChapCredentials, Secret, TargetCredentials},
};
use iscsi_testkit::target::{ChapConfig, ChapFault};

use crate::support::{World, assert_pattern, config, read, to};

const OURS: &[u8] = iscsi_testkit::canary::OURS.as_bytes();
const THEIRS: &[u8] = iscsi_testkit::canary::THEIRS.as_bytes();

fn chap() -> ChapConfig {
    ChapConfig::new("user", OURS).with_mutual("shelf", THEIRS)
}

fn credentials() -> ChapCredentials {
    ChapCredentials::new("user", Secret::new(OURS)).unwrap()
}

fn mutual() -> ChapCredentials {
    let target = TargetCredentials::new(Secret::new(THEIRS)).unwrap();
    credentials()
        .with_target(target.with_name("shelf").unwrap())
        .unwrap()
}

fn connect(
    world: &World,
    credentials: ChapCredentials,
    algorithms: &[ChapAlgorithm],
) -> Result<Session, LoginError> {
    let mut options = SessionOptions::default();
    options.chap_algorithms = algorithms.to_vec();
    let builder = world.builder().credentials(credentials).options(options);
    let initiator = builder.build();
    world.sim.block_on(initiator.connect_spawned(&to()))
}

#[track_caller]
fn protocol(result: Result<Session, LoginError>) -> CoreError {
    match result.unwrap_err().failure() {
        LoginFailure::Protocol(error) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_algorithm_works_one_way_and_mutually_in_hex_and_base64() {
    for algorithm in ChapAlgorithm::ALL {
        for (base64, credentials) in [(false, credentials()), (true, mutual()), (false, mutual())] {
            let mut chap = chap();
            chap.algorithms = vec![algorithm.number()];
            chap.base64 = base64;
            let proven = credentials.is_mutual();
            let world = World::with_config(1, config().with_chap(chap));
            let session = connect(&world, credentials, ChapAlgorithm::ALL).unwrap();
            let login = session.login();
            assert_eq!(login.chap, Some(*algorithm));
            assert_eq!(login.target_authenticated, proven);
            assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
            world.assert_clean();
        }
    }
}

#[test]
fn challenges_up_to_1024_bytes_are_answered() {
    for (length, taken) in [(8, true), (1024, true), (7, false), (1025, false)] {
        let mut chap = chap();
        chap.challenge_length = Some(length);
        let world = World::with_config(2, config().with_chap(chap));
        let result = connect(&world, mutual(), ChapAlgorithm::ALL);
        assert_eq!(result.is_ok(), taken, "{length}");
    }
}

#[test]
fn a_target_that_cannot_prove_itself_gets_no_session() {
    for (fault, why) in [
        (ChapFault::SkipsProof, PeerIncompatible::TargetProofMissing),
        (ChapFault::WrongProof, PeerIncompatible::TargetNotAuthentic),
    ] {
        let mut chap = chap();
        chap.fault = fault;
        let world = World::with_config(3, config().with_chap(chap));
        let error = protocol(connect(&world, mutual(), ChapAlgorithm::ALL));
        assert_eq!(error, CoreError::PeerIncompatible(why));
        assert_eq!(world.target.core().sessions(), 0);
        assert_eq!(world.target.core().counters(0).connections, 1, "tried once");
    }
    let none = ChapConfig::new("user", OURS);
    let world = World::with_config(3, config().with_chap(none));
    let error = protocol(connect(&world, mutual(), ChapAlgorithm::ALL));
    let refused = LoginStatus {
        class: 2,
        detail: 1,
    };
    assert_eq!(error, CoreError::LoginRejected(refused));
}

#[test]
fn a_target_that_refuses_lists_is_offered_less_and_md5_only_if_it_is_allowed() {
    use ChapAlgorithm as A;
    for (takes, offered, agreed, attempts) in [
        (vec![5], A::ALL, Some(A::Md5), 2),
        (vec![5, 7], A::WITHOUT_MD5, Some(A::Sha256), 2),
        (vec![6], A::WITHOUT_MD5, Some(A::Sha1), 3),
        (vec![5], A::WITHOUT_MD5, None, 4),
        (vec![8], &[A::Sha3_256], Some(A::Sha3_256), 1),
    ] {
        let mut chap = chap();
        chap.fault = ChapFault::RefusesLists;
        chap.algorithms = takes;
        let world = World::with_config(4, config().with_chap(chap));
        let result = connect(&world, mutual(), offered);
        let found = result.ok().and_then(|session| session.login().chap);
        assert_eq!(found, agreed);
        assert_eq!(world.target.core().counters(0).connections, attempts);
    }
}

/// RFC 7143 section 9.2.1, among the logins of one initiator.
#[test]
fn a_challenge_of_another_login_is_not_answered() {
    let mut chap = chap();
    chap.fault = ChapFault::Reflects;
    let world = World::with_config(5, config().with_chap(chap));
    let initiator = world.builder().credentials(mutual()).build();
    let slot = SessionSlot {
        number: 1,
        ..SessionSlot::default()
    };
    let (first, second) = (to(), to().with_slot(slot));
    let handle = world.handle();
    let later = async {
        let mut timer = handle.new_timer(handle.now() + Duration::from_secs(1));
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
        initiator.connect_spawned(&second).await
    };
    let both = join(initiator.connect_spawned(&first), later);
    let (hangs, reflected) = world.sim.block_on(both);
    assert!(matches!(protocol(hangs), CoreError::TimedOut(_)));
    assert_eq!(protocol(reflected), PeerMisbehaved::ChapReflection.into());
}
