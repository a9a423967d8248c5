//! Who gets in, and what those are told who do not.

use std::sync::Arc;

use iscsi_client::{
    error::{Error, ErrorKind, LoginError},
    session::SessionOptions,
};
use iscsi_proto::{
    login::{Authentication, ChapCredentials, Secret},
    pdu::Pdu,
};
use iscsi_testkit::canary::ANOTHER;

use crate::harness::{
    Auth, Kind, On, Peer, Setup, Trace, USER, block_on, initiator, initiator_named, open,
};

each_peer!(
    without_chap,
    with_one_way_chap,
    with_mutual_chap,
    a_wrong_secret_is_refused,
    a_wrong_secret_of_the_target_is_noticed,
    credentials_are_asked_for,
    an_unknown_target_is_refused,
    an_initiator_that_is_not_listed_is_refused,
    the_initiator_that_is_listed_gets_in,
);

fn setup(auth: Auth) -> Setup {
    Setup {
        auth,
        ..Setup::default()
    }
}

/// Logs in through both portals, uses the disk, and logs out.
fn logs_in(kind: Kind, auth: Auth) {
    let Some(peer) = Peer::start(kind, setup(auth)) else {
        return;
    };
    for (on, portal) in [(On::Tokio, 0), (On::Smol, 1)] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let trace = Arc::new(Trace::new(None));
                let mut options = SessionOptions::default();
                options.tap = Some(Arc::clone(&trace) as _);
                let (session, unit) = open(&runtime, peer, portal, options).await;
                unit.test_unit_ready(None).await.expect("it is ready");
                session.ping().await.expect("a NOP-In");
                session.close().await;
                let stats = session.stats();
                // istgt has been seen to close without a Logout Response.
                if kind == Kind::Istgt && stats.connections_lost == 1 {
                    let [sent, received] = trace.pdus();
                    let last = sent.last().map(|(pdu, _)| pdu);
                    assert!(matches!(last, Some(Pdu::LogoutRequest(_))), "{last:?}");
                    let answered = received
                        .iter()
                        .any(|(pdu, _)| matches!(pdu, Pdu::LogoutResponse(_)));
                    assert!(!answered, "{:?}", stats.last_error);
                    eprintln!("istgt closed without an answer to the logout");
                    return;
                }
                assert_eq!(stats.connections_lost, 0, "{:?}", stats.last_error);
            }
        });
    }
}

fn without_chap(kind: Kind) {
    logs_in(kind, Auth::None);
}

fn with_one_way_chap(kind: Kind) {
    logs_in(kind, Auth::OneWay);
}

fn with_mutual_chap(kind: Kind) {
    logs_in(kind, Auth::Mutual);
}

/// What a login is told that must fail.
fn refused(
    peer: &Peer,
    name: Option<&str>,
    change: impl FnOnce(
        iscsi_client::initiator::SessionTarget,
    ) -> iscsi_client::initiator::SessionTarget,
) -> LoginError {
    block_on(On::Tokio, |runtime| async move {
        let to = change(peer.session_target(0, SessionOptions::default()));
        let initiator = match name {
            Some(name) => initiator_named(&runtime, name),
            None => initiator(&runtime),
        };
        let error = initiator.connect_spawned(&to).await.expect_err("refused");
        assert_eq!(error.portal(), &peer.portal(0));
        error
    })
}

fn chap(name: &str, secret: &str) -> Authentication {
    let secret = Secret::new(secret.as_bytes());
    Authentication::Chap(ChapCredentials::new(name, secret).expect("good enough"))
}

fn a_wrong_secret_is_refused(kind: Kind) {
    let Some(peer) = Peer::start(kind, setup(Auth::OneWay)) else {
        return;
    };
    for (name, secret) in [(USER[0], ANOTHER), ("somebody-else", USER[1])] {
        let error = refused(&peer, None, |to| to.with_authentication(chap(name, secret)));
        assert!(
            error.advice().contains("secret"),
            "{error}: {}",
            error.advice()
        );
        assert!(!error.is_transient(), "{error}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
    }
}

fn a_wrong_secret_of_the_target_is_noticed(kind: Kind) {
    let Some(peer) = Peer::start(kind, setup(Auth::Mutual)) else {
        return;
    };
    let mut url = peer.url(peer.portals()[0]);
    url.target_secret = Some(Secret::new(ANOTHER.as_bytes()));
    let wrong = url.authentication().expect("usable credentials");
    let error = refused(&peer, None, |to| to.with_authentication(wrong));
    assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
}

fn credentials_are_asked_for(kind: Kind) {
    let Some(peer) = Peer::start(kind, setup(Auth::OneWay)) else {
        return;
    };
    let error = refused(&peer, None, |to| {
        to.with_authentication(Authentication::None)
    });
    assert!(
        error.advice().contains("CHAP"),
        "{error}: {}",
        error.advice()
    );
    assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
}

fn an_unknown_target_is_refused(kind: Kind) {
    let Some(peer) = Peer::start(kind, setup(Auth::None)) else {
        return;
    };
    let error = refused(&peer, None, |mut to| {
        to.target = "iqn.2026-01.example.peer:nobody".parse().expect("a name");
        to
    });
    assert!(
        error.advice().contains("target"),
        "{error}: {}",
        error.advice()
    );
}

const LISTED: &str = "iqn.2026-01.example.initiator:listed";

fn only_one(kind: Kind) -> Option<Peer> {
    let only = Some(LISTED.into());
    Peer::start(
        kind,
        Setup {
            only,
            ..Setup::default()
        },
    )
}

fn an_initiator_that_is_not_listed_is_refused(kind: Kind) {
    let Some(peer) = only_one(kind) else { return };
    let stranger = "iqn.2026-01.example.initiator:stranger";
    let error = refused(&peer, Some(stranger), |to| to);
    assert_eq!(
        Error::from(error.clone()).kind(),
        ErrorKind::Auth,
        "{error}"
    );
}

fn the_initiator_that_is_listed_gets_in(kind: Kind) {
    let Some(peer) = only_one(kind) else { return };
    block_on(On::Smol, |runtime| {
        let peer = &peer;
        async move {
            let to = peer.session_target(1, SessionOptions::default());
            let initiator = initiator_named(&runtime, LISTED);
            let session = initiator.connect_spawned(&to).await.expect("it is listed");
            session.close().await;
        }
    });
}
