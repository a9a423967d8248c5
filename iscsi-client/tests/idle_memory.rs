//! What a session costs that has little to do. A file of its own, since the counting allocator is global to a
//! test program, and a single test, since it counts all threads.

use std::{
    alloc::System,
    future::Future,
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use iscsi_client::{
    initiator::{Initiator, SessionTarget},
    runtime::{BoxFuture, Dial, Dialer, Runtime, Transport},
    session::{Payload, ScsiRequest, Session, SessionOptions},
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
const KIB: usize = 1024;

/// Bytes on the heap that a session has left there, and has not given back.
#[derive(Clone, Debug, Default)]
struct Held(Arc<AtomicUsize>);

impl Held {
    /// What `run` takes is the session's.
    fn of<T>(&self, run: impl FnOnce() -> T) -> T {
        let counted = Region::new(ALLOCATOR);
        let done = run();
        let change = counted.change();
        self.count(change.bytes_allocated, change.bytes_deallocated);
        done
    }

    /// What `run` takes within [`of`](Self::of) is not.
    fn not_of<T>(&self, run: impl FnOnce() -> T) -> T {
        let counted = Region::new(ALLOCATOR);
        let done = run();
        let change = counted.change();
        self.count(change.bytes_deallocated, change.bytes_allocated);
        done
    }

    fn count(&self, more: usize, less: usize) {
        // The sum is what counts, which is never negative.
        self.0.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A future whose polls are the session's.
struct Counted<F> {
    future: Pin<Box<F>>,
    held: Held,
}

impl<F: Future> Counted<F> {
    fn new(held: &Held, future: F) -> Self {
        Self {
            future: Box::pin(future),
            held: held.clone(),
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.held.of(|| this.future.as_mut().poll(cx))
    }
}

/// A connection whose bytes on their way are the network's.
#[derive(Debug)]
struct Network {
    transport: Box<dyn Transport>,
    held: Held,
}

impl Transport for Network {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.held
            .not_of(|| self.transport.poll_read_vectored(cx, bufs))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.held
            .not_of(|| self.transport.poll_write_vectored(cx, bufs))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.not_of(|| self.transport.poll_close(cx))
    }

    fn abort(&mut self) {
        self.held.not_of(|| self.transport.abort());
    }
}

impl Dialer for Held {
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let (connecting, held) = (runtime.connect(dial), self.clone());
        Box::pin(async move {
            let transport = connecting.await?;
            Ok(Box::new(Network { transport, held }) as Box<dyn Transport>)
        })
    }
}

/// Reads of `len` bytes, `at_once` of them.
async fn read(session: Session, at_once: u32, len: usize) {
    let blocks = u16::try_from(len / 512).unwrap();
    let reads = (0..at_once).map(|n| {
        let cdb = Cdb::read(u64::from(n) * u64::from(blocks), blocks.into(), false);
        let buffer = Payload::In(vec![0; len].into());
        session.execute(ScsiRequest::new(Lun::ZERO, cdb, buffer))
    });
    for executed in join_all(reads).await {
        executed.result.unwrap();
    }
}

#[test]
fn a_session_holds_what_it_needs_and_little_when_it_is_idle() {
    let sim = SimRuntime::new(1);
    let config = TargetConfig::new(TARGET)
        .with_portal(PORTAL.parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 1 << 30));
    let _target = SimTarget::start(&sim.handle(), config).unwrap();
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let held = Held::default();
    let mut options = SessionOptions::default();
    options.dialer = Some(Arc::new(held.clone()));
    let depth = u32::from(options.queue_depth);
    let builder = Initiator::builder(name, Arc::new(sim.handle()));
    let initiator = builder.options(options).build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), PORTAL.parse().unwrap());
    let connect = Counted::new(&held, async move { initiator.connect(&to).await });
    let (session, driver) = sim.block_on(connect).unwrap();
    sim.handle().spawn(Box::pin(Counted::new(&held, driver)));
    // Until everything that was under way is over, and pings were answered.
    let settled = || {
        sim.block_on(sim.sleep(Duration::from_secs(60)));
        held.bytes()
    };
    let after = |at_once: u32, len: usize| {
        sim.block_on(Counted::new(&held, read(session.clone(), at_once, len)));
        settled()
    };

    let idle = settled();
    assert!((8 * KIB..32 * KIB).contains(&idle), "idle: {idle}");
    let lightly = after(1, 64 * KIB)
        .max(after(1, 4 * KIB))
        .max(after(4, 4 * KIB));
    assert!(lightly < 40 * KIB, "one command at a time: {lightly}");
    // All that it is allowed at a time, and more that wait.
    let filled = after(2 * depth, 4 * KIB);
    assert!(filled < 160 * KIB, "{depth} at a time: {filled}");
    for _ in 0..4 {
        let again = after(2 * depth, 4 * KIB);
        assert_eq!(again, filled, "what was made is used again");
    }
}
