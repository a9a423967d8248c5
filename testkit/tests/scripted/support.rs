//! The two worlds in which a script meets the real client: virtual time, and real TCP.

use std::{
    future::poll_fn,
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, select};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    initiator::{Initiator, InitiatorBuilder, SessionTarget},
    runtime::{Runtime, StreamTransport, TokioRuntime, TokioStream, Transport},
    session::{Payload, ScsiRequest, SessionOptions},
};
use iscsi_proto::scsi::{Cdb, Lun};
use iscsi_testkit::{
    scripted::{Complaints, Peer},
    sim::{SimHandle, SimListener, SimRuntime},
    target::{LunConfig, TargetConfig, TargetCore},
};
use tokio::net::TcpListener;

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const INITIATOR: &str = "iqn.2026-01.example:host";

/// Where the initiator connects to.
enum Listener {
    Simulated(SimListener),
    Tcp(TcpListener),
}

/// One portal, whose connections the row gets, and what connects to it.
pub(crate) struct World {
    listener: Listener,
    portal: SocketAddr,
    /// Of virtual time.
    sim: Option<SimHandle>,
    pub(crate) runtime: Arc<dyn Runtime>,
    complaints: Complaints,
    target: &'static str,
}

impl World {
    async fn new(sim: Option<SimHandle>, number: u8, complaints: Complaints) -> Self {
        let portal = SocketAddr::from(([10, 0, 0, number], 3260));
        Self::listening(sim, portal, complaints).await
    }

    /// Over TCP the address is that of a free port, whatever was wished for.
    async fn listening(sim: Option<SimHandle>, wished: SocketAddr, complaints: Complaints) -> Self {
        let (listener, portal, runtime): (_, _, Arc<dyn Runtime>) = match &sim {
            Some(sim) => {
                let portal = wished;
                let listener = Listener::Simulated(sim.net().listen(portal).unwrap());
                (listener, portal, Arc::new(sim.clone()))
            }
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let portal = listener.local_addr().unwrap();
                let runtime = Arc::new(TokioRuntime::current().unwrap());
                (Listener::Tcp(listener), portal, runtime)
            }
        };
        Self {
            listener,
            portal,
            sim,
            runtime,
            complaints,
            target: TARGET,
        }
    }

    /// The same with a portal of its own: for the `number`-th case of a row, which sessions of the others
    /// would else connect to.
    pub(crate) async fn case(&self, number: usize) -> Self {
        let number = u8::try_from(number + 2).expect("a row has less cases");
        Self::new(self.sim.clone(), number, self.complaints.clone()).await
    }

    /// Another portal beside this one, of a target that the row is not about.
    pub(crate) async fn beside(&self) -> Self {
        let at = SocketAddr::new(self.portal.ip(), 3261);
        let beside = Self::listening(self.sim.clone(), at, self.complaints.clone()).await;
        Self {
            target: "iqn.2026-01.example:beside",
            ..beside
        }
    }

    /// The same at a certain address, in virtual time.
    pub(crate) async fn at(&self, portal: SocketAddr) -> Self {
        assert!(self.is_simulated(), "over TCP the address is anybody's");
        Self::listening(self.sim.clone(), portal, self.complaints.clone()).await
    }

    /// What a host name means, in virtual time.
    pub(crate) fn add_host(&self, name: &str, addresses: &[IpAddr]) {
        let sim = self.sim.as_ref();
        sim.expect("a world of its own")
            .net()
            .add_host(name, addresses);
    }

    /// Whether its time is virtual, so that long waits cost nothing.
    pub(crate) const fn is_simulated(&self) -> bool {
        self.sim.is_some()
    }

    /// The next connection on which something is said; the row answers it by itself. (A client that has lost a
    /// session also opens connections on which it says nothing, to find out whether its nexus was taken.)
    pub(crate) async fn accept(&self) -> Peer {
        let (transport, said) = self.that_speaks().await;
        let runtime = Arc::clone(&self.runtime);
        let mut peer = Peer::new(transport, runtime, &self.complaints);
        peer.heard_already(&said);
        peer
    }

    /// The same, with a strict target behind it: see [`Self::core`].
    pub(crate) async fn accept_before(&self, core: &Arc<TargetCore>) -> Peer {
        let (transport, said) = self.that_speaks().await;
        let runtime = Arc::clone(&self.runtime);
        let mut peer = Peer::before(core, 0, transport, runtime, &self.complaints);
        peer.heard_already(&said);
        peer
    }

    async fn that_speaks(&self) -> (Box<dyn Transport>, Vec<u8>) {
        let mut silent: Vec<Box<dyn Transport>> = Vec::new();
        loop {
            let accept = pin!(self.accept_any());
            let speaks = poll_fn(|cx| poll_any(&mut silent, cx));
            match select(accept, speaks).await {
                Either::Left((transport, _)) => silent.push(transport),
                Either::Right((spoken, _)) => return spoken,
            }
        }
    }

    /// The next connection, whether or not something is said.
    pub(crate) async fn accept_any(&self) -> Box<dyn Transport> {
        match &self.listener {
            Listener::Simulated(listener) => Box::new(listener.accept().await),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let abort = |stream: &mut TokioStream<tokio::net::TcpStream>| {
                    let socket = socket2::SockRef::from(stream.get_ref());
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                };
                Box::new(StreamTransport::new(TokioStream::new(stream)).on_abort(abort))
            }
        }
    }

    /// A strict target with a disk of 1 MiB and no unit attention at first.
    pub(crate) fn core(&self) -> Arc<TargetCore> {
        self.core_with(|config| config)
    }

    /// The same, configured.
    pub(crate) fn core_with(
        &self,
        configure: impl FnOnce(TargetConfig) -> TargetConfig,
    ) -> Arc<TargetCore> {
        let mut config = TargetConfig::new(TARGET)
            .with_portal(self.portal, 1)
            .with_lun(LunConfig::new(0, 1 << 20));
        config.unit_attention = false;
        TargetCore::new(configure(config), &[self.portal])
    }

    pub(crate) fn builder(&self) -> InitiatorBuilder {
        Initiator::builder(INITIATOR.parse().unwrap(), Arc::clone(&self.runtime))
    }

    pub(crate) fn initiator(&self) -> Initiator {
        self.builder().build()
    }

    pub(crate) fn to(&self) -> SessionTarget {
        SessionTarget::new(self.target.parse().unwrap(), self.portal.into())
    }

    pub(crate) fn to_with(&self, options: SessionOptions) -> SessionTarget {
        self.to().with_options(options)
    }

    pub(crate) const fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// What was wrong so far. Whoever takes it has to look at it: the rest of the row starts anew.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.take()
    }
}

