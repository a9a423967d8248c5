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
    buf::{ReadBuf, WriteBuf},
    device::{ReadOptions, WriteOptions},
    initiator::{Initiator, SessionTarget},
    logical_unit::LogicalUnit,
    session::{Payload, ScsiRequest, Session},
};
use iscsi_proto::scsi::{Cdb, Lun};
use iscsi_testkit::{
    sim::SimRuntime,
    target::{LunConfig, SimTarget, TargetConfig},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TARGET: &str = "iqn.2026-01.example:disk";
const PORTAL: &str = "10.0.0.1:3260";

/// Allocations in the polls of `future`: the one that submits and the one that completes. What the
/// driver, the target and the simulator need in between is not counted.
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

#[test]
fn a_request_of_one_command_allocates_nothing() {
    let sim = SimRuntime::new(1);
    let config = TargetConfig::new(TARGET)
        .with_portal(PORTAL.parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 1 << 30));
    let _target = SimTarget::start(&sim.handle(), config).unwrap();
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, Arc::new(sim.handle())).build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), PORTAL.parse().unwrap());
    let session = sim.block_on(initiator.connect_spawned(&to)).unwrap();
    let unit = sim
        .block_on(LogicalUnit::open(session.clone(), Lun::ZERO))
        .unwrap();

    let mut buf = BytesMut::zeroed(64 << 10);
    let data = Bytes::from(vec![7; 64 << 10]);
    // The first rounds may fill tables that are kept.
    for round in 0..4 {
        let steady = round > 1;
        let request =
            ScsiRequest::new(Lun::ZERO, Cdb::read(8, 128, false), Payload::In(buf.into()));
        let (executed, output) = allocations(&sim, pin!(session.execute(request)));
        output.result.unwrap();
        let Payload::In(back) = output.payload else {
            panic!("a read buffer went in")
        };
        let read = unit.read(4096, back, ReadOptions::default());
        let (read, output) = allocations(&sim, pin!(read));
        buf = output.into_result().unwrap().into_bytes_mut().unwrap();
        let write = WriteBuf::from(data.clone());
        let write = unit.write(4096, write, WriteOptions::default());
        let (written, output) = allocations(&sim, pin!(write));
        output.result.unwrap();
        if steady {
            assert_eq!((executed, read, written), (0, 0, 0), "round {round}");
        }
    }
    assert_eq!(ReadBuf::from(buf).len(), 64 << 10);
    a_ring_allocates_nothing(&sim, &session);
}

fn a_ring_allocates_nothing(sim: &SimRuntime, session: &Session) {
    let (mut ring, mut done) = (session.ring(), Vec::with_capacity(8));
    let mut bufs: Vec<_> = (0..8).map(|_| ReadBuf::zeroed(4096)).collect();
    for round in 0..4 {
        let counted = Region::new(ALLOCATOR);
        for (tag, buf) in (0..).zip(bufs.drain(..)) {
            let cdb = Cdb::read(8 * tag, 8, false);
            let request = ScsiRequest::new(Lun::ZERO, cdb, Payload::In(buf));
            ring.try_submit(tag, request).unwrap();
        }
        let submitting = counted.change().allocations;
        sim.block_on(sim.sleep(Duration::from_millis(50)));
        let counted = Region::new(ALLOCATOR);
        assert_eq!(ring.try_harvest(&mut done), 8);
        let harvesting = counted.change().allocations;
        bufs.extend(done.drain(..).map(|completion| {
            assert!(completion.executed.result.is_ok());
            match completion.executed.payload {
                Payload::In(buf) => buf,
                _ => panic!("a read buffer went in"),
            }
        }));
        if round > 1 {
            assert_eq!((submitting, harvesting), (0, 0), "round {round}");
        }
    }
}
