//! The device over paths whose every word is the test's: what a session says between two others.

use std::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use iscsi_client::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Retry},
    logical_unit::Recall,
    runtime::Runtime,
};
use iscsi_testkit::sim::{SimHandle, SimRuntime};
use mpio::{
    LocalEnd, MultipathDevice, Path, PathLink, PathStatus,
    core::{
        Config, DownReason, Event, IdentityCheck, KeyRefusal, PathAttributes, PathKeys,
        PathSnapshot, PortalGroup, Preempted, ProbeKind, ProbeResult, Registered,
    },
};

const MS: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Link {
    generation: u64,
    up: bool,
    /// The generation of the last loss.
    lost: u64,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Script {
    runtime: SimHandle,
    link: Mutex<Link>,
    verifications: AtomicU64,
    /// Another logical unit is behind it now.
    other_unit: AtomicBool,
    /// Writes do not end.
    stuck: AtomicBool,
    /// Writes that were begun and are neither done nor dropped.
    writes: AtomicU64,
    local_end: Mutex<Option<LocalEnd>>,
}

impl Script {
    fn new(runtime: SimHandle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            link: Mutex::new(Link {
                generation: 1,
                up: true,
                lost: 0,
                wakers: Vec::new(),
            }),
            verifications: AtomicU64::new(0),
            other_unit: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            local_end: Mutex::new(None),
        })
    }

    /// Something happens to the connection.
    fn event(&self, up: Option<bool>) {
        let mut link = self.link.lock().unwrap();
        link.generation += 1;
        link.up = up.unwrap_or(link.up);
        if up == Some(false) {
            link.lost = link.generation;
        }
        let wakers = std::mem::take(&mut link.wakers);
        drop(link);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn status_after(&self, seen: u64) -> PathStatus {
        let link = self.link.lock().unwrap();
        let state = match link.up {
            true => PathLink::Up,
            false => PathLink::Down(DownReason::ConnectionLost),
        };
        PathStatus::new(link.generation, state, link.lost > seen)
    }

    fn answer(&self) -> Result<(), Error> {
        if self.other_unit.load(Ordering::Relaxed) {
            return Err(Error::not_executed(ErrorKind::WrongUnit).with_retry(Retry::OtherPath));
        }
        Ok(())
    }

    async fn round_trip(&self) {
        self.runtime.sleep(MS).await;
    }
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

struct Begun<'a>(&'a Script);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.writes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Path for Scripted {
    fn name(&self) -> Arc<str> {
        "scripted".into()
    }

    fn info(&self) -> Arc<DeviceInfo> {
        let mut info = DeviceInfo::new(1 << 20, 512);
        info.identity.wwid = Some("naa.1".into());
        Arc::new(info)
    }

    async fn info_changed(&self, _: Generation) -> Result<Arc<DeviceInfo>, Error> {
        pending().await
    }

    async fn read(&self, _: u64, buf: ReadBuf, _: ReadOptions, _: &Recall) -> Completion<ReadBuf> {
        self.0.round_trip().await;
        let result = self.0.answer();
        Completion { result, buf }
    }

    async fn write(&self, _: u64, buf: WriteBuf, _: WriteOptions) -> Completion<WriteBuf> {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        let _begun = Begun(&self.0);
        if self.0.stuck.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        self.0.round_trip().await;
        let result = self.0.answer();
        Completion { result, buf }
    }

    async fn flush(&self, _: FlushOptions) -> Result<(), Error> {
        self.0.answer()
    }

    async fn probe(&self, _: ProbeKind, _: Duration) -> ProbeResult {
        self.0.round_trip().await;
        ProbeResult::Ready
    }

    async fn verify(&self) -> Result<IdentityCheck, Error> {
        self.0.verifications.fetch_add(1, Ordering::Relaxed);
        self.0.runtime.sleep(10 * MS).await;
        match self.0.answer() {
            Ok(()) => Ok(IdentityCheck::Verified),
            Err(_) => Ok(IdentityCheck::Mismatch),
        }
    }

    fn status(&self) -> PathStatus {
        self.0.status_after(u64::MAX)
    }

