//! The executor: one thread, virtual time, a seeded choice among the tasks that can run.

use std::{
    fmt,
    future::Future,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use iscsi_client::runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport};

use super::{
    config::SimConfig,
    handle::SimHandle,
    net::SimNet,
    slab::Key,
    task::Mark,
    world::{Shared, World},
};

/// The task of the future that `block_on` runs.
const ROOT: Key = Key::NONE;

/// What is to be polled next.
enum Turn {
    Root,
    Task(Key, BoxFuture<()>, Waker),
    /// A task that is gone, or may not run now.
    Nobody,
}

/// The owner of a simulated world. Dropping it drops all tasks of the world.
///
/// Give [`handle`](Self::handle) to whatever wants an `Arc<dyn Runtime>`; tasks that hold the owner
/// itself would keep each other alive.
pub struct SimRuntime {
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
            process: 0,
        }
    }

    /// The network of this world.
    #[must_use]
    pub fn net(&self) -> SimNet {
        self.handle().net()
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
        let mark = Mark::new(ROOT, &self.shared.ready);
        let waker = Waker::from(Arc::clone(&mark));
        waker.wake_by_ref();
        let limit = self.shared.with(|world| world.config.step_limit);
        let mut polled = None;
        for _ in 0..limit {
            match self.next_turn(&mut polled) {
                Some(Turn::Nobody) => {}
                Some(Turn::Root) => {
                    mark.taken();
                    let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                    if let Poll::Ready(output) = poll {
                        return output;
                    }
                }
                Some(Turn::Task(key, mut future, waker)) => {
                    let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                    polled = Some((key, Some(future).filter(|_| poll.is_pending()), waker));
                }
                None => {
                    let advanced = self.shared.with(World::advance);
                    assert!(
                        advanced,
                        "deadlock at {:?}: no task can run and nothing is due (seed {})",
                        self.elapsed(),
                        self.shared.with(|world| world.config.seed),
                    );
                }
            }
        }
        panic!(
            "no end after {limit} steps, at {:?} (seed {}): a busy loop?",
            self.elapsed(),
            self.shared.with(|world| world.config.seed),
        )
    }

    /// Puts back what was polled, and takes out what is to be polled next: a future may spawn, or
    /// write to the network, so that it is polled without the lock.
    fn next_turn(&self, polled: &mut Option<Polled>) -> Option<Turn> {
        let mut polled = polled.take();
        let turn = self.shared.with(|world| {
            if let Some(polled) = &mut polled {
                world.put_back(polled);
            }
            let ready = Arc::clone(&self.shared.ready);
            let key =
                ready.take(|len| usize::try_from(world.rng.below(len as u64)).unwrap_or(0))?;
            Some(world.turn_of(key))
        });
        // What is left of it is dropped here.
        drop(polled);
        turn
    }
}

/// A task that was polled: its future, unless that is done.
type Polled = (Key, Option<BoxFuture<()>>, Waker);

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

impl World {
    fn put_back(&mut self, (key, future, _): &mut Polled) {
        if future.is_none() {
            self.tasks.remove(*key);
        } else if let Some(task) = self.tasks.get_mut(*key) {
            task.future = future.take();
        }
    }

    fn turn_of(&mut self, key: Key) -> Turn {
        self.trace.fold(key.word());
        if key == ROOT {
            return Turn::Root;
        }
        let Some(task) = self.tasks.get_mut(key) else {
            return Turn::Nobody;
        };
        if let Some(process) = self.processes.get_mut(task.process as usize) {
            if process.is_suspended {
                process.waiting.push(key);
                return Turn::Nobody;
            }
        }
        task.mark.taken();
        match task.future.take() {
            Some(future) => Turn::Task(key, future, task.waker.clone()),
            None => Turn::Nobody,
        }
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        // Tasks hold handles to the world that holds them. Dropping one may spawn another (a
        // background logout), so until none is left; and never under the lock.
        loop {
            let task = self.shared.with(|world| {
                let first = world.tasks.iter().next().map(|(key, _)| key)?;
                world.tasks.remove(first)
            });
            if task.is_none() {
                break;
            }
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

#[cfg(test)]
mod tests {
    use iscsi_client::runtime::Runtime;

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
