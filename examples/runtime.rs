//! Running a tool's future on the runtime that the user chose.

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_client::{
    links::LinkMonitor,
    runtime::{AsyncTimer, Runtime, SmolRuntime, TokioRuntime},
};

use crate::{args::RuntimeChoice, failure::Failure};

/// Runs the future that `start` makes, on `threads` threads altogether: with 1, the drivers of the
/// sessions run on the calling thread, between the polls of the future.
///
/// # Errors
///
/// The future's, or that of starting a thread.
pub fn block_on<T, F>(
    choice: RuntimeChoice,
    threads: usize,
    start: impl FnOnce(Arc<dyn Runtime>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    match choice {
        RuntimeChoice::Tokio => on_tokio(threads, start),
        RuntimeChoice::Smol => on_smol(threads, start),
    }
}

/// Watches the network devices of this host, in the background, on the runtime that this is called on.
///
/// # Errors
///
/// Where the kernel does not tell.
pub fn watch_links(choice: RuntimeChoice, runtime: &dyn Runtime) -> Result<LinkMonitor, Failure> {
    let watched = match choice {
        RuntimeChoice::Tokio => LinkMonitor::tokio(),
        RuntimeChoice::Smol => LinkMonitor::smol(),
    };
    let (links, driver) = watched.map_err(|error| {
        let why = error.source().map(|source| format!(": {source}"));
        let why = why.unwrap_or_default();
        Failure::new(format_args!("{error}{why}; --no-links does without"))
    })?;
    runtime.spawn(Box::pin(async move {
        let error = driver.await;
        eprintln!("links are not watched any more: {error}");
    }));
    Ok(links)
}

fn on_tokio<T, F>(threads: usize, start: impl FnOnce(Arc<dyn Runtime>) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        // The calling thread polls the future itself.
        builder.worker_threads(threads - 1);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| no_thread(&error))?;
    let adapter = TokioRuntime::from_handle(runtime.handle().clone());
    runtime.block_on(start(Arc::new(adapter)))
}

fn on_smol<T, F>(threads: usize, start: impl FnOnce(Arc<dyn Runtime>) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let executor = Arc::new(smol::Executor::new());
    let tasks = Arc::clone(&executor);
    let adapter = SmolRuntime::new(move |task| tasks.spawn(task).detach());
    let (alive, over) = smol::channel::bounded::<()>(1);
    std::thread::scope(|scope| {
        // Dropped on every way out, which ends the threads that the scope waits for.
        let _alive = alive;
        for _ in 1..threads {
            let (executor, over) = (&executor, over.clone());
            let worker = move || smol::block_on(executor.run(over.recv()));
            std::thread::Builder::new()
                .spawn_scoped(scope, worker)
                .map_err(|error| no_thread(&error))?;
        }
        let future = start(Arc::new(adapter));
        if threads > 1 {
            smol::block_on(future)
        } else {
            smol::block_on(executor.run(future))
        }
    })
}

fn no_thread(error: &std::io::Error) -> Failure {
    Failure::new(format_args!(
        "cannot start a thread: {error}; raise the limit of processes (ulimit -u)"
    ))
}

/// A timer that fires again and again.
#[derive(Debug)]
pub struct Ticker {
    timer: Pin<Box<dyn AsyncTimer>>,
    at: Instant,
    period: Duration,
}

impl Ticker {
    /// The first tick is a `period` away.
    #[must_use]
    pub fn new(runtime: &dyn Runtime, period: Duration) -> Self {
        let at = runtime.now() + period;
        Self {
            timer: runtime.new_timer(at),
            at,
            period,
        }
    }

    /// Ready at the next tick. Ticks that nobody awaited are skipped.
    pub fn poll_tick(&mut self, now: impl FnOnce() -> Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.at = (self.at + self.period).max(now());
        self.timer.as_mut().reset(self.at);
        Poll::Ready(())
    }
}

/// Waits.
pub async fn sleep(runtime: &dyn Runtime, time: Duration) {
    let mut timer = runtime.new_timer(runtime.now() + time);
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_runs_timers_and_background_tasks() {
        for choice in [RuntimeChoice::Tokio, RuntimeChoice::Smol] {
            for threads in [1, 2] {
                let got = block_on(choice, threads, |runtime| async move {
                    let (tell, told) = smol::channel::bounded(1);
                    let background = Arc::clone(&runtime);
                    runtime.spawn(Box::pin(async move {
                        sleep(&*background, Duration::from_millis(1)).await;
                        tell.send(7).await.unwrap();
                    }));
                    Ok(told.recv().await.unwrap())
                });
                assert_eq!(got, Ok(7), "{choice:?} {threads}");
            }
        }
    }
}
