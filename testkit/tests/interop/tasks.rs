//! Commands that nobody waits for any more.

use std::error::Error as _;

use futures_util::future::{join_all, poll_immediate};
use iscsi_client::{
    buf::ReadBuf,
    device::{ReadOptions, WriteOptions},
    session::SessionOptions,
};

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, open, sleep};

#[test]
fn a_dropped_request_is_aborted_by_tgtd_and_the_session_lives_on() {
    a_dropped_request_is_aborted_and_the_session_lives_on(Kind::Tgtd);
}

fn a_dropped_request_is_aborted_and_the_session_lives_on(kind: Kind) {
    const SIZE: u64 = 64 << 20;
    for on in [On::Tokio, On::Smol] {
        let Some(peer) = Peer::start(
            kind,
            Setup {
                size: SIZE,
                ..Setup::default()
            },
        ) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let (session, unit) = open(&runtime, peer, 0, SessionOptions::default()).await;
                for round in 0..30_u64 {
                    session.wait_up().await.expect("it comes back");
                    let reads = (0..4).map(|n| {
                        let buf = ReadBuf::zeroed(4 << 20);
                        unit.read(n << 22, buf, ReadOptions::default())
                    });
                    let writes = (8..12).map(|n| {
                        let bytes = bytes::Bytes::from(vec![0x5a; 4 << 20]);
                        unit.write(n << 22, bytes.into(), WriteOptions::default())
                    });
                    let mut all = Box::pin(futures_util::future::join(
                        join_all(reads),
                        join_all(writes),
                    ));
                    // Polled once: submitted. Then some are dropped before they are sent, some in
                    // the middle of their data, and some close to their end.
                    let early = poll_immediate(&mut all).await;
                    assert!(early.is_none(), "not done yet");
                    let time = std::time::Duration::from_micros(round * 400);
                    sleep(&*runtime, time).await;
                    drop(all);
                    let alive = session.ping().await;
                    if kind == Kind::Tgtd {
                        alive.expect("the session lives");
                    }
                }
                // Where no dropped write was: nothing of them may land here.
                let mut image = Image::new(512, SIZE);
                image.write(&unit, 1 << 15, 8000).await;
                let lost = session.stats().connections_lost;
                match (kind, session.stats().last_error) {
                    (_, None) => assert_eq!((session.logins(), lost), (1, 0)),
                    // istgt answers an ABORT TASK from another thread than the rest, so that its
                    // responses leave in another order than that of their StatSN. That is what a
                    // lost status looks like, and the cure is a new connection.
                    (Kind::Istgt, Some(error)) => {
                        let cause = error.source().map(ToString::to_string);
                        assert!(
                            cause.as_ref().is_some_and(|c| c.contains("StatSN")),
                            "{error:#}"
                        );
                        assert_eq!(session.logins(), lost + 1);
                    }
                    (Kind::Tgtd, error) => panic!("{error:?}"),
                }
                session.close().await;
                assert_eq!(session.stats().connections_lost, lost);
            }
        });
    }
}
