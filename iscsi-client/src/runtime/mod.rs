//! What the client needs from the world: time, timers, tasks, randomness, names and connections.
//!
//! Everything above these traits is the same code under tokio, smol, a caller's own event loop and
//! the simulator. All traits are object-safe, so a session is not generic over its runtime.
//!
//! The features `tokio` and `smol` add one adapter each, and neither is on by default.

mod beat;
#[cfg(any(feature = "smol", feature = "tokio"))]
mod configure;
mod dialer;
mod options;
mod progress;
#[cfg(feature = "smol")]
mod smol;
#[cfg(any(feature = "smol", feature = "tokio"))]
mod socket;
mod stream;
#[cfg(all(
    feature = "tcp-progress",
    target_os = "linux",
    any(feature = "tokio", feature = "smol")
))]
mod tcp_progress;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tokio")]
mod tokio_stream;

pub(crate) use self::dialer::within;
#[cfg(feature = "smol")]
pub use self::smol::SmolRuntime;
#[cfg(all(
    feature = "tcp-progress",
    target_os = "linux",
    any(feature = "tokio", feature = "smol")
))]
pub use self::tcp_progress::{TcpProgress, TcpProgressError};
#[cfg(feature = "tokio")]
pub use self::tokio::{NoTokioRuntime, TokioRuntime};
#[cfg(feature = "tokio")]
pub use self::tokio_stream::TokioStream;
pub use self::{
    beat::Beat,
    dialer::Dialer,
    options::{Dscp, SocketOptionError, SocketOptionRangeError, SocketOptions, TcpKeepalive},
    progress::{Progress, ProgressSource},
    stream::{StreamTransport, TransportStream},
};

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_proto::portal::Portal;

/// A boxed future as object-safe traits return it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time, tasks, randomness, name resolution and connections.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// The present. The simulator's time is its own.
    fn now(&self) -> Instant;

    /// Times at which all that use this runtime do what repeats; the same at each call. As it is here there are none, and
    /// each session and device has times of its own.
    fn beat(&self) -> Option<Beat> {
        None
    }

    /// A timer that is ready at `at`.
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>>;

    /// Runs `task` in the background until it is done.
    fn spawn(&self, task: BoxFuture<()>);

    /// Fills `bytes` from the operating system's generator (from the seed, in a simulation).
    fn fill_random(&self, bytes: &mut [u8]);

    /// The addresses of a host name, in the order in which they are to be tried.
    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>>;

    /// Opens a connection as `dial` says. Dropping the future abandons the attempt.
    ///
    /// A process that is killed should not go on sending: with `SO_LINGER` of 0 its kernel resets the
    /// connection and forgets what it has not sent, which else may reach the target when a link heals,
    /// long after the next process has written. Both adapters set it, and take it back for a close in good
    /// order.
    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>>;
}

/// A timer that can be set again without allocating. Holds one waker: the last poller's.
pub trait AsyncTimer: fmt::Debug + Send {
    /// Moves the deadline.
    fn reset(self: Pin<&mut Self>, at: Instant);

    /// Ready from the deadline on, at every poll, until it is reset.
    ///
    /// A poll that is pending has taken the waker, which is used when the deadline has come by
    /// [`Runtime::now`] and not before: until then nobody need look at the timer again.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

/// One connection's byte stream.
///
/// Each direction holds one waker: that of the last poll that was pending.
pub trait Transport: fmt::Debug + Send + 'static {
    /// Reads into `bufs`, in order, as much as is there; `Ok(0)` is the end of the stream (or all of
    /// `bufs` was empty).
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Writes from `bufs`, in order; may accept less than all.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Closes in good order: what was written still arrives.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes so that nothing that is still in a send buffer is ever delivered (RST: linger 0).
    /// A write of a dead path must not reach the target minutes later, when the network heals.
    fn abort(&mut self);

    /// Who tells how far the bytes have come, where the platform does. Asked for once, after the login.
    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        None
    }

    /// How far the bytes have come now, where that is known.
    fn progress(&self) -> Option<Progress> {
        self.progress_source()?.progress()
    }

    /// The local address, once connected.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Set when a bind asked for a device and the socket could not be bound to it (source address
    /// alone holds): why. Shown as an event and in the topology.
    fn bind_warning(&self) -> Option<Arc<str>> {
        None
    }
}

/// Where to connect to, from where, and with which limits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dial {
    /// The portal's resolved address.
    pub address: SocketAddr,
    /// The local end.
    pub bind: crate::bind::Bind,
    /// Socket options.
    pub options: SocketOptions,
    /// Time for the connection, until bytes can be sent. Default 5 s.
    pub timeout: Duration,
    /// The portal that the address belongs to, where the connection is one of a session's. Its host
    /// is the name to look for in a certificate, or to give to a proxy.
    pub portal: Option<Portal>,
}

impl Dial {
    /// A connection to `address` from anywhere, with default options.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            bind: crate::bind::Bind::Any,
            options: SocketOptions::default(),
            timeout: Duration::from_secs(5),
            portal: None,
        }
    }
}

/// What every poll of a connection returns after `abort`.
fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was aborted")
}
