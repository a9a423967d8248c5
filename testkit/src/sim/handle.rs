//! The world as a [`Runtime`].

use std::{
    fmt,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_client::runtime::{AsyncTimer, Beat, BoxFuture, Dial, Runtime, Transport};

use super::{
    ids::ProcessId,
    net::{SimConnect, SimNet},
    task::Task,
    timer::SimTimer,
    world::Shared,
};

/// A [`Runtime`] in the world of a [`SimRuntime`](super::SimRuntime), for the program of that owner or for one
/// [of its own](Self::process).
///
/// In a program that is dead nothing happens: what is spawned is dropped, timers are never due, and
/// there are no connections.
#[derive(Clone)]
pub struct SimHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) process: ProcessId,
}

impl SimHandle {
    /// The network of this world.
    #[must_use]
    pub fn net(&self) -> SimNet {
        SimNet {
            shared: Arc::clone(&self.shared),
            process: self.process,
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

impl fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHandle").finish_non_exhaustive()
    }
}

impl Runtime for SimHandle {
    fn now(&self) -> Instant {
        self.shared.base + self.elapsed()
    }

    fn beat(&self) -> Option<Beat> {
        let has_beat = self.shared.with(|world| world.config.beat);
        has_beat.then(|| Beat::from(self.shared.base))
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(SimTimer::new(&self.shared, self.process, at))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        let process = self.process;
        let mut future = Some(future);
        let spawned = self.shared.with(|world| {
            if world.is_dead(process) {
                return None;
            }
            let future = future.take()?;
            let ready = &self.shared.ready;
            let key = world
                .tasks
                .insert_with(|key| Task::new(key, process, future, ready));
            world.tasks.get(key).map(|task| Arc::clone(&task.mark))
        });
        // Of a dead process: dropped here, without the lock.
        drop(future);
        if let Some(mark) = spawned {
            std::task::Wake::wake(mark);
        }
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
        let attempt = SimConnect::new(&self.shared, self.process, dial);
        Box::pin(async move { Ok(Box::new(attempt.await?) as Box<dyn Transport>) })
    }
}
