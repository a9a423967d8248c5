//! Commands that nobody waits for any more.

use std::{error::Error as _, sync::Arc, time::Duration};

use futures_util::future::{join, join_all, poll_immediate};
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDeviceExt, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::{LogicalUnit, Recall},
    runtime::Runtime,
    session::{DownReason, Session, SessionEventKind, SessionOptions},
};

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, open, sleep};

const SIZE: u64 = 64 << 20;
/// Where no dropped write goes, in blocks.
const SAFE: usize = 1 << 15;

#[test]
fn a_dropped_request_is_aborted_by_tgtd_and_the_session_lives_on() {
    for on in [On::Tokio, On::Smol] {
        let Some(peer) = start(Kind::Tgtd) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let (session, unit) = open(&runtime, peer, 0, SessionOptions::default()).await;
                for round in 0..30_u64 {
                    drop_some(&runtime, &unit, Duration::from_micros(round * 400)).await;
                    session.ping().await.expect("the session lives");
                }
                let mut image = Image::new(512, SIZE);
                image.write(&unit, SAFE, 8000).await;
                let stats = session.stats();
                assert!(stats.aborts_sent > 0, "{stats:?}");
                assert_eq!(
                    (session.logins(), stats.connections_lost),
                    (1, 0),
                    "{:?}",
                    stats.last_error
                );
                session.close().await;
                assert_eq!(session.stats().connections_lost, 0);
            }
        });
    }
}

/// istgt answers an ABORT TASK from another thread than the rest, so that its responses leave in
/// another order than that of their StatSN; and while it waits for the data of the aborted write it
/// answers nothing. The first is what a lost status looks like, and the cure of both is a new
/// connection, later each time by the back-off: a few rounds take as long as the waits between their
/// logins.
#[test]
fn a_dropped_request_costs_a_login_with_istgt_and_no_request_of_others() {
    const ROUNDS: u64 = 5;
    for on in [On::Tokio, On::Smol] {
        let Some(peer) = start(Kind::Istgt) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let mut options = SessionOptions::default();
                options.core.ladder.abort_task = Some(Duration::from_secs(1));
                options.replacement_timeout = Some(Duration::from_secs(60));
                let (session, unit) = open(&runtime, peer, 0, options).await;
                for round in 0..ROUNDS {
                    session.wait_up().await.expect("it comes back");
                    drop_some(&runtime, &unit, Duration::from_micros(round * 2400)).await;
                    write_at_last(&session, &unit, round).await;
                }
                use_all_slots(&session, &unit).await;
                let stats = session.stats();
                println!(
                    "{} aborts, {} connections lost, {} failed logins",
                    stats.aborts_sent, stats.connections_lost, stats.login_failures
                );
                // Nobody has our place; it was us who dropped the connections.
                assert_eq!(stats.nexus_taken, 0, "{stats:?}");
                assert_eq!(session.logins(), 1 + stats.connections_lost);
                let reasons = losses(&session);
                assert_eq!(reasons.len() as u64, stats.connections_lost);
                assert!(reasons.iter().all(is_of_istgt), "{reasons:?}");
                session.close().await;
            }
        });
    }
}

#[test]
fn reads_that_are_detached_cost_tgtd_nothing() {
    detached_reads_cost_nothing(Kind::Tgtd);
}

#[test]
fn reads_that_are_detached_cost_istgt_nothing() {
    detached_reads_cost_nothing(Kind::Istgt);
}

/// A path that is silent for a moment has its reads taken away. Whatever the target makes of task management, it is
/// asked for none.
fn detached_reads_cost_nothing(kind: Kind) {
    for on in [On::Tokio, On::Smol] {
        let Some(peer) = start(kind) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let (session, unit) = open(&runtime, peer, 0, SessionOptions::default()).await;
                let mut late = 0;
                for round in 0..30_u64 {
                    late += detach_some(&runtime, &unit, Duration::from_micros(round * 400)).await;
                    // No ping: while reads were under way istgt was seen to answer one out of the order of StatSN.
                    unit.read_bytes(0, 512).await.expect("the session lives");
                }
                assert!(late > 0, "none of them was under way");
                use_all_slots(&session, &unit).await;
                let stats = session.stats();
                assert_eq!(
                    (stats.aborts_sent, session.logins(), stats.connections_lost),
                    (0, 1, 0),
                    "{:?}",
                    stats.last_error
                );
                session.close().await;
            }
        });
    }
}

