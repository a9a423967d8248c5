//! Futures of a test, on either runtime, within bounded time.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use iscsi_client::{
    initiator::Initiator,
    logical_unit::LogicalUnit,
    runtime::{Runtime, SmolRuntime, TokioRuntime},
    session::{Session, SessionOptions},
};
use iscsi_proto::scsi::Lun;

use super::{peer::Peer, temp::unique};

/// On which runtime a test runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Tokio,
    Smol,
}

/// No test here takes a quarter of this; whoever hangs is told apart from who is slow.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the future that `start` makes.
pub(crate) fn block_on<T, F: Future<Output = T>>(
    on: On,
    start: impl FnOnce(Arc<dyn Runtime>) -> F,
) -> T {
    match on {
        On::Tokio => {
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            let runtime: Arc<dyn Runtime> =
                Arc::new(TokioRuntime::from_handle(tokio.handle().clone()));
            tokio.block_on(bounded(Arc::clone(&runtime), start(runtime)))
        }
        On::Smol => {
            let executor = Arc::new(smol::Executor::new());
            let tasks = Arc::clone(&executor);
            let runtime: Arc<dyn Runtime> =
                Arc::new(SmolRuntime::new(move |task| tasks.spawn(task).detach()));
            smol::block_on(executor.run(bounded(Arc::clone(&runtime), start(runtime))))
        }
    }
}

async fn bounded<T>(runtime: Arc<dyn Runtime>, future: impl Future<Output = T>) -> T {
    let limit = pin!(sleep(&*runtime, LIMIT));
    match select(pin!(future), limit).await {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("not done after {LIMIT:?}"),
    }
}

/// Waits.
pub(crate) async fn sleep(runtime: &dyn Runtime, time: Duration) {
    let mut timer = runtime.new_timer(runtime.now() + time);
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}

/// Looks at `done` every few milliseconds, for what has no event to await; panics after 30 seconds.
pub(crate) async fn until(runtime: &dyn Runtime, what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        sleep(runtime, Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// An initiator with a name that no other test has.
pub(crate) fn initiator(runtime: &Arc<dyn Runtime>) -> Initiator {
    let name = format!(
        "iqn.2026-01.example.initiator:{}-{}",
        std::process::id(),
        unique()
    );
    initiator_named(runtime, &name)
}

pub(crate) fn initiator_named(runtime: &Arc<dyn Runtime>, name: &str) -> Initiator {
    Initiator::builder(name.parse().expect("a name"), Arc::clone(runtime)).build()
}

/// Logs in through a portal and opens the disk.
pub(crate) async fn open(
    runtime: &Arc<dyn Runtime>,
    peer: &Peer,
    portal: usize,
    options: SessionOptions,
) -> (Session, LogicalUnit) {
    let to = peer.session_target(portal, options);
    let session = initiator(runtime)
        .connect_spawned(&to)
        .await
        .unwrap_or_else(|error| panic!("{error} ({})", error.advice()));
    let lun = lun(peer);
    let unit = LogicalUnit::open(session.clone(), lun).await;
    (session, unit.expect("a disk"))
}

pub(crate) fn lun(peer: &Peer) -> Lun {
    peer.lun().to_string().parse().expect("a LUN")
}
