//! Options of a connection's socket.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

/// Options of a connection's socket. `TCP_NODELAY` is always on: the driver itself joins PDUs into
/// one write, so Nagle's algorithm could only delay the last of them.
///
/// Whatever is set here is set before the SYN leaves, or the connection is not made: an option that
/// the platform lacks or the kernel refuses is a [`SocketOptionError`] inside the [`io::Error`] of the
/// failed connect. A [`Dialer`](super::Dialer) that opens sockets of its own sees to them itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SocketOptions {
    /// `SO_RCVBUF` in bytes; `None` leaves it to the kernel, which is nearly always better, since a
    /// fixed size ends its tuning. The kernel takes at most `net.core.rmem_max`, without a word.
    pub receive_buffer: Option<usize>,
    /// `SO_SNDBUF` in bytes; `None` leaves it to the kernel. At most `net.core.wmem_max`.
    pub send_buffer: Option<usize>,
    /// `TCP_USER_TIMEOUT`: unacknowledged data older than this kills the connection. In milliseconds,
    /// rounded up, at least 1 ms and at most 24 days. Linux only.
    pub user_timeout: Option<Duration>,
    /// TCP keepalive. Sessions have their own, by NOP-Out, which asks the target and not only its
    /// TCP; this one is for keeping a firewall's or an address translator's state.
    pub keepalive: Option<TcpKeepalive>,
    /// The differentiated services code point of every packet (`IP_TOS`, `IPV6_TCLASS`). With it Linux
    /// also chooses a [`priority`](Self::priority), unless one is set here.
    pub dscp: Option<Dscp>,
    /// `SO_PRIORITY`, which queueing disciplines and VLAN tags (their PCP) go by. More than 6 takes
    /// `CAP_NET_ADMIN`. Linux only.
    pub priority: Option<u32>,
    /// `SO_MARK`, which policy routing and firewall rules go by. Takes `CAP_NET_ADMIN` (since Linux
    /// 5.17 `CAP_NET_RAW` does too). Linux only.
    pub mark: Option<u32>,
    /// `TCP_CONGESTION`, such as `bbr`; without privileges one of
    /// `net.ipv4.tcp_allowed_congestion_control`. Linux and FreeBSD only.
    pub congestion_control: Option<Arc<str>>,
}

/// When an idle connection is probed, and how often in vain before it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpKeepalive {
    idle: Duration,
    interval: Duration,
    count: u32,
}

/// The most that Linux takes: seconds of `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, and probes.
const MAX_KEEPALIVE: u64 = 32_767;
const MAX_PROBES: u32 = 127;

impl TcpKeepalive {
    /// Probes after `idle` without a segment, then every `interval`; `count` probes without an answer
    /// end the connection. The times are seconds, rounded up.
    ///
    /// # Errors
    ///
    /// If a time is not within 1 to 32767 seconds, or `count` not within 1 to 127.
    pub fn new(
        idle: Duration,
        interval: Duration,
        count: u32,
    ) -> Result<Self, SocketOptionRangeError> {
        let seconds = |time: Duration| {
            let seconds = time
                .as_secs()
                .saturating_add((time.subsec_nanos() > 0).into());
            (1..=MAX_KEEPALIVE)
                .contains(&seconds)
                .then(|| Duration::from_secs(seconds))
                .ok_or(SocketOptionRangeError::KeepaliveTime(time))
        };
        if !(1..=MAX_PROBES).contains(&count) {
            return Err(SocketOptionRangeError::KeepaliveCount(count));
        }
        Ok(Self {
            idle: seconds(idle)?,
            interval: seconds(interval)?,
            count,
        })
    }

    /// Time without a segment before the first probe.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// Time between two probes.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Unanswered probes that end the connection.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// A differentiated services code point (RFC 2474): six bits, 0 to 63.
///
/// As text the number, or one of the names `default` or `cs0` to `cs7` (RFC 2474), `af11` to `af43`
/// (RFC 2597), `ef` (RFC 3246), `va` (RFC 5865), `le` (RFC 8622).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// Best effort.
    pub const DEFAULT: Self = Self(0);

    /// A code point.
    ///
    /// # Errors
    ///
    /// If it has more than six bits. A caller that has a whole TOS byte wants to shift it right by 2.
    pub const fn new(value: u8) -> Result<Self, SocketOptionRangeError> {
        if value > 63 {
            return Err(SocketOptionRangeError::Dscp);
        }
        Ok(Self(value))
    }

