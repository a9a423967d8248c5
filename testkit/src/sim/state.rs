//! The state of the network: who listens, what is connected, what is broken.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Waker,
    time::Duration,
};

use iscsi_client::bind::Bind;

use super::conn::{Conn, ConnId, Side};

/// A cable, or a bundle of them: every connection to a portal, or only those from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    source: Option<IpAddr>,
    portal: SocketAddr,
}

impl Link {
    /// All connections to `portal`.
    #[must_use]
    pub const fn to(portal: SocketAddr) -> Self {
        Self {
            source: None,
            portal,
        }
    }

    /// The connections from the local address `source` to `portal`.
    #[must_use]
    pub const fn between(source: IpAddr, portal: SocketAddr) -> Self {
        Self {
            source: Some(source),
            portal,
        }
    }

    pub(super) fn carries(&self, source: IpAddr, portal: SocketAddr) -> bool {
        self.portal == portal && self.source.is_none_or(|own| own == source)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cut,
    Stall,
    Refuse,
}

/// How much a link carries.
pub(super) struct Limit {
    pub(super) link: Link,
    /// Bytes per second, in each direction.
    pub(super) rate: u64,
    /// When each direction has sent all that it was given.
    pub(super) free_at: [u64; 2],
}

#[derive(Default)]
pub(super) struct Listener {
    pub(super) backlog: VecDeque<ConnId>,
    pub(super) waker: Option<Waker>,
}

/// A connection attempt under way.
pub(super) struct Dialing {
    pub(super) source: SocketAddr,
    pub(super) portal: SocketAddr,
    pub(super) user_timeout: Duration,
    pub(super) waker: Option<Waker>,
    pub(super) result: Option<io::Result<ConnId>>,
}

#[derive(Default)]
pub(super) struct Net {
    pub(super) listeners: BTreeMap<SocketAddr, Listener>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) dials: BTreeMap<u64, Dialing>,
    pub(super) devices: Vec<(String, IpAddr)>,
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    pub(super) faults: Vec<(Link, Fault)>,
    pub(super) limits: Vec<Limit>,
    pub(super) last_port: u16,
}

impl Net {
    pub(super) fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        self.hosts.get(host).cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no host {host:?} in this world"),
            )
        })
    }

    pub(super) fn on(&self, link: Link) -> Vec<ConnId> {
        let carried = |conn: &Conn| link.carries(conn.source.ip(), conn.portal);
        self.conns
            .iter()
            .filter(|(_, conn)| carried(conn))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn has(&self, fault: Fault, source: IpAddr, portal: SocketAddr) -> bool {
        self.faults
            .iter()
            .any(|(link, f)| *f == fault && link.carries(source, portal))
    }

    pub(super) fn is_stalled(&self, source: IpAddr, portal: SocketAddr) -> bool {
        self.has(Fault::Stall, source, portal)
    }

    /// When the last of `len` bytes from `side` has been sent that are given to the link now.
    pub(super) fn sent_at(&mut self, id: ConnId, side: Side, now: u64, len: usize) -> u64 {
        let Some(conn) = self.conns.get(&id) else {
            return now;
        };
        let (source, portal) = (conn.source.ip(), conn.portal);
        let limits = self.limits.iter_mut();
        limits
            .filter(|limit| limit.link.carries(source, portal))
            .map(|limit| {
                let time = u128::from(1_000_000_000_u64) * len as u128 / u128::from(limit.rate);
                let free_at = &mut limit.free_at[side as usize];
                let time = u64::try_from(time).unwrap_or(u64::MAX);
                *free_at = now.max(*free_at).saturating_add(time);
                *free_at
            })
            .fold(now, u64::max)
    }

    /// When something from `side` arrives that would by itself at `at`: nothing overtakes.
    pub(super) fn arrives(&mut self, id: ConnId, side: Side, at: u64) -> u64 {
        let Some(conn) = self.conns.get_mut(&id) else {
            return at;
        };
        let last = &mut conn.ends[side.other() as usize].last_arrival;
        *last = at.max(*last);
        *last
    }

    pub(super) fn local_address(
        &mut self,
        bind: &Bind,
        portal: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let ip = match bind {
            Bind::Address(ip) => *ip,
            Bind::Any => match self.devices.first() {
                Some((_, ip)) => *ip,
                None if portal.is_ipv4() => Ipv4Addr::new(10, 0, 0, 254).into(),
                None => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe).into(),
            },
            Bind::Device(name) => {
                let found = self.devices.iter().find(|(device, _)| **device == **name);
                found
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
                    .1
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.last_port = self.last_port.wrapping_add(1) | 0x8000;
        Ok(SocketAddr::new(ip, self.last_port))
    }
}
