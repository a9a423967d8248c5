//! Giving a socket its [`SocketOptions`].

use std::{fmt, io, net::SocketAddr, time::Duration};

use socket2::Socket;

use super::{SocketOptionError, SocketOptions};

/// Says which option it was, and what it takes.
fn explain(
    option: &'static str,
    value: impl fmt::Display,
    result: io::Result<()>,
) -> io::Result<()> {
    let Err(error) = result else {
        return Ok(());
    };
    let value = value.to_string().into();
    let refused = match error.kind() {
        io::ErrorKind::PermissionDenied => SocketOptionError::NotPermitted {
            option,
            value,
            capability: "CAP_NET_ADMIN",
        },
        _ => SocketOptionError::Refused {
            option,
            value,
            reason: error.to_string().into(),
        },
    };
    Err(refused.into())
}

/// Before the connect: the receive buffer decides the window scale that the SYN offers, and marks
/// decide its route.
pub(super) fn configure(
    socket: &Socket,
    portal: SocketAddr,
    options: &SocketOptions,
) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = options.receive_buffer {
        explain("SO_RCVBUF", bytes, socket.set_recv_buffer_size(bytes))?;
    }
    if let Some(bytes) = options.send_buffer {
        explain("SO_SNDBUF", bytes, socket.set_send_buffer_size(bytes))?;
    }
    if let Some(keepalive) = options.keepalive {
        let parameters = socket2::TcpKeepalive::new()
            .with_time(keepalive.idle())
            .with_interval(keepalive.interval())
            .with_retries(keepalive.count());
        let set = socket.set_tcp_keepalive(&parameters);
        explain("SO_KEEPALIVE", format_args!("{keepalive:?}"), set)?;
    }
    if let Some(dscp) = options.dscp {
        let class = dscp.traffic_class().into();
        match portal {
            SocketAddr::V4(_) => explain("IP_TOS", class, socket.set_tos_v4(class))?,
            SocketAddr::V6(_) => traffic_class(socket, class)?,
        }
    }
    // Behind the code point, which sets a priority of its own (`ip_setsockopt(IP_TOS)` in Linux).
    linux::configure(socket, options)
}

#[cfg(unix)]
fn traffic_class(socket: &Socket, class: u32) -> io::Result<()> {
    explain("IPV6_TCLASS", class, socket.set_tclass_v6(class))
}

/// Windows leaves it to its policies.
#[cfg(not(unix))]
fn traffic_class(_socket: &Socket, _class: u32) -> io::Result<()> {
    let option = "IPV6_TCLASS";
    Err(SocketOptionError::Unsupported { option }.into())
}

