//! The adapter to tokio.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use socket2::{SockRef, Socket};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream, lookup_host},
    runtime::Handle,
    time::{Sleep, sleep_until, timeout},
};

use super::{
    AsyncTimer, Beat, BoxFuture, Dial, ProgressSource, Runtime, Transport, beat,
    socket::{self, Moved, Opened},
};

/// Sessions on a tokio runtime.
///
/// It holds a [`Handle`], so it may be used from threads that tokio knows nothing of: a hypervisor's
/// vCPU thread, or a blocking facade. The runtime must have I/O and time enabled
/// (`Builder::enable_all`); tokio panics on the first timer or connection otherwise, and offers no
/// way to ask beforehand.
///
/// A runtime and its clones have one [beat](Runtime::beat), so one of them should do for all of a program's sessions.
///
/// # Cancel safety
///
/// An operation is cancel safe if dropping its future, or not polling again after `Pending`, loses
/// no bytes and leaves nothing behind. Every method says in which sense it is.
#[derive(Clone)]
pub struct TokioRuntime {
    handle: Handle,
    beat: Beat,
}

/// There is no tokio runtime on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not inside a tokio runtime: call this from a task or under `Runtime::enter`, \
     or use `TokioRuntime::from_handle`"
)]
pub struct NoTokioRuntime;

impl TokioRuntime {
    /// The runtime that the calling task runs on.
    ///
    /// # Errors
    ///
    /// [`NoTokioRuntime`] outside one.
    pub fn current() -> Result<Self, NoTokioRuntime> {
        let handle = Handle::try_current().map_err(|_| NoTokioRuntime)?;
        Ok(Self::from_handle(handle))
    }

    /// The runtime of `handle`. Does not keep it alive: once it is shut down, timers and
    /// connections fail.
    #[must_use]
    pub fn from_handle(handle: Handle) -> Self {
        let beat = beat::begin();
        Self { handle, beat }
    }

    /// Polls `future` inside the runtime, whoever polls it.
    ///
    /// Connecting registers the socket with *the current* runtime, at the first poll and not when
    /// the future is made, so entering once in `connect` would not do; and the guard of `enter`
    /// must not live across an await.
    fn in_context<T: 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<T> {
        let handle = self.handle.clone();
        let mut future = Box::pin(future);
        Box::pin(poll_fn(move |cx| {
            let _context = handle.enter();
            future.as_mut().poll(cx)
        }))
    }
}

/// The handle's own output is pages of internals.
impl fmt::Debug for TokioRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokioRuntime({})", self.handle.id())
    }
}

impl Runtime for TokioRuntime {
    /// Tokio's clock, which tests can pause and advance. The context is entered for it: elsewhere a
    /// paused clock is not seen, and deadlines would be computed from two different presents. A task
    /// has a context already, and to enter another costs several times what the clock does.
    fn now(&self) -> Instant {
        let _context = tokio::task::try_id().is_none().then(|| self.handle.enter());
        tokio::time::Instant::now().into_std()
    }

    fn beat(&self) -> Option<Beat> {
        Some(self.beat)
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _context = self.handle.enter();
        Box::pin(sleep_until(at.into()))
    }

    /// The task is detached; it ends when it is done or when the runtime shuts down.
    fn spawn(&self, task: BoxFuture<()>) {
        drop(self.handle.spawn(task));
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        socket::fill_random(bytes);
    }

    /// Asks the system's resolver on tokio's blocking pool.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, but the blocking call itself cannot be interrupted: it occupies a thread of the
    /// pool until the resolver gives up.
    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        self.in_context(async move {
            let found = lookup_host((host.as_str(), 0)).await?;
            socket::addresses(&host, found)
        })
    }

    /// Binds as `dial` says and connects within its timeout.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes the socket. If the handshake was already complete at
    /// the other side, that one sees a connection open and end without a byte.
    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let dial = dial.clone();
        self.in_context(async move {
            let Opened {
                socket,
                bind_warning,
            } = socket::open(&dial)?;
            let connecting = TcpSocket::from_std_stream(socket.into()).connect(dial.address);
            let stream = timeout(dial.timeout, connecting)
                .await
                .map_err(|_| socket::timed_out(&dial))??;
            socket::reset_on_close(&SockRef::from(&stream))?;
            Ok(Box::new(TokioTransport {
                stream: Some(stream),
                bind_warning,
            }) as Box<dyn Transport>)
        })
    }
}

