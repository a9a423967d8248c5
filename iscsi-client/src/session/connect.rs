//! From a portal to full feature phase.

use std::{
    future::poll_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_proto::{
    Error as CoreError, Instant,
    error::Consequence,
    login::{LoggedIn, Login, LoginConfig, LoginOutcome},
    portal::{Host, Portal},
};

use crate::{
    bind::Bind,
    error::{LoginError, LoginFailure},
    initiator::IsidLease,
    runtime::{BoxFuture, Dial, Runtime, Transport},
};

use super::options::SessionOptions;

/// How many redirections are followed. A balancing target sends an initiator on once; two that send
/// it to each other must come to an end.
const MAX_HOPS: u32 = 4;

/// Makes logins, each like the first.
#[derive(Debug)]
pub(crate) struct Connector {
    runtime: Arc<dyn Runtime>,
    spec: Arc<Spec>,
    /// Where a permanent redirection has sent us.
    moved: Option<Portal>,
    /// Keeps the ISID from being used twice; `None` for discovery.
    lease: Option<IsidLease>,
}

/// What a login is made from.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) portal: Portal,
    pub(crate) bind: Bind,
    pub(crate) login: LoginConfig,
    pub(crate) options: Arc<SessionOptions>,
}

/// A connection in full feature phase.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(super) logged_in: LoggedIn,
    pub(super) transport: Box<dyn Transport>,
    /// The portal that took the login.
    pub(super) portal: Portal,
    pub(super) address: SocketAddr,
    /// Set if a permanent redirection led there.
    pub(super) moved: Option<Portal>,
}

impl Connector {
    pub(crate) const fn new(
        runtime: Arc<dyn Runtime>,
        spec: Arc<Spec>,
        lease: Option<IsidLease>,
    ) -> Self {
        Self {
            runtime,
            spec,
            moved: None,
            lease,
        }
    }

    /// A login that can be awaited by whoever owns the result.
    pub(crate) fn dial(&self) -> BoxFuture<Result<Connected, LoginError>> {
        let (runtime, spec) = (Arc::clone(&self.runtime), Arc::clone(&self.spec));
        let portal = self.moved.as_ref().unwrap_or(&spec.portal).clone();
        Box::pin(async move { connect(&*runtime, &spec, portal).await })
    }

    pub(super) fn remember(&mut self, moved: Option<Portal>) {
        self.moved = moved;
    }

    /// The session is over; its ISID may be used again.
    pub(super) fn release(&mut self) {
        self.lease = None;
    }
}

/// What came of one portal.
enum Arrival {
    Connected(Box<Connected>),
    Redirected { portal: Portal, permanent: bool },
}

async fn connect(
    runtime: &dyn Runtime,
    spec: &Spec,
    mut portal: Portal,
) -> Result<Connected, LoginError> {
    let mut moved = None;
    // A permanent redirection behind a temporary one is not permanent for us.
    let mut all_permanent = true;
    for _ in 0..=MAX_HOPS {
        match arrive(runtime, spec, &portal).await? {
            Arrival::Connected(mut connected) => {
                connected.moved = moved;
                return Ok(*connected);
            }
            Arrival::Redirected {
                portal: next,
                permanent,
            } => {
                all_permanent &= permanent;
                moved = all_permanent.then(|| next.clone());
                portal = next;
            }
        }
    }
    Err(LoginError::new(portal, LoginFailure::RedirectLoop))
}

/// Tries all addresses of a portal, in order, until one gives a definite answer.
async fn arrive(
    runtime: &dyn Runtime,
    spec: &Spec,
    portal: &Portal,
) -> Result<Arrival, LoginError> {
    let fail = |failure| LoginError::new(portal.clone(), failure);
    let addresses = resolve(runtime, portal)
        .await
        .map_err(|e| fail(LoginFailure::Resolve(e.into())))?;
    let mut last = LoginFailure::Resolve(Arc::new(io::ErrorKind::NotFound.into()));
    for address in addresses {
        let mut dial = Dial::new(address);
        dial.bind = spec.bind.clone();
        dial.options = spec.options.socket.clone();
        dial.timeout = spec.options.connect_timeout;
        let mut transport = match runtime.connect(&dial).await {
            Ok(transport) => transport,
            Err(error) => {
                last = connect_failure(error);
                continue;
            }
        };
        match log_in(runtime, &mut *transport, spec.login.clone()).await {
            Ok(LoginOutcome::Complete(logged_in)) => {
                let portal = portal.clone();
                let moved = None;
                let connected = Connected {
                    logged_in,
                    transport,
                    portal,
                    address,
                    moved,
                };
                return Ok(Arrival::Connected(Box::new(connected)));
            }
            Ok(LoginOutcome::Redirect {
                portal, permanent, ..
            }) => {
                return Ok(Arrival::Redirected { portal, permanent });
            }
            Ok(LoginOutcome::Failed(error)) => last = LoginFailure::Protocol(error),
            Ok(LoginOutcome::Pending(_)) => last = LoginFailure::Protocol(CoreError::Closed),
            Err(failure) => last = failure,
        }
        transport.abort();
        // Another address of the same portal is the same target: what it refused, it refuses there.
        if matches!(&last, LoginFailure::Protocol(e) if e.consequence() == Consequence::GiveUp) {
            break;
        }
    }
    Err(fail(last))
}