/// Milliseconds, of which zero would turn the timeout off.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "an option of Linux")
)]
fn user_timeout(limit: Duration) -> Duration {
    let ms = limit
        .as_nanos()
        .div_ceil(1_000_000)
        .clamp(1, i32::MAX as u128);
    Duration::from_millis(ms as u64)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::{Socket, SocketOptions, explain, io, user_timeout};

    pub(super) fn configure(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
        if let Some(limit) = options.user_timeout {
            let limit = user_timeout(limit);
            let set = socket.set_tcp_user_timeout(Some(limit));
            explain("TCP_USER_TIMEOUT", limit.as_millis(), set)?;
        }
        if let Some(priority) = options.priority {
            explain("SO_PRIORITY", priority, socket.set_priority(priority))?;
        }
        if let Some(mark) = options.mark {
            explain("SO_MARK", mark, socket.set_mark(mark))?;
        }
        if let Some(name) = &options.congestion_control {
            congestion_control(socket, name)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn congestion_control(socket: &Socket, name: &str) -> io::Result<()> {
        explain(
            "TCP_CONGESTION",
            name,
            socket.set_tcp_congestion(name.as_bytes()),
        )
    }

    #[cfg(not(target_os = "linux"))]
    fn congestion_control(_socket: &Socket, _name: &str) -> io::Result<()> {
        let option = "TCP_CONGESTION";
        Err(super::SocketOptionError::Unsupported { option }.into())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod linux {
    use super::{Socket, SocketOptionError, SocketOptions, io};

    pub(super) fn configure(_socket: &Socket, options: &SocketOptions) -> io::Result<()> {
        let SocketOptions {
            user_timeout,
            priority,
            mark,
            congestion_control,
            ..
        } = options;
        for (option, is_set) in [
            ("TCP_USER_TIMEOUT", user_timeout.is_some()),
            ("SO_PRIORITY", priority.is_some()),
            ("SO_MARK", mark.is_some()),
            ("TCP_CONGESTION", congestion_control.is_some()),
        ] {
            if is_set {
                return Err(SocketOptionError::Unsupported { option }.into());
            }
        }
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use socket2::{Domain, Type};

    use super::*;
    use crate::runtime::{Dscp, TcpKeepalive};

    const V4: &str = "127.0.0.1:3260";
    const V6: &str = "[::1]:3260";

    fn configured(portal: &str, options: &SocketOptions) -> io::Result<Socket> {
        let portal = portal.parse().unwrap();
        let socket = Socket::new(Domain::for_address(portal), Type::STREAM, None)?;
        configure(&socket, portal, options)?;
        Ok(socket)
    }

    fn typed(error: &io::Error) -> &SocketOptionError {
        error.get_ref().unwrap().downcast_ref().unwrap()
    }

    #[test]
    fn a_socket_has_what_was_asked_for_when_it_is_read_back() {
        let seconds = Duration::from_secs;
        let options = SocketOptions {
            receive_buffer: Some(1 << 16),
            send_buffer: Some(1 << 17),
            user_timeout: Some(Duration::from_micros(1500)),
            keepalive: Some(TcpKeepalive::new(seconds(7), seconds(3), 5).unwrap()),
            dscp: Some(Dscp::new(46).unwrap()),
            priority: Some(5),
            mark: None,
            congestion_control: Some("reno".into()),
        };
        for portal in [V4, V6] {
            let socket = configured(portal, &options).unwrap();
            assert!(socket.tcp_nodelay().unwrap());
            // Linux doubles it, for its own bookkeeping (socket(7)).
            assert_eq!(socket.recv_buffer_size().unwrap(), 2 << 16);
            assert_eq!(socket.send_buffer_size().unwrap(), 2 << 17);
            let timeout = socket.tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(Duration::from_millis(2)));
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(7));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(3));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
            let class = match portal {
                V4 => socket.tos_v4(),
                _ => socket.tclass_v6(),
            };
            assert_eq!(class.unwrap(), 46 << 2);
            assert_eq!(socket.priority().unwrap(), 5, "not the code point's");
            assert!(socket.tcp_congestion().unwrap().starts_with(b"reno"));
        }
    }

    #[test]
    fn what_is_not_asked_for_stays_the_kernels() {
        let socket = configured(V4, &SocketOptions::default()).unwrap();
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        let timeouts = (socket.tcp_user_timeout(), other.tcp_user_timeout());
        assert_eq!(timeouts.0.unwrap(), timeouts.1.unwrap());
        let buffers = (socket.recv_buffer_size(), other.recv_buffer_size());
        assert_eq!(buffers.0.unwrap(), buffers.1.unwrap());
    }

    /// As root the mark is there, without privileges the error says what it takes; each is one half.
    #[test]
    fn a_mark_is_set_or_the_capability_is_named() {
        let options = SocketOptions {
            mark: Some(77),
            ..SocketOptions::default()
        };
        match configured(V4, &options) {
            Ok(socket) => assert_eq!(socket.mark().unwrap(), 77),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            }
        }
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        let error = explain("SO_MARK", 77, Err(denied)).unwrap_err();
        let expected = SocketOptionError::NotPermitted {
            option: "SO_MARK",
            value: "77".into(),
            capability: "CAP_NET_ADMIN",
        };
        assert_eq!(typed(&error), &expected);
    }

    #[test]
    fn an_unknown_congestion_control_is_named_in_the_error() {
        let options = SocketOptions {
            congestion_control: Some("no-such-thing".into()),
            ..SocketOptions::default()
        };
        let error = configured(V4, &options).unwrap_err();
        let SocketOptionError::Refused { option, value, .. } = typed(&error) else {
            panic!("{error}")
        };
        assert_eq!((*option, &**value), ("TCP_CONGESTION", "no-such-thing"));
    }

    #[test]
    fn a_user_timeout_is_never_rounded_down_to_none() {
        let ms = Duration::from_millis;
        assert_eq!(user_timeout(Duration::ZERO), ms(1));
        assert_eq!(user_timeout(Duration::from_nanos(1)), ms(1));
        assert_eq!(user_timeout(ms(5)), ms(5));
        assert_eq!(user_timeout(Duration::MAX), ms(i32::MAX as u64));
    }
}
