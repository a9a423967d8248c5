//! A socket to the kernel, and what is read from it.

use std::{
    collections::BTreeSet,
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc::RTMGRP_LINK,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom,
        send, socket,
    },
};

use super::{
    LinkFeed,
    error::LinkError,
    message::{self, Message, Messages, Told},
};

/// A datagram of a list has half of this at most.
const BUFFER: usize = 64 * 1024;

fn failed(what: &'static str) -> impl Fn(io::Error) -> LinkError {
    move |source| LinkError::Io { what, source }
}

/// A socket that hears of links.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> Result<Self, LinkError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let fd = socket(family, SockType::Raw, flags, protocol);
        let fd = fd.map_err(|errno| failed("open a netlink socket")(errno.into()))?;
        let groups = u32::try_from(RTMGRP_LINK).unwrap_or(1);
        let bound = bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups));
        bound.map_err(|errno| failed("bind a netlink socket")(errno.into()))?;
        Ok(Self(fd))
    }
}

/// A datagram, and whether the kernel sent it: others may send to us what they like.
fn receive(fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, bool)> {
    let (length, from) = recvfrom::<NetlinkAddr>(fd.as_raw_fd(), buf)?;
    Ok((length, from.is_some_and(|from| from.pid() == 0)))
}

fn request(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    send(fd.as_raw_fd(), bytes, MsgFlags::empty())?;
    Ok(())
}

/// The same socket under a runtime.
pub(super) trait Socket: Send + Sync + 'static {
    fn fd(&self) -> &OwnedFd;

    fn receive(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<(usize, bool)>> + Send;
}

#[cfg(feature = "tokio")]
pub(super) struct TokioSocket(tokio::io::unix::AsyncFd<OwnedFd>);

#[cfg(feature = "tokio")]
impl TokioSocket {
    #[expect(
        deprecated,
        reason = "its successor is younger than the oldest tokio that will do; an `OwnedFd` is what it says"
    )]
    pub(super) fn new(netlink: Netlink) -> Result<Self, LinkError> {
        let interest = tokio::io::Interest::READABLE;
        let fd = tokio::io::unix::AsyncFd::with_interest(netlink.0, interest);
        fd.map(Self).map_err(failed("register a netlink socket"))
    }
}

#[cfg(feature = "tokio")]
impl Socket for TokioSocket {
    fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, bool)> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|fd| receive(fd.get_ref(), buf)) {
                return received;
            }
        }
    }
}

#[cfg(feature = "smol")]
pub(super) struct SmolSocket(async_io::Async<OwnedFd>);

#[cfg(feature = "smol")]
impl SmolSocket {
    pub(super) fn new(netlink: Netlink) -> Result<Self, LinkError> {
        let fd = async_io::Async::new_nonblocking(netlink.0);
        fd.map(Self).map_err(failed("register a netlink socket"))
    }
}

#[cfg(feature = "smol")]
impl Socket for SmolSocket {
    fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, bool)> {
        self.0.read_with(|fd| receive(fd, buf)).await
    }
}

/// What the driver of a monitor does: asks for all links, and listens.
pub(super) async fn watch<S: Socket>(socket: S, mut feed: LinkFeed) -> LinkError {
    let mut buf = vec![0; BUFFER];
    let mut list = List::new();
    loop {
        if let Some(asked) = list.begin() {
            if let Err(error) = request(socket.fd(), &asked) {
                return failed("ask for all network devices")(error);
            }
        }
        let received = match socket.receive(&mut buf).await {
            // The kernel had no room for what it had to tell.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                list.missed();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return failed("hear of network devices")(error),
            Ok((length, true)) => buf.get(..length).unwrap_or(&[]),
            Ok((_, false)) => continue,
        };
        for message in Messages(received) {
            if let Err(error) = list.take(message, &mut feed) {
                return failed("list all network devices")(error);
            }
        }
    }
}

/// The list of all links, with which it begins, and begins anew when something was missed.
#[derive(Debug)]
struct List {
    /// To be asked for, once there is none under way: the kernel makes one at a time.
    wanted: bool,
    /// It was, and nothing has come: what comes before it is older, and may be gone.
    asked: bool,
    /// Those told of since it began; `None` between two lists.
    seen: Option<BTreeSet<u32>>,
    sequence: u32,
}

impl List {
    const fn new() -> Self {
        Self {
            wanted: true,
            asked: false,
            seen: None,
            sequence: 0,
        }
    }

