//! The network, and connection attempts.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use iscsi_client::runtime::Dial;

use super::{
    conn::Conn,
    counts::FaultCounts,
    ids::{ConnId, ProcessId, Side},
    slab::Key,
    state::{Dialing, Fault, Listener},
    stream::{SimListener, SimStream},
    world::{Event, Shared, World},
};

/// Where Linux gives up on unacknowledged data (`tcp_retries2` = 15) unless `TCP_USER_TIMEOUT` is set.
const KERNEL_GIVES_UP: Duration = Duration::from_secs(924);

/// The network of a simulated world. Faults take effect at once, in the middle of anything.
#[derive(Clone)]
pub struct SimNet {
    pub(super) shared: Arc<Shared>,
    /// Whose listeners these are.
    pub(super) process: ProcessId,
}

impl SimNet {
    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// `AddrInUse` while another listener has it, `NotConnected` in a process that is dead.
    pub fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        let process = self.process;
        let listener = Listener {
            process,
            ..Listener::default()
        };
        self.shared.with(|world| {
            if world.is_dead(process) {
                return Err(io::Error::from(io::ErrorKind::NotConnected));
            }
            match world.net.listeners.entry(address) {
                std::collections::btree_map::Entry::Occupied(_) => {
                    Err(io::ErrorKind::AddrInUse.into())
                }
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(listener);
                    Ok(())
                }
            }
        })?;
        Ok(SimListener::new(&self.shared, address, process))
    }

    /// Gives the world a network device that [`Bind::Device`](iscsi_client::bind::Bind::Device) finds; the first one is also where
    /// [`Bind::Any`](iscsi_client::bind::Bind::Any) leaves from.
    pub fn add_device(&self, name: &str, address: IpAddr) {
        self.shared
            .with(|world| world.net.devices.push((name.into(), address)));
    }

    /// Gives the world a host name.
    pub fn add_host(&self, name: &str, addresses: &[IpAddr]) {
        self.shared
            .with(|world| world.net.hosts.insert(name.into(), addresses.to_vec()));
    }

    /// Connections that are open at one end at least.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.with(|world| world.net.conns.len())
    }

    /// How often each fault of this world has happened, whoever began it.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.shared.with(|world| world.net.counts)
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn latency(&mut self) -> u64 {
        let latency = self.rng.duration(&self.config.latency);
        u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
    }

    fn dial(&mut self, dial: &Dial, process: ProcessId) -> io::Result<Key> {
        if self.is_dead(process) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let source = self.net.local_address(&dial.bind, dial.address)?;
        let id = self.net.dials.insert(Dialing {
            process,
            source,
            portal: dial.address,
            user_timeout: dial.options.user_timeout.unwrap_or(KERNEL_GIVES_UP),
            waker: None,
            result: None,
        });
        let round_trip = self.latency().saturating_add(self.latency());
        self.schedule(self.now.saturating_add(round_trip), Event::Syn(id));
        let timeout = u64::try_from(dial.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.schedule(self.now.saturating_add(timeout), Event::DialTimeout(id));
        Ok(id)
    }

    pub(super) fn syn(&mut self, id: Key) {
        let Some(dial) = self.net.dials.get(id) else {
            return;
        };
        if dial.result.is_some() {
            return;
        }
        let (source, portal, user_timeout) = (dial.source, dial.portal, dial.user_timeout);
        let process = dial.process;
        let meets = |fault| self.net.has(fault, source.ip(), portal);
        if [Fault::Cut, Fault::Stall, Fault::Ignore]
            .into_iter()
            .any(meets)
        {
            self.net.counts.ignored += 1;
            return;
        }
        let is_refused = meets(Fault::Refuse);
        let is_watched = |net: &super::state::Net| {
            let mut links = net.flips.iter().map(|(link, _)| link);
            links.any(|link| link.carries(source.ip(), portal))
        };
        let frames = is_watched(&self.net).then(Box::default);
        let result = match self.net.listeners.get_mut(&portal) {
            Some(_) if is_refused => {
                self.net.counts.refused += 1;
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            Some(listener) => {
                let conn = self.net.conns.insert(Conn {
                    source,
                    portal,
                    user_timeout,
                    owners: [process, listener.process],
                    lost: [false; 2],
                    gives_up: false,
                    ends: Default::default(),
                    trap: None,
                    frames,
                });
                listener.backlog.push_back(conn);
                self.wakes.extend(listener.waker.take());
                Ok(conn)
            }
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        self.finish_dial(id, result);
    }

    pub(super) fn dial_timeout(&mut self, id: Key) {
        let dial = self.net.dials.get(id);
        if dial.is_some_and(|dial| dial.result.is_none()) {
            self.finish_dial(id, Err(io::ErrorKind::TimedOut.into()));
        }
    }

    fn finish_dial(&mut self, id: Key, result: io::Result<ConnId>) {
        if let Some(dial) = self.net.dials.get_mut(id) {
            dial.result = Some(result);
            self.wakes.extend(dial.waker.take());
        }
    }
}

/// A connection attempt. Dropping it abandons the attempt.
pub(super) struct SimConnect {
    shared: Arc<Shared>,
    dial: Result<Key, Option<io::Error>>,
}

impl SimConnect {
    pub(super) fn new(shared: &Arc<Shared>, process: ProcessId, dial: &Dial) -> Self {
        let dial = shared.with(|world| world.dial(dial, process));
        Self {
            shared: Arc::clone(shared),
            dial: dial.map_err(Some),
        }
    }
}

impl Future for SimConnect {
    type Output = io::Result<SimStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = match &mut self.dial {
            Ok(id) => *id,
            Err(error) => {
                let error = error
                    .take()
                    .unwrap_or_else(|| io::ErrorKind::NotConnected.into());
                return Poll::Ready(Err(error));
            }
        };
        let result = self.shared.with(|world| {
            let dial = world.net.dials.get_mut(id)?;
            let result = dial.result.take();
            if result.is_some() {
                world.net.dials.remove(id);
            } else {
                dial.waker = Some(cx.waker().clone());
            }
            result
        });
        match result {
            None => Poll::Pending,
            Some(result) => {
                self.dial = Err(None);
                let connect = |conn| SimStream::new(&self.shared, conn, Side::Initiator);
                Poll::Ready(result.map(connect))
            }
        }
    }
}

impl Drop for SimConnect {
    fn drop(&mut self) {
        if let Ok(id) = self.dial {
            let dial = self.shared.with(|world| world.net.dials.remove(id));
            if let Some(Ok(conn)) = dial.and_then(|dial| dial.result) {
                drop(SimStream::new(&self.shared, conn, Side::Initiator));
            }
        }
    }
}
