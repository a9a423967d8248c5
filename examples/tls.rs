//! Sessions through TLS: the dialer, and a gateway to try it against.

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle};

use futures_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
    rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring},
};
use futures_util::future::{Either, select, try_join};
use iscsi_client::runtime::{
    BoxFuture, Dial, Dialer, Runtime, StreamTransport, Transport, TransportStream,
};
use iscsi_proto::portal::Host;
use smol::{
    LocalExecutor,
    channel::{Receiver, Sender},
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::failure::Failure;

/// Opens connections through TLS. The TCP connection below is the runtime's, so NIC binding and socket
/// options hold.
#[derive(Clone)]
pub struct TlsDialer {
    config: Arc<ClientConfig>,
    /// Whose certificate the gateway must show; `None`: that of the portal's host.
    server_name: Option<ServerName<'static>>,
}

impl TlsDialer {
    /// Trusts certificates that `ca` has signed, and no others.
    ///
    /// # Errors
    ///
    /// If there is no certificate among `ca`, or one that is none.
    pub fn new(
        ca: &[CertificateDer<'static>],
        server_name: Option<ServerName<'static>>,
    ) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate.clone()).map_err(Failure::new)?;
        }
        if roots.is_empty() {
            return Err(Failure::usage("--ca has no certificate in it"));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::new)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    fn server_name(&self, dial: &Dial) -> io::Result<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        match dial.portal.as_ref().map(|portal| &portal.host) {
            Some(Host::Name(name)) => ServerName::try_from(name.to_string())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error)),
            _ => Ok(ServerName::IpAddress(dial.address.ip().into())),
        }
    }
}

impl fmt::Debug for TlsDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsDialer({:?})", self.server_name)
    }
}

impl Dialer for TlsDialer {
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let connecting = runtime.connect(dial);
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let name = self.server_name(dial);
        Box::pin(async move {
            let name = name?;
            let below = connecting.await?;
            let (local, warning) = (below.local_addr(), below.bind_warning());
            let progress = below.progress_source();
            let tls = connector.connect(name, TransportStream::new(below)).await?;
            let transport = StreamTransport::new(tls)
                .on_abort(|tls: &mut TlsStream<TransportStream>| {
                    // A reset, so that no write of a lost path arrives later.
                    tls.get_mut().0.transport_mut().abort();
                })
                .with_local_addr(local)
                .with_bind_warning(warning)
                .with_progress_source(progress);
            Ok(Box::new(transport) as Box<dyn Transport>)
        })
    }
}

/// The certificates in a PEM file.
///
/// # Errors
///
/// If it cannot be read or is not PEM.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |error: futures_rustls::pki_types::pem::Error| {
        let shown = file.display();
        Failure::new(format_args!("cannot read {shown}: {error}; check --ca"))
    };
    CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// Ends TLS and passes on to one target, as stunnel does; on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    /// Closed by being dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Listens on a free port of the loopback, with a certificate for `localhost` and `127.0.0.1` that
    /// it makes itself.
    ///
    /// # Errors
    ///
    /// If there is no such certificate or port.
    pub fn start(target: SocketAddr) -> Result<Self, Failure> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(Failure::new)?;
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::new)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], PrivateKeyDer::from(key))
            .map_err(Failure::new)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Failure::new)?;
        let address = listener.local_addr().map_err(Failure::new)?;
        let listener = smol::Async::new(listener).map_err(Failure::new)?.into();
        let (stop, stopped) = smol::channel::bounded(1);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let thread = std::thread::Builder::new()
            .name("tls-gateway".into())
            .spawn(move || serve(&listener, &acceptor, target, &stopped))
            .map_err(Failure::new)?;
        Ok(Self {
            address,
            certificate,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate, which is its own authority.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic has already been printed.
            drop(thread.join());
        }
    }
}

fn serve(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    target: SocketAddr,
    stopped: &Receiver<()>,
) {
    let executor = LocalExecutor::new();
    let accepting = async {
        // Ends when the listener does; what one connection runs into is its own affair.
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let connection = async move {
                if let Err(error) = forward(client, &acceptor, target).await {
                    eprintln!("gateway: {error}");
                }
            };
            executor.spawn(connection).detach();
        }
    };
    smol::block_on(executor.run(async {
        let stopping = std::pin::pin!(stopped.recv());
        match select(stopping, std::pin::pin!(accepting)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }));
}

async fn forward(client: TcpStream, acceptor: &TlsAcceptor, target: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let tls = acceptor.accept(client).await?;
    let target = TcpStream::connect(target).await?;
    target.set_nodelay(true)?;
    let (from_client, to_client) = smol::io::split(tls);
    let there = relay(from_client, target.clone());
    try_join(there, relay(target, to_client)).await?;
    Ok(())
}

/// Passes bytes on until their end. Flushes each time: TLS keeps what the socket did not take at once.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buf = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buf).await?;
        if n == 0 {
            return to.close().await;
        }
        to.write_all(&buf[..n]).await?;
        to.flush().await?;
    }
}
