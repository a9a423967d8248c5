//! Sessions over connections that the caller made.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};

use crate::{
    layers::Layer,
    support::{TARGET, World, address, assert_pattern, read, to, write},
};
use iscsi_client::{
    bind::{Bind, BindError},
    error::LoginFailure,
    initiator::SessionTarget,
    runtime::{BoxFuture, Dial, Dialer, Runtime, StreamTransport, Transport, TransportStream},
    session::SessionOptions,
};
use iscsi_proto::portal::Portal;
use iscsi_testkit::sim::Link;

/// Wraps what the runtime connects.
#[derive(Debug)]
struct LayerDialer(Layer);

impl Dialer for LayerDialer {
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let (layer, connecting) = (self.0, runtime.connect(dial));
        Box::pin(async move { Ok(layer.wrap(connecting.await?)) })
    }
}

fn dialled(dialer: impl Dialer) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.dialer = Some(Arc::new(dialer));
    options
}

#[test]
fn a_session_does_not_notice_the_layers_of_its_connection() {
    for layer in Layer::ALL {
        let world = World::new(11);
        let session = world.connect(dialled(LayerDialer(*layer)));
        world.sim.block_on(async {
            assert_pattern(session.execute(read(0, 4096)).await, 0);
            let data = vec![7; 2000 * 512];
            session.execute(write(9000, data)).await.result.unwrap();
            // Lost and found: the next connection is the dialer's too.
            let seen = session.status().generation;
            world.sim.net().reset(Link::to(address()));
            session.changed(seen).await;
            session.wait_up().await.unwrap();
            assert_pattern(session.execute(read(64, 2048)).await, 64);
            session.close().await;
        });
        world.assert_clean();
        assert_eq!(world.target.core().sessions(), 0, "{layer:?}");
        let mut medium = vec![0; 2000 * 512];
        world.target.core().peek(0, 9000 * 512, &mut medium);
        assert!(medium.iter().all(|byte| *byte == 7));
    }
}

/// Keeps what it was asked for, and never answers.
#[derive(Debug, Default)]
struct Silent {
    asked: Arc<Mutex<Vec<Dial>>>,
    dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Dialer for Silent {
    fn dial(&self, _: &Arc<dyn Runtime>, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.asked.lock().unwrap().push(dial.clone());
        let guard = CountDrop(Arc::clone(&self.dropped));
        Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        })
    }
}

#[test]
fn a_dialer_has_its_time_for_each_address_and_knows_the_portal() {
    let world = World::new(12);
    let addresses = ["10.0.0.7", "fd00::7", "10.0.0.7", "10.0.0.8"];
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    world.sim.net().add_host("storage", &addresses);
    let silent = Silent::default();
    let (asked, dropped) = (Arc::clone(&silent.asked), Arc::clone(&silent.dropped));
    let mut options = dialled(silent);
    options.connect_timeout = Duration::from_secs(3);
    options.socket.mark = Some(5);
    let initiator = world.builder().options(options).build();
    let portal: Portal = "storage:3261".parse().unwrap();
    let bind: Bind = "10.0.0.99".parse().unwrap();
    let to = SessionTarget::new(TARGET.parse().unwrap(), portal.clone()).with_bind(bind.clone());
    let before = world.sim.elapsed();
    let error = world.sim.block_on(initiator.connect(&to)).unwrap_err();
    let LoginFailure::Connect(error) = error.failure() else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let asked = asked.lock().unwrap();
    // No address twice, and none of another family than the source address has.
    let dialled: Vec<String> = asked.iter().map(|dial| dial.address.to_string()).collect();
    assert_eq!(dialled, ["10.0.0.7:3261", "10.0.0.8:3261"]);
    assert_eq!(world.sim.elapsed() - before, Duration::from_secs(6));
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    for dial in &*asked {
        assert_eq!(dial.portal.as_ref(), Some(&portal));
        assert_eq!(dial.bind, bind);
        assert_eq!(dial.options.mark, Some(5));
    }
}

#[test]
fn a_host_name_without_an_address_of_the_binds_family_is_a_typed_error() {
    let world = World::new(13);
    let addresses: [IpAddr; 1] = ["fd00::7".parse().unwrap()];
    world.sim.net().add_host("storage", &addresses);
    let initiator = world.builder().build();
    let bind: Bind = "10.0.0.99".parse().unwrap();
    let to = SessionTarget::new(TARGET.parse().unwrap(), "storage".parse().unwrap());
    let to = to.with_bind(bind);
    let connecting = initiator.connect_spawned(&to);
    let error = world.sim.block_on(connecting).unwrap_err();
    let LoginFailure::Bind(error) = error.failure() else {
        panic!("{error:?}")
    };
    let typed = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(matches!(typed, BindError::FamilyMismatch { .. }), "{typed}");
}

/// Refuses.
#[derive(Debug)]
struct Refusing;

