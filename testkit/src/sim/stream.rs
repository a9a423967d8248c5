//! The handles of connections and listeners.

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_client::runtime::{Progress, ProgressSource, Transport};

use super::{
    ids::{ConnId, ProcessId, Side},
    world::Shared,
};

/// One end of a connection. Dropping it closes in good order.
pub struct SimStream {
    shared: Arc<Shared>,
    id: ConnId,
    side: Side,
}

impl SimStream {
    pub(super) fn new(shared: &Arc<Shared>, id: ConnId, side: Side) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
            side,
        }
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.shared.with(|world| {
            let conn = world.net.conns.get(self.id)?;
            Some(match self.side {
                Side::Initiator => (conn.source, conn.portal),
                Side::Target => (conn.portal, conn.source),
            })
        })
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.addresses().map(|(_, peer)| peer)
    }

    fn told(&self) -> Told {
        Told {
            shared: Arc::clone(&self.shared),
            id: self.id,
            side: self.side,
        }
    }

    /// Reads into `buf`; 0 is the end of the stream. Cancel safe: no byte is lost.
    ///
    /// # Errors
    ///
    /// What befell the connection.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read_vectored(cx, &mut [IoSliceMut::new(buf)])).await
    }

    /// Writes all of `data`. Not cancel safe: a part may have been written.
    ///
    /// # Errors
    ///
    /// What befell the connection.
    pub async fn write_all(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let write = |cx: &mut Context<'_>| self.poll_write_vectored(cx, &[IoSlice::new(data)]);
            let len = std::future::poll_fn(write).await?;
            data = &data[len..];
        }
        Ok(())
    }
}

impl Transport for SimStream {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared
            .with(|world| world.read(self.id, self.side, bufs, cx.waker()))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared
            .with(|world| world.write(self.id, self.side, bufs, cx.waker()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|world| world.finish(self.id, self.side));
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        self.shared.with(|world| world.abort(self.id, self.side));
    }

    /// Whether or not the world's connections tell a session.
    fn progress(&self) -> Option<Progress> {
        self.told().progress()
    }

    fn progress_source(&self) -> Option<Arc<dyn ProgressSource>> {
        let tells = self.shared.with(|world| world.config.tells_progress);
        tells.then(|| Arc::new(self.told()) as Arc<dyn ProgressSource>)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses().map(|(local, _)| local)
    }
}

/// How far the bytes of a connection have come.
struct Told {
    shared: Arc<Shared>,
    id: ConnId,
    side: Side,
}

impl ProgressSource for Told {
    fn progress(&self) -> Option<Progress> {
        self.shared.with(|world| world.progress(self.id, self.side))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("id", &self.id).finish()
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.shared.with(|world| world.close(self.id, self.side));
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream")
            .field("id", &self.id)
            .field("side", &self.side)
            .finish()
    }
}

/// Accepts connections. Dropping it makes the portal refuse.
pub struct SimListener {
    shared: Arc<Shared>,
    address: SocketAddr,
    process: ProcessId,
}

impl SimListener {
    pub(super) fn new(shared: &Arc<Shared>, address: SocketAddr, process: ProcessId) -> Self {
        Self {
            shared: Arc::clone(shared),
            address,
            process,
        }
    }

    /// The next connection. Cancel safe.
    pub fn accept(&self) -> impl Future<Output = SimStream> + Send + '_ {
        std::future::poll_fn(|cx| {
            let conn = self.shared.with(|world| {
                let listener = world.net.listeners.get_mut(&self.address)?;
                if listener.process != self.process {
                    return None;
                }
                let conn = listener.backlog.pop_front();
                if conn.is_none() {
                    listener.waker = Some(cx.waker().clone());
                }
                conn
            });
            match conn {
                Some(conn) => Poll::Ready(SimStream::new(&self.shared, conn, Side::Target)),
                None => Poll::Pending,
            }
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let listener = self.shared.with(|world| {
            // With its process it closed, and another one may listen there since.
            let listener = world.net.listeners.get(&self.address)?;
            if listener.process != self.process || world.is_dead(self.process) {
                return None;
            }
            world.net.listeners.remove(&self.address)
        });
        for conn in listener
            .map(|listener| listener.backlog)
            .into_iter()
            .flatten()
        {
            let mut stream = SimStream::new(&self.shared, conn, Side::Target);
            stream.abort();
        }
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
