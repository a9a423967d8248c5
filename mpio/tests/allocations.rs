//! What a request costs in allocations. A file of its own, since the counting allocator is global
//! to a test program, and a single test, since it counts all threads.

use std::{
    alloc::System,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use iscsi_client::{
    buf::WriteBuf,
    device::{BlockDevice, FlushOptions, ReadOptions, WriteOptions},
    initiator::Initiator,
};
use iscsi_testkit::{
    sim::SimRuntime,
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, PathSelector},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TARGET: &str = "iqn.2026-01.example:disk";
const PORTALS: [&str; 2] = ["10.0.0.1:3260", "10.0.1.1:3260"];
const LEN: usize = 64 << 10;

/// Allocations in the polls of `future`: the one that submits and the one that completes. What the
/// drivers, the target and the simulator need in between is not counted.
fn allocations<F: Future>(sim: &SimRuntime, mut future: Pin<&mut F>) -> (usize, F::Output) {
    let mut cx = Context::from_waker(Waker::noop());
    let counted = Region::new(ALLOCATOR);
    let polled = future.as_mut().poll(&mut cx);
    let submitting = counted.change().allocations;
    assert!(polled.is_pending(), "nothing is answered that soon");
    sim.block_on(sim.sleep(Duration::from_millis(50)));
    let counted = Region::new(ALLOCATOR);
    let polled = future.as_mut().poll(&mut cx);
    let completing = counted.change().allocations;
    match polled {
        Poll::Ready(output) => (submitting + completing, output),
        Poll::Pending => panic!("no answer in time"),
    }
}

fn device(sim: &SimRuntime, selector: PathSelector) -> MultipathDevice {
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, Arc::new(sim.handle())).build();
    let config = Config::builder().path_selector(selector).build().unwrap();
    let builder = PORTALS
        .iter()
        .fold(MultipathBuilder::new(TARGET.parse().unwrap()), |b, p| {
            b.portal(p.parse().unwrap())
        });
    let builder = builder.config(config);
    let opened = builder.connect_spawned(&initiator);
    sim.block_on(opened).unwrap()
}

#[test]
fn a_request_allocates_nothing_on_any_path_and_one_box_through_the_trait_object() {
    let sim = SimRuntime::new(1);
    let portals = PORTALS.map(|portal| portal.parse().unwrap());
    let config = TargetConfig::new(TARGET)
        .with_portal(portals[0], 1)
        .with_portal(portals[1], 2)
        .with_lun(LunConfig::new(0, 1 << 30));
    let _target = SimTarget::start(&sim.handle(), config).unwrap();
    for selector in [
        PathSelector::RoundRobin,
        PathSelector::QueueLength,
        PathSelector::ServiceTime,
    ] {
        let device = device(&sim, selector);
        count(&sim, &device);
        sim.block_on(device.close());
    }
}

fn count(sim: &SimRuntime, device: &MultipathDevice) {
    let boxed: Arc<dyn BlockDevice> = Arc::new(device.clone());
    let mut buf = BytesMut::zeroed(LEN);
    let data = Bytes::from(vec![7; LEN]);
    // The first rounds fill tables that are kept: those of the device and of each of its paths.
    for round in 0..16 {
        let steady = round >= 8;
        let read = device.read(4096, buf.into(), ReadOptions::default());
        let (read, output) = allocations(sim, pin!(read));
        buf = output.into_result().unwrap().into_bytes_mut().unwrap();

        let write = WriteBuf::from(data.clone());
        let write = device.write(4096, write, WriteOptions::default());
        let (written, output) = allocations(sim, pin!(write));
        output.result.unwrap();

        let flush = device.flush(FlushOptions::default());
        let (flushed, output) = allocations(sim, pin!(flush));
        output.unwrap();

        if steady {
            assert_eq!((read, written, flushed), (0, 0, 0), "round {round}");
        }
    }
    for round in 0..4 {
        let counted = Region::new(ALLOCATOR);
        let read = boxed.read(4096, buf.into(), ReadOptions::default());
        let made = counted.change().allocations;
        let (polled, output) = allocations(sim, pin!(read));
        buf = output.into_result().unwrap().into_bytes_mut().unwrap();
        assert_eq!((made, polled), (1, 0), "trait object, round {round}");
    }
    let used = device.snapshot();
    assert!(used.paths().all(|path| path.counters.ios > 10), "{used:?}");
}
