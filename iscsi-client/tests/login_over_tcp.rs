//! CHAP in both directions over real TCP, under each adapter that is compiled in.

#![cfg(any(feature = "tokio", feature = "smol"))]

mod support;

use iscsi_client::{
    bind::Bind,
    error::LoginFailure,
    initiator::{Initiator, SessionTarget},
};
use iscsi_proto::{
    Error as CoreError, PeerIncompatible,
    login::{Authentication, ChapAlgorithm, ChapCredentials, Secret, TargetCredentials},
};
use iscsi_testkit::target::{ChapConfig, ChapFault, LunConfig, Redirect, TargetConfig, TcpTarget};
use support::on_each_runtime;

const NAME: &str = "iqn.2026-01.example:disk";

fn target(chap: ChapConfig) -> TcpTarget {
    let config = TargetConfig::new(NAME)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 1 << 20))
        .with_chap(chap);
    TcpTarget::start(config).unwrap()
}

fn credentials() -> ChapCredentials {
    let theirs =
        TargetCredentials::new(Secret::new(iscsi_testkit::canary::THEIRS.as_bytes())).unwrap();
    let ours =
        ChapCredentials::new("user", Secret::new(iscsi_testkit::canary::OURS.as_bytes())).unwrap();
    ours.with_target(theirs).unwrap()
}

fn chap() -> ChapConfig {
    ChapConfig::new("user", iscsi_testkit::canary::OURS.as_bytes())
        .with_mutual("shelf", iscsi_testkit::canary::THEIRS.as_bytes())
}

#[test]
fn both_sides_prove_themselves_with_each_algorithm_behind_a_redirection() {
    on_each_runtime(async |runtime| {
        for algorithm in ChapAlgorithm::ALL {
            let mut chap = chap();
            chap.algorithms = vec![algorithm.number()];
            chap.base64 = algorithm.number() % 2 == 0;
            let target = target(chap);
            let to = target.portal(1).to_string();
            let permanent = true;
            target
                .core()
                .redirect_logins(0, Some(Redirect { to, permanent }));
            let name = "iqn.2026-01.example:host".parse().unwrap();
            let initiator = Initiator::builder(name, runtime.clone())
                .credentials(credentials())
                .build();
            let portal = target.portal(0).into();
            let found = initiator.discover(&portal, &Bind::Any).await.unwrap();
            assert_eq!(found.targets[0].portals.len(), 2);
            let to = SessionTarget::new(NAME.parse().unwrap(), portal);
            let session = initiator.connect_spawned(&to).await.unwrap();
            let login = session.login();
            assert_eq!(login.chap, Some(*algorithm));
            assert!(login.target_authenticated);
            assert_eq!(login.address, target.portal(1));
            session.close().await;
            assert_eq!(target.core().violations(), []);
        }
    });
}

#[test]
fn an_impostor_gets_no_session() {
    on_each_runtime(async |runtime| {
        let mut chap = chap();
        chap.fault = ChapFault::WrongProof;
        let target = target(chap);
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let initiator = Initiator::builder(name, runtime).build();
        let to = SessionTarget::new(NAME.parse().unwrap(), target.portal(0).into());
        let to = to.with_authentication(Authentication::Chap(credentials()));
        let error = initiator.connect(&to).await.unwrap_err();
        let LoginFailure::Protocol(CoreError::PeerIncompatible(why)) = error.failure() else {
            panic!("{error:?}")
        };
        assert_eq!(*why, PeerIncompatible::TargetNotAuthentic);
        assert_eq!(target.core().sessions(), 0);
    });
}
