//! CRC32C over headers and data: required by us, so that a login that did without would fail.

use iscsi_client::session::SessionOptions;
use iscsi_proto::text::DigestOffer;

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, open};

each_peer!(
    off,
    on_headers,
    on_data,
    on_headers_and_data,
    with_the_offer_that_is_the_default,
);

fn agree(kind: Kind, target: (bool, bool), header: DigestOffer, data: DigestOffer) {
    const SIZE: u64 = 16 << 20;
    let setup = Setup {
        digests: target,
        size: SIZE,
        ..Setup::default()
    };
    let Some(peer) = Peer::start(kind, setup) else {
        return;
    };
    block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let mut options = SessionOptions::default();
            options.offer = options
                .offer
                .with_header_digest(header)
                .with_data_digest(data);
            let (session, unit) = open(&runtime, peer, 0, options).await;
            let mut image = Image::new(512, SIZE);
            // Lengths that need no padding and lengths that do not fill a segment, in and out.
            for (at, blocks) in [(0, 1), (3, 16), (101, 513), (1000, 2049), (5001, 6145)] {
                image.write(&unit, at, blocks).await;
            }
            image.verify(&unit, &peer.backing()).await;
            assert_eq!(session.logins(), 1, "no digest was wrong");
            session.close().await;
        }
    });
}

fn off(kind: Kind) {
    agree(kind, (false, false), DigestOffer::None, DigestOffer::None);
}

fn on_headers(kind: Kind) {
    let (header, data) = (DigestOffer::RequireCrc32c, DigestOffer::None);
    agree(kind, (true, false), header, data);
}

fn on_data(kind: Kind) {
    let (header, data) = (DigestOffer::None, DigestOffer::RequireCrc32c);
    agree(kind, (false, true), header, data);
}

fn on_headers_and_data(kind: Kind) {
    let crc32c = DigestOffer::RequireCrc32c;
    agree(kind, (true, true), crc32c, crc32c);
}

/// It prefers none; which of the two it becomes is up to a target that has both.
fn with_the_offer_that_is_the_default(kind: Kind) {
    let offer = DigestOffer::PreferNone;
    agree(kind, (true, true), offer, offer);
}
