//! The executor: one thread, virtual time, a seeded choice among the tasks that can run.

use std::{
    fmt,
    future::Future,
    io,
    net::IpAddr,
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_client::runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport};

use super::{
    net::{SimConnect, SimNet},
    world::{Event, EventKey, Shared, Task, World, task_waker},
};

/// The task number of the future that `block_on` runs.
const ROOT: u64 = 0;

/// What a world is like. All of it, with the seed, determines the run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimConfig {
    /// The seed.
    pub seed: u64,
    /// One-way latency; each piece of data draws its own, and none overtakes an earlier one.
    /// Default 50 µs to 250 µs.
    pub latency: Range<Duration>,
    /// Bytes that one direction of a connection holds before its writer must wait. Default 256 KiB.
    pub pipe_capacity: usize,
    /// How many of 1000 reads and writes transfer less than they could, down to one byte.
    /// Default 100.
    pub partial_per_mille: u16,
    /// How many of 1000 draws of four random bytes, which is what numbers begin with that wrap, are
    /// within 256 of their end (in network byte order). Default 0.
    pub brink_per_mille: u16,
    /// Polls and events after which [`SimRuntime::block_on`] gives up. Default 50 million: a busy loop
    /// is found within seconds, a long run is not disturbed.
    pub step_limit: u64,
}

impl SimConfig {
    /// The default world under `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            latency: Duration::from_micros(50)..Duration::from_micros(250),
            pipe_capacity: 256 * 1024,
            partial_per_mille: 100,
            brink_per_mille: 0,
            step_limit: 50_000_000,
        }
    }
}

/// The owner of a simulated world. Dropping it drops all tasks of the world.
///
/// Give [`handle`](Self::handle) to whatever wants an `Arc<dyn Runtime>`; tasks that hold the owner
/// itself would keep each other alive.
pub struct SimRuntime {
    shared: Arc<Shared>,
}

/// A [`Runtime`] in the world of a [`SimRuntime`].
#[derive(Clone)]
pub struct SimHandle {
    shared: Arc<Shared>,
}

impl SimRuntime {
    /// The default world under `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_config(SimConfig::new(seed))
    }

    /// A world as `config` says.
    #[must_use]
    pub fn with_config(config: SimConfig) -> Self {
        Self {
            shared: Arc::new(Shared::new(config)),
        }
    }

    /// A handle for code that wants a runtime of its own.
    #[must_use]
    pub fn handle(&self) -> SimHandle {
        SimHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The network of this world.
    #[must_use]
    pub fn net(&self) -> SimNet {
        SimNet {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.with(|world| world.now))
    }

    /// A hash of every scheduling and delivery decision so far: equal for equal runs.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.shared.with(|world| world.trace.0)
    }

    /// Is ready after `duration` of virtual time.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.handle().sleep(duration)
    }

    /// Runs the world until `future` is done. Other tasks stay as they are and go on in the next call.
    ///
    /// # Panics
    ///
    /// When `future` can never be done (no task can run and no event is due), when the step limit of
    /// the configuration is passed, and with whatever a task panics with.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = task_waker(ROOT, &self.shared.ready);
        self.shared.ready.push(ROOT);
        let limit = self.shared.with(|world| world.config.step_limit);
        for _ in 0..limit {
            let Some(task) = self.next_task() else {
                let advanced = self.shared.with(World::advance);
                assert!(
                    advanced,
                    "deadlock at {:?}: no task can run and nothing is due (seed {})",
                    self.elapsed(),
                    self.shared.with(|world| world.config.seed),
                );
                continue;
            };
            if task == ROOT {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
            } else {
                self.poll_task(task);
            }
        }
        panic!(
            "no end after {limit} steps, at {:?} (seed {}): a busy loop?",
            self.elapsed(),
            self.shared.with(|world| world.config.seed),
        )
    }

    fn next_task(&self) -> Option<u64> {
        self.shared.with(|world| {
            let task = self
                .shared
                .ready
                .take(|len| usize::try_from(world.rng.below(len as u64)).unwrap_or_default())?;
            world.trace.fold(task);
            Some(task)
        })
    }

    fn poll_task(&self, id: u64) {
        // The future is taken out: it may spawn, or write to the network, while it is polled.
        let Some(mut task) = self.shared.with(|world| world.tasks.remove(&id)) else {
            return;
        };
        if task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&task.waker))
            .is_pending()
        {
            self.shared.with(|world| world.tasks.insert(id, task));
        }
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        // Tasks hold handles to the world that holds them. Dropping one may spawn another (a
        // background logout), so until none is left; and never under the lock.
        while let Some(task) = self.shared.with(|world| world.tasks.pop_first()) {
            drop(task);
        }
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime")
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHandle").finish_non_exhaustive()
    }
}

