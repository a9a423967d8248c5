//! What the Linux kernel says of a connection's bytes, under each runtime adapter.

#![cfg(all(
    feature = "tcp-progress",
    any(feature = "tokio", feature = "smol"),
    target_os = "linux"
))]

mod support;

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSlice, Read},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use iscsi_client::runtime::{
    Dial, Progress, ProgressSource, Runtime, TcpProgress, TcpProgressError, Transport,
};
use socket2::SockRef;
use support::on_each_runtime;

const MS: Duration = Duration::from_millis(1);

async fn connected(
    runtime: &Arc<dyn Runtime>,
    listen: &str,
    to: Option<&str>,
) -> (Box<dyn Transport>, TcpStream) {
    let listener = TcpListener::bind(listen).expect("a listener");
    let mut address = listener.local_addr().expect("bound");
    if let Some(to) = to {
        address = SocketAddr::new(to.parse().expect("an address"), address.port());
    }
    let transport = runtime.connect(&Dial::new(address)).await;
    let (peer, _) = listener.accept().expect("connected");
    (transport.expect("connected"), peer)
}

async fn sleep(runtime: &Arc<dyn Runtime>, time: Duration) {
    let mut timer = runtime.new_timer(runtime.now() + time);
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}

/// Writes as much of `bytes` as is taken.
async fn write(transport: &mut Box<dyn Transport>, bytes: &[u8]) -> usize {
    let mut written = 0;
    poll_fn(|cx| {
        while written < bytes.len() {
            match transport.poll_write_vectored(cx, &[IoSlice::new(&bytes[written..])]) {
                Poll::Ready(n) => written += n.expect("written"),
                Poll::Pending => break,
            }
        }
        Poll::Ready(written)
    })
    .await
}

/// The first progress that is `wanted`; the kernel tells nobody when it changes.
async fn until(
    runtime: &Arc<dyn Runtime>,
    source: &Arc<dyn ProgressSource>,
    wanted: impl Fn(&Progress) -> bool,
) -> Progress {
    let end = runtime.now() + Duration::from_secs(20);
    loop {
        let progress = source.progress().expect("told");
        if wanted(&progress) {
            return progress;
        }
        assert!(runtime.now() < end, "{progress:?}");
        sleep(runtime, 10 * MS).await;
    }
}

/// All that comes is thrown away before TCP sees it, so that nothing is acknowledged.
fn swallow(peer: &TcpStream) {
    // BPF_RET | BPF_K: nothing of the packet is kept.
    let nothing = socket2::SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(peer)
        .attach_filter(&[nothing])
        .expect("a filter");
}

const EACH: [(&str, Option<&str>); 3] = [
    ("127.0.0.1:0", None),
    ("[::1]:0", None),
    // A socket of IPv6 at an address of IPv4.
    ("[::]:0", Some("::ffff:127.0.0.1")),
];

#[test]
fn a_peer_that_reads_nothing_acknowledges_all_the_same() {
    on_each_runtime(async |runtime| {
        for (listen, to) in EACH {
            let (mut transport, _peer) = connected(&runtime, listen, to).await;
            let source = transport.progress_source().expect("told");
            assert_eq!(write(&mut transport, &[7; 4096]).await, 4096);
            let progress = until(&runtime, &source, |p| p.in_flight() == 0).await;
            assert_eq!(progress.unsent, 0);
            // Give or take the SYN.
            assert!((4096..=4097).contains(&progress.acked), "{progress:?}");
            assert_eq!(progress.sent, progress.acked);
            assert_eq!(progress.unacknowledged_for, Duration::ZERO);
            assert!(progress.rtt > Duration::ZERO);
        }
    });
}

#[test]
fn a_window_that_is_closed_is_no_dead_network() {
    on_each_runtime(async |runtime| {
        let (mut transport, mut peer) = connected(&runtime, "127.0.0.1:0", None).await;
        let source = transport.progress_source().expect("told");
        let much = vec![7; 64 << 20];
        let written = write(&mut transport, &much).await;
        assert!(written < much.len());
        let closed = until(&runtime, &source, |p| p.in_flight() == 0 && p.unsent > 0).await;
        assert_eq!(closed.sent - closed.acked, closed.unsent, "{closed:?}");
        // Longer than the first questions to the closed window take.
        for _ in 0..70 {
            sleep(&runtime, 10 * MS).await;
            let progress = source.progress().expect("told");
            assert!(progress.unacknowledged_for < 200 * MS, "{progress:?}");
        }
        let there = usize::try_from(closed.acked).expect("not so much") - 1;
        peer.read_exact(&mut vec![0; there]).expect("data");
        until(&runtime, &source, |p| p.acked > closed.acked).await;
    });
}

