//! A target that never stops talking.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_client::{
    error::ErrorKind,
    initiator::Initiator,
    runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport},
    session::SessionOptions,
};
use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag,
    pdu::NopIn,
    scsi::lun::Lun,
    serial::{CmdSn, StatSn},
};

use crate::support::{INITIATOR, World, poll_once, read, to};

/// The world's runtime, whose connections can be made to bring PDUs without end. Time passes only
/// when somebody looks at the clock: a driver that never sleeps does.
#[derive(Clone, Debug)]
struct Flooding<R> {
    inner: R,
    on: Arc<AtomicBool>,
    looks: Arc<AtomicU32>,
}

impl<R: Runtime + Clone> Runtime for Flooding<R> {
    fn now(&self) -> Instant {
        let looks = match self.on.load(Ordering::Relaxed) {
            true => self.looks.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        self.inner.now() + Duration::from_millis(100) * looks
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.inner.spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.inner.fill_random(bytes);
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        self.inner.resolve(host)
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let connecting = self.inner.connect(dial);
        let on = Arc::clone(&self.on);
        Box::pin(async move {
            let inner = connecting.await?;
            let next = 0;
            Ok(Box::new(Flood { inner, on, next }) as Box<dyn Transport>)
        })
    }
}

#[derive(Debug)]
struct Flood {
    inner: Box<dyn Transport>,
    on: Arc<AtomicBool>,
    /// Which byte of a PDU comes next.
    next: usize,
}

impl Transport for Flood {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.on.load(Ordering::Relaxed) {
            return self.inner.poll_read_vectored(cx, bufs);
        }
        // Neither a question nor an answer; and a window that contradicts itself is ignored.
        let pdu = NopIn {
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(5),
            max_cmd_sn: CmdSn(0),
            data_segment_length: 0,
        }
        .emit();
        let mut n = 0;
        for byte in bufs.iter_mut().flat_map(|buf| buf.iter_mut()) {
            *byte = pdu.as_bytes()[self.next];
            self.next = (self.next + 1) % 48;
            n += 1;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_write_vectored(cx, bufs)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_close(cx)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}

#[test]
fn deadlines_hold_though_the_connection_is_never_idle() {
    let world = World::new(1);
    let on = Arc::new(AtomicBool::new(false));
    let runtime = Flooding {
        inner: world.handle(),
        on: Arc::clone(&on),
        looks: Arc::default(),
    };
    let mut options = SessionOptions::default();
    options.command_timeout = Some(Duration::from_secs(1));
    let initiator = Initiator::builder(INITIATOR.parse().unwrap(), Arc::new(runtime))
        .options(options)
        .build();
    let (session, mut driver) = world.sim.block_on(initiator.connect(&to())).unwrap();
    world.sim.block_on(async {
        assert!(poll_once(&mut driver).await.is_pending());
        on.store(true, Ordering::Relaxed);
        let mut command = session.execute(read(0, 1));
        for _ in 0..200 {
            if let Poll::Ready(executed) = poll_once(&mut command).await {
                let error = executed.result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout);
                return;
            }
            assert!(poll_once(&mut driver).await.is_pending());
        }
        panic!("a command of one second is still under way");
    });
}
