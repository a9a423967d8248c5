//! A runtime that does the same every time: one thread, a clock that moves only when nothing else can,
//! connections in memory, numbers in the place of randomness.
//!
//! What is written arrives at the target at once; what the target answers can be read once everything
//! else has come to rest. So the two sides take turns, as over a network of which one waits for the
//! other, and a count does not depend on who was faster.

mod link;
mod timer;

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use iscsi_client::runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport};

use self::{
    link::{Link, Wire},
    timer::Timers,
};
use crate::{failure::Failure, target::Settings};

/// A future of the workload itself, which may borrow.
pub(crate) type Local<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// The runtime. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Inner>);

struct Inner {
    settings: Settings,
    beginning: Instant,
    elapsed: AtomicU64,
    random: AtomicU64,
    ready: Arc<Ready>,
    spawned: Mutex<Vec<Option<Spawned>>>,
    timers: Arc<Mutex<Timers>>,
    wires: Mutex<Vec<Arc<Mutex<Wire>>>>,
    runs: AtomicU64,
}

struct Spawned {
    future: BoxFuture<()>,
    waker: Arc<Task>,
}

/// Who is to be polled, in order.
#[derive(Default)]
struct Ready(Mutex<VecDeque<TaskId>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum TaskId {
    Spawned(usize),
    /// Of which run, and which one: a wake-up may outlive its run.
    Local(u64, usize),
}

struct Task {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Relaxed) {
            lock(&self.ready.0).push_back(self.id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// A world whose targets agree to `settings`.
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way, and only differences to it are looked at"
    )]
    pub(crate) fn new(settings: Settings) -> Self {
        let ready = Ready(Mutex::new(VecDeque::with_capacity(256)));
        Self(Arc::new(Inner {
            settings,
            beginning: Instant::now(),
            elapsed: AtomicU64::new(0),
            random: AtomicU64::new(1),
            ready: Arc::new(ready),
            spawned: Mutex::default(),
            timers: Arc::default(),
            wires: Mutex::default(),
            runs: AtomicU64::new(0),
        }))
    }

    /// Runs `futures` to their end, and what was spawned meanwhile.
    ///
    /// # Errors
    ///
    /// That of the first one that fails; or that all of them wait for something that never comes.
    pub(crate) fn run<'a>(&self, futures: Vec<Local<'a>>) -> Result<(), Failure> {
        let run = self.0.runs.fetch_add(1, Relaxed);
        let mut left = futures.len();
        let mut locals: Vec<_> = futures
            .into_iter()
            .enumerate()
            .map(|(at, future)| {
                let task = self.task(TaskId::Local(run, at));
                (Some(future), Waker::from(task.clone()), task)
            })
            .collect();
        while left > 0 {
            let Some(id) = self.next_ready() else {
                self.rest()?;
                continue;
            };
            match id {
                TaskId::Spawned(at) => self.poll_spawned(at),
                TaskId::Local(of, at) if of == run => {
                    let (future, waker, task) = &mut locals[at];
                    task.queued.store(false, Relaxed);
                    let mut cx = Context::from_waker(waker);
                    let polled = future.as_mut().map(|f| f.as_mut().poll(&mut cx));
                    if let Some(Poll::Ready(result)) = polled {
                        *future = None;
                        left -= 1;
                        result?;
                    }
                }
                TaskId::Local(..) => {}
            }
        }
        Ok(())
    }

    /// The one future `future`, for its value.
    ///
    /// # Errors
    ///
    /// Its own, or that it waits for ever.
    pub(crate) fn block_on<'a, T, E>(
        &self,
        future: impl Future<Output = Result<T, E>> + 'a,
    ) -> Result<T, Failure>
    where
        T: 'a,
        E: fmt::Display,
    {
        let mut value = None;
        self.run(vec![Box::pin(async {
            value = Some(future.await.map_err(Failure::new)?);
            Ok(())
        })])?;
        value.ok_or_else(|| Failure::new("ended without a value"))
    }

    fn task(&self, id: TaskId) -> Arc<Task> {
        let task = Arc::new(Task {
            id,
            queued: AtomicBool::new(false),
            ready: Arc::clone(&self.0.ready),
        });
        task.wake_by_ref();
        task
    }

    fn next_ready(&self) -> Option<TaskId> {
        lock(&self.0.ready.0).pop_front()
    }

    /// Nobody can go on: the targets' answers arrive; if there are none, time passes.
    fn rest(&self) -> Result<(), Failure> {
        let mut arrived = false;
        for wire in &*lock(&self.0.wires) {
            arrived |= lock(wire).deliver();
        }
        if arrived {
            return Ok(());
        }
        let now = self.now();
        let Some(at) = lock(&self.0.timers).fire_next() else {
            return Err(Failure::new(
                "everybody waits for something that never comes",
            ));
        };
        let passed = at.saturating_duration_since(now).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.0.elapsed.fetch_add(passed, Relaxed);
        Ok(())
    }

    /// Out of its place while it runs, since it may spawn others.
    fn poll_spawned(&self, at: usize) {
        let taken = lock(&self.0.spawned).get_mut(at).and_then(Option::take);
        let Some(mut spawned) = taken else {
            return;
        };
        spawned.waker.queued.store(false, Relaxed);
        let waker = Waker::from(Arc::clone(&spawned.waker));
        let polled = spawned
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            lock(&self.0.spawned)[at] = Some(spawned);
        }
    }
}

impl Runtime for Machine {
    fn now(&self) -> Instant {
        self.0.beginning + Duration::from_nanos(self.0.elapsed.load(Relaxed))
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(timer::Timer::new(self.clone(), at))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        let mut spawned = lock(&self.0.spawned);
        let waker = self.task(TaskId::Spawned(spawned.len()));
        spawned.push(Some(Spawned { future, waker }));
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = (self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed) >> 56) as u8;
        }
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let address = host.parse().map_err(io::Error::other);
        Box::pin(async move { Ok(vec![address?]) })
    }

    fn connect(&self, _: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let link = Link::new(self.0.settings);
        lock(&self.0.wires).push(link.wire());
        Box::pin(async move { Ok(Box::new(link) as Box<dyn Transport>) })
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}
