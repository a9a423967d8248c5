//! The byte stream of each runtime adapter, bare and as the stream adapters wrap it, against sockets of
//! the standard library.

#![cfg(any(feature = "tokio", feature = "smol"))]

#[path = "support/layers.rs"]
mod layers;
mod support;

use std::{
    future::{Future, poll_fn},
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use iscsi_client::runtime::{Dial, Runtime, SocketOptionError, TcpKeepalive, Transport};
use layers::Layer;
use support::on_each_runtime;

/// Runs `body` with every kind of transport under every runtime.
fn on_each_transport<F: Future<Output = ()>>(body: impl Fn(Arc<dyn Runtime>, Layer) -> F) {
    for layer in Layer::ALL {
        on_each_runtime(|runtime| body(runtime, *layer));
    }
}

/// A connection and the other end of it, a blocking socket of the standard library.
async fn connected(runtime: &dyn Runtime, layer: Layer) -> (Box<dyn Transport>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dial = Dial::new(listener.local_addr().unwrap());
    let transport = runtime.connect(&dial).await.unwrap();
    (layer.wrap(transport), listener.accept().unwrap().0)
}

async fn read(transport: &mut dyn Transport, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    poll_fn(|cx| transport.poll_read_vectored(cx, bufs)).await
}

async fn write(transport: &mut dyn Transport, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    poll_fn(|cx| transport.poll_write_vectored(cx, bufs)).await
}

#[test]
fn one_read_fills_several_buffers_in_order() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        peer.write_all(b"headerpayload").unwrap();
        let (mut first, mut second, mut rest) = ([0; 6], [0; 7], [0; 8]);
        let mut bufs = [
            IoSliceMut::new(&mut first),
            IoSliceMut::new(&mut []),
            IoSliceMut::new(&mut second),
            IoSliceMut::new(&mut rest),
        ];
        assert_eq!(read(&mut *transport, &mut bufs).await.unwrap(), 13);
        assert_eq!((&first, &second), (b"header", b"payload"));
    });
}

#[test]
fn one_write_takes_several_buffers_in_order() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        let bufs = [
            IoSlice::new(b"header"),
            IoSlice::new(b""),
            IoSlice::new(b"payload"),
        ];
        let first = write(&mut *transport, &bufs).await.unwrap();
        if !matches!(layer, Layer::OneBuffer | Layer::Buffered) {
            assert_eq!(first, 13);
        } else {
            assert_eq!(first, 6);
            let rest = write(&mut *transport, &bufs[2..]).await.unwrap();
            assert_eq!(rest, 7);
        }
        let mut seen = [0; 13];
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"headerpayload");
    });
}

#[test]
fn more_buffers_than_a_system_call_takes_are_taken_in_parts() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        let pieces = vec![IoSlice::new(b"ab"); 3000];
        let mut sent = 0;
        while sent < 6000 {
            assert_eq!(sent % 2, 0, "small writes to an idle peer are not torn");
            sent += write(&mut *transport, &pieces[sent / 2..]).await.unwrap();
        }
        let mut seen = [0; 6000];
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(seen, *b"ab".repeat(3000));

        peer.write_all(&seen).unwrap();
        let mut back = vec![0; 6000];
        let mut received = 0;
        while received < 6000 {
            let mut bufs: Vec<_> = back[received..]
                .chunks_mut(2)
                .map(IoSliceMut::new)
                .collect();
            received += read(&mut *transport, &mut bufs).await.unwrap();
        }
        assert_eq!(back, seen);
    });
}

/// Megabytes in both directions at once, with short reads and short writes all along: a lost wake-up
/// anywhere would hang this.
#[test]
fn both_directions_stream_at_once_without_losing_a_wake_up() {
    const TOTAL: usize = 8 << 20;
    on_each_transport(async |runtime, layer| {
        let (mut transport, peer) = connected(&*runtime, layer).await;
        let mut source = peer.try_clone().unwrap();
        let mut sink = peer;
        let pattern: Vec<u8> = (0..=250).cycle().take(TOTAL).collect();
        let expected = pattern.clone();
        let sender = std::thread::spawn({
            let pattern = pattern.clone();
            // Odd lengths, so that nearly every read of the transport is short.
            move || pattern.chunks(60_001).try_for_each(|c| source.write_all(c))
        });
        let receiver = std::thread::spawn(move || {
            let mut seen = vec![0; TOTAL];
            sink.read_exact(&mut seen).map(|()| seen)
        });
        let mut back = vec![0; TOTAL];
        let (mut sent, mut received) = (0, 0);
        poll_fn(|cx| {
            loop {
                let mut progress = false;
                if sent < TOTAL {
                    let (head, tail) = pattern[sent..].split_at((TOTAL - sent).min(48));
                    let bufs = [IoSlice::new(head), IoSlice::new(tail)];
                    if let Poll::Ready(n) = transport.poll_write_vectored(cx, &bufs) {
                        sent += n.unwrap();
                        progress = true;
                    }
                }
                if received < TOTAL {
                    let room = (TOTAL - received).min(100_000);
                    let (head, tail) = back[received..][..room].split_at_mut(room.min(48));
                    let mut bufs = [IoSliceMut::new(head), IoSliceMut::new(tail)];
                    if let Poll::Ready(n) = transport.poll_read_vectored(cx, &mut bufs) {
                        let n = n.unwrap();
                        assert_ne!(n, 0, "the stream ended early");
                        received += n;
                        progress = true;
                    }
                }
                match (sent == TOTAL && received == TOTAL, progress) {
                    (true, _) => return Poll::Ready(()),
                    (false, false) => return Poll::Pending,
                    (false, true) => {}
                }
            }
        })
        .await;
        // What a layer still holds goes out with this, or while the session reads on.
        poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
        sender.join().unwrap().unwrap();
        assert!(receiver.join().unwrap().unwrap() == expected);
        assert!(back == expected);
    });
}

