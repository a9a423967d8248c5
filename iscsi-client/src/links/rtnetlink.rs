//! A socket to the kernel, and what is read from it.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    io,
    os::fd::{AsRawFd, OwnedFd},
    pin::pin,
    task::Poll,
    time::Duration,
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
use crate::runtime::BoxFuture;

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

/// The same socket under a runtime, which has timers as well.
pub(super) trait Socket: Send + Sync + 'static {
    fn request(&self, bytes: &[u8]) -> io::Result<()>;

    fn receive(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<(usize, bool)>> + Send;

    fn pause(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static;
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
    fn request(&self, bytes: &[u8]) -> io::Result<()> {
        request(self.0.get_ref(), bytes)
    }

    async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, bool)> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|fd| receive(fd.get_ref(), buf)) {
                return received;
            }
        }
    }

    fn pause(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
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
    fn request(&self, bytes: &[u8]) -> io::Result<()> {
        request(self.0.get_ref(), bytes)
    }

    async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, bool)> {
        self.0.read_with(|fd| receive(fd, buf)).await
    }

    fn pause(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = async_io::Timer::after(pause);
        async move {
            timer.await;
        }
    }
}

/// How long after a list another one is asked for, if something was missed once more: a message that we cannot
/// read, or a socket that is always full, is no better for being asked about without end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What the driver of a monitor does: asks for all links, and listens.
pub(super) async fn watch<S: Socket>(socket: S, mut feed: LinkFeed) -> LinkError {
    let mut buf = vec![0; BUFFER];
    let mut list = List::new();
    let (mut pause, longest) = PAUSES;
    // Runs from a list on; until it is over there is no other one.
    let mut paused: Option<BoxFuture<()>> = None;
    loop {
        if let Some(asked) = paused.is_none().then(|| list.begin()).flatten() {
            if let Err(error) = socket.request(&asked) {
                return failed("ask for all network devices")(error);
            }
            paused = Some(Box::pin(socket.pause(pause)));
        }
        let Some(received) = receive_until(&socket, &mut buf, &mut paused).await else {
            pause = match list.is_settled() {
                true => PAUSES.0,
                false => pause.saturating_mul(2).min(longest),
            };
            // One that is still being told is not asked about again either.
            paused = list.is_told().then(|| Box::pin(socket.pause(pause)) as _);
            continue;
        };
        let received = match received {
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

/// A datagram; `None` if the pause is over first. It waits for both, so that news are heard meanwhile.
async fn receive_until<S: Socket>(
    socket: &S,
    buf: &mut [u8],
    paused: &mut Option<BoxFuture<()>>,
) -> Option<io::Result<(usize, bool)>> {
    let mut receiving = pin!(socket.receive(buf));
    poll_fn(|cx| {
        // First, since a socket that always has something to say must not keep it from being over.
        if let Some(pause) = paused {
            if pause.as_mut().poll(cx).is_ready() {
                *paused = None;
                return Poll::Ready(None);
            }
        }
        receiving.as_mut().poll(cx).map(Some)
    })
    .await
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

    /// The last one was whole, and nothing was missed since.
    const fn is_settled(&self) -> bool {
        !self.wanted && !self.is_told()
    }

    /// One was asked for, and is not over.
    const fn is_told(&self) -> bool {
        self.asked || self.seen.is_some()
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
    use std::{
        collections::VecDeque,
        mem,
        sync::{Arc, Mutex, MutexGuard},
        task::{Context, Waker},
    };

    use super::{super::LinkMonitor, super::message::tests::*, *};

    /// A kernel that answers each request with the same. Its pauses are over in the next round, unless it `waits`.
    #[derive(Clone, Debug, Default)]
    struct Kernel(Arc<Mutex<Record>>);

    #[derive(Debug, Default)]
    struct Record {
        answer: Vec<u8>,
        requests: usize,
        queued: VecDeque<Vec<u8>>,
        pauses: Vec<Duration>,
        round: usize,
        waits: bool,
    }

    impl Kernel {
        fn record(&self) -> MutexGuard<'_, Record> {
            self.0.lock().unwrap()
        }
    }

    impl Socket for Kernel {
        fn request(&self, _: &[u8]) -> io::Result<()> {
            let mut record = self.record();
            record.requests += 1;
            assert!(record.requests < 1000, "asked without end");
            let answer = record.answer.clone();
            record.queued.push_back(answer);
            Ok(())
        }

        async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, bool)> {
            let datagram = poll_fn(|_| match self.record().queued.pop_front() {
                Some(datagram) => Poll::Ready(datagram),
                None => Poll::Pending,
            });
            let datagram = datagram.await;
            buf[..datagram.len()].copy_from_slice(&datagram);
            Ok((datagram.len(), true))
        }

        fn pause(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
            self.record().pauses.push(pause);
            let (kernel, begun) = (self.clone(), self.record().round);
            poll_fn(move |_| {
                let record = kernel.record();
                match record.round > begun && !record.waits {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
        }
    }

    #[test]
    fn what_is_never_understood_is_asked_about_less_and_less_and_news_are_heard_meanwhile() {
        let kernel = Kernel::default();
        let cut = || NO_CARRIER[..NO_CARRIER.len() - 7].to_vec();
        kernel.record().answer = [dumped(), cut()].concat();
        let (links, feed) = LinkMonitor::new();
        let mut watching = Box::pin(watch(kernel.clone(), feed));
        let mut rounds = |rounds| {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..rounds {
                kernel.record().round += 1;
                assert!(watching.as_mut().poll(&mut cx).is_pending());
            }
        };
        rounds(20);
        assert_eq!(kernel.record().requests, 20);
        let pauses = mem::take(&mut kernel.record().pauses);
        let ms: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(ms[..9], [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);

        kernel.record().waits = true;
        for (news, has_carrier) in [(NO_CARRIER, false), (CARRIER, true)] {
            let before = kernel.record().requests;
            kernel.record().queued.push_back(news.to_vec());
            rounds(2);
            assert_eq!(links.has_carrier("nic1"), Some(has_carrier));
            assert_eq!(kernel.record().requests, before);
        }

        // A list that can be read is the last one, and the next trouble begins with a short pause.
        kernel.record().waits = false;
        kernel.record().answer = dumped();
        rounds(4);
        let before = kernel.record().requests;
        rounds(10);
        assert_eq!(kernel.record().requests, before);
        kernel.record().queued.push_back(cut());
        kernel.record().pauses.clear();
        rounds(1);
        assert_eq!(kernel.record().requests, before + 1);
        assert_eq!(kernel.record().pauses, [PAUSES.0]);
    }

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
