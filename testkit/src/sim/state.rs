//! The state of the network: who listens, what is connected, what is broken.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Waker,
    time::Duration,
};

use iscsi_client::bind::Bind;

use super::conn::{Conn, ConnId};

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