    /// The request, if it is time for one.
    fn begin(&mut self) -> Option<[u8; message::DUMP_LENGTH]> {
        if !self.wanted || self.asked || self.seen.is_some() {
            return None;
        }
        self.wanted = false;
        self.asked = true;
        self.sequence = self.sequence.wrapping_add(1);
        Some(message::dump(self.sequence))
    }

    /// Something was missed, or not understood.
    const fn missed(&mut self) {
        self.wanted = true;
    }

    fn take(&mut self, told: Option<Told>, feed: &mut LinkFeed) -> io::Result<()> {
        let Some(told) = told else {
            self.missed();
            return Ok(());
        };
        self.wanted |= told.is_disturbed;
        if told.is_listed && self.asked {
            self.asked = false;
            self.seen = Some(BTreeSet::new());
        }
        match told.message {
            Message::Link(link) => {
                if let Some(seen) = &mut self.seen {
                    seen.insert(link.index);
                }
                feed.set(link);
            }
            Message::Gone(index) => {
                if let Some(seen) = &mut self.seen {
                    seen.remove(&index);
                }
                feed.remove(index);
            }
            Message::Done(0) => {
                let Some(seen) = self.seen.take() else {
                    return Ok(());
                };
                // What a disturbed list leaves out may be there all the same.
                if !self.wanted {
                    feed.retain(|index| seen.contains(&index));
                }
            }
            Message::Error(0) | Message::Other => {}
            // It had no room for the answer, or is at another list still.
            Message::Error(code)
                if [-(Errno::ENOBUFS as i32), -(Errno::EBUSY as i32)].contains(&code) =>
            {
                self.asked = false;
                self.missed();
            }
            Message::Done(code) | Message::Error(code) => {
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
        }
        Ok(())
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::{super::LinkMonitor, super::message::tests::*, *};

    fn took(list: &mut List, feed: &mut LinkFeed, bytes: &[u8]) {
        for message in Messages(bytes) {
            list.take(message, feed).unwrap();
        }
    }

    fn names(links: &LinkMonitor) -> Vec<String> {
        let links = links.links().into_iter();
        links.map(|link| link.name.to_string()).collect()
    }

    #[test]
    fn a_list_takes_away_what_it_does_not_name() {
        let (links, mut feed) = LinkMonitor::new();
        let mut list = List::new();
        assert!(list.begin().is_some());
        assert_eq!(list.begin(), None, "one at a time");
        took(&mut list, &mut feed, &dumped());
        assert_eq!(names(&links), ["lo", "far1", "nic1"]);
        assert_eq!(list.begin(), None, "nothing was missed");
        list.missed();
        assert!(list.begin().is_some());
        took(&mut list, &mut feed, &end(0));
        assert_eq!(names(&links), [""; 0]);
    }

    /// The kernel had kept it from before the list, when it had no room for what came after.
    #[test]
    fn what_was_told_before_the_list_began_is_no_part_of_it() {
        let (links, mut feed) = LinkMonitor::new();
        let mut list = List::new();
        list.begin();
        took(&mut list, &mut feed, CARRIER);
        assert_eq!(names(&links), ["nic1"]);
        took(&mut list, &mut feed, &end(0));
        assert_eq!(names(&links), [""; 0]);
    }

    #[test]
    fn a_disturbed_list_is_asked_for_again_and_takes_nothing_away() {
        let (links, mut feed) = LinkMonitor::new();
        let mut list = List::new();
        list.begin();
        took(&mut list, &mut feed, &dumped());
        list.missed();
        list.begin();
        took(&mut list, &mut feed, &end(0x10));
        assert_eq!(names(&links), ["lo", "far1", "nic1"]);
        assert!(list.begin().is_some());
    }

    #[test]
    fn what_is_cut_off_is_asked_for_again() {
        let (_links, mut feed) = LinkMonitor::new();
        let mut list = List::new();
        list.begin();
        let whole = dumped();
        took(&mut list, &mut feed, &whole);
        assert_eq!(list.begin(), None);
        took(&mut list, &mut feed, &NO_CARRIER[..NO_CARRIER.len() - 7]);
        assert!(list.begin().is_some());
    }

    #[test]
    fn an_error_of_the_kernel_ends_it() {
        let (_links, mut feed) = LinkMonitor::new();
        let mut list = List::new();
        list.begin();
        let mut bytes = vec![0; 36];
        bytes[..4].copy_from_slice(&36_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        let error = Messages(&bytes).find_map(|message| list.take(message, &mut feed).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::PermissionDenied);
    }
}
