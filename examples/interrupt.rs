//! Ctrl-C, and what a service manager sends, as something that can be awaited.

#[cfg(unix)]
use std::pin::pin;

#[cfg(unix)]
use futures_util::future::select;
use smol::channel::{Receiver, bounded};

use crate::failure::Failure;

/// Tells that the process was asked to end, once. A second signal ends the process on the spot.
///
/// Awaited on a thread of its own, so that it suits every runtime.
///
/// # Errors
///
/// If there can be no thread, or the signals cannot be had.
pub fn interrupts() -> Result<Receiver<()>, Failure> {
    let cannot = |what: &str, error: std::io::Error| {
        Failure::new(format_args!("cannot {what}: {error}; end it by its --for"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| cannot("await signals", error))?;
    let (tell, told) = bounded(1);
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new().map_err(|error| cannot("await signals", error))?
    };
    let wait = move || {
        runtime.block_on(async {
            signals.next().await;
            // Nobody listens any more where the work is over.
            let _over = tell.send(()).await;
            signals.next().await;
            std::process::exit(130);
        });
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(|error| cannot("start a thread", error))?;
    Ok(told)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        let interrupt = pin!(self.interrupt.recv());
        let terminate = pin!(self.terminate.recv());
        select(interrupt, terminate).await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // An error means that there is no console, and then there is no Ctrl-C either.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
