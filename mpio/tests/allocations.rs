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
    initiator::{Initiator, SessionTarget},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::{
    sim::SimRuntime,
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{
    MultipathDevice, Path,
    core::{Config, PathAttributes, PathSelector},
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

fn unit(sim: &SimRuntime, initiator: &Initiator, portal: &str) -> LogicalUnit {
    let to = SessionTarget::new(TARGET.parse().unwrap(), portal.parse().unwrap());
    sim.block_on(async {
        let session = initiator.connect_spawned(&to).await.unwrap();
        let options = LogicalUnitOptions::default().fail_fast();
        LogicalUnit::open_with(session, Lun::ZERO, options)
            .await
            .unwrap()
    })
}

fn device(sim: &SimRuntime, selector: PathSelector) -> MultipathDevice {
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, Arc::new(sim.handle())).build();
    let paths = PORTALS.map(|portal| {
        let path = unit(sim, &initiator, portal);
        (PathAttributes::new(path.name()), path)
    });
    let config = Config::builder().path_selector(selector).build().unwrap();
    let (device, driver) = MultipathDevice::new(Arc::new(sim.handle()), config, paths).unwrap();
    iscsi_client::runtime::Runtime::spawn(&sim.handle(), Box::pin(driver));
    device
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
    // The first rounds fill tables that are kept: those of the device and of each of its paths, of
    // which each takes every other request.
    for round in 0..12 {
        let steady = round >= 6;
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

        let read = boxed.read(4096, buf.into(), ReadOptions::default());
        let (boxed_read, output) = allocations(sim, pin!(read));
        buf = output.into_result().unwrap().into_bytes_mut().unwrap();
        if steady {
            let counts = (read, written, flushed, boxed_read);
            // The box of the trait object is made by the call, before the first poll.
            assert_eq!(counts, (0, 0, 0, 0), "round {round}");
        }
    }
    let counted = Region::new(ALLOCATOR);
    let read = boxed.read(4096, buf.into(), ReadOptions::default());
    let made = counted.change().allocations;
    assert_eq!(made, 1, "the call through the trait object");
    let (polled, output) = allocations(sim, pin!(read));
    output.result.unwrap();
    assert_eq!(polled, 0);
    let used = device.snapshot();
    assert!(used.paths().all(|path| path.counters.ios > 20), "{used:?}");
}
