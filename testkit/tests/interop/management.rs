//! Task management functions with commands under way.

use std::{error::Error as _, sync::Arc, time::Duration};

use futures_util::future::{join, join_all, poll_immediate};
use iscsi_client::{
    buf::ReadBuf,
    device::{ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    runtime::Runtime,
    session::{Session, SessionOptions},
};
use iscsi_proto::{
    error::ApiMisuse, pdu::TaskManagementResponseCode as Code, scsi::Lun, session::TaskManagement,
};

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, initiator, lun, until};

each_peer!(
    abort_task_set_ends_what_is_under_way,
    a_reset_of_the_unit_ends_what_is_under_way,
    a_warm_reset_of_the_target_is_survived,
    queries_that_were_not_agreed_to_are_not_sent,
);

const SIZE: u64 = 16 << 20;
/// Writes go to the upper half, a MiB each.
const WRITES: std::ops::Range<u64> = 8..16;
const ROUNDS: u64 = 4;

async fn open(runtime: &Arc<dyn Runtime>, peer: &Peer) -> (Session, LogicalUnit) {
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(Duration::from_secs(60));
    options.core.nop_interval = Some(Duration::from_secs(1));
    options.core.nop_timeout = Duration::from_secs(2);
    let to = peer.session_target(0, options);
    let session = initiator(runtime).connect_spawned(&to).await;
    let session = session.unwrap_or_else(|error| panic!("{error}"));
    // Nothing is tried again, so that every outcome is seen.
    let options = LogicalUnitOptions::default().fail_fast();
    let unit = LogicalUnit::open_with(session.clone(), lun(peer), options).await;
    (session, unit.expect("a disk"))
}

/// istgt answers out of order, and waits for the data of a write that it has said to have ended;
/// either costs the connection.
fn lost_with_istgt(kind: Kind, error: &Error) -> bool {
    let lost = [
        ErrorKind::Protocol,
        ErrorKind::Transport,
        ErrorKind::Timeout,
    ];
    kind == Kind::Istgt && lost.contains(&error.kind())
}

fn ends(kind: Kind, function: impl Fn(Lun) -> TaskManagement + Copy, expected: Code) {
    for on in [On::Tokio, On::Smol] {
        let setup = Setup {
            size: SIZE,
            ..Setup::default()
        };
        let Some(peer) = Peer::start(kind, setup) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let (session, unit) = open(&runtime, peer).await;
                for _ in 0..ROUNDS {
                    session.wait_up().await.expect("it comes back");
                    let asked = (function(lun(peer)), expected);
                    one(&*runtime, kind, &session, &unit, asked).await;
                }
                settle(&session, &unit, peer).await;
            }
        });
    }
}

/// A function while sixteen commands are under way.
async fn one(
    runtime: &dyn Runtime,
    kind: Kind,
    session: &Session,
    unit: &LogicalUnit,
    (function, expected): (TaskManagement, Code),
) {
    let reads = (0..8_u64).map(|n| {
        let buf = ReadBuf::zeroed(1 << 20);
        unit.read(n << 20, buf, ReadOptions::default())
    });
    let writes = WRITES.map(|n| {
        let bytes = bytes::Bytes::from(vec![0x5a; 1 << 20]);
        unit.write(n << 20, bytes.into(), WriteOptions::default())
    });
    let mut all = Box::pin(join(join_all(reads), join_all(writes)));
    let sent = session.stats().pdus_sent;
    let early = poll_immediate(&mut all).await;
    assert!(early.is_none(), "not done yet");
    until(runtime, "some are sent", || {
        session.stats().pdus_sent > sent || !session.state().is_up()
    })
    .await;
    let answer = session.task_management(function, None);
    let (answer, (reads, writes)) = join(answer, all).await;
    let results: Vec<_> = reads
        .into_iter()
        .map(|done| done.result)
        .chain(writes.into_iter().map(|done| done.result))
        .collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    println!("{answer:?}, {failed} of {} ended by it", results.len());
    match answer {
        Ok(answer) => {
            assert_eq!(answer.response, expected);
            // What is refused harms nobody.
            assert!(failed == 0 || expected == Code::FunctionComplete);
        }
        Err(error) => assert!(lost_with_istgt(kind, &error), "{error:?}"),
    }
    for error in results.into_iter().filter_map(Result::err) {
        match error.kind() {
            ErrorKind::Aborted => {}
            // The unit attention that tells of the reset; the command was not executed.
            _ if error.sense().is_some() => {}
            _ => assert!(lost_with_istgt(kind, &error), "{error:?}"),
        }
    }
}

/// Everything is as it must be afterwards.
async fn settle(session: &Session, unit: &LogicalUnit, peer: &Peer) {
    // An answer in time says that the session is well, and a lost connection makes it so.
    let mut well = false;
    for _ in 0..5 {
        session.wait_up().await.expect("it comes back");
        well = session.ping().await.is_ok();
        if well {
            break;
        }
    }
    assert!(well, "{:?}", session.stats());
    let unit = LogicalUnit::open(session.clone(), unit.lun()).await;
    let unit = unit.expect("a disk");
    // All over the writes that were ended: none of them may land any more.
    let mut image = Image::new(512, SIZE);
    let (at, blocks) = (WRITES.start << 11, (WRITES.end - WRITES.start) << 11);
    let [at, blocks] = [at, blocks].map(|n| usize::try_from(n).expect("small"));
    image.write(&unit, at, blocks).await;
    image.verify(&unit, &peer.backing()).await;
    session.ping().await.expect("the session lives");
    let stats = session.stats();
    assert_eq!(session.logins(), 1 + stats.connections_lost);
    println!("{} connections lost", stats.connections_lost);
    session.close().await;
}

fn abort_task_set_ends_what_is_under_way(kind: Kind) {
    ends(kind, TaskManagement::AbortTaskSet, Code::FunctionComplete);
}

fn a_reset_of_the_unit_ends_what_is_under_way(kind: Kind) {
    ends(
        kind,
        TaskManagement::LogicalUnitReset,
        Code::FunctionComplete,
    );
}

/// tgtd knows no such function.
fn a_warm_reset_of_the_target_is_survived(kind: Kind) {
    let expected = match kind {
        Kind::Tgtd => Code::NotSupported,
        Kind::Istgt => Code::FunctionComplete,
    };
    ends(kind, |_| TaskManagement::TargetWarmReset, expected);
}

/// Neither peer knows iSCSIProtocolLevel 2, so what RFC 7144 adds is refused here.
fn queries_that_were_not_agreed_to_are_not_sent(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let (session, unit) = open(&runtime, peer).await;
            for function in [
                TaskManagement::QueryTaskSet(lun(peer)),
                TaskManagement::QueryAsynchronousEvent(lun(peer)),
                TaskManagement::ITNexusReset,
            ] {
                let sent = session.stats().pdus_sent;
                let error = session.task_management(function, None).await;
                let error = error.expect_err("not agreed to");
                let source = error.source().and_then(|e| e.downcast_ref::<ApiMisuse>());
                assert!(source.is_some(), "{error:?}");
                assert_eq!(session.stats().pdus_sent, sent);
            }
            unit.test_unit_ready(None).await.expect("it is ready");
            session.ping().await.expect("the session lives");
            assert_eq!(session.stats().connections_lost, 0);
            session.close().await;
        }
    });
}