#[test]
fn the_end_of_the_stream_is_seen_behind_the_last_bytes() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        peer.write_all(b"bye").unwrap();
        drop(peer);
        let mut buf = [0; 64];
        for expected in [3, 0, 0] {
            let mut bufs = [IoSliceMut::new(&mut buf)];
            assert_eq!(read(&mut *transport, &mut bufs).await.unwrap(), expected);
        }
    });
}

#[test]
fn closing_delivers_what_was_written_and_still_reads() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        write(&mut *transport, &[IoSlice::new(b"logout")])
            .await
            .unwrap();
        poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
        let mut seen = Vec::new();
        assert_eq!(peer.read_to_end(&mut seen).unwrap(), 6);
        peer.write_all(b"ok").unwrap();
        let mut buf = [0; 8];
        let mut bufs = [IoSliceMut::new(&mut buf)];
        assert_eq!(read(&mut *transport, &mut bufs).await.unwrap(), 2);
    });
}

#[test]
fn abort_throws_away_what_is_unsent_and_resets_the_peer() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, mut peer) = connected(&*runtime, layer).await;
        // Until nothing more fits: the tail of this is still in our send buffer.
        let megabyte = vec![7; 1 << 20];
        let mut sent = 0;
        poll_fn(|cx| {
            while let Poll::Ready(n) = transport.poll_write_vectored(cx, &[IoSlice::new(&megabyte)])
            {
                sent += n.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        transport.abort();
        let mut seen = 0;
        let mut buf = vec![0; 1 << 20];
        let error = loop {
            match peer.read(&mut buf) {
                Ok(0) => panic!("closed in good order"),
                Ok(n) => seen += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(seen < sent, "{seen} of {sent} bytes arrived");

        assert_eq!(transport.local_addr(), None);
        let gone = write(&mut *transport, &[IoSlice::new(b"x")]).await;
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotConnected);
        let gone = read(&mut *transport, &mut [IoSliceMut::new(&mut buf)]).await;
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotConnected);
        transport.abort();
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    on_each_transport(async |runtime, layer| {
        let (mut transport, peer) = connected(&*runtime, layer).await;
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        let error = loop {
            match write(&mut *transport, &[IoSlice::new(b"x")]).await {
                Ok(_) => {}
                Err(error) => break error.kind(),
            }
        };
        assert!(matches!(
            error,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ));
    });
}

#[test]
fn a_refused_connection_is_refused() {
    on_each_runtime(async |runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = Dial::new(listener.local_addr().unwrap());
        drop(listener);
        let error = runtime.connect(&dial).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_portal_that_does_not_answer_times_out() {
    on_each_runtime(async |runtime| {
        // A listener whose queue is full drops every further SYN, as a dead portal does.
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let mut dial = Dial::new(listener.local_addr().unwrap().as_socket().unwrap());
        let _queued = TcpStream::connect(dial.address).unwrap();

        dial.timeout = Duration::from_millis(100);
        let before = runtime.now();
        let error = runtime.connect(&dial).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(runtime.now() - before >= dial.timeout);
        assert!(error.to_string().contains("within 100ms"), "{error}");
    });
}

#[test]
fn socket_options_are_taken() {
    on_each_runtime(async |runtime| {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let mut dial = Dial::new(listener.local_addr().unwrap());
        dial.options.receive_buffer = Some(1 << 16);
        dial.options.send_buffer = Some(1 << 16);
        dial.options.user_timeout = Some(Duration::from_secs(30));
        let seconds = Duration::from_secs;
        let keepalive = TcpKeepalive::new(seconds(60), seconds(5), 3).unwrap();
        dial.options.keepalive = Some(keepalive);
        dial.options.dscp = Some("af21".parse().unwrap());
        dial.options.priority = Some(3);
        let transport: Box<dyn Transport> = runtime.connect(&dial).await.unwrap();
        let (_, client) = listener.accept().unwrap();
        assert_eq!(transport.local_addr(), Some(client));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_option_that_the_kernel_refuses_is_a_typed_error() {
    on_each_runtime(async |runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut dial = Dial::new(listener.local_addr().unwrap());
        dial.options.congestion_control = Some("no-such-thing".into());
        let error = runtime.connect(&dial).await.unwrap_err();
        let typed = error.get_ref().unwrap().downcast_ref();
        let Some(SocketOptionError::Refused { option, .. }) = typed else {
            panic!("{error:?}")
        };
        assert_eq!(*option, "TCP_CONGESTION");
        assert!(error.to_string().contains("no-such-thing"), "{error}");
    });
}
