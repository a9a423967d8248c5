//! SendTargets through each portal.

use std::net::SocketAddr;

use iscsi_client::{
    bind::Bind,
    error::{Error, ErrorKind},
    initiator::Initiator,
};
use iscsi_proto::login::{ChapCredentials, Secret};

use crate::harness::{Kind, On, Peer, Setup, USER, block_on, initiator, initiator_named};

each_peer!(
    finds_the_target_through_each_portal,
    with_chap,
    without_the_chap_that_is_wanted_is_refused,
);

/// istgt names both portals of the target. tgtd names the one that was asked and no other, so that
/// both have to be asked there, or configured.
async fn finds(initiator: &Initiator, peer: &Peer, kind: Kind, portal: usize) {
    let asked = peer.portal(portal);
    let found = initiator.discover(&asked, &Bind::Any).await;
    let found = found.unwrap_or_else(|error| panic!("{error} ({})", error.advice()));
    assert_eq!(found.dropped, 0, "{found:?}");
    let targets: Vec<_> = found.targets.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(targets, [peer.target()]);
    let mut portals: Vec<SocketAddr> = found.targets[0]
        .portals
        .iter()
        .map(|portal| format!("{}:{}", portal.host, portal.port))
        .map(|text| text.parse().expect("an address"))
        .collect();
    portals.sort_unstable();
    match kind {
        Kind::Tgtd => assert_eq!(portals, [peer.portals()[portal]]),
        Kind::Istgt => assert_eq!(portals, peer.portals()),
    }
    assert!(found.targets[0].portals.iter().all(|p| p.tpgt.is_some()));
}

fn finds_the_target_through_each_portal(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    for (on, portal) in [(On::Tokio, 0), (On::Smol, 1)] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move { finds(&initiator(&runtime), peer, kind, portal).await }
        });
    }
}

fn chap_setup() -> Setup {
    Setup {
        discovery_chap: true,
        ..Setup::default()
    }
}

fn with_chap(kind: Kind) {
    let Some(peer) = Peer::start(kind, chap_setup()) else {
        return;
    };
    block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let [name, secret] = USER;
            let secret = Secret::new(secret.as_bytes());
            let credentials = ChapCredentials::new(name, secret).expect("good enough");
            let initiator = initiator_named(&runtime, "iqn.2026-01.example.initiator:discovery");
            let builder = Initiator::builder(initiator.name().clone(), runtime);
            finds(&builder.credentials(credentials).build(), peer, kind, 0).await;
        }
    });
}

fn without_the_chap_that_is_wanted_is_refused(kind: Kind) {
    let Some(peer) = Peer::start(kind, chap_setup()) else {
        return;
    };
    block_on(On::Smol, |runtime| {
        let peer = &peer;
        async move {
            let asked = peer.portal(1);
            let found = initiator(&runtime).discover(&asked, &Bind::Any).await;
            let error = found.expect_err("CHAP is wanted");
            assert_eq!(
                Error::from(error.clone()).kind(),
                ErrorKind::Auth,
                "{error}"
            );
        }
    });
}
