//! A load on a multipath device that notices errors and wrong content.

use std::{cell::Cell, future::Future, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use iscsi_client::{device::BlockDeviceExt, runtime::Runtime};
use iscsi_testkit::pattern;
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, ConfigBuilder},
};

use super::run::{initiator, until};

/// Bytes of one request.
const LEN: usize = 64 << 10;
/// Requests under way at a time.
pub(crate) const WORKERS: u64 = 4;

/// How quickly things are noticed here. The target's process is dead or its connections are, so that
/// no write of theirs lands after a second.
pub(crate) fn quick() -> ConfigBuilder {
    Config::builder()
        .quiet_time(Some(Duration::from_secs(1)))
        .polling_interval(Duration::from_millis(200), Duration::from_millis(500))
}

/// Opens the device that `builder` describes, all of its paths, with settings of [`quick`].
pub(crate) async fn connect(
    runtime: &Arc<dyn Runtime>,
    builder: MultipathBuilder,
) -> MultipathDevice {
    connect_with(runtime, builder, quick()).await
}

/// The same with these settings.
pub(crate) async fn connect_with(
    runtime: &Arc<dyn Runtime>,
    builder: MultipathBuilder,
    config: ConfigBuilder,
) -> MultipathDevice {
    let device = connect_some(runtime, builder, config).await;
    assert_eq!(device.topology().missing, [], "both paths are there");
    device
}

/// Opens the device that `builder` describes, with at least one path.
pub(crate) async fn connect_some(
    runtime: &Arc<dyn Runtime>,
    builder: MultipathBuilder,
    config: ConfigBuilder,
) -> MultipathDevice {
    let builder = builder.config(config.build().expect("within the ranges"));
    let device = builder.connect_spawned(&initiator(runtime)).await;
    device.unwrap_or_else(|error| panic!("{error}"))
}

/// How many paths take I/O.
pub(crate) fn usable(device: &MultipathDevice) -> usize {
    device
        .snapshot()
        .paths()
        .filter(|path| path.is_usable())
        .count()
}

/// Writes and reads back, each worker in a place of its own, until `over`. What is read must be what
/// was written last. Returns the rounds.
pub(crate) async fn load(device: &MultipathDevice, over: &Cell<bool>, rounds: &Cell<u64>) {
    let worker = |worker: u64| async move {
        let offset = worker * (1 << 20);
        let mut round = 0;
        while !over.get() {
            round += 1;
            let mut expected = vec![0; LEN];
            pattern::fill(round << 8 | worker, offset, &mut expected);
            let bytes = Bytes::from(expected);
            let written = device.write_bytes(offset, bytes.clone()).await;
            written.unwrap_or_else(|error| panic!("write {round} of {worker}: {error:#}"));
            let read = device.read_bytes(offset, LEN).await;
            let read = read.unwrap_or_else(|error| panic!("read {round} of {worker}: {error:#}"));
            assert!(
                read == bytes,
                "round {round} of {worker} reads something else"
            );
            rounds.set(rounds.get() + 1);
        }
    };
    join_all((0..WORKERS).map(worker)).await;
}

/// Runs the load until `disturb` is done; the load must go on after it.
pub(crate) async fn under_load<F: Future<Output = ()>>(
    runtime: &Arc<dyn Runtime>,
    device: &MultipathDevice,
    disturb: impl FnOnce(Rc<Cell<u64>>) -> F,
) {
    let (over, rounds) = (Cell::new(false), Rc::new(Cell::new(0)));
    let disturbing = async {
        progress(runtime, &rounds).await;
        disturb(Rc::clone(&rounds)).await;
        progress(runtime, &rounds).await;
        over.set(true);
    };
    join(load(device, &over, &rounds), disturbing).await;
    let snapshot = device.snapshot();
    assert_eq!(snapshot.counters.failed, 0, "no error reached a caller");
}

/// Waits for more rounds of the load.
pub(crate) async fn progress(runtime: &Arc<dyn Runtime>, rounds: &Cell<u64>) {
    let goal = rounds.get() + 20;
    until(&**runtime, "the load goes on", || rounds.get() >= goal).await;
}
