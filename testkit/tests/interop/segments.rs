//! Small segments and bursts, on either side's wish, and writes that have to wait for R2T.

use iscsi_client::session::SessionOptions;

use crate::harness::{Image, Kind, Limits, On, Peer, Setup, block_on, open};

each_peer!(
    of_512_bytes_on_our_wish,
    of_512_bytes_on_the_targets_wish,
    of_1024_bytes_in_bursts_of_4096,
    of_8192_bytes_without_immediate_data,
    of_8192_bytes_with_r2t_and_immediate_data,
    of_8192_bytes_with_unsolicited_data,
    the_least_of_everything,
);

const SIZE: u64 = 4 << 20;

/// Writes and reads under these limits: ours are offered, the target's configured. Returns the PDUs
/// that were sent and received for a write of 256 KiB.
fn exchange(kind: Kind, ours: Limits, targets: Limits) -> Option<(u64, u64)> {
    let setup = Setup {
        size: SIZE,
        limits: targets,
        ..Setup::default()
    };
    let peer = Peer::start(kind, setup)?;
    let exchanged = block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let mut options = SessionOptions::default();
            options.offer = options
                .offer
                .with_initial_r2t(ours.initial_r2t)
                .with_immediate_data(ours.immediate_data)
                .with_max_recv_data_segment_length(ours.segment)
                .and_then(|offer| offer.with_max_burst_length(ours.max_burst))
                .and_then(|offer| offer.with_first_burst_length(ours.first_burst))
                .expect("within the ranges");
            let (session, unit) = open(&runtime, peer, 0, options).await;
            let mut image = Image::new(512, SIZE);
            for (at, blocks) in [
                (0, 1),
                (5, 2),
                (9, 15),
                (40, 16),
                (77, 17),
                (201, 700),
                (999, 2049),
            ] {
                image.write(&unit, at, blocks).await;
            }
            // A ping has gone through all that came before it.
            session.ping().await.expect("a NOP-In");
            let before = session.stats();
            let bytes = bytes::Bytes::from(vec![0; 256 << 10]);
            let written = unit.write(1 << 20, bytes.into(), Default::default()).await;
            written.into_result().expect("a write");
            session.ping().await.expect("a NOP-In");
            let after = session.stats();
            image.write(&unit, 2048, 512).await;
            image.verify(&unit, &peer.backing()).await;
            assert_eq!(session.logins(), 1);
            session.close().await;
            (
                after.pdus_sent - before.pdus_sent,
                after.pdus_received - before.pdus_received,
            )
        }
    });
    Some(exchanged)
}

/// Of a write of 256 KiB in `segment`s and `bursts`, without what the ping adds.
#[track_caller]
fn check(exchanged: Option<(u64, u64)>, least_sent: u64, least_received: u64) {
    if let Some((sent, received)) = exchanged {
        assert!(
            sent >= least_sent && received >= least_received,
            "{sent} sent, {received} received: the limits were not kept"
        );
    }
}

fn of_512_bytes_on_our_wish(kind: Kind) {
    let ours = Limits {
        segment: 512,
        first_burst: 512,
        max_burst: 512,
        ..Limits::default()
    };
    // Each burst of 512 bytes, but the unsolicited first one, has its R2T.
    check(exchange(kind, ours, Limits::default()), 512, 511);
}

fn of_512_bytes_on_the_targets_wish(kind: Kind) {
    let targets = Limits {
        segment: 512,
        first_burst: 512,
        max_burst: 1024,
        ..Limits::default()
    };
    // istgt declares 8192 where it is configured for less: a burst is one segment then.
    let least_sent = match kind {
        Kind::Tgtd => 512,
        Kind::Istgt => 256,
    };
    check(exchange(kind, Limits::default(), targets), least_sent, 256);
}

fn of_1024_bytes_in_bursts_of_4096(kind: Kind) {
    let limits = Limits {
        segment: 1024,
        first_burst: 2048,
        max_burst: 4096,
        ..Limits::default()
    };
    check(exchange(kind, limits, limits), 256, 64);
}

fn of_8192_bytes_without_immediate_data(kind: Kind) {
    let limits = Limits {
        segment: 8192,
        first_burst: 8192,
        max_burst: 16_384,
        initial_r2t: true,
        immediate_data: false,
    };
    // All 16 bursts of two segments wait for their R2T.
    check(exchange(kind, limits, limits), 33, 17);
}

fn of_8192_bytes_with_r2t_and_immediate_data(kind: Kind) {
    let limits = Limits {
        segment: 8192,
        first_burst: 8192,
        max_burst: 16_384,
        initial_r2t: true,
        immediate_data: true,
    };
    check(exchange(kind, limits, limits), 32, 16);
}

fn of_8192_bytes_with_unsolicited_data(kind: Kind) {
    let limits = Limits {
        segment: 8192,
        first_burst: 32_768,
        max_burst: 65_536,
        initial_r2t: false,
        immediate_data: false,
    };
    check(exchange(kind, limits, limits), 33, 4);
}

fn the_least_of_everything(kind: Kind) {
    let limits = Limits {
        segment: 512,
        first_burst: 512,
        max_burst: 512,
        initial_r2t: true,
        immediate_data: false,
    };
    check(exchange(kind, limits, limits), 513, 513);
}
