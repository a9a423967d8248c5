//! Connections that are asked for again before TCP would do it.
//!
//! Linux repeats a SYN that is not answered after 1, 3 and 7 s. A path that heals in between is found that
//! much later, so another connection is begun next to the first one at short intervals. The first one stays, for a
//! target that is too far away to answer within the interval: two at a time, whatever the timeout is.

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::{FutureExt, poll_fn};

use super::backoff::spread;
use crate::{
    login_rate::{Limiter, Pace, Permit, Turn},
    runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport},
};

type Connecting = BoxFuture<io::Result<Box<dyn Transport>>>;

/// The runtime, with connections that are repeated. A dialer gets it in place of the other one, so that
/// what it does over a connection is not begun twice.
pub(super) struct Repeating {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) interval: Duration,
}

impl Runtime for Repeating {
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.runtime.new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.runtime.spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.runtime.fill_random(bytes);
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        self.runtime.resolve(host)
    }

    fn connect(&self, dial: &Dial) -> Connecting {
        let first = self.runtime.connect(dial);
        let mut repeated = Repeated::new(self, dial.clone(), first);
        Box::pin(poll_fn(move |cx| repeated.poll(cx)))
    }
}

impl fmt::Debug for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

struct Repeated {
    runtime: Arc<dyn Runtime>,
    limiter: Arc<Limiter>,
    interval: Duration,
    dial: Dial,
    end: Instant,
    first: Connecting,
    latest: Option<(Connecting, Permit)>,
    /// For the next one.
    turn: Option<Turn>,
    timer: Pin<Box<dyn AsyncTimer>>,
}

impl Repeated {
    fn new(of: &Repeating, dial: Dial, first: Connecting) -> Self {
        let now = of.runtime.now();
        let mut repeated = Self {
            end: now + dial.timeout,
            timer: of.runtime.new_timer(now),
            runtime: Arc::clone(&of.runtime),
            limiter: Arc::clone(&of.limiter),
            interval: of.interval,
            dial,
            first,
            latest: None,
            turn: None,
        };
        repeated.arm(now);
        repeated
    }

    fn arm(&mut self, now: Instant) {
        let mut random = [0; 4];
        self.runtime.fill_random(&mut random);
        let pause = spread(self.interval, u32::from_ne_bytes(random));
        self.timer.as_mut().reset(now + pause);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Transport>>> {
        if let Poll::Ready(first) = self.first.as_mut().poll(cx) {
            return Poll::Ready(first);
        }
        loop {
            if let Some((connecting, _)) = &mut self.latest {
                match connecting.as_mut().poll(cx) {
                    // Until the first one has had its time.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                        self.latest = None;
                    }
                    Poll::Ready(latest) => return Poll::Ready(latest),
                    Poll::Pending => {}
                }
            }
            if let Some(turn) = &mut self.turn {
                let Poll::Ready(permit) = turn.poll_unpin(cx) else {
                    return Poll::Pending;
                };
                self.turn = None;
                let now = self.runtime.now();
                self.dial.timeout = self.end.saturating_duration_since(now);
                self.latest = Some((self.runtime.connect(&self.dial), permit));
                self.arm(now);
                continue;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.turn = Some(self.limiter.turn(Pace::Repeat));
        }
    }
}
