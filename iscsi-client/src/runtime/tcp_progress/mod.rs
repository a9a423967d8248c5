//! The Linux kernel as the source of a connection's progress: sock_diag(7), for which nobody needs a privilege.

mod message;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send,
        socket,
    },
};
use socket2::SockRef;

use self::message::Answer;
use super::{Progress, ProgressSource};

/// An answer has a few hundred bytes; newer kernels say more.
const BUFFER: usize = 8 * 1024;
/// What others send to our socket is passed over, but not for ever.
const MAX_DATAGRAMS: usize = 8;

/// Why the kernel did not tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpProgressError {
    /// A system call failed.
    #[error("cannot {what}")]
    Io {
        /// What it was to do.
        what: &'static str,
        /// Why it did not.
        source: io::Error,
    },
    /// The kernel refused: `NotFound` where there is no such connection in the network namespace of the calling
    /// thread, or where the kernel was built without `INET_DIAG`; `ESTALE` where it is another connection by now.
    #[error("the kernel does not tell")]
    Refused(#[source] io::Error),
    /// The answer is not one that sock_diag(7) describes.
    #[error("the kernel's answer is cut off, or is none")]
    Malformed,
}

impl TcpProgressError {
    /// It says nothing about the next question: the system lacked something for a moment.
    fn is_transient(&self) -> bool {
        use nix::errno::Errno::{EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM};
        let lacks = [EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM].map(|errno| errno as i32);
        match self {
            Self::Io { source, .. } | Self::Refused(source) => source
                .raw_os_error()
                .is_some_and(|code| lacks.contains(&code)),
            Self::Malformed => false,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } | Self::Refused(source) => source.kind(),
            Self::Malformed => io::ErrorKind::InvalidData,
        }
    }
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> TcpProgressError {
    move |source| TcpProgressError::Io {
        what,
        source: source.into(),
    }
}

/// Which connection: its addresses, the device that it is bound to, and the kernel's own name for it, so that no
/// other one with the same addresses is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    local: SocketAddr,
    peer: SocketAddr,
    device: u32,
    cookie: u64,
}

/// Asks the Linux kernel how far the bytes of one TCP connection have come. With the feature `tcp-progress` the
/// transports of both runtimes have one; a [`Dialer`](super::Dialer) that makes sockets of its own gives one to
/// its transport ([`StreamTransport::with_progress_source`](super::StreamTransport::with_progress_source)).
///
/// Each question is a netlink socket for a moment, in the network namespace of the calling thread, which has to be
/// that of the connection. The first one of all may take the time in which the kernel loads its module `tcp_diag`, so
/// one is asked when this is made, and not only once the connection is in doubt.
#[derive(Debug)]
pub struct TcpProgress {
    connection: Connection,
    /// It was refused, and would be again: the connection is over.
    is_refused: AtomicBool,
}

impl TcpProgress {
    /// Of a socket that is connected, of which the kernel is asked for the first time. The socket is not kept: after it
    /// is closed nothing is known any more.
    ///
    /// # Errors
    ///
    /// It is not connected, the system has no name for it, or the kernel tells of no such connection of TCP, now or
    /// later; of the last kind are those that have a [`TcpProgressError`] in them. That it lacks memory or descriptors
    /// for a moment is none.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let socket = SockRef::from(socket);
        let address = |address: socket2::SockAddr| {
            let address = address.as_socket();
            address.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
        };
        let device = match socket.device()? {
            Some(name) => {
                if_nametoindex(name.strip_suffix(&[0]).unwrap_or(&name)).map_err(io::Error::from)?
            }
            None => 0,
        };
        let connection = Connection {
            local: address(socket.local_addr()?)?,
            peer: address(socket.peer_addr()?)?,
            device,
            cookie: socket.cookie()?,
        };
        let source = Self {
            connection,
            is_refused: AtomicBool::new(false),
        };
        match source.ask() {
            Err(error) if !error.is_transient() => Err(io::Error::new(error.kind(), error)),
            _ => Ok(source),
        }
    }

    /// Asks the kernel, which answers at once.
    ///
    /// # Errors
    ///
    /// [`TcpProgressError`]: the kernel refused, or said something else.
    pub fn ask(&self) -> Result<Progress, TcpProgressError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkSockDiag);
        let fd = socket(family, SockType::Raw, flags, protocol);
        let fd = fd.map_err(failed("open a netlink socket"))?;
        let request = message::request(&self.connection);
        send(fd.as_raw_fd(), &request, MsgFlags::empty())
            .map_err(failed("ask for a connection"))?;
        // The kernel has answered within the call above, so nothing is waited for.
        let mut buf = [0; BUFFER];
        for _ in 0..MAX_DATAGRAMS {
            let (length, from) = recvfrom::<NetlinkAddr>(fd.as_raw_fd(), &mut buf)
                .map_err(failed("hear of a connection"))?;
            if from.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            return match message::read(buf.get(..length).unwrap_or(&[])) {
                Some(Answer::Progress(progress)) => Ok(progress),
                Some(Answer::Error(code)) => {
                    let error = io::Error::from_raw_os_error(code.saturating_neg());
                    Err(TcpProgressError::Refused(error))
                }
                None => Err(TcpProgressError::Malformed),
            };
        }
        Err(TcpProgressError::Malformed)
    }
}

impl ProgressSource for TcpProgress {
    fn progress(&self) -> Option<Progress> {
        if self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        match self.ask() {
            Ok(progress) => Some(progress),
            Err(error) => {
                self.is_refused
                    .store(!error.is_transient(), Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    /// Neither in a system call nor in an answer it says that the next question will fail as well.
    #[test]
    fn what_lacks_for_a_moment_is_transient_and_a_connection_that_is_over_is_not() {
        for (errno, is_transient) in [
            (Errno::ENOBUFS, true),
            (Errno::ENOMEM, true),
            (Errno::EAGAIN, true),
            (Errno::EINTR, true),
            (Errno::EMFILE, true),
            (Errno::ENFILE, true),
            (Errno::ENOENT, false),
            (Errno::ESTALE, false),
            (Errno::EPERM, false),
            (Errno::EPROTONOSUPPORT, false),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            let refused = TcpProgressError::Refused(error);
            assert_eq!(refused.is_transient(), is_transient, "{errno}");
            let failed = failed("ask")(io::Error::from_raw_os_error(errno as i32));
            assert_eq!(failed.is_transient(), is_transient, "{errno}");
        }
        assert!(!TcpProgressError::Malformed.is_transient());
    }
}