impl Dialer for Refusing {
    fn dial(&self, _: &Arc<dyn Runtime>, _: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let why = "the proxy wants a password";
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::PermissionDenied, why)) })
    }
}

#[test]
fn what_a_dialer_says_reaches_the_caller() {
    let world = World::new(14);
    let initiator = world.builder().options(dialled(Refusing)).build();
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    assert!(error.to_string().contains("the proxy wants a password"));
}

/// A pipe in memory: one direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

const PIPE: usize = 10_000;

/// One end of two pipes.
#[derive(Clone, Debug)]
struct Duplex {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

fn duplex() -> (Duplex, Duplex) {
    let (incoming, outgoing) = (Arc::default(), Arc::default());
    let other = Duplex {
        incoming: Arc::clone(&outgoing),
        outgoing: Arc::clone(&incoming),
    };
    (Duplex { incoming, outgoing }, other)
}

impl AsyncRead for Duplex {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.incoming.lock().unwrap();
        let n = buf.len().min(pipe.bytes.len());
        if n == 0 && !pipe.closed {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (byte, from) in buf.iter_mut().zip(pipe.bytes.drain(..n)) {
            *byte = from;
        }
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.outgoing.lock().unwrap();
        let n = buf.len().min(PIPE - pipe.bytes.len());
        if n == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&buf[..n]);
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.outgoing.lock().unwrap();
        pipe.closed = true;
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

/// Sessions get one end of a pipe in memory; what comes out at the other goes to the target.
#[derive(Debug)]
struct InMemory;

impl Dialer for InMemory {
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let (ours, theirs) = duplex();
        let runtime = Arc::clone(runtime);
        let connecting = runtime.connect(dial);
        Box::pin(async move {
            let target = TransportStream::new(connecting.await?);
            runtime.spawn(Box::pin(shovel(target, theirs)));
            Ok(Box::new(StreamTransport::new(ours)) as Box<dyn Transport>)
        })
    }
}

/// Both directions in one task, until both have ended.
async fn shovel(mut target: TransportStream, pipe: Duplex) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    std::future::poll_fn(|cx| {
        let done_up = up.poll(cx, &mut pipe.clone(), &mut target);
        let done_down = down.poll_back(cx, &mut target, &mut pipe.clone());
        match done_up && done_down {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

#[derive(Debug, Default)]
struct Direction {
    held: Vec<u8>,
    ended: bool,
    closed: bool,
}

impl Direction {
    /// From the pipe to the target. True once it is over.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Duplex, to: &mut TransportStream) -> bool {
        self.run(
            cx,
            |cx, buf| Pin::new(&mut *from).poll_read(cx, buf),
            |cx, step| match step {
                Some(bytes) => to
                    .transport_mut()
                    .poll_write_vectored(cx, &[IoSlice::new(bytes)]),
                None => to.transport_mut().poll_close(cx).map_ok(|()| 0),
            },
        )
    }

    /// From the target to the pipe.
    fn poll_back(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TransportStream,
        to: &mut Duplex,
    ) -> bool {
        self.run(
            cx,
            |cx, buf| {
                let slices = &mut [IoSliceMut::new(buf)];
                from.transport_mut().poll_read_vectored(cx, slices)
            },
            |cx, step| match step {
                Some(bytes) => Pin::new(&mut *to).poll_write(cx, bytes),
                None => Pin::new(&mut *to).poll_close(cx).map_ok(|()| 0),
            },
        )
    }

    fn run(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
        mut write: impl FnMut(&mut Context<'_>, Option<&[u8]>) -> Poll<io::Result<usize>>,
    ) -> bool {
        loop {
            if self.closed {
                return true;
            }
            if !self.held.is_empty() {
                match write(cx, Some(&self.held)) {
                    Poll::Ready(Ok(n)) => drop(self.held.drain(..n)),
                    Poll::Ready(Err(_)) => self.closed = true,
                    Poll::Pending => return false,
                }
            } else if self.ended {
                match write(cx, None) {
                    Poll::Ready(_) => self.closed = true,
                    Poll::Pending => return false,
                }
            } else {
                let mut buf = [0; 4096];
                match read(cx, &mut buf) {
                    Poll::Ready(Ok(0) | Err(_)) => self.ended = true,
                    Poll::Ready(Ok(n)) => self.held.extend(&buf[..n]),
                    Poll::Pending => return false,
                }
            }
        }
    }
}

#[test]
fn a_session_lives_on_a_pipe_in_memory() {
    let world = World::new(15);
    let session = world.connect(dialled(InMemory));
    world.sim.block_on(async {
        assert_pattern(session.execute(read(0, 2048)).await, 0);
        let data = vec![9; 500 * 512];
        session.execute(write(4000, data)).await.result.unwrap();
        assert_pattern(session.execute(read(64, 8)).await, 64);
        session.close().await;
    });
    world.assert_clean();
    assert_eq!(world.target.core().sessions(), 0);
}