    /// 0 to 63.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The byte of the IP header: the code point above two bits for congestion notification, which are
    /// the kernel's.
    #[must_use]
    pub const fn traffic_class(self) -> u8 {
        self.0 << 2
    }
}

impl FromStr for Dscp {
    type Err = SocketOptionRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_ascii_lowercase();
        let digit = |byte: u8, range: std::ops::RangeInclusive<u8>| {
            let digit = byte.wrapping_sub(b'0');
            range.contains(&digit).then_some(digit)
        };
        let named = match name.as_bytes() {
            b"default" => Some(0),
            b"le" => Some(1),
            b"va" => Some(44),
            b"ef" => Some(46),
            [b'c', b's', class] => digit(*class, 0..=7).map(|class| class * 8),
            [b'a', b'f', class, drop] => digit(*class, 1..=4)
                .zip(digit(*drop, 1..=3))
                .map(|(class, drop)| class * 8 + drop * 2),
            _ => text.parse().ok(),
        };
        named.map_or(Err(SocketOptionRangeError::Dscp), Self::new)
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value that no socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketOptionRangeError {
    /// Not a code point.
    #[error("a DSCP is a number from 0 to 63, or a name such as cs1, af21 or ef")]
    Dscp,
    /// A keepalive time out of range.
    #[error("a keepalive time is 1 to 32767 seconds, not {0:?}")]
    KeepaliveTime(Duration),
    /// A number of probes out of range.
    #[error("a keepalive gives up after 1 to 127 probes, not {0}")]
    KeepaliveCount(u32),
}

/// Why a socket could not be given an option.
///
/// Adapters carry it inside the [`io::Error`] of a failed connect; `get_ref` and a downcast find it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketOptionError {
    /// It takes a privilege that this process does not have.
    #[error(
        "setting {option} to {value} is not permitted: it takes {capability}; \
         grant that, or leave the option unset"
    )]
    NotPermitted {
        /// The option by its name in C.
        option: &'static str,
        /// The value asked for.
        value: Arc<str>,
        /// The capability (capabilities(7)).
        capability: &'static str,
    },
    /// This platform has no such option.
    #[error("this platform has no {option}; leave it unset")]
    Unsupported {
        /// The option by its name in C.
        option: &'static str,
    },
    /// The kernel refused the value.
    #[error("the kernel refused {option}={value}: {reason}")]
    Refused {
        /// The option by its name in C.
        option: &'static str,
        /// The value asked for.
        value: Arc<str>,
        /// In the operating system's words.
        reason: Arc<str>,
    },
}

impl From<SocketOptionError> for io::Error {
    fn from(error: SocketOptionError) -> Self {
        let kind = match error {
            SocketOptionError::NotPermitted { .. } => io::ErrorKind::PermissionDenied,
            SocketOptionError::Unsupported { .. } => io::ErrorKind::Unsupported,
            SocketOptionError::Refused { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_are_numbers_or_names() {
        for (text, value) in [
            ("0", 0),
            ("63", 63),
            ("default", 0),
            ("CS1", 8),
            ("cs7", 56),
            ("af11", 10),
            ("af43", 38),
            ("ef", 46),
            ("va", 44),
            ("le", 1),
        ] {
            let dscp: Dscp = text.parse().unwrap();
            assert_eq!(dscp.value(), value, "{text}");
            assert_eq!(dscp.to_string().parse(), Ok(dscp));
            assert_eq!(dscp.traffic_class(), value * 4);
        }
        for text in [
            "", "64", "-1", "184", "cs8", "cs", "af10", "af14", "af51", "af1", "x",
        ] {
            assert_eq!(text.parse::<Dscp>(), Err(SocketOptionRangeError::Dscp));
        }
    }

    #[test]
    fn keepalives_are_whole_seconds_within_what_the_kernel_takes() {
        let ms = Duration::from_millis;
        let keepalive = TcpKeepalive::new(ms(1), ms(2500), 3).unwrap();
        assert_eq!(keepalive.idle(), ms(1000));
        assert_eq!(keepalive.interval(), ms(3000));
        assert_eq!(keepalive.count(), 3);
        let longest = Duration::from_secs(MAX_KEEPALIVE);
        assert!(TcpKeepalive::new(longest, longest, 127).is_ok());
        for (idle, interval, count) in [
            (Duration::ZERO, longest, 1),
            (longest, longest + ms(1), 1),
            (Duration::MAX, longest, 1),
            (longest, longest, 0),
            (longest, longest, 128),
        ] {
            assert!(TcpKeepalive::new(idle, interval, count).is_err());
        }
    }
}