#[test]
fn what_is_swallowed_is_not_acknowledged_and_that_takes_its_time() {
    on_each_runtime(async |runtime| {
        for (listen, to) in EACH {
            let (mut transport, peer) = connected(&runtime, listen, to).await;
            let source = transport.progress_source().expect("told");
            assert_eq!(write(&mut transport, &[7; 100]).await, 100);
            let before = until(&runtime, &source, |p| p.in_flight() == 0).await;
            // So that the last acknowledgement is old.
            sleep(&runtime, 300 * MS).await;
            swallow(&peer);
            assert_eq!(write(&mut transport, &[7; 100]).await, 100);
            let began = runtime.now();
            let progress = source.progress().expect("told");
            assert!(
                progress.unacknowledged_for <= runtime.now() - began + 20 * MS,
                "what was just sent has not waited: {progress:?}"
            );
            let long = until(&runtime, &source, |p| p.unacknowledged_for >= 200 * MS).await;
            assert!(
                long.unacknowledged_for <= runtime.now() - began + 20 * MS,
                "{long:?}"
            );
            assert_eq!((long.acked, long.in_flight()), (before.acked, 100));
            until(&runtime, &source, |p| p.retransmits > 1).await;
            SockRef::from(&peer).detach_filter().expect("no filter");
            let after = until(&runtime, &source, |p| p.in_flight() == 0).await;
            assert_eq!(after.acked, before.acked + 100);
            assert_eq!(after.unacknowledged_for, Duration::ZERO);
        }
    });
}

#[test]
fn of_a_connection_that_is_over_nothing_is_told() {
    on_each_runtime(async |runtime| {
        let (mut transport, _peer) = connected(&runtime, "127.0.0.1:0", None).await;
        let source = transport.progress_source().expect("told");
        assert!(source.progress().is_some());
        transport.abort();
        assert_eq!(source.progress(), None);
        assert!(transport.progress_source().is_none());
    });
}

/// The kernel's name for a socket is part of the question.
#[test]
fn another_connection_with_the_same_addresses_is_not_taken_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("bound");
    // An address of its own: no other test is given the port while it is free.
    let first = connected_from(SocketAddr::from(([127, 83, 21, 7], 0)), to);
    let from = first.local_addr().expect("bound");
    let (peer, _) = listener.accept().expect("connected");
    let of_first = TcpProgress::of(&first).expect("connected");
    of_first.ask().expect("it is there");
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a reset");
    drop(peer);
    let reset = (&first).read(&mut [0]).expect_err("the reset has come");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    drop(first);
    let again = connected_from(from, to);
    TcpProgress::of(&again)
        .expect("connected")
        .ask()
        .expect("told");
    let error = of_first.ask().expect_err("it is over");
    assert!(matches!(error, TcpProgressError::Refused(_)), "{error:?}");
}

fn connected_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_reuse_address(true).expect("set");
    socket.bind(&from.into()).expect("the address is free");
    socket.connect(&to.into()).expect("connected");
    socket.into()
}

#[test]
fn a_socket_without_a_connection_has_none() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let error = TcpProgress::of(&listener).expect_err("no peer");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

/// So a kernel that does not tell is known as soon as the connection is made, and is not asked in a moment of doubt.
#[test]
fn what_the_kernel_does_not_tell_of_has_none() {
    let here = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // It has two addresses and a name, but no connection of TCP is called so.
    let address = peer.local_addr().expect("bound");
    here.connect(address).expect("connected");
    let error = TcpProgress::of(&here).expect_err("no TCP");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let cause = error.get_ref().and_then(|e| e.downcast_ref());
    assert!(
        matches!(cause, Some(TcpProgressError::Refused(_))),
        "{error:?}"
    );
}
