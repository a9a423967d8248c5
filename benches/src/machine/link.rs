//! A connection in memory, with a target behind it.

use std::{
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use iscsi_client::runtime::Transport;

use super::lock;
use crate::target::{Settings, Target};

/// What the connection and the world that delivers share.
#[derive(Debug)]
pub(super) struct Wire {
    target: Target,
    /// Bytes of the target's that have arrived and are not read yet.
    arrived: usize,
    reader: Option<Waker>,
    aborted: bool,
}

impl Wire {
    /// Everything that the target has sent arrives. Returns whether that was anything.
    pub(super) fn deliver(&mut self) -> bool {
        let anything = self.arrived < self.target.pending() || self.target.confused().is_some();
        self.arrived = self.target.pending();
        let reader = anything.then(|| self.reader.take()).flatten();
        reader.is_some_and(|waker| {
            waker.wake();
            true
        })
    }
}

#[derive(Debug)]
pub(super) struct Link(Arc<Mutex<Wire>>);

impl Link {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            target: Target::new(settings),
            arrived: 0,
            reader: None,
            aborted: false,
        })))
    }

    pub(super) fn wire(&self) -> Arc<Mutex<Wire>> {
        Arc::clone(&self.0)
    }
}

impl Transport for Link {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.0);
        if let Some(opcode) = wire.target.confused() {
            let what = format!("the counting target knows no answer to opcode {opcode:#04x}");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        if wire.aborted {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if wire.arrived == 0 {
            match &mut wire.reader {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let mut read = 0;
        for buf in bufs {
            let room = buf.len().min(wire.arrived);
            let n = wire.target.fill(&mut buf[..room]);
            wire.arrived -= n;
            read += n;
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.0);
        if wire.aborted {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let mut written = 0;
        for buf in bufs {
            wire.target.feed(buf);
            written += buf.len();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).aborted = true;
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        lock(&self.0).aborted = true;
    }
}
