//! The target in a simulated world: the same connections over [`SimNet`](crate::sim::SimNet), which
//! has the faults.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::task::AtomicWaker;
use iscsi_client::runtime::{Runtime, Transport};

use super::{
    TargetConnection,
    config::TargetConfig,
    core::{TargetCore, lock},
};
use crate::sim::{SimHandle, SimListener, SimStream};

/// Tells a task to end, from elsewhere.
#[derive(Debug, Default)]
struct Stop {
    flag: AtomicBool,
    waker: AtomicWaker,
}

impl Stop {
    fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.flag.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A running target in a simulated world. Dropping it closes its portals and its connections.
///
/// Cut, stall, reset and refuse its portals with [`SimNet`](crate::sim::SimNet).
#[derive(Debug)]
pub struct SimTarget {
    core: Arc<TargetCore>,
    stops: Arc<Mutex<Vec<Arc<Stop>>>>,
    pause: Arc<Pause>,
}

/// A target that is stopped for a while, as by SIGSTOP.
#[derive(Debug, Default)]
struct Pause(Mutex<Paused>);

#[derive(Debug, Default)]
struct Paused {
    is_on: bool,
    waiting: Vec<Waker>,
}

impl Pause {
    fn set(&self, is_on: bool) {
        let mut paused = lock(&self.0);
        paused.is_on = is_on;
        let waiting = std::mem::take(&mut paused.waiting);
        drop(paused);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut paused = lock(&self.0);
        if !paused.is_on {
            return Poll::Ready(());
        }
        if !paused
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            paused.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl SimTarget {
    /// Listens on every portal of `config` and serves.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when somebody listens there already.
    pub fn start(runtime: &SimHandle, config: TargetConfig) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = config.portals.iter().map(|p| p.address).collect();
        let listen = |address: &SocketAddr| runtime.net().listen(*address);
        let listeners = addresses
            .iter()
            .map(listen)
            .collect::<io::Result<Vec<_>>>()?;
        let target = Self {
            core: TargetCore::new(config, &addresses),
            stops: Arc::default(),
            pause: Arc::default(),
        };
        let back_end = Servant {
            core: Arc::clone(&target.core),
            runtime: runtime.clone(),
            stop: new_stop(&target.stops),
            pause: Arc::clone(&target.pause),
        };
        runtime.spawn(Box::pin(back_end.run()));
        for (portal, listener) in listeners.into_iter().enumerate() {
            let portal = Portal {
                core: Arc::clone(&target.core),
                portal,
                listener,
                runtime: runtime.clone(),
                stops: Arc::clone(&target.stops),
                pause: Arc::clone(&target.pause),
            };
            let stop = new_stop(&target.stops);
            runtime.spawn(Box::pin(async move { portal.accept(&stop).await }));
        }
        Ok(target)
    }

    /// Stops the target, as SIGSTOP does, until [`resume`](Self::resume): the network goes on and fills
    /// what buffers there are, but nobody looks into them.
    pub fn pause(&self) {
        self.pause.set(true);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.pause.set(false);
    }

    /// The shared state: counters, violations, login refusal, delays, the medium.
    #[must_use]
    pub const fn core(&self) -> &Arc<TargetCore> {
        &self.core
    }

    /// The address of portal `index`.
    #[must_use]
    pub fn portal(&self, index: usize) -> SocketAddr {
        self.core.portal(index)
    }
}

impl Drop for SimTarget {
    fn drop(&mut self) {
        for stop in lock(&self.stops).drain(..) {
            stop.set();
        }
    }
}

fn new_stop(stops: &Mutex<Vec<Arc<Stop>>>) -> Arc<Stop> {
    let stop = Arc::new(Stop::default());
    let mut stops = lock(stops);
    stops.retain(|stop| Arc::strong_count(stop) > 1);
    stops.push(Arc::clone(&stop));
    stop
}

struct Portal {
    core: Arc<TargetCore>,
    portal: usize,
    listener: SimListener,
    runtime: SimHandle,
    stops: Arc<Mutex<Vec<Arc<Stop>>>>,
    pause: Arc<Pause>,
}

impl Portal {
    async fn accept(&self, stop: &Stop) {
        loop {
            let mut accept = Box::pin(self.listener.accept());
            let accepted = poll_fn(|cx| match stop.poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending if self.pause.poll(cx).is_pending() => Poll::Pending,
                Poll::Pending => accept.as_mut().poll(cx).map(Some),
            });
            let Some(stream) = accepted.await else { return };
            let stop = new_stop(&self.stops);
            let taken_over = Arc::clone(&stop);
            let closer = Arc::new(move || taken_over.set());
            let target = TargetConnection::new(&self.core, self.portal, closer);
            let runtime = self.runtime.clone();
            let connection = Connection {
                target,
                stream,
                runtime,
                stop,
                pause: Arc::clone(&self.pause),
            };
            self.runtime.spawn(Box::pin(connection.run()));
        }
    }
}

/// What does the commands of the back end whose connections are gone.
struct Servant {
    core: Arc<TargetCore>,
    runtime: SimHandle,
    stop: Arc<Stop>,
    pause: Arc<Pause>,
}

impl Servant {
    async fn run(self) {
        loop {
            poll_fn(|cx| match self.stop.poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => self.pause.poll(cx),
            })
            .await;
            let next = self.core.run_back_end(now(&self.runtime));
            let mut due = next.map(|due| {
                let left = due.saturating_duration_since(now(&self.runtime));
                Box::pin(self.runtime.sleep(left))
            });
            let stopped = poll_fn(|cx| {
                if self.stop.poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                if let Some(due) = &mut due {
                    if due.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(false);
                    }
                }
                self.core.back_end.poll_changed(cx, next).map(|()| false)
            });
            if stopped.await {
                return;
            }
        }
    }
}

