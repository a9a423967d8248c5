//! Portals with IPv6 addresses.

use iscsi_client::session::SessionOptions;
use iscsi_proto::text::{Digest, DigestOffer};

use crate::{
    discovery::finds,
    harness::{Auth, Image, Kind, On, Peer, Place, Setup, block_on, initiator, open},
};

each_peer!(
    discovery_answers_with_ipv6_addresses,
    login_with_chap_and_digests_and_blocks_there_and_back,
);

const SIZE: u64 = 8 << 20;

fn setup() -> Setup {
    Setup {
        size: SIZE,
        place: Place::Here6,
        ..Setup::default()
    }
}

fn discovery_answers_with_ipv6_addresses(kind: Kind) {
    let Some(peer) = Peer::start(kind, setup()) else {
        return;
    };
    assert!(peer.portals().iter().all(std::net::SocketAddr::is_ipv6));
    for (on, portal) in [(On::Tokio, 1), (On::Smol, 0)] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move { finds(&initiator(&runtime), peer, kind, portal).await }
        });
    }
}

fn login_with_chap_and_digests_and_blocks_there_and_back(kind: Kind) {
    let setup = Setup {
        auth: Auth::Mutual,
        digests: (true, true),
        ..setup()
    };
    let Some(peer) = Peer::start(kind, setup) else {
        return;
    };
    let mut image = Image::new(512, SIZE);
    for (on, portal) in [(On::Tokio, 0), (On::Smol, 1)] {
        block_on(on, |runtime| {
            let (peer, image) = (&peer, &mut image);
            async move {
                let mut options = SessionOptions::default();
                options.offer = options
                    .offer
                    .with_header_digest(DigestOffer::RequireCrc32c)
                    .with_data_digest(DigestOffer::RequireCrc32c);
                let (session, unit) = open(&runtime, peer, portal, options).await;
                let login = session.login();
                let parameters = &login.parameters;
                assert_eq!(parameters.header_digest, Digest::Crc32c);
                assert_eq!(parameters.data_digest, Digest::Crc32c);
                for (at, blocks) in [(0, 1), (17, 129), (4000, 3001), (16383, 1)] {
                    image.write(&unit, at, blocks).await;
                }
                image.verify(&unit, &peer.backing()).await;
                assert_eq!(session.logins(), 1);
                session.close().await;
            }
        });
    }
}
