//! The socket of a [`Dial`], made in one place so that every runtime binds a path the same way.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Dial, ProgressSource, configure::configure};
use crate::bind::{self, Bind, BindError, Interfaces, Owner};

/// A non-blocking socket that is bound and configured, but not yet connected.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) bind_warning: Option<Arc<str>>,
}

/// Who tells how far the bytes of a connected socket have come.
#[cfg(all(feature = "tcp-progress", target_os = "linux"))]
pub(super) fn progress_source(socket: &impl std::os::fd::AsFd) -> Option<Arc<dyn ProgressSource>> {
    let source = super::TcpProgress::of(socket).ok()?;
    Some(Arc::new(source))
}

#[cfg(not(all(feature = "tcp-progress", target_os = "linux")))]
pub(super) fn progress_source<S>(_: &S) -> Option<Arc<dyn ProgressSource>> {
    None
}

/// Makes the socket for `dial`.
///
/// Everything happens before the connect: a device must be bound before the SYN takes a route, and
/// the receive buffer decides the window scale that the SYN offers.
pub(super) fn open(dial: &Dial) -> io::Result<Opened> {
    let socket = Socket::new(
        Domain::for_address(dial.address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    configure(&socket, dial.address, &dial.options)?;
    let bind_warning = match &dial.bind {
        Bind::Any => None,
        Bind::Device(name) => {
            bind_device(&socket, name)?;
            None
        }
        Bind::Mac(mac) => {
            bind_device(&socket, &mac.device()?)?;
            None
        }
        Bind::Address(address) => bind_address(&socket, *address, dial.address)?,
    };
    Ok(Opened {
        socket,
        bind_warning,
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &Socket, name: &Arc<str>) -> io::Result<()> {
    let device = name.clone();
    if !bind::is_device_name(name) {
        return Err(BindError::UnknownDevice { device }.into());
    }
    socket
        .bind_device(Some(name.as_bytes()))
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => BindError::UnknownDevice { device }.into(),
            Some(libc::EPERM) => BindError::NotPermitted { device }.into(),
            _ => error,
        })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_socket: &Socket, name: &Arc<str>) -> io::Result<()> {
    let device = name.clone();
    if !bind::is_device_name(name) {
        return Err(BindError::UnknownDevice { device }.into());
    }
    Err(BindError::Unsupported { device }.into())
}

/// What to do with the device that has the source address.
#[derive(Debug, PartialEq, Eq)]
enum DeviceRule {
    Bind,
    /// The source address alone has to do. The text says why, where a user could expect otherwise.
    Leave(Option<String>),
}

/// Packets to an address of this host, and packets from an address that lives on `lo` (a routed
/// host address, say), do not travel over the device that has the source address: bound to it, the
/// socket would never see an answer.
fn device_rule(owner: &Owner, portal: IpAddr, portal_is_local: bool) -> DeviceRule {
    match (owner.is_loopback, portal_is_local) {
        (true, _) if portal.is_loopback() => DeviceRule::Bind,
        (true, true) => DeviceRule::Leave(None),
        (true, false) => DeviceRule::Leave(Some(format!(
            "not bound to a device: the source address is on {}, so routing picks the device",
            owner.name
        ))),
        (false, true) => DeviceRule::Leave(Some(format!(
            "not bound to device {}: {portal} is this host itself",
            owner.name
        ))),
        (false, false) => DeviceRule::Bind,
    }
}

/// Binds source address and device. `Ok(Some(why))` if the source address alone holds.
fn bind_address(
    socket: &Socket,
    address: IpAddr,
    portal: SocketAddr,
) -> io::Result<Option<Arc<str>>> {
    let target = portal.ip();
    if address.is_ipv4() != target.is_ipv4() {
        let portal = target;
        return Err(BindError::FamilyMismatch { address, portal }.into());
    }
    // A netlink dump per connect costs well under a millisecond. Remembering it would bind to the
    // device that had the address yesterday.
    let interfaces = Interfaces::read()?;
    let owner = interfaces.owner(address)?;
    let warning = match device_rule(&owner, target, interfaces.is_local(target)) {
        DeviceRule::Leave(warning) => warning,
        DeviceRule::Bind => bind_device(socket, &owner.name)
            .err()
            .map(|error| error.to_string()),
    };
    // A link-local source means nothing without its link.
    let local = match (address, owner.index) {
        (IpAddr::V6(v6), Some(index)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, index).into()
        }
        _ => SocketAddr::new(address, 0),
    };
    socket.bind(&local.into()).map_err(|error| {
        if error.kind() == io::ErrorKind::AddrNotAvailable {
            BindError::AddressNotLocal { address }.into()
        } else {
            error
        }
    })?;
    Ok(warning.map(Into::into))
}

/// Sends the SYN of a non-blocking socket.
#[cfg(feature = "smol")]
pub(super) fn start_connect(socket: &Socket, portal: SocketAddr) -> io::Result<()> {
    match socket.connect(&portal.into()) {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        done => done,
    }
}

/// More pieces than this the kernel refuses (`IOV_MAX`); what is left over goes with the next call.
const MAX_PIECES: usize = 1024;

/// Without it a peer that is gone would raise SIGPIPE. A Rust program ignores that signal, but the
/// hypervisor that embeds this library is often written in C and dies of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEND_FLAGS: i32 = 0;

/// What one system call has moved.
pub(super) struct Moved {
    pub(super) count: usize,
    /// Less than was asked for, but not nothing.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(dead_code, reason = "see the tokio adapter")
    )]
    pub(super) is_short: bool,
}