impl SimHandle {
    /// The network of this world.
    #[must_use]
    pub fn net(&self) -> SimNet {
        SimNet {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.with(|world| world.now))
    }

    /// Is ready after `duration` of virtual time.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let mut timer = self.new_timer(self.now() + duration);
        std::future::poll_fn(move |cx| timer.as_mut().poll(cx))
    }
}

impl Runtime for SimHandle {
    fn now(&self) -> Instant {
        self.shared.base + self.elapsed()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let id = self.shared.with(World::next_id);
        let at = nanos_since(self.shared.base, at);
        Box::pin(SimTimer {
            shared: Arc::clone(&self.shared),
            id,
            at,
            event: None,
        })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        let id = self.shared.with(World::next_id);
        let waker = task_waker(id, &self.shared.ready);
        self.shared
            .with(|world| world.tasks.insert(id, Task { future, waker }));
        self.shared.ready.push(id);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.shared.with(|world| {
            world.rng.fill(bytes);
            let brink = world.config.brink_per_mille;
            if let ([high @ .., _], true) = (bytes, brink > 0) {
                if high.len() == 3 && world.rng.chance(brink) {
                    high.fill(0xff);
                }
            }
        });
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let result = self.shared.with(|world| world.net.resolve(host));
        Box::pin(std::future::ready(result))
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let attempt = SimConnect::new(&self.shared, dial);
        Box::pin(async move { Ok(Box::new(attempt.await?) as Box<dyn Transport>) })
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.handle().now()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.handle().new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.handle().spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.handle().fill_random(bytes);
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        self.handle().resolve(host)
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.handle().connect(dial)
    }
}

fn nanos_since(base: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(base).as_nanos()).unwrap_or(u64::MAX)
}

struct SimTimer {
    shared: Arc<Shared>,
    id: u64,
    at: u64,
    event: Option<EventKey>,
}

impl SimTimer {
    fn cancel(&mut self) {
        let (id, event) = (self.id, self.event.take());
        if let Some(key) = event {
            let waker = self.shared.with(|world| {
                world.cancel(key);
                world.timers.remove(&id)
            });
            drop(waker);
        }
    }
}

impl AsyncTimer for SimTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.cancel();
        self.at = nanos_since(self.shared.base, at);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (id, at) = (self.id, self.at);
        let pending = self.event;
        let (ready, event, old) = self.shared.with(|world| {
            if at <= world.now {
                return (true, pending, None);
            }
            let event = pending.unwrap_or_else(|| world.schedule(at, Event::Timer(id)));
            (
                false,
                Some(event),
                world.timers.insert(id, cx.waker().clone()),
            )
        });
        drop(old);
        self.event = event;
        if ready {
            self.cancel();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimTimer({:?})", Duration::from_nanos(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(brink: u16) -> Vec<u32> {
        let mut config = SimConfig::new(7);
        config.brink_per_mille = brink;
        let handle = SimRuntime::with_config(config).handle();
        (0..1000)
            .map(|_| {
                let mut bytes = [0; 4];
                handle.fill_random(&mut bytes);
                u32::from_be_bytes(bytes)
            })
            .collect()
    }

    #[test]
    fn numbers_begin_near_their_end_as_often_as_was_asked_for() {
        let near = |brink| {
            let draws = draws(brink).into_iter();
            draws.filter(|&n| n >= u32::MAX - 255).count()
        };
        assert_eq!(near(0), 0);
        assert!((200..400).contains(&near(300)), "{}", near(300));
        assert_eq!(near(1000), 1000);
    }
}
