//! The transport that a tap looks into.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use super::{ConnectionTap, StreamBytes, StreamEnd, Tap, TappedConnection};
use crate::runtime::{ProgressSource, Runtime, Transport};

/// `transport`, watched if `tap` wishes to; and who watches it.
pub(crate) fn wrap(
    tap: &dyn Tap,
    runtime: &Arc<dyn Runtime>,
    transport: Box<dyn Transport>,
    connection: &TappedConnection<'_>,
) -> (Box<dyn Transport>, Option<Arc<dyn ConnectionTap>>) {
    let Some(tap) = tap.connected(runtime.now(), connection) else {
        return (transport, None);
    };
    let tapped = Tapped {
        inner: transport,
        tap: Arc::clone(&tap),
        runtime: Arc::clone(runtime),
        peer_closed: false,
        over: false,
    };
    (Box::new(tapped), Some(tap))
}

#[derive(Debug)]
struct Tapped {
    inner: Box<dyn Transport>,
    tap: Arc<dyn ConnectionTap>,
    runtime: Arc<dyn Runtime>,
    peer_closed: bool,
    over: bool,
}

impl Tapped {
    fn end(&mut self, end: StreamEnd<'_>) {
        if !self.over {
            self.over = true;
            self.tap.ended(self.runtime.now(), end);
        }
    }

    fn failed<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.end(StreamEnd::Failed(error));
        }
        polled
    }
}

impl Transport for Tapped {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_read_vectored(cx, bufs);
        match polled {
            Poll::Ready(Ok(0)) => {
                let asked = bufs.iter().any(|buf| !buf.is_empty());
                if asked && !self.peer_closed && !self.over {
                    self.peer_closed = true;
                    self.tap.ended(self.runtime.now(), StreamEnd::PeerClosed);
                }
            }
            Poll::Ready(Ok(n)) => {
                let bytes = StreamBytes::received(bufs, n);
                self.tap.received(self.runtime.now(), bytes);
            }
            _ => {}
        }
        self.failed(polled)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n @ 1..)) = polled {
            let bytes = StreamBytes::sent(bufs, n);
            self.tap.sent(self.runtime.now(), bytes);
        }
        self.failed(polled)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.inner.poll_close(cx);
        if let Poll::Ready(Ok(())) = polled {
            self.end(StreamEnd::Closed);
        }
        self.failed(polled)
    }

    fn abort(&mut self) {
        self.inner.abort();
        self.end(StreamEnd::Aborted);
    }

    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        self.inner.progress_source()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr()
    }

    fn bind_warning(&self) -> Option<Arc<str>> {
        self.inner.bind_warning()
    }
}

/// A transport that is dropped closes its socket as well.
impl Drop for Tapped {
    fn drop(&mut self) {
        self.end(StreamEnd::Closed);
    }
}
