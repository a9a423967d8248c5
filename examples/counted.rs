//! A runtime that knows how many tasks it has.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use iscsi_client::runtime::{AsyncTimer, Beat, BoxFuture, Dial, Runtime, Transport};

/// Another runtime, and how many of the tasks that were spawned through this one are alive.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Runtime>,
    tasks: Arc<AtomicUsize>,
}

impl Counted {
    /// Nothing was spawned through it yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Runtime>) -> Self {
        Self {
            inner,
            tasks: Arc::default(),
        }
    }

    /// Tasks that are not over.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }
}

/// Counts until it is dropped, which a task that is cancelled does too.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(tasks: &Arc<AtomicUsize>) -> Self {
        tasks.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runtime for Counted {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn beat(&self) -> Option<Beat> {
        self.inner.beat()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        let alive = Alive::new(&self.tasks);
        self.inner.spawn(Box::pin(async move {
            task.await;
            drop(alive);
        }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::RuntimeChoice, runtime::block_on};

    #[test]
    fn a_task_counts_until_it_is_over() {
        for choice in [RuntimeChoice::Tokio, RuntimeChoice::Smol] {
            let counts = block_on(choice, 1, |runtime| async move {
                let counted = Counted::new(runtime);
                let (go, going) = smol::channel::bounded::<()>(1);
                let (tell, told) = smol::channel::bounded::<()>(1);
                counted.spawn(Box::pin(async move {
                    going.recv().await.unwrap();
                    drop(tell);
                }));
                let before = counted.tasks();
                go.send(()).await.unwrap();
                // Closed in the last poll of the task, so on one thread the task is over.
                told.recv().await.unwrap_err();
                Ok((before, counted.tasks()))
            });
            assert_eq!(counts, Ok((1, 0)), "{choice:?}");
        }
    }
}
