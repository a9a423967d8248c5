//! What can be done to the network, and connection attempts.

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
    conn::{Conn, ConnId, Side},
    state::{Dialing, Fault, Limit, Link, Listener},
    stream::{SimListener, SimStream},
    world::{Event, Shared, World},
};

/// Linux answers a lost SYN after one second; after a heal, that is how long a dial can still hang.
const SYN_RETRY: Duration = Duration::from_secs(1);

/// Where Linux gives up on unacknowledged data (`tcp_retries2` = 15) unless `TCP_USER_TIMEOUT` is set.
const KERNEL_GIVES_UP: Duration = Duration::from_secs(924);

/// The network of a simulated world. Faults take effect at once, in the middle of anything.
#[derive(Clone)]
pub struct SimNet {
    pub(super) shared: Arc<Shared>,
}

impl SimNet {
    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// `AddrInUse` while another listener has it.
    pub fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        self.shared
            .with(|world| match world.net.listeners.entry(address) {
                std::collections::btree_map::Entry::Occupied(_) => {
                    Err(io::Error::from(io::ErrorKind::AddrInUse))
                }
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(Listener::default());
                    Ok(())
                }
            })?;
        Ok(SimListener::new(&self.shared, address))
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

    /// Blackholes `link`: what is under way is lost, nothing more gets through, nobody is told.
    /// Connections that were cut stay dead even after [`heal`](Self::heal); attempts hang.
    pub fn cut(&self, link: Link) {
        self.shared.with(|world| {
            world.net.faults.push((link, Fault::Cut));
            for id in world.net.on(link) {
                world.blackhole(id);
            }
        });
    }

    /// Delays everything on `link` until it is healed; nothing is lost.
    pub fn stall(&self, link: Link) {
        self.shared.with(|world| {
            world.net.faults.push((link, Fault::Stall));
            for id in world.net.on(link) {
                world.hold(id);
            }
        });
    }

    /// Answers new connection attempts on `link` with a refusal until it is healed.
    pub fn refuse(&self, link: Link) {
        self.shared
            .with(|world| world.net.faults.push((link, Fault::Refuse)));
    }

    /// From now on `link` carries so many bytes per second in each direction, over all its
    /// connections, one after the other; `None` lifts that. Latency comes on top, and
    /// [`heal`](Self::heal) changes nothing about it.
    ///
    /// # Panics
    ///
    /// If the rate is 0: that is a [`stall`](Self::stall).
    pub fn limit(&self, link: Link, rate: Option<u64>) {
        assert_ne!(rate, Some(0), "a link that carries nothing is stalled");
        self.shared.with(|world| {
            let limits = &mut world.net.limits;
            let at = limits.iter().position(|limit| limit.link == link);
            match (at, rate) {
                (Some(at), Some(rate)) => limits[at].rate = rate,
                (Some(at), None) => drop(limits.remove(at)),
                (None, Some(rate)) => limits.push(Limit {
                    link,
                    rate,
                    free_at: [0; 2],
                }),
                (None, None) => {}
            }
        });
    }

    /// Resets the connections that `link` carries now, at both ends. Lasts no longer than the call.
    pub fn reset(&self, link: Link) {
        self.shared.with(|world| {
            for id in world.net.on(link) {
                world.reset(id);
            }
        });
    }

    /// Ends what [`cut`](Self::cut), [`stall`](Self::stall) and [`refuse`](Self::refuse) of the same
    /// `link` began.
    pub fn heal(&self, link: Link) {
        self.shared
            .with(|world| world.heal(|faulty| faulty == link));
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        self.shared.with(|world| world.heal(|_| true));
    }

    /// Connections that are open at one end at least.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.with(|world| world.net.conns.len())
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

    fn heal(&mut self, healed: impl Fn(Link) -> bool) {
        self.net.faults.retain(|(link, _)| !healed(*link));
        let ids: Vec<ConnId> = self.net.conns.keys().copied().collect();
        for id in ids {
            self.release(id);
        }
        let waiting = self
            .net
            .dials
            .iter()
            .filter(|(_, dial)| dial.result.is_none());
        let waiting: Vec<u64> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            let retry = self.rng.duration(&(Duration::ZERO..SYN_RETRY));
            let at = self.now.saturating_add(retry.as_nanos() as u64);
            self.schedule(at, Event::Syn(id));
        }
    }

    fn dial(&mut self, dial: &Dial) -> io::Result<u64> {
        let source = self.net.local_address(&dial.bind, dial.address)?;
        let id = self.next_id();
        let attempt = Dialing {
            source,
            portal: dial.address,
            user_timeout: dial.options.user_timeout.unwrap_or(KERNEL_GIVES_UP),
            waker: None,
            result: None,
        };
        self.net.dials.insert(id, attempt);
        let round_trip = self.latency().saturating_add(self.latency());
        self.schedule(self.now.saturating_add(round_trip), Event::Syn(id));
        let timeout = u64::try_from(dial.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.schedule(self.now.saturating_add(timeout), Event::DialTimeout(id));
        Ok(id)
    }

    pub(super) fn syn(&mut self, id: u64) {
        let Some(dial) = self.net.dials.get(&id) else {
            return;
        };
        if dial.result.is_some() {
            return;
        }
        let (source, portal, user_timeout) = (dial.source, dial.portal, dial.user_timeout);
        let blocked = |fault| self.net.has(fault, source.ip(), portal);
        if blocked(Fault::Cut) || blocked(Fault::Stall) {
            return;
        }
        let refused = blocked(Fault::Refuse);
        let conn = self.next_id();
        let result = match self.net.listeners.get_mut(&portal) {
            Some(listener) if !refused => {
                listener.backlog.push_back(conn);
                self.wakes.extend(listener.waker.take());
                self.net
                    .conns
                    .insert(conn, Conn::new(source, portal, user_timeout));
                Ok(conn)
            }
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        self.finish_dial(id, result);
    }

    pub(super) fn dial_timeout(&mut self, id: u64) {
        if self
            .net
            .dials
            .get(&id)
            .is_some_and(|dial| dial.result.is_none())
        {
            self.finish_dial(id, Err(io::ErrorKind::TimedOut.into()));
        }
    }

    fn finish_dial(&mut self, id: u64, result: io::Result<ConnId>) {
        if let Some(dial) = self.net.dials.get_mut(&id) {
            dial.result = Some(result);
            self.wakes.extend(dial.waker.take());
        }
    }
}

/// A connection attempt. Dropping it abandons the attempt.
pub(super) struct SimConnect {
    shared: Arc<Shared>,
    dial: Result<u64, Option<io::Error>>,
}

impl SimConnect {
    pub(super) fn new(shared: &Arc<Shared>, dial: &Dial) -> Self {
        let dial = shared.with(|world| world.dial(dial)).map_err(Some);
        Self {
            shared: Arc::clone(shared),
            dial,
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
            let dial = world.net.dials.get_mut(&id)?;
            let result = dial.result.take();
            if result.is_some() {
                world.net.dials.remove(&id);
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
            let dial = self.shared.with(|world| world.net.dials.remove(&id));
            if let Some(Ok(conn)) = dial.and_then(|dial| dial.result) {
                drop(SimStream::new(&self.shared, conn, Side::Initiator));
            }
        }
    }
}