fn now(runtime: &SimHandle) -> iscsi_proto::Instant {
    let nanos = u64::try_from(runtime.elapsed().as_nanos()).unwrap_or(u64::MAX);
    iscsi_proto::Instant::from_nanos(nanos)
}

struct Connection {
    target: TargetConnection,
    stream: SimStream,
    runtime: SimHandle,
    stop: Arc<Stop>,
    pause: Arc<Pause>,
}

impl Connection {
    async fn run(mut self) {
        // However it ends, dropping the stream closes it.
        let _ended = self.serve().await;
    }

    fn now(&self) -> iscsi_proto::Instant {
        now(&self.runtime)
    }

    async fn serve(&mut self) -> io::Result<()> {
        loop {
            self.write_all().await?;
            if self.target.is_closed() {
                return poll_fn(|cx| self.stream.poll_close(cx)).await;
            }
            self.read().await?;
        }
    }

    async fn write_all(&mut self) -> io::Result<()> {
        loop {
            let now = self.now();
            let bytes = self.target.poll_transmit(now);
            if bytes.is_empty() {
                return Ok(());
            }
            let (stream, stop) = (&mut self.stream, &self.stop);
            let len = poll_fn(|cx| match stop.poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Poll::Pending if self.pause.poll(cx).is_pending() => Poll::Pending,
                Poll::Pending => stream.poll_write_vectored(cx, &[IoSlice::new(bytes)]),
            });
            let len = len.await?;
            self.target.transmitted(len);
        }
    }

    /// Reads once, or until a delayed answer is due.
    async fn read(&mut self) -> io::Result<()> {
        let now = self.now();
        let due = self
            .target
            .poll_timeout()
            .map(|due| due.saturating_duration_since(now));
        let mut timer = due.map(|due| self.runtime.new_timer(self.runtime.now() + due));
        let (stream, stop) = (&mut self.stream, &self.stop);
        let input = self.target.input();
        let len = poll_fn(|cx| {
            if stop.poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if self.pause.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(timer) = &mut timer {
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(None));
                }
            }
            stream
                .poll_read_vectored(cx, &mut [IoSliceMut::new(input)])
                .map_ok(Some)
        });
        match len.await? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(len) => {
                let now = self.now();
                self.target.handle_input(now, len);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