/// Which end is to blame: these kinds come from the local one only.
fn connect_failure(error: io::Error) -> LoginFailure {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => LoginFailure::Bind(error.into()),
        _ => LoginFailure::Connect(error.into()),
    }
}

async fn resolve(runtime: &dyn Runtime, portal: &Portal) -> io::Result<Vec<SocketAddr>> {
    let port = portal.port;
    Ok(match &portal.host {
        Host::V4(addr) => vec![SocketAddr::new(IpAddr::V4(*addr), port)],
        Host::V6 { addr, zone: None } => vec![SocketAddr::new(IpAddr::V6(*addr), port)],
        Host::V6 {
            addr,
            zone: Some(zone),
        } => {
            vec![SocketAddrV6::new(*addr, port, 0, scope_id(zone)?).into()]
        }
        Host::Name(name) => {
            let addresses = runtime.resolve(name).await?;
            addresses
                .into_iter()
                .map(|addr| SocketAddr::new(addr, port))
                .collect()
        }
    })
}

/// The number of an IPv6 zone: given as one, or the index of the device of that name. Read from
/// sysfs, since `if_nametoindex` would need `unsafe` or a dependency for this line.
fn scope_id(zone: &str) -> io::Result<u32> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    let index = std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex"))?;
    index
        .trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Drives a login over a fresh connection to its end.
async fn log_in(
    runtime: &dyn Runtime,
    transport: &mut dyn Transport,
    config: LoginConfig,
) -> Result<LoginOutcome, LoginFailure> {
    let epoch = runtime.now();
    let now = || Instant::ZERO.saturating_add(runtime.now().saturating_duration_since(epoch));
    let timeout = config.limits().timeout;
    let mut login = Login::new(config, now(), &mut |bytes| runtime.fill_random(bytes));
    let mut timer = runtime.new_timer(epoch + timeout);
    let step = poll_fn(|cx| {
        while login.is_pending() {
            match exchange(&mut login, transport, cx, now()) {
                Ok(true) => {}
                Ok(false) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    login
                        .handle_timeout(now())
                        .map_err(LoginFailure::Protocol)?;
                    timer.as_mut().reset(runtime.now() + timeout);
                }
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
        Poll::Ready(Ok(()))
    });
    step.await?;
    Ok(login.outcome())
}

/// One write or read. False if the transport has nothing for us, and will wake us.
fn exchange(
    login: &mut Login,
    transport: &mut dyn Transport,
    cx: &mut Context<'_>,
    now: Instant,
) -> Result<bool, LoginFailure> {
    let io = |error: io::Error| LoginFailure::Io(error.into());
    if !login.transmit().is_empty() {
        let slices = [IoSlice::new(login.transmit())];
        if let Poll::Ready(written) = transport.poll_write_vectored(cx, &slices) {
            let n = written.map_err(io)?;
            if n == 0 {
                return Err(io(io::ErrorKind::WriteZero.into()));
            }
            login
                .handle_transmitted(n)
                .map_err(LoginFailure::Protocol)?;
            return Ok(true);
        }
    }
    let mut slices = [IoSliceMut::new(login.recv_buf())];
    match transport.poll_read_vectored(cx, &mut slices) {
        Poll::Pending => Ok(false),
        Poll::Ready(read) => {
            let n = read.map_err(io)?;
            login.handle_recv(now, n).map_err(LoginFailure::Protocol)?;
            Ok(true)
        }
    }
}