/// The first of these that brings bytes; those that end are dropped.
fn poll_any(
    transports: &mut Vec<Box<dyn Transport>>,
    cx: &mut Context<'_>,
) -> Poll<(Box<dyn Transport>, Vec<u8>)> {
    let mut room = [0; 16 * 1024];
    let mut at = 0;
    while at < transports.len() {
        let bufs = &mut [IoSliceMut::new(&mut room)];
        match transports[at].poll_read_vectored(cx, bufs) {
            Poll::Pending => at += 1,
            Poll::Ready(Ok(0) | Err(_)) => drop(transports.remove(at)),
            Poll::Ready(Ok(len)) => {
                return Poll::Ready((transports.remove(at), room[..len].to_vec()));
            }
        }
    }
    Poll::Pending
}

/// Runs a row in virtual time.
pub(crate) fn simulated<F: AsyncFnOnce(&World)>(row: F) {
    let sim = SimRuntime::new(1);
    sim.block_on(run(Some(sim.handle()), row));
}

/// Runs a row over TCP.
pub(crate) fn over_tcp<F: AsyncFnOnce(&World)>(row: F) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(run(None, row));
}

async fn run<F: AsyncFnOnce(&World)>(sim: Option<SimHandle>, row: F) {
    let world = World::new(sim, 1, Complaints::default()).await;
    row(&world).await;
    assert_eq!(world.complaints(), [""; 0], "the initiator broke a rule");
}

/// Two tests for each row: `ROW::simulated` and `ROW::over_tcp`.
macro_rules! rows {
    ($($row:ident;)+) => {
        $(
            mod $row {
                #[test]
                fn simulated() {
                    crate::support::simulated(super::$row);
                }

                #[test]
                fn over_tcp() {
                    crate::support::over_tcp(super::$row);
                }
            }
        )+
    };
}
pub(crate) use rows;

pub(crate) fn test_unit_ready() -> ScsiRequest {
    ScsiRequest::new(Lun::ZERO, Cdb::test_unit_ready(), Payload::None)
}

/// Reads `blocks` blocks of 512 bytes.
pub(crate) fn read(lba: u64, blocks: u32) -> ScsiRequest {
    let buf = ReadBuf::zeroed(blocks as usize * 512);
    ScsiRequest::new(Lun::ZERO, Cdb::read(lba, blocks, false), Payload::In(buf))
}

/// Writes whole blocks of 512 bytes.
pub(crate) fn write(lba: u64, data: Vec<u8>) -> ScsiRequest {
    let blocks = (data.len() / 512) as u32;
    let payload = Payload::Out(WriteBuf::from(data));
    ScsiRequest::new(Lun::ZERO, Cdb::write(lba, blocks, false), payload)
}
