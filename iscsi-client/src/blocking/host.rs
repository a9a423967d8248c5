//! One thread that runs sessions.

use std::{
    fmt,
    future::{Future, poll_fn},
    io, mem,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
};

use futures_util::{
    FutureExt,
    stream::{FuturesUnordered, StreamExt},
    task::AtomicWaker,
};

use crate::runtime::{BoxFuture, Runtime, SmolRuntime};

/// A thread with a reactor that runs all sessions of a program that has no async runtime.
///
/// One thread moves some GiB/s; a program that needs more starts several and spreads its sessions.
///
/// Dropping the host does not stop the sessions: the thread ends by itself when the last of them has
/// (they log out when their last handle is dropped). [`shutdown`](Self::shutdown) waits for that.
pub struct Host {
    shared: Arc<Shared>,
    runtime: Arc<dyn Runtime>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and those who give it tasks share.
#[derive(Default)]
struct Shared {
    new_tasks: Mutex<Vec<BoxFuture<()>>>,
    thread: AtomicWaker,
    closed: AtomicBool,
}

impl Shared {
    fn new_tasks(&self) -> MutexGuard<'_, Vec<BoxFuture<()>>> {
        // Only pushes and swaps happen under the lock.
        self.new_tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.thread.wake();
    }
}

/// The tasks of the thread. A panic ends the task that it comes from and no other.
type Tasks = FuturesUnordered<futures_util::future::CatchUnwind<AssertUnwindSafe<BoxFuture<()>>>>;

fn run(shared: &Shared, tasks: &mut Tasks, cx: &mut Context<'_>) -> Poll<()> {
    // Before the look at what is new, so that nothing slips in between.
    shared.thread.register(cx.waker());
    loop {
        let new = mem::take(&mut *shared.new_tasks());
        tasks.extend(
            new.into_iter()
                .map(|task| AssertUnwindSafe(task).catch_unwind()),
        );
        match tasks.poll_next_unpin(cx) {
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) if !shared.new_tasks().is_empty() => {}
            Poll::Ready(None) if shared.closed.load(Ordering::Acquire) => return Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => return Poll::Pending,
        }
    }
}

impl Host {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let on_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("iscsi-sessions".into())
            .spawn(move || {
                let mut tasks = Tasks::new();
                async_io::block_on(poll_fn(|cx| run(&on_thread, &mut tasks, cx)));
            })?;
        let queue = Arc::clone(&shared);
        let runtime = SmolRuntime::new(move |task| {
            queue.new_tasks().push(task);
            queue.thread.wake();
        });
        Ok(Self {
            shared,
            runtime: Arc::new(runtime),
            thread: Some(thread),
        })
    }

    /// The runtime for [`Initiator::builder`](crate::initiator::Initiator::builder). A task that is
    /// spawned after the thread has ended is never run.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.runtime)
    }

    /// Waits for a future on the calling thread, see [`block_on`](super::block_on).
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        super::block_on(future)
    }

    /// Waits until every session has logged out and the thread has ended. Drop the handles of all
    /// sessions and devices first: it waits for ever for one that is still held.
    pub fn shutdown(mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread itself was printed by the panic hook, and there is nothing left
            // to be done about it.
            drop(thread.join());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
