//! The adapter to smol, or to any executor beside the `async-io` reactor.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use async_io::{Async, Timer};
use futures_util::future::{Either, select};
use socket2::SockRef;

use super::{
    AsyncTimer, Beat, BoxFuture, Dial, ProgressSource, Runtime, Transport, beat,
    socket::{self, Opened},
};

/// Sessions on smol.
///
/// The executor stays the caller's: it is a function that takes a task. So this works with smol's
/// global executor, with an `async_executor::Executor` that the caller runs, and with a thread pool
/// of the caller's own, and the dependency is only `async-io` and `blocking`.
///
/// ```
/// let runtime = iscsi_client::runtime::SmolRuntime::new(|task| smol::spawn(task).detach());
/// ```
///
/// `async-io` runs its reactor on one thread of its own, started with the first timer or connection;
/// `blocking` has a pool, used here for name resolution only.
///
/// A runtime and its clones have one [beat](Runtime::beat), so one of them should do for all of a program's sessions.
///
/// # Cancel safety
///
/// As defined for [`TokioRuntime`](https://docs.rs/iscsi-client/latest/iscsi_client/runtime/struct.TokioRuntime.html):
/// an operation is cancel safe if dropping its future, or not polling again after `Pending`, loses
/// no bytes and leaves nothing behind.
#[derive(Clone)]
pub struct SmolRuntime {
    spawn: Arc<dyn Fn(BoxFuture<()>) + Send + Sync>,
    beat: Beat,
}

impl SmolRuntime {
    /// A runtime whose background tasks are handed to `spawn`, which must see that they run to
    /// their end without anybody awaiting them.
    #[must_use]
    pub fn new(spawn: impl Fn(BoxFuture<()>) + Send + Sync + 'static) -> Self {
        Self {
            spawn: Arc::new(spawn),
            beat: beat::begin(),
        }
    }
}

impl fmt::Debug for SmolRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmolRuntime")
    }
}

impl Runtime for SmolRuntime {
    #[expect(
        clippy::disallowed_methods,
        reason = "an adapter is where the operating system's clock comes in"
    )]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn beat(&self) -> Option<Beat> {
        Some(self.beat)
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(SmolTimer {
            timer: Timer::at(at),
            fired: false,
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        (self.spawn)(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        socket::fill_random(bytes);
    }

    /// Asks the system's resolver on the pool of `blocking`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, but the blocking call itself cannot be interrupted: it occupies a thread of the
    /// pool until the resolver gives up.
    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(blocking::unblock(move || {
            let found = (host.as_str(), 0).to_socket_addrs()?;
            socket::addresses(&host, found)
        }))
    }

    /// Binds as `dial` says and connects within its timeout.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes the socket. If the handshake was already complete at
    /// the other side, that one sees a connection open and end without a byte.
    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let dial = dial.clone();
        Box::pin(async move {
            let Opened {
                socket,
                bind_warning,
            } = socket::open(&dial)?;
            // Not `Async::<TcpStream>::connect`: it makes a socket of its own, unbound.
            socket::start_connect(&socket, dial.address)?;
            let stream = Async::new_nonblocking(TcpStream::from(socket))?;
            match select(stream.writable(), Timer::after(dial.timeout)).await {
                Either::Left((connected, _)) => connected?,
                Either::Right(_) => return Err(socket::timed_out(&dial)),
            }
            // A socket is writable once its handshake is over, however that went.
            if let Some(error) = stream.get_ref().take_error()? {
                return Err(error);
            }
            socket::reset_on_close(&SockRef::from(stream.get_ref()))?;
            Ok(Box::new(SmolTransport {
                stream: Some(stream),
                bind_warning,
            }) as Box<dyn Transport>)
        })
    }
}

/// `async_io::Timer` is a stream of which the first item is the deadline: polled again, it is
/// pending for good. An [`AsyncTimer`] that has fired stays ready until it is reset.
#[derive(Debug)]
struct SmolTimer {
    timer: Timer,
    fired: bool,
}

impl AsyncTimer for SmolTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.fired = false;
        self.timer.set_at(at);
    }

    /// # Cancel safety
    ///
    /// Cancel safe: the deadline stays, and a timer that has fired is ready at every later poll.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.fired {
            ready!(Pin::new(&mut self.timer).poll(cx));
            self.fired = true;
        }
        Poll::Ready(())
    }
}

/// A connected socket; none after `abort`.
#[derive(Debug)]
struct SmolTransport {
    stream: Option<Async<TcpStream>>,
    bind_warning: Option<Arc<str>>,
}

/// No destructor runs in a process that is killed.
impl Drop for SmolTransport {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            socket::close_in_order(&SockRef::from(stream.get_ref()));
        }
    }
}

impl Transport for SmolTransport {
    /// # Cancel safety
    ///
    /// Cancel safe: `Pending` has read nothing, and nothing is buffered here.
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.as_ref().ok_or_else(super::aborted)?;
        // The call comes first and the wait after it: `async-io` remembers no readiness, it arms
        // epoll anew for every wait. Only `WouldBlock` leads to one; with any other error the socket
        // is ready at once, and the loop would spin.
        loop {
            match socket::receive(&SockRef::from(stream.get_ref()), bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(|moved| moved.count)),
            }
            ready!(stream.poll_readable(cx))?;
        }
    }

    /// # Cancel safety
    ///
    /// Cancel safe: `Pending` has written nothing. What `Ready(Ok(n))` has counted is the kernel's,
    /// and only [`abort`](Transport::abort) stops it from being sent.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.as_ref().ok_or_else(super::aborted)?;
        // As for reading.
        loop {
            match socket::send(&SockRef::from(stream.get_ref()), bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(|moved| moved.count)),
            }
            ready!(stream.poll_writable(cx))?;
        }
    }

    /// Sends FIN behind what was written. Reading goes on until the peer closes as well; dropping
    /// the transport before that may cost it the last bytes, since Linux answers data that arrives
    /// at a closed socket with RST.
    ///
    /// # Cancel safety
    ///
    /// Never pending.
    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream.as_ref().ok_or_else(super::aborted)?;
        Poll::Ready(stream.get_ref().shutdown(std::net::Shutdown::Write))
    }

    /// Takes effect before it returns: dropping the stream closes the socket.
    fn abort(&mut self) {
        // Without a word to `close_in_order`, so it is a reset.
        drop(self.stream.take());
    }

    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        socket::progress_source(self.stream.as_ref()?.get_ref())
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.as_ref()?.get_ref().local_addr().ok()
    }

    fn bind_warning(&self) -> Option<Arc<str>> {
        self.bind_warning.clone()
    }
}
