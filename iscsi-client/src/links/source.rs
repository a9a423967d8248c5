//! Where the news come from: what a program sees of it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{LinkMonitor, error::LinkError};
use crate::runtime::BoxFuture;

/// The task that keeps a [`LinkMonitor`] informed: a plain future, to be spawned or polled wherever the
/// caller likes, on the runtime that it was made for. It is ready only when it cannot go on, with the reason;
/// then, and when it is dropped, sessions count their carriers as there, and silence is what tells.
#[must_use = "nobody hears of a link unless the driver is polled"]
pub struct LinkDriver(BoxFuture<LinkError>);

impl Future for LinkDriver {
    type Output = LinkError;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LinkError> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for LinkDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkDriver")
    }
}

/// The Linux kernel as the source: rtnetlink, for which nobody needs a privilege. Told are the devices of the
/// network namespace in which the calling thread is at this moment, which is not asked again; sessions have to
/// live in the same. The kernel holds news of several lost carriers back for up to a second.
impl LinkMonitor {
    /// A monitor of this host's devices, for tokio.
    ///
    /// # Errors
    ///
    /// [`LinkError`]: not on Linux, outside of a runtime, or the kernel has no socket for us.
    ///
    /// # Panics
    ///
    /// If the runtime was built without I/O, as all of tokio's sockets; the driver, if it was built without time.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Result<(Self, LinkDriver), LinkError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use super::rtnetlink::{Netlink, TokioSocket, watch};
            if tokio::runtime::Handle::try_current().is_err() {
                return Err(LinkError::NoRuntime);
            }
            let socket = TokioSocket::new(Netlink::open()?)?;
            let (links, feed) = Self::new();
            Ok((links, LinkDriver(Box::pin(watch(socket, feed)))))
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Err(LinkError::Unsupported)
    }

    /// The same for smol.
    ///
    /// # Errors
    ///
    /// [`LinkError`]: not on Linux, or the kernel has no socket for us.
    #[cfg(feature = "smol")]
    pub fn smol() -> Result<(Self, LinkDriver), LinkError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use super::rtnetlink::{Netlink, SmolSocket, watch};
            let socket = SmolSocket::new(Netlink::open()?)?;
            let (links, feed) = Self::new();
            Ok((links, LinkDriver(Box::pin(watch(socket, feed)))))
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Err(LinkError::Unsupported)
    }
}
