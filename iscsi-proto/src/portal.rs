//! Portals: where a target listens (RFC 7143 sections 4.2.4 and 13.8).

use alloc::sync::Arc;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{error::DecodeError, ids::TargetPortalGroupTag};

/// The host of a portal: a name that somebody must resolve, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, lower case.
    Name(Arc<str>),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6 {
        /// The address.
        addr: Ipv6Addr,
        /// RFC 4007 zone: the interface (name or index) through which a link-local address is meant.
        zone: Option<Arc<str>>,
    },
}

/// Where a target listens: host, TCP port and, where known, the portal group.
///
/// The text form is that of the key TargetAddress: `10.0.0.1:3260,1`, `[fe80::1%eth0]:3260`,
/// `host`. Without a port it is 3260. An IPv6 address needs its brackets, since nobody could tell
/// the port of `fe80::1:3260`. Parsing takes whatever [`Display`](fmt::Display) wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Portal {
    /// Whom to connect to.
    pub host: Host,
    /// TCP port, never zero when parsed.
    pub port: u16,
    /// The portal group, where discovery or a login told.
    pub tpgt: Option<TargetPortalGroupTag>,
}

/// Whether an address can be that of one host: it is not unspecified, multicast or broadcast, also where
/// IPv6 wraps IPv4 (`::ffff:0.0.0.0` leads to this host).
#[must_use]
pub fn may_be_a_host(addr: IpAddr) -> bool {
    let addr = addr.to_canonical();
    !addr.is_unspecified() && !addr.is_multicast() && addr != Ipv4Addr::BROADCAST
}

impl Host {
    /// The address, where it is none that a resolver has to find.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match *self {
            Self::Name(_) => None,
            Self::V4(addr) => Some(addr.into()),
            Self::V6 { addr, .. } => Some(addr.into()),
        }
    }

    /// Whether it is this host itself as far as can be told without asking a resolver: an address of the
    /// loopback, or `localhost` and what is below it (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => &**name == "localhost" || name.ends_with(".localhost"),
            Self::V4(addr) => addr.is_loopback(),
            Self::V6 { addr, .. } => addr.to_canonical().is_loopback(),
        }
    }
}

impl Portal {
    /// The port that IANA assigned.
    pub const DEFAULT_PORT: u16 = 3260;

    /// A portal on the default port whose group is not known.
    #[must_use]
    pub const fn new(host: Host) -> Self {
        Self {
            host,
            port: Self::DEFAULT_PORT,
            tpgt: None,
        }
    }
}

impl From<core::net::SocketAddr> for Portal {
    fn from(addr: core::net::SocketAddr) -> Self {
        let host = match addr {
            core::net::SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            core::net::SocketAddr::V6(v6) => {
                let zone = (v6.scope_id() != 0).then(|| alloc::format!("{}", v6.scope_id()).into());
                Host::V6 {
                    addr: *v6.ip(),
                    zone,
                }
            }
        };
        Self {
            host,
            port: addr.port(),
            tpgt: None,
        }
    }
}

/// The longest DNS name in text.
const MAX_HOST: usize = 253;
/// Interface names are at most 15 bytes on Linux; others are a little more generous.
const MAX_ZONE: usize = 32;

fn parse_zone(zone: &str) -> Option<Arc<str>> {
    let fits = !zone.is_empty() && zone.len() <= MAX_ZONE;
    let clean = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
    (fits && zone.bytes().all(clean)).then(|| zone.into())
}

fn parse_v6(text: &str) -> Option<Host> {
    let (addr, zone) = match text.split_once('%') {
        Some((addr, zone)) => (addr, Some(parse_zone(zone)?)),
        None => (text, None),
    };
    Some(Host::V6 {
        addr: addr.parse().ok()?,
        zone,
    })
}