/// Eight reads that are detached after a while; how many were not done by then.
async fn detach_some(runtime: &Arc<dyn Runtime>, unit: &LogicalUnit, after: Duration) -> usize {
    let recall = Recall::default();
    let reads = (0..8).map(|n| {
        let buf = ReadBuf::zeroed(4 << 20);
        unit.read_recallable(n << 22, buf, ReadOptions::default(), &recall)
    });
    let detach = async {
        sleep(&**runtime, after).await;
        recall.detach();
    };
    let (read, ()) = join(join_all(reads), detach).await;
    let late = read.iter().filter_map(|read| read.result.as_ref().err());
    late.inspect(|error| assert_eq!(error.kind(), ErrorKind::Aborted))
        .count()
}

/// How often something is tried over connections that istgt makes us drop.
const TRIES: u32 = 5;

/// Writes, where no dropped write goes, until that is done and can be read.
async fn write_at_last(session: &Session, unit: &LogicalUnit, round: u64) {
    let bytes = bytes::Bytes::from(vec![u8::try_from(round + 1).expect("small"); 1 << 20]);
    let offset = (SAFE as u64) * 512 + (round << 20);
    for _ in 0..TRIES {
        session.wait_up().await.expect("it comes back");
        let done = async {
            unit.write_bytes(offset, bytes.clone()).await?;
            unit.read_bytes(offset, bytes.len()).await
        };
        match done.await {
            Ok(read) => return assert!(read == bytes),
            Err(error) => assert!(is_of_istgt(&error), "{error:?}"),
        }
    }
    panic!("{:?}", session.stats());
}

/// Reads with twice as many commands as there are slots, so that none of them is still taken.
async fn use_all_slots(session: &Session, unit: &LogicalUnit) {
    let commands = 2 * u64::from(session.options().queue_depth);
    for _ in 0..TRIES {
        session.wait_up().await.expect("it comes back");
        let reads = (0..commands).map(|n| unit.read_bytes(n * 512, 512));
        let failed = join_all(reads).await.into_iter().find_map(Result::err);
        match failed {
            None => return,
            Some(error) => assert!(is_of_istgt(&error), "{error:?}"),
        }
    }
    panic!("{:?}", session.stats());
}

fn start(kind: Kind) -> Option<Peer> {
    let setup = Setup {
        size: SIZE,
        ..Setup::default()
    };
    Peer::start(kind, setup)
}

/// Eight requests that are dropped after a while.
async fn drop_some(runtime: &Arc<dyn Runtime>, unit: &LogicalUnit, after: Duration) {
    let reads = (0..4).map(|n| {
        let buf = ReadBuf::zeroed(4 << 20);
        unit.read(n << 22, buf, ReadOptions::default())
    });
    let writes = (8..12).map(|n| {
        let bytes = bytes::Bytes::from(vec![0x5a; 4 << 20]);
        unit.write(n << 22, bytes.into(), WriteOptions::default())
    });
    let mut all = Box::pin(join(join_all(reads), join_all(writes)));
    // Polled once: submitted. Then some are dropped before they are sent, some in the middle of
    // their data, and some close to their end.
    let early = poll_immediate(&mut all).await;
    assert!(early.is_none(), "not done yet");
    sleep(&**runtime, after).await;
}

/// Why connections were lost.
fn losses(session: &Session) -> Vec<Error> {
    let events = session.events(0).into_iter();
    events
        .filter_map(|event| match event.kind {
            SessionEventKind::Down {
                reason: DownReason::Lost(error),
                ..
            } => Some(error),
            _ => None,
        })
        .collect()
}

/// A response out of order, or none in time.
fn is_of_istgt(error: &Error) -> bool {
    let source = error.source().map(|source| format!("{source:?}"));
    source.is_some_and(|source| source.contains("StatSn") || source.contains("TimedOut"))
}
