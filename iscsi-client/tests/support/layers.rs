//! Ways to stand between a session and the transport of a runtime, none of which a session may notice.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};
use iscsi_client::runtime::{StreamTransport, Transport, TransportStream};

/// How a transport is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Not at all.
    None,
    /// As a stream and back.
    Stream,
    /// As a stream that moves one buffer per call, and back.
    OneBuffer,
    /// As a stream that keeps what is written until it is flushed, and back.
    Buffered,
    /// As a stream by tokio's traits, and back.
    #[cfg(feature = "tokio")]
    Tokio,
    /// The same without vectored writes.
    #[cfg(feature = "tokio")]
    TokioOneBuffer,
}

impl Layer {
    pub(crate) const ALL: &[Self] = &[
        Self::None,
        Self::Stream,
        Self::OneBuffer,
        Self::Buffered,
        #[cfg(feature = "tokio")]
        Self::Tokio,
        #[cfg(feature = "tokio")]
        Self::TokioOneBuffer,
    ];

    pub(crate) fn wrap(self, transport: Box<dyn Transport>) -> Box<dyn Transport> {
        let local = transport.local_addr();
        let stream = TransportStream::new(transport);
        match self {
            Self::None => stream.into_inner(),
            Self::Stream => Box::new(
                StreamTransport::new(stream)
                    .on_abort(|stream| stream.transport_mut().abort())
                    .with_local_addr(local),
            ),
            Self::OneBuffer => Box::new(
                StreamTransport::new(OneBuffer(stream))
                    .on_abort(|stream| stream.0.transport_mut().abort())
                    .with_local_addr(local),
            ),
            Self::Buffered => Box::new(
                StreamTransport::new(Buffered::new(stream))
                    .on_abort(|stream| stream.inner.transport_mut().abort())
                    .with_local_addr(local),
            ),
            #[cfg(feature = "tokio")]
            Self::Tokio => Box::new(
                StreamTransport::new(iscsi_client::runtime::TokioStream::new(stream))
                    .on_abort(|stream| stream.get_mut().transport_mut().abort())
                    .with_local_addr(local),
            ),
            #[cfg(feature = "tokio")]
            Self::TokioOneBuffer => Box::new(
                StreamTransport::new(iscsi_client::runtime::TokioStream::new(OneBuffer(stream)))
                    .on_abort(|stream| stream.get_mut().0.transport_mut().abort())
                    .with_local_addr(local),
            ),
        }
    }
}

/// Has no vectored methods of its own.
#[derive(Debug)]
pub(crate) struct OneBuffer<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for OneBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OneBuffer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[cfg(feature = "tokio")]
impl<S: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for OneBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[cfg(feature = "tokio")]
impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for OneBuffer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// As much as is taken at once.
const RECORD: usize = 16 << 10;

/// Sends nothing before it is flushed, as a TLS library may.
#[derive(Debug)]
pub(crate) struct Buffered<S> {
    inner: S,
    held: Vec<u8>,
}

impl<S> Buffered<S> {
    const fn new(inner: S) -> Self {
        let held = Vec::new();
        Self { inner, held }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(self.held.is_empty(), "more was written before the flush");
        let n = buf.len().min(RECORD);
        self.held.extend(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, held } = &mut *self;
        while !held.is_empty() {
            match Pin::new(&mut *inner).poll_write(cx, held) {
                Poll::Ready(Ok(n)) => drop(held.drain(..n)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.as_mut().poll_flush(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_close(cx),
            other => other,
        }
    }
}