fn parse_name(text: &str) -> Option<Host> {
    if text.len() > MAX_HOST {
        return None;
    }
    if let Ok(v4) = text.parse() {
        return Some(Host::V4(v4));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // No top-level domain is a number. Left to a resolver, `10.1` or `10.0.0.256` would become some
    // other address by the rules of inet_aton.
    let numeric = name.rsplit('.').next()?.bytes().all(|b| b.is_ascii_digit());
    (name.split('.').all(label) && !numeric).then(|| Host::Name(name.to_ascii_lowercase().into()))
}

/// Digits only: `u16::from_str` alone would take `+1`.
fn parse_u16(text: &str) -> Option<u16> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn parse(text: &str) -> Option<Portal> {
    let (address, tpgt) = match text.split_once(',') {
        Some((address, tag)) => (address, Some(TargetPortalGroupTag(parse_u16(tag)?))),
        None => (text, None),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (inside, after) = v6.split_once(']')?;
            let port = if after.is_empty() {
                None
            } else {
                Some(after.strip_prefix(':')?)
            };
            (parse_v6(inside)?, port)
        }
        None => match address.split_once(':') {
            Some((name, port)) => (parse_name(name)?, Some(port)),
            None => (parse_name(address)?, None),
        },
    };
    let port = match port {
        Some(digits) => parse_u16(digits).filter(|port| *port != 0)?,
        None => Portal::DEFAULT_PORT,
    };
    Some(Portal { host, port, tpgt })
}

impl FromStr for Portal {
    type Err = DecodeError;

    /// [`DecodeError::Address`] for anything that is not a portal.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        parse(text).ok_or(DecodeError::Address)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(addr) => addr.fmt(f),
            Self::V6 { addr, zone: None } => write!(f, "[{addr}]"),
            Self::V6 {
                addr,
                zone: Some(zone),
            } => write!(f, "[{addr}%{zone}]"),
        }
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        self.tpgt.map_or(Ok(()), |tag| write!(f, ",{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    #[test]
    fn every_form_of_an_address_is_read_and_written_back() {
        for (text, shown) in [
            ("10.0.0.1:3260,1", "10.0.0.1:3260,1"),
            ("10.0.0.1", "10.0.0.1:3260"),
            ("10.0.0.1,0", "10.0.0.1:3260,0"),
            ("[fe80::1%eth0]:3260", "[fe80::1%eth0]:3260"),
            ("[2001:DB8::1],65535", "[2001:db8::1]:3260,65535"),
            ("host", "host:3260"),
            ("San-1.Example.com.:860", "san-1.example.com:860"),
        ] {
            let portal: Portal = text.parse().unwrap();
            assert_eq!(portal.to_string(), shown);
            assert_eq!(shown.parse(), Ok(portal));
        }
    }

    /// H33.
    #[test]
    fn what_is_no_address_is_refused() {
        let long = "a.".repeat(5000);
        for text in [
            "",
            ":",
            ",",
            "host:",
            "host:0",
            "host:99999",
            "host:+1",
            "host,65536",
            "host,",
            "[::",
            "[::]x",
            "[fe80::1%]",
            "[fe80::1%e th]",
            "fe80::1",
            "10.0.0.256",
            "10.1",
            "a b",
            "a\nb",
            "a\0",
            "..",
            "[10.0.0.1]",
            "host:1:2",
            "-,1,2",
            long.as_str(),
        ] {
            assert_eq!(
                text.parse::<Portal>(),
                Err(DecodeError::Address),
                "{text:?}"
            );
        }
        assert!(format!("{}.x", "a".repeat(64)).parse::<Portal>().is_err());
    }

    #[test]
    fn the_loopback_is_known_in_every_form() {
        let is_loopback = |text: &str| text.parse::<Portal>().unwrap().host.is_loopback();
        for text in [
            "127.0.0.1",
            "127.255.255.254:1",
            "[::1]",
            "[::ffff:127.0.0.1]:3260",
            "localhost",
            "LocalHost.",
            "a.localhost:3260",
        ] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "10.0.0.1",
            "128.0.0.1",
            "[::2]",
            "localhost.example",
            "alocalhost",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }

    #[test]
    fn a_socket_address_keeps_its_scope() {
        let v6 = core::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 3261, 0, 2);
        assert_eq!(
            Portal::from(core::net::SocketAddr::V6(v6)).to_string(),
            "[fe80::1%2]:3261"
        );
    }
}
