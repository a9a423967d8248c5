//! A target that stops answering and keeps its connections: the whole timeout ladder.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDeviceExt, ReadOptions, WriteOptions},
    error::{ErrorKind, Outcome},
    runtime::Runtime,
    session::{Session, SessionEventKind, SessionOptions},
};
use iscsi_proto::session::Rung;

use crate::harness::{Image, Kind, On, Peer, Setup, block_on, open, until};

each_peer!(the_ladder_ends_every_command_once_and_the_session_comes_back);

const SIZE: u64 = 16 << 20;
/// Commands in each direction; together all the slots there are.
const COMMANDS: u64 = 8;
const LEN: usize = 4096;
/// Where the writes go whose outcome nobody knows.
const LOST: u64 = 12 << 20;

fn options() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.queue_depth = 2 * u16::try_from(COMMANDS).expect("few");
    options.core.ladder.abort_task = Some(Duration::from_millis(300));
    // Longer than the ladder takes, so that it is the ladder that is tested.
    options.core.nop_interval = Some(Duration::from_secs(20));
    options
}

fn has_down(session: &Session) -> bool {
    let down = |event: &SessionEventKind| matches!(event, SessionEventKind::Down { .. });
    session.events(0).iter().any(|event| down(&event.kind))
}

fn the_ladder_ends_every_command_once_and_the_session_comes_back(kind: Kind) {
    for on in [On::Tokio, On::Smol] {
        let setup = Setup {
            size: SIZE,
            ..Setup::default()
        };
        let Some(mut peer) = Peer::start(kind, setup) else {
            return;
        };
        block_on(on, |runtime| {
            let peer = &mut peer;
            async move { climb(&*runtime, open(&runtime, peer, 0, options()).await, peer).await }
        });
    }
}

async fn climb(
    runtime: &dyn Runtime,
    (session, unit): (Session, iscsi_client::logical_unit::LogicalUnit),
    peer: &mut Peer,
) {
    let mut image = Image::new(512, SIZE);
    image.write(&unit, 100, 3000).await;
    let before = session.stats();
    peer.freeze();
    let at_most = Duration::from_millis(400);
    let reads = (0..COMMANDS).map(|n| {
        let buf = ReadBuf::zeroed(LEN);
        unit.read(
            n * LEN as u64,
            buf,
            ReadOptions::default().with_timeout(at_most),
        )
    });
    let writes = (0..COMMANDS).map(|n| {
        let bytes = Bytes::from(vec![0x5a; LEN]);
        let options = WriteOptions::default().with_timeout(at_most);
        unit.write(LOST + n * LEN as u64, bytes.into(), options)
    });
    let (reads, writes) = join(join_all(reads), join_all(writes)).await;
    let errors = reads
        .into_iter()
        .map(|done| done.result.expect_err("frozen"));
    let mut errors: Vec<_> = errors.collect();
    for error in writes
        .into_iter()
        .map(|done| done.result.expect_err("frozen"))
    {
        // They are in the socket of a target that may still find them there.
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        assert!(!error.is_dead(), "{error:?}");
        errors.push(error);
    }
    for error in errors {
        // Late, or ended together with the connection on account of those that were.
        let kinds = [ErrorKind::Timeout, ErrorKind::Transport];
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
    until(runtime, "the connection is dropped", || has_down(&session)).await;
    let stats = session.stats();
    // Each has ended, once, and none was answered.
    assert_eq!(stats.failed_ios - before.failed_ios, 2 * COMMANDS);
    assert_eq!(stats.ios, before.ios);
    assert!(stats.commands_late >= 1, "{stats:?}");
    assert!(stats.aborts_sent >= 1, "{stats:?}");
    assert_eq!(stats.connections_lost, 1);
    let rungs: Vec<_> = session
        .events(0)
        .iter()
        .filter_map(|event| match event.kind {
            SessionEventKind::CommandLate { rung, .. } => Some(rung),
            _ => None,
        })
        .collect();
    assert!(rungs.contains(&Rung::AbortTask), "{rungs:?}");
    assert_eq!(rungs.last(), Some(&Rung::DropConnection));
    peer.thaw();
    session.wait_up().await.expect("it comes back");
    // All slots are free again, and what was not touched is as it was.
    let reads = (0..4 * COMMANDS).map(|n| unit.read_bytes(n * LEN as u64, LEN));
    for read in join_all(reads).await {
        read.expect("a read");
    }
    image.read(&unit, 0, 20_000).await;
    // A block whose write has an unknown outcome is the old one or the new one.
    let lost = unit.read_bytes(LOST, LEN * 8).await.expect("a read");
    for block in lost.chunks(512) {
        assert!([0, 0x5a].iter().any(|byte| block.iter().all(|b| b == byte)));
    }
    // From the new session on it is the new session's alone.
    image
        .write(&unit, usize::try_from(LOST / 512).expect("small"), 64)
        .await;
    image.verify(&unit, &peer.backing()).await;
    session.ping().await.expect("it lives");
    session.close().await;
}
