//! Connections that the caller makes.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{BoxFuture, Dial, Runtime, Transport};

/// Opens the connections of sessions instead of the [`Runtime`]: through TLS, a SOCKS proxy, vsock,
/// a network namespace of its own, or memory.
///
/// Set in [`SessionOptions::dialer`](crate::session::SessionOptions::dialer). It is asked for every
/// connection: first logins, logins after a loss, redirections, discovery.
///
/// A dialer that only adds a layer lets the runtime make the connection below, so that the NIC
/// binding and the socket options of `dial` hold, and wraps what it gets: a
/// [`TransportStream`](super::TransportStream) is the connection as the stream that a TLS library
/// takes, and a [`StreamTransport`](super::StreamTransport) makes a transport of the stream that it
/// gives back. Neither is bound to a runtime.
///
/// ```
/// use std::{io, sync::Arc};
/// use iscsi_client::runtime::{
///     BoxFuture, Dial, Dialer, Runtime, StreamTransport, Transport, TransportStream,
/// };
///
/// /// Adds nothing, in two layers.
/// #[derive(Debug)]
/// struct Layered;
///
/// impl Dialer for Layered {
///     fn dial(
///         &self,
///         runtime: &Arc<dyn Runtime>,
///         dial: &Dial,
///     ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
///         let connecting = runtime.connect(dial);
///         Box::pin(async move {
///             let below = connecting.await?;
///             let progress = below.progress_source();
///             let stream = TransportStream::new(below);
///             // Here a handshake would wrap `stream` into something else.
///             let transport = StreamTransport::new(stream)
///                 .on_abort(|stream| stream.transport_mut().abort())
///                 .with_progress_source(progress);
///             Ok(Box::new(transport) as Box<dyn Transport>)
///         })
///     }
/// }
/// ```
pub trait Dialer: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to where `dial` says. [`Dial::address`] is one of the addresses of
    /// [`Dial::portal`], which are tried one after the other.
    ///
    /// The returned future has the time of [`Dial::timeout`], with everything that it does, and is
    /// dropped after that: dropping it must abandon the attempt.
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>>;
}

/// `future`, or [`io::ErrorKind::TimedOut`] with `what` as its text once `limit` is over.
pub(crate) async fn within<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    what: String,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut timer = runtime.new_timer(runtime.now() + limit);
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        timer.as_mut().poll(cx).map(|()| {
            let why = format!("{what} took more than {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    })
    .await
}
