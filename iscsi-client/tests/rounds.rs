//! Ten thousand sessions, many of them dropped half-way, leave nothing behind: no task, no
//! descriptor, no thread, no memory. In a process of its own, since all of these are counted for the
//! whole process, the target's among them.

#![cfg(all(target_os = "linux", any(feature = "tokio", feature = "smol")))]

mod support;

use std::{
    alloc::System,
    fs,
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::{Either, join_all, select};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    error::{ErrorKind, LoginError},
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport},
    session::{Payload, ScsiRequest, Session},
};
use iscsi_proto::scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus};
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::on_each_runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NAME: &str = "iqn.2026-01.example:disk";
/// Five of eight log in for certain.
const ROUNDS: usize = 16_000;
/// Rounds under way at a time, each in a slot of its own.
const LANES: usize = 8;
/// Samples; the first one is after the first tenth, when every pool and table has its size.
const SAMPLES: usize = 10;

/// A runtime that counts its tasks.
#[derive(Clone, Debug)]
struct Counting {
    inner: Arc<dyn Runtime>,
    tasks: Arc<AtomicUsize>,
}

struct Task {
    future: BoxFuture<()>,
    tasks: Arc<AtomicUsize>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.tasks.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Runtime for Counting {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        let tasks = Arc::clone(&self.tasks);
        self.inner.spawn(Box::pin(Task { future, tasks }));
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.inner.fill_random(bytes);
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        self.inner.resolve(host)
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.inner.connect(dial)
    }
}

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    heap: usize,
    resident: usize,
    descriptors: usize,
    threads: usize,
}

impl Sample {
    fn take() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let number = line.split_whitespace().nth(1).unwrap();
            number.parse::<usize>().unwrap()
        };
        let stats = ALLOCATOR.stats();
        Self {
            heap: stats.bytes_allocated - stats.bytes_deallocated,
            resident: field("VmRSS:") * 1024,
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: field("Threads:"),
        }
    }
}

fn read(lba: u64, blocks: u32) -> ScsiRequest {
    let buf = ReadBuf::zeroed(blocks as usize * 512);
    ScsiRequest::new(Lun::new(0), Cdb::read(lba, blocks, false), Payload::In(buf))
}

fn write(lba: u64) -> ScsiRequest {
    let payload = Payload::Out(WriteBuf::from(vec![7; 16 * 512]));
    ScsiRequest::new(Lun::new(0), Cdb::write(lba, 16, false), payload)
}

/// A login that was dropped half-way may be carried out by the target after the next one in its slot,
/// which it then ends: whatever is in the way of that is tried again.
const ATTEMPTS: usize = 20;

async fn read_one(session: &Session) {
    for _ in 0..ATTEMPTS {
        match session.execute(read(0, 8)).await.result {
            Ok(response) => return assert_eq!(response.status, ScsiStatus::Good),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}"),
        }
        session.wait_up().await.unwrap();
    }
    panic!("the session does not stay up");
}

async fn login<T>(mut attempt: impl AsyncFnMut() -> Result<T, LoginError>) -> T {
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Ok(session) => return session,
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    panic!("the target does not let us in");
}

