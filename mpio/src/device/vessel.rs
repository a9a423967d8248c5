//! Where the future of a write lives.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_client::{buf::WriteBuf, device::WriteOptions, error::Error};

use crate::path::Path;

/// Memory for one write on a path that is used again for the next one.
///
/// A write has to outlive its caller (see [`MultipathDevice::write`](super::MultipathDevice::write)),
/// so its future cannot be polled in the caller's own; and it has a size and a type that only its path
/// knows. A box per write would do; these are as many boxes as there were ever writes under way, each
/// of which holds one future after the other.
pub(super) trait Vessel<P>: fmt::Debug + Send {
    /// Begins a write; whatever was in it is dropped.
    fn load(&mut self, path: Arc<P>, offset: u64, data: WriteBuf, options: WriteOptions);

    /// Its end. Empty after that, and pending for ever.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;
}

/// A vessel for the writes of any path of the type.
pub(super) fn vessel<P: Path>() -> Box<dyn Vessel<P>> {
    Box::new(Slot {
        write: |path: Arc<P>, offset, data, options| async move {
            path.write(offset, data, options).await.result
        },
        under_way: Box::pin(None),
    })
}

struct Slot<W, F> {
    write: W,
    under_way: Pin<Box<Option<F>>>,
}

impl<W, F> fmt::Debug for Slot<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.under_way {
            Some(_) => "a write",
            None => "empty",
        };
        write!(f, "Vessel({state})")
    }
}

impl<P, W, F> Vessel<P> for Slot<W, F>
where
    W: Fn(Arc<P>, u64, WriteBuf, WriteOptions) -> F + Send,
    F: Future<Output = Result<(), Error>> + Send,
{
    fn load(&mut self, path: Arc<P>, offset: u64, data: WriteBuf, options: WriteOptions) {
        let write = (self.write)(path, offset, data, options);
        self.under_way.set(Some(write));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(write) = self.under_way.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = write.poll(cx);
        if polled.is_ready() {
            self.under_way.set(None);
        }
        polled
    }
}