impl AsyncTimer for Sleep {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        Self::reset(self, at.into());
    }

    /// # Cancel safety
    ///
    /// Cancel safe: the deadline stays, and a timer that has fired is ready at every later poll.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // In a task that has used up its budget tokio's timer would be pending without having been set.
        // Its pause is the task's affair; a timer that is pending must have taken the waker.
        Pin::new(&mut tokio::task::unconstrained(self)).poll(cx)
    }
}

/// A connected socket; none after `abort`.
#[derive(Debug)]
struct TokioTransport {
    stream: Option<TcpStream>,
    bind_warning: Option<Arc<str>>,
}

/// Whether mio tells of readiness once per arrival (epoll, edge-triggered) on this platform.
const EDGE_TRIGGERED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// One system call on a stream that was said to be ready.
///
/// A short count means that the kernel's buffer is drained (or full): the next call could only say
/// `WouldBlock`. So the readiness is forgotten right here, which is what tokio's own `poll_read` and
/// `poll_write` do (epoll(7), question 9). `try_read_vectored` does not, and costs one
/// futile system call per wake-up: at queue depth 1, one in two. It has to happen inside `try_io`,
/// which took note of the readiness *before* the call; forgetting it afterwards could swallow the
/// news of bytes that came in between. Where mio polls by level, a short count proves nothing and
/// the readiness stays.
fn try_io(
    stream: &TcpStream,
    interest: Interest,
    call: impl FnOnce(&Socket) -> io::Result<Moved>,
) -> io::Result<usize> {
    let mut moved = None;
    let outcome = stream.try_io(interest, || {
        let Moved { count, is_short } = call(&SockRef::from(stream))?;
        moved = Some(count);
        if EDGE_TRIGGERED && is_short {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    moved.map_or(outcome, Ok)
}

/// No destructor runs in a process that is killed.
impl Drop for TokioTransport {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            socket::close_in_order(&SockRef::from(stream));
        }
    }
}

impl Transport for TokioTransport {
    /// # Cancel safety
    ///
    /// Cancel safe: `Pending` has read nothing, and nothing is buffered here.
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.as_ref().ok_or_else(super::aborted)?;
        // Not `AsyncRead`: it reads into one buffer, so payload and the header behind it would take
        // two calls, or a copy.
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let read = try_io(stream, Interest::READABLE, |socket| {
                socket::receive(socket, bufs)
            });
            // Readiness is a hint: the socket may turn out empty. `try_io` has then cleared it, and
            // only a further `poll_read_ready` registers the waker, so returning `Pending` here would
            // sleep forever. Any other error must get out: the readiness is still set, and looping
            // on it would spin.
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
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
        // Not `AsyncWrite`, which would do, were it not for SIGPIPE (see `socket::send`).
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let written = try_io(stream, Interest::WRITABLE, |socket| {
                socket::send(socket, bufs)
            });
            // As for reading.
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
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
        Poll::Ready(SockRef::from(stream).shutdown(std::net::Shutdown::Write))
    }

    /// Takes effect before it returns, and needs no runtime: dropping the stream closes the socket.
    fn abort(&mut self) {
        // Without a word to `close_in_order`, so it is a reset.
        drop(self.stream.take());
    }

    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        socket::progress_source(self.stream.as_ref()?)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.as_ref()?.local_addr().ok()
    }

    fn bind_warning(&self) -> Option<Arc<str>> {
        self.bind_warning.clone()
    }
}