impl Moved {
    fn new(count: usize, lengths: impl Iterator<Item = usize>) -> Self {
        let is_short = (1..lengths.sum()).contains(&count);
        Self { count, is_short }
    }
}

/// One `recvmsg`, or `recv`, which has less to look at where there is one place.
pub(super) fn receive(mut socket: &Socket, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<Moved> {
    if let [buf] = bufs {
        let count = socket.read(buf)?;
        return Ok(Moved::new(count, std::iter::once(buf.len())));
    }
    let pieces = bufs.len().min(MAX_PIECES);
    let bufs = &mut bufs[..pieces];
    let count = socket.read_vectored(bufs)?;
    // Several places are a large payload and what follows it. While that streams in, more has come by
    // the time that this was looked at, so the next call is worth making; it says itself when not.
    let is_short = false;
    Ok(Moved { count, is_short })
}

/// One `sendmsg`, or `send`, likewise.
pub(super) fn send(socket: &Socket, bufs: &[io::IoSlice<'_>]) -> io::Result<Moved> {
    if let [buf] = bufs {
        let count = socket.send_with_flags(buf, SEND_FLAGS)?;
        return Ok(Moved::new(count, std::iter::once(buf.len())));
    }
    let pieces = bufs.len().min(MAX_PIECES);
    let bufs = &bufs[..pieces];
    let count = socket.send_vectored_with_flags(bufs, SEND_FLAGS)?;
    Ok(Moved::new(count, bufs.iter().map(|buf| buf.len())))
}

/// Makes every close throw away what is unsent, and send RST instead of FIN: `abort`'s, and that of the kernel of
/// a process that is killed. Whoever closes in good order takes it back with [`close_in_order`].
pub(super) fn reset_on_close(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

/// Makes the close that follows send what is unsent, and then FIN.
pub(super) fn close_in_order(socket: &Socket) {
    // It fails only on a socket that is none, and there is nobody to tell.
    drop(socket.set_linger(None));
}

/// The connection was not up in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no TCP connection to {portal} within {limit:?}")]
struct ConnectTimedOut {
    portal: SocketAddr,
    limit: Duration,
}

pub(super) fn timed_out(dial: &Dial) -> io::Error {
    let why = ConnectTimedOut {
        portal: dial.address,
        limit: dial.timeout,
    };
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// The addresses in what a resolver returned: it names each once per socket type.
pub(super) fn addresses(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() {
        let why = format!("{host} has no address");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(addresses)
}

/// # Panics
///
/// If the operating system has no random generator. Then there are no safe CHAP challenges either.
pub(super) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system must provide random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_bound_only_where_the_answers_arrive_on_it() {
        let owner = |name: &str| Owner {
            name: name.into(),
            index: Some(1),
            is_loopback: name == "lo",
        };
        let remote: IpAddr = "192.0.2.9".parse().unwrap();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(device_rule(&owner("eth0"), remote, false), DeviceRule::Bind);
        assert_eq!(device_rule(&owner("lo"), loopback, true), DeviceRule::Bind);
        let warned = |rule| matches!(rule, DeviceRule::Leave(Some(_)));
        assert!(warned(device_rule(&owner("eth0"), remote, true)));
        assert!(warned(device_rule(&owner("lo"), remote, false)));
        assert_eq!(
            device_rule(&owner("lo"), remote, true),
            DeviceRule::Leave(None)
        );
    }
}
