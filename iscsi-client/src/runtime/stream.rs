//! Transports from streams, and streams from transports.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{ProgressSource, Transport};

/// A [`Transport`] over any byte stream: a TLS session, a vsock, a pipe in memory.
///
/// The stream is read straight into the buffers of the session, so large payload is not copied here;
/// where the stream reads into one buffer at a time, the next ones are filled by further calls as long
/// as it has more. What was written is flushed at once, and nothing further is taken while that is
/// pending: a stream that buffers without a bound does not make the session do so.
///
/// # Cancel safety
///
/// As for every transport: a poll that was pending has moved no bytes.
pub struct StreamTransport<S> {
    /// None after `abort`.
    stream: Option<S>,
    /// What was written may still be in a buffer of the stream.
    unflushed: bool,
    flush_error: Option<io::Error>,
    /// What a read ran into behind bytes that it had to report first.
    read_end: Option<io::Result<()>>,
    on_abort: Option<OnAbort<S>>,
    local: Option<SocketAddr>,
    bind_warning: Option<Arc<str>>,
    progress: Option<Arc<dyn ProgressSource>>,
}

type OnAbort<S> = Box<dyn FnOnce(&mut S) + Send>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> StreamTransport<S> {
    /// A transport over `stream`. One that is not `Unpin` is given as `Box::pin(stream)`; one that
    /// implements tokio's traits inside a [`TokioStream`](super::TokioStream) (feature `tokio`).
    #[must_use]
    pub const fn new(stream: S) -> Self {
        Self {
            stream: Some(stream),
            unflushed: false,
            flush_error: None,
            read_end: None,
            on_abort: None,
            local: None,
            bind_warning: None,
            progress: None,
        }
    }

    /// What [`abort`](Transport::abort) does before it drops the stream.
    ///
    /// Dropping a stream over TCP lets the kernel deliver what is in its send buffer, minutes later if
    /// it has to, and so a write of a path that was given up. Where there is a socket below, this has
    /// to make its close a reset: by the `abort` of the transport below, or by `SO_LINGER` with a time
    /// of zero.
    #[must_use]
    pub fn on_abort(mut self, abort: impl FnOnce(&mut S) + Send + 'static) -> Self {
        self.on_abort = Some(Box::new(abort));
        self
    }

    /// What [`local_addr`](Transport::local_addr) says, which events and captures show.
    #[must_use]
    pub const fn with_local_addr(mut self, local: Option<SocketAddr>) -> Self {
        self.local = local;
        self
    }

    /// What [`bind_warning`](Transport::bind_warning) says: that of the transport below.
    #[must_use]
    pub fn with_bind_warning(mut self, warning: Option<Arc<str>>) -> Self {
        self.bind_warning = warning;
        self
    }

    /// What [`progress_source`](Transport::progress_source) says: that of the transport below, or of the socket.
    #[must_use]
    pub fn with_progress_source(mut self, source: Option<Arc<dyn ProgressSource>>) -> Self {
        self.progress = source;
        self
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        let stream = self.stream.as_mut();
        stream.map(Pin::new).ok_or_else(super::aborted)
    }

    /// Ready once nothing is left in the stream's buffers.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.flush_error.take() {
            return Poll::Ready(Err(error));
        }
        if self.unflushed {
            ready!(self.stream()?.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> fmt::Debug for StreamTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTransport")
            .field("is_open", &self.stream.is_some())
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for StreamTransport<S> {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        mut bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(end) = self.read_end.take() {
            return Poll::Ready(end.map(|()| 0));
        }
        // A flush that is pending wakes the task, and it is here that the task looks: it always reads,
        // and writes only when it has something to write.
        if let Poll::Ready(Err(error)) = self.poll_flushed(cx) {
            return Poll::Ready(Err(error));
        }
        let mut stream = self.stream()?;
        let mut total = 0;
        loop {
            IoSliceMut::advance_slices(&mut bufs, 0);
            // The first of those that are left; a stream without vectored reads fills this one.
            let Some(room) = bufs.first().map(|buf| buf.len()) else {
                return Poll::Ready(Ok(total));
            };
            let n = match stream.as_mut().poll_read_vectored(cx, bufs) {
                Poll::Ready(Ok(0)) if total == 0 => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(0)) => {
                    self.read_end = Some(Ok(()));
                    return Poll::Ready(Ok(total));
                }
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    self.read_end = Some(Err(error));
                    return Poll::Ready(Ok(total));
                }
                // Its waker is registered, which costs one poll more than needed.
                Poll::Pending if total > 0 => return Poll::Ready(Ok(total)),
                Poll::Pending => return Poll::Pending,
            };
            total += n;
            // Less than fits: the stream has no more for now. More: it can do vectored reads, and has
            // done so.
            if n != room {
                return Poll::Ready(Ok(total));
            }
            IoSliceMut::advance_slices(&mut bufs, n);
        }
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flushed(cx))?;
        let n = ready!(self.stream()?.poll_write_vectored(cx, bufs))?;
        if n > 0 {
            self.unflushed = true;
            // The bytes are taken, whatever becomes of the flush.
            match self.stream()?.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    self.flush_error = Some(error);
                    // Shown by the next poll, of either direction, which there has to be.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(n))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_close(cx)
    }

    fn abort(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            if let Some(abort) = self.on_abort.take() {
                abort(&mut stream);
            }
        }
    }

    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        self.stream.as_ref().and_then(|_| self.progress.clone())
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.as_ref().and(self.local)
    }

    fn bind_warning(&self) -> Option<Arc<str>> {
        self.bind_warning.clone()
    }
}

/// A [`Transport`] as a byte stream of the `futures-io` traits, and with the feature `tokio` of
/// tokio's: what a TLS library takes. Nothing is buffered here, so a flush has nothing to do.
#[derive(Debug)]
pub struct TransportStream(Box<dyn Transport>);

impl TransportStream {
    /// The stream of `transport`.
    #[must_use]
    pub const fn new(transport: Box<dyn Transport>) -> Self {
        Self(transport)
    }

    /// The transport, to ask for its addresses.
    #[must_use]
    pub fn transport(&self) -> &dyn Transport {
        &*self.0
    }

    /// The transport, to abort it.
    #[must_use]
    pub fn transport_mut(&mut self) -> &mut dyn Transport {
        &mut *self.0
    }

    /// The transport itself.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Transport> {
        self.0
    }
}

impl AsyncRead for TransportStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_vectored(cx, &mut [IoSliceMut::new(buf)])
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for TransportStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }
}