    async fn changed(&self, seen: u64) -> PathStatus {
        poll_fn(|cx| {
            let mut link = self.0.link.lock().unwrap();
            if link.generation != seen {
                return Poll::Ready(());
            }
            link.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.0.status_after(seen)
    }

    fn fence(&self) {
        self.0.event(Some(false));
        self.0.event(Some(true));
    }

    fn portal_group(&self) -> Option<PortalGroup> {
        None
    }

    fn nexus_changes(&self) -> u64 {
        0
    }

    async fn reinstate(&self, _: &Self) -> Result<(), Error> {
        Err(Error::not_executed(ErrorKind::Transport))
    }

    async fn register(&self, _: PathKeys) -> Result<Registered, Error> {
        Ok(Registered::Not(KeyRefusal::Unsupported))
    }

    async fn unregister(&self, _: u64) -> Result<(), Error> {
        Err(Error::not_executed(ErrorKind::Unsupported))
    }

    async fn preempt_and_abort(&self, _: PathKeys, _: u64, _: u64) -> Result<Preempted, Error> {
        Err(Error::not_executed(ErrorKind::Unsupported))
    }

    async fn reset_unit(&self) -> Result<(), Error> {
        Err(Error::not_executed(ErrorKind::Protocol))
    }

    fn last_receive(&self) -> Instant {
        self.0.runtime.now()
    }

    async fn close(&self) {}

    fn warning(&self) -> Option<Arc<str>> {
        None
    }

    fn local_end(&self) -> Option<LocalEnd> {
        self.0.local_end.lock().unwrap().clone()
    }
}

struct World {
    sim: SimRuntime,
    scripts: Vec<Arc<Script>>,
    device: MultipathDevice<Scripted>,
    driver: Option<mpio::MultipathDriver<Scripted>>,
}

fn world() -> World {
    let sim = SimRuntime::new(1);
    let scripts: Vec<_> = (0..2).map(|_| Script::new(sim.handle())).collect();
    let paths = scripts.iter().map(|script| {
        let path = Scripted(Arc::clone(script));
        (PathAttributes::new(path.name()), path)
    });
    let runtime = Arc::new(sim.handle());
    let (device, driver) = MultipathDevice::new(runtime, Config::default(), paths).unwrap();
    World {
        sim,
        scripts,
        device,
        driver: Some(driver),
    }
}

impl World {
    fn spawn(mut self) -> Self {
        let driver = self.driver.take().unwrap();
        self.sim.handle().spawn(Box::pin(driver));
        self
    }

    fn usable(&self) -> usize {
        let snapshot = self.device.snapshot();
        snapshot
            .paths()
            .filter(|p| PathSnapshot::is_usable(p))
            .count()
    }
}

/// An asynchronous message, or a warning about the NIC, while the identity is being read: it is no
/// loss, so the path must not be left unverified for it.
#[test]
fn an_event_during_the_verification_does_not_keep_a_path_out() {
    let world = world().spawn();
    world.sim.block_on(async {
        world.sim.sleep(100 * MS).await;
        assert_eq!(world.usable(), 2);
        world.scripts[0].event(Some(false));
        world.sim.sleep(5 * MS).await;
        assert_eq!(world.usable(), 1);
        world.scripts[0].event(Some(true));
        world.sim.sleep(5 * MS).await;
        world.scripts[0].event(None);
        world.sim.sleep(1000 * MS).await;
        assert_eq!(world.usable(), 2);
    });
}

/// However many requests find out at the same time.
#[test]
fn a_path_to_another_unit_is_verified_once_at_a_time() {
    let world = world().spawn();
    world.sim.block_on(async {
        world.sim.sleep(100 * MS).await;
        world.scripts[0].other_unit.store(true, Ordering::Relaxed);
        let reads = (0..400).map(|_| {
            let buf = ReadBuf::zeroed(512);
            world.device.read(0, buf, ReadOptions::default())
        });
        for read in futures_util::future::join_all(reads).await {
            read.result.expect("the other path leads to the unit");
        }
        world.sim.sleep(60_000 * MS).await;
        assert_eq!(world.usable(), 1);
        let count = world.scripts[0].verifications.load(Ordering::Relaxed);
        assert!((4..=8).contains(&count), "{count} in a minute");
        world.scripts[0].other_unit.store(false, Ordering::Relaxed);
        world.sim.sleep(11_000 * MS).await;
        assert_eq!(world.usable(), 2, "the mapping was corrected");
    });
}

/// Nobody would ever poll it again; the target must not wait for its data for ever.
#[test]
fn a_write_that_is_dropped_after_the_driver_is_dropped_too() {
    let mut world = world();
    let driver = world.driver.take();
    world
        .scripts
        .iter()
        .for_each(|script| script.stuck.store(true, Ordering::Relaxed));
    let begun = |world: &World| -> u64 {
        let count = |script: &Arc<Script>| script.writes.load(Ordering::Relaxed);
        world.scripts.iter().map(count).sum()
    };
    let write = world
        .device
        .write(0, WriteBuf::from(vec![1; 512]), WriteOptions::default());
    let mut write = Box::pin(write);
    world.sim.block_on(poll_fn(|cx| {
        assert!(write.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    assert_eq!(begun(&world), 1);
    drop(driver);
    assert_eq!(begun(&world), 1, "what is in flight may end");
    drop(write);
    assert_eq!(begun(&world), 0);
}

/// "For ever" is what the largest timeout means, not a panic.
#[test]
fn the_longest_timeout_is_none() {
    let world = world().spawn();
    world.sim.block_on(async {
        let options = ReadOptions::default().with_timeout(Duration::MAX);
        let read = world.device.read(0, ReadBuf::zeroed(512), options).await;
        read.result.unwrap();
    });
}

/// Two addresses of one NIC are one cable: an event, and a line in the topology.
#[test]
fn local_ends_that_share_a_cable_are_told() {
    let world = world().spawn();
    let mut events = world.device.events();
    let add = |bind: &str, device: &str| {
        let script = Script::new(world.sim.handle());
        *script.local_end.lock().unwrap() = Some(LocalEnd {
            bind: bind.parse().unwrap(),
            device: device.into(),
        });
        let path = Scripted(script);
        let attributes = PathAttributes::new(bind);
        world.device.add_path(attributes, path).unwrap()
    };
    let mut told = || -> Vec<_> {
        std::iter::from_fn(|| events.try_next().map(|event| event.event)).collect()
    };
    let first = add("10.0.0.1", "eth0");
    add("eth1", "eth1");
    // The same local end, to another portal: that is meant so.
    add("10.0.0.1", "eth0");
    assert!(
        !told()
            .iter()
            .any(|event| matches!(event, Event::SharedDevice { .. }))
    );
    assert!(!world.device.topology().to_string().contains("warning"));
    let path = add("10.0.0.2", "eth0");
    let shared = Event::SharedDevice { path, with: first };
    assert!(told().contains(&shared));
    let topology = world.device.topology().to_string();
    let warnings: Vec<_> = topology.lines().filter(|l| l.contains("warning")).collect();
    assert_eq!(warnings.len(), 3, "{topology}");
    assert!(warnings.iter().all(|line| line.contains("eth0")));
}

/// Polls its driver wherever it is woken, as an executor on another core would.
struct Prompt(Mutex<Option<mpio::MultipathDriver<Scripted>>>);

impl Wake for Prompt {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        if let Ok(mut driver) = self.0.try_lock() {
            if let Some(driver) = &mut *driver {
                _ = Pin::new(driver).poll(&mut Context::from_waker(&waker));
            }
        }
    }
}

/// The driver may have seen a write to its end before whoever dropped it has left: the write is not
/// tried again then, since nobody would make that attempt, and nobody would report it.
#[test]
fn a_dropped_write_that_fails_at_once_is_over() {
    let mut world = world();
    let prompt = Arc::new(Prompt(Mutex::new(world.driver.take())));
    world.sim.block_on(async {
        Arc::clone(&prompt).wake();
        world.sim.sleep(100 * MS).await;
        assert_eq!(world.usable(), 2);
        let fail = |fail| {
            let scripts = world.scripts.iter();
            scripts.for_each(|script| script.other_unit.store(fail, Ordering::Relaxed));
        };
        fail(true);
        let write = || {
            let data = WriteBuf::from(vec![1; 512]);
            let options = WriteOptions::default().with_timeout(Duration::from_secs(10));
            world.device.write(0, data, options)
        };
        let mut dropped = Box::pin(write());
        poll_fn(|cx| {
            assert!(dropped.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        world.sim.sleep(2 * MS).await;
        drop(dropped);
        fail(false);
        world.sim.sleep(1000 * MS).await;
        let same_place = write().await;
        same_place.result.expect("nothing is in its way");
    });
}
