//! Between tokio's stream traits and those of `futures-io`.

use std::{
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as TokioRead, AsyncWrite as TokioWrite, ReadBuf};

use super::TransportStream;

/// Something with tokio's `AsyncRead` and `AsyncWrite`, as what a
/// [`StreamTransport`](super::StreamTransport) takes.
#[derive(Debug)]
pub struct TokioStream<S> {
    inner: S,
    /// Where small pieces are joined, for streams that take one at a time.
    joined: Vec<u8>,
}

/// Up to here a piece is small: to copy it costs less than a call (of TLS: a record) of its own.
const SMALL: usize = 4 * 1024;
/// As much as a TLS record holds.
const JOINED: usize = 16 * 1024;

impl<S> TokioStream<S> {
    /// Wraps a stream.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            joined: Vec::new(),
        }
    }

    /// The stream, to look at its socket, say.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The stream, to shut its socket, say.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: TokioRead + Unpin> AsyncRead for TokioStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: TokioWrite + Unpin> AsyncWrite for TokioStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, joined } = &mut *self;
        let inner = Pin::new(inner);
        if inner.is_write_vectored() {
            return inner.poll_write_vectored(cx, bufs);
        }
        let mut pieces = bufs.iter().filter(|piece| !piece.is_empty());
        let Some(first) = pieces.next() else {
            return inner.poll_write(cx, &[]);
        };
        if first.len() > SMALL {
            return inner.poll_write(cx, first);
        }
        joined.clear();
        joined.extend_from_slice(first);
        for piece in pieces {
            let room = (JOINED - joined.len()).min(piece.len());
            joined.extend_from_slice(&piece[..room]);
            if room < piece.len() {
                break;
            }
        }
        inner.poll_write(cx, joined)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl TokioRead for TransportStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let slices = &mut [IoSliceMut::new(room)];
        let n = ready!(self.transport_mut().poll_read_vectored(cx, slices))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl TokioWrite for TransportStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(self, cx)
    }
}