/// Is pending so many times.
async fn polls(mut times: usize) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls `future` until it is done, or `times` times.
async fn give_up_after<F: Future>(times: usize, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(polls(times))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

async fn round(initiator: &Initiator, to: &SessionTarget, number: usize) {
    match number % 8 {
        // In good order.
        0 => {
            let session = login(async || initiator.session(to).await).await;
            read_one(&session).await;
            session.close().await;
        }
        // Three users, who go one by one.
        1 => {
            let user = || login(async || initiator.session(to).await);
            for user in join_all((0..3).map(|_| user())).await {
                read_one(&user).await;
                drop(user);
            }
        }
        // Logged out in the background, with commands in flight that nobody waits for any more.
        2 => {
            let session = login(async || initiator.session(to).await).await;
            let commands = (0..4).map(|lba| session.execute(write(lba * 16)));
            let _ = give_up_after(number / 8 % 5, join_all(commands)).await;
        }
        // Dropped at some point of connect and login, or right after it.
        3 | 4 => drop(give_up_after(number / 8 % 61, initiator.session(to)).await),
        5 => drop(give_up_after(number / 8 % 61, initiator.connect(to)).await),
        // Right after the login, abruptly.
        6 => {
            let (session, driver) = login(async || initiator.connect(to).await).await;
            drop(driver);
            drop(session);
        }
        // The driver goes with commands in flight.
        _ => {
            let (session, mut driver) = login(async || initiator.connect(to).await).await;
            let commands = join_all((0..4).map(|lba| session.execute(read(lba, 64))));
            let times = number / 8 % 7;
            let _ = give_up_after(times, select(commands, &mut driver)).await;
        }
    }
}

/// Until the target has noticed all that has ended, and every task is done.
async fn quiet(runtime: &Counting, initiator: &Initiator, target: &TcpTarget, threads: usize) {
    for _ in 0..30_000 {
        let tasks = runtime.tasks.load(Ordering::Acquire);
        let sessions = initiator.sessions().len() + target.core().sessions();
        if tasks + sessions == 0 && Sample::take().threads <= threads {
            return;
        }
        let mut timer = runtime.new_timer(runtime.now() + Duration::from_millis(1));
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
    }
    let tasks = runtime.tasks.load(Ordering::Acquire);
    panic!(
        "{tasks} tasks, {} sessions here, {} there, and {:?} are left",
        initiator.sessions().len(),
        target.core().sessions(),
        Sample::take(),
    );
}

async fn lane(
    initiator: &Initiator,
    target: &TcpTarget,
    lane: usize,
    rounds: std::ops::Range<usize>,
) {
    let slot = SessionSlot {
        number: u16::try_from(lane).unwrap(),
        ..SessionSlot::default()
    };
    let portal = target.portal(0).into();
    let to = SessionTarget::new(NAME.parse().unwrap(), portal).with_slot(slot);
    for number in rounds {
        round(initiator, &to, number).await;
    }
}

#[test]
fn ten_thousand_logins_and_some_more_half_way_leave_nothing_behind() {
    on_each_runtime(async |inner| {
        let mut config = TargetConfig::new(NAME)
            .with_portal("127.0.0.1:0".parse().unwrap(), 1)
            .with_lun(LunConfig::new(0, 1 << 20));
        config.unit_attention = false;
        let target = TcpTarget::start(config).unwrap();
        let runtime = Counting {
            inner,
            tasks: Arc::default(),
        };
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let initiator = Initiator::builder(name, Arc::new(runtime.clone())).build();
        // What runs without any connection.
        lane(&initiator, &target, 0, 0..1).await;
        quiet(&runtime, &initiator, &target, usize::MAX).await;
        let threads = settled_threads(&runtime).await;
        let mut samples = Vec::new();
        let per_lane = ROUNDS / LANES / SAMPLES;
        for sample in 0..SAMPLES {
            let rounds = sample * per_lane..(sample + 1) * per_lane;
            let lanes = (0..LANES).map(|at| lane(&initiator, &target, at, rounds.clone()));
            join_all(lanes).await;
            quiet(&runtime, &initiator, &target, threads).await;
            samples.push(Sample::take());
        }
        let counters = target.core().counters(0);
        println!("{counters:?}");
        for sample in &samples {
            println!("{sample:?}");
        }
        assert_eq!(target.core().violations(), []);
        assert!(counters.logins >= 10_000, "{counters:?}");
        let half_way = counters.connections - counters.logins;
        assert!(
            half_way > 100,
            "none was dropped in the login: {counters:?}"
        );
        let (first, last) = (samples[0], samples[SAMPLES - 1]);
        for sample in &samples {
            assert_eq!(sample.descriptors, first.descriptors, "{samples:?}");
            assert!(sample.threads <= threads, "{samples:?}");
        }
        // Five bytes per round would be seen.
        assert!(last.heap < first.heap + 64 * 1024, "{samples:?}");
        // The allocator keeps what it had at its busiest moment, and that varies.
        assert!(last.resident < first.resident + (8 << 20), "{samples:?}");
    });
}

/// The threads that stay: those that serve connections have ended when the number stands still.
async fn settled_threads(runtime: &Counting) -> usize {
    let (mut last, mut same) = (0, 0);
    while same < 50 {
        let mut timer = runtime.new_timer(runtime.now() + Duration::from_millis(2));
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
        let threads = Sample::take().threads;
        same = if threads == last { same + 1 } else { 0 };
        last = threads;
    }
    last
}
