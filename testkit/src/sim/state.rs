//! The state of the network: who listens, what is connected, what is broken.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Waker,
    time::Duration,
};

use iscsi_client::bind::Bind;

use super::{
    bit_flips::BitFlips,
    conn::Conn,
    counts::FaultCounts,
    ids::{ConnId, ProcessId, Side},
    slab::Slab,
};

/// One way of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What initiators send.
    ToPortal,
    /// What the target sends.
    FromPortal,
}

/// A cable, or a bundle of them: every connection to a portal, or only those from one source; in both
/// directions, or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    source: Option<IpAddr>,
    portal: SocketAddr,
    only: Option<Direction>,
}

impl Link {
    /// All connections to `portal`.
    #[must_use]
    pub const fn to(portal: SocketAddr) -> Self {
        Self {
            source: None,
            portal,
            only: None,
        }
    }

    /// The connections from the local address `source` to `portal`.
    #[must_use]
    pub const fn between(source: IpAddr, portal: SocketAddr) -> Self {
        Self {
            source: Some(source),
            portal,
            only: None,
        }
    }

    /// The same connections, in one direction.
    #[must_use]
    pub const fn only(mut self, direction: Direction) -> Self {
        self.only = Some(direction);
        self
    }

    /// Whether a connection is of this link, in one direction at least.
    pub(super) fn carries(&self, source: IpAddr, portal: SocketAddr) -> bool {
        self.portal == portal && self.source.is_none_or(|own| own == source)
    }

    /// Whether what `side` writes goes this way.
    pub(super) const fn goes(&self, side: Side) -> bool {
        match self.only {
            None => true,
            Some(Direction::ToPortal) => matches!(side, Side::Initiator),
            Some(Direction::FromPortal) => matches!(side, Side::Target),
        }
    }

    pub(super) fn is_way_of(&self, conn: &Conn, side: Side) -> bool {
        self.goes(side) && self.carries(conn.source.ip(), conn.portal)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cut,
    Stall,
    Refuse,
    Ignore,
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
    pub(super) process: ProcessId,
    pub(super) backlog: VecDeque<ConnId>,
    pub(super) waker: Option<Waker>,
}

/// A connection attempt under way.
pub(super) struct Dialing {
    pub(super) process: ProcessId,
    pub(super) source: SocketAddr,
    pub(super) portal: SocketAddr,
    pub(super) user_timeout: Duration,
    pub(super) waker: Option<Waker>,
    pub(super) result: Option<io::Result<ConnId>>,
}

#[derive(Default)]
pub(super) struct Net {
    pub(super) listeners: BTreeMap<SocketAddr, Listener>,
    pub(super) conns: Slab<Conn>,
    pub(super) dials: Slab<Dialing>,
    pub(super) devices: Vec<(String, IpAddr)>,
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    pub(super) resolver: Option<io::ErrorKind>,
    pub(super) faults: Vec<(Link, Fault)>,
    pub(super) limits: Vec<Limit>,
    /// The longest segment of a link.
    pub(super) segments: Vec<(Link, usize)>,
    pub(super) flips: Vec<(Link, BitFlips)>,
    pub(super) counts: FaultCounts,
    pub(super) last_port: u16,
}

impl Net {
    pub(super) fn resolve(&mut self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if let Some(error) = self.resolver {
            self.counts.unresolved += 1;
            return Err(error.into());
        }
        self.hosts.get(host).cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no host {host:?} in this world"),
            )
        })
    }

    pub(super) fn on(&self, link: Link) -> Vec<ConnId> {
        self.conns
            .keys(|conn| link.carries(conn.source.ip(), conn.portal))
    }

    /// Whether an attempt meets `fault`, which a fault in one direction is enough for.
    pub(super) fn has(&self, fault: Fault, source: IpAddr, portal: SocketAddr) -> bool {
        self.faults
            .iter()
            .any(|(link, f)| *f == fault && link.carries(source, portal))
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

/// Whether what `side` writes is held back.
pub(super) fn is_stalled(faults: &[(Link, Fault)], conn: &Conn, side: Side) -> bool {
    faults
        .iter()
        .any(|(link, fault)| *fault == Fault::Stall && link.is_way_of(conn, side))
}

/// When the last of `len` bytes from `side` has been sent that are given to the link now.
pub(super) fn sent_at(limits: &mut [Limit], conn: &Conn, side: Side, now: u64, len: usize) -> u64 {
    limits
        .iter_mut()
        .filter(|limit| limit.link.is_way_of(conn, side))
        .map(|limit| {
            let time = u128::from(1_000_000_000_u64) * len as u128 / u128::from(limit.rate);
            let free_at = &mut limit.free_at[side as usize];
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            *free_at = now.max(*free_at).saturating_add(time);
            *free_at
        })
        .fold(now, u64::max)
}

/// The longest segment that `side` sends or the other one gets at once.
pub(super) fn segment(segments: &[(Link, usize)], conn: &Conn, side: Side) -> Option<usize> {
    let of_conn = segments
        .iter()
        .filter(|(link, _)| link.is_way_of(conn, side));
    of_conn.map(|(_, most)| *most).min()
}
