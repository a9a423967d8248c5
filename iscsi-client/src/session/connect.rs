//! From a portal to full feature phase.

use std::{
    error::Error as StdError,
    fmt,
    future::poll_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_proto::{
    Error as CoreError, Instant, TargetPortalGroupTag,
    error::Consequence,
    login::{LoggedIn, Login, LoginConfig, LoginOutcome},
    planted::Bug,
    portal::{Host, Portal},
};

use crate::{
    bind::{Bind, BindError, scope_id},
    credentials::CredentialRequest,
    error::{LoginError, LoginFailure},
    links::LinkMonitor,
    login_rate::{Limiter, Pace},
    runtime::{BoxFuture, Dial, Runtime, SocketOptionError, Transport, within},
    tap::{self, TappedConnection},
};

use super::{
    options::SessionOptions, progress::Progress, redirect::Redirection, reflection::Challenges,
    repeat::Repeating,
};

/// Makes logins, each like the first.
#[derive(Debug)]
pub(crate) struct Connector {
    runtime: Arc<dyn Runtime>,
    spec: Arc<Spec>,
    /// Where a permanent redirection has sent us.
    moved: Option<Moved>,
    /// A narrower offer that this target needs; see [`LoginConfig::narrowed_after`].
    narrowed: Option<LoginConfig>,
    /// Logins in a row for whose credentials the target did not let us in, and what the last one was told.
    refusals: u32,
    last_refusal: Option<LoginError>,
    limiter: Arc<Limiter>,
    /// Keeps the ISID from being used twice; `None` for discovery.
    claim: Option<Box<dyn Claim>>,
    /// Of the login that is under way.
    progress: Arc<Progress>,
}

/// What a session occupies while it may still log in: dropped when that is over.
pub(crate) trait Claim: fmt::Debug + Send + Sync {}

/// What a login is made from.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) portal: Portal,
    pub(crate) bind: Bind,
    pub(crate) login: LoginConfig,
    pub(crate) options: Arc<SessionOptions>,
    /// Our CHAP challenges in flight, of all sessions of the initiator.
    pub(crate) challenges: Arc<Challenges>,
    /// Tells of the carrier of the device that the session is bound to.
    pub(crate) links: Option<LinkMonitor>,
}

impl Spec {
    /// A connection, on which nothing was said yet.
    async fn connect(
        &self,
        runtime: &Arc<dyn Runtime>,
        portal: &Portal,
        address: SocketAddr,
    ) -> io::Result<Box<dyn Transport>> {
        let mut dial = Dial::new(address);
        dial.bind = self.bind.clone();
        dial.options = self.options.socket.clone();
        dial.timeout = self.options.connect_timeout;
        dial.portal = Some(portal.clone());
        let Some(dialer) = &self.options.dialer else {
            return runtime.connect(&dial).await;
        };
        let dialling = dialer.dial(runtime, &dial);
        let what = format!("dialling {address}");
        within(&**runtime, dial.timeout, what, dialling).await
    }
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
    pub(super) moved: Option<Moved>,
    /// Set if the target took only a narrower offer.
    pub(super) narrowed: Option<LoginConfig>,
    /// The redirections on the way there.
    pub(super) redirections: Vec<Redirection>,
    /// Carriers that had been lost when the login began; see [`LinkMonitor::is_lost_since`].
    pub(super) losses: u64,
}

/// A target that has moved for good.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    to: Portal,
    by: Sender,
}

/// Who sent us to a portal.
#[derive(Clone, Debug)]
struct Sender {
    portal: Portal,
    address: IpAddr,
}

/// Where a login begins, and what came before it.
struct Attempt {
    login: LoginConfig,
    portal: Portal,
    /// Unless it is the configured portal.
    sender: Option<Sender>,
    number: u32,
    last_failure: Option<LoginError>,
    progress: Arc<Progress>,
}

impl Connector {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        spec: Arc<Spec>,
        limiter: Arc<Limiter>,
        claim: Option<Box<dyn Claim>>,
    ) -> Self {
        Self {
            runtime,
            spec,
            moved: None,
            narrowed: None,
            refusals: 0,
            last_refusal: None,
            limiter,
            claim,
            progress: Arc::default(),
        }
    }

    /// The portal as configured.
    pub(super) fn portal(&self) -> &Portal {
        &self.spec.portal
    }

    /// Whether the login that is under way has had an answer, be it to a part of it.
    pub(super) fn is_answered(&self) -> bool {
        self.progress.is_answered()
    }

    /// Whether the login that is under way has asked somebody and has not had an answer.
    pub(super) fn is_unanswered(&self) -> bool {
        self.progress.is_unanswered()
    }

    /// Who tells of the carrier of the local end, and the device that this is now.
    pub(super) fn link(&self) -> Option<(&LinkMonitor, Arc<str>)> {
        let links = self.spec.links.as_ref()?;
        Some((links, self.spec.bind.device()?))
    }

    /// Who tells of carriers.
    pub(super) fn link_monitor(&self) -> Option<&LinkMonitor> {
        self.spec.links.as_ref()
    }

    /// A connection without a login, as the last login had one.
    pub(super) fn bare(&self, address: SocketAddr) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        let (runtime, spec) = (Arc::clone(&self.runtime), Arc::clone(&self.spec));
        Box::pin(async move { spec.connect(&runtime, &spec.portal, address).await })
    }

    /// A login that can be awaited by whoever owns the result, once its turn has come.
    pub(crate) fn log_in(&mut self, pace: Pace) -> BoxFuture<Result<Connected, LoginError>> {
        self.progress = Arc::default();
        let progress = Arc::clone(&self.progress);
        let turn = self.limiter.turn(pace);
        let spec = Arc::clone(&self.spec);
        let runtime: Arc<dyn Runtime> = match pace {
            // Whoever asks is told soon enough, by the timeout.
            Pace::Asked => Arc::clone(&self.runtime),
            Pace::Again | Pace::Repeat => Arc::new(Repeating {
                runtime: Arc::clone(&self.runtime),
                limiter: Arc::clone(&self.limiter),
                interval: spec.options.reconnect_interval,
            }),
        };
        let (portal, sender) = match &self.moved {
            Some(moved) => (moved.to.clone(), Some(moved.by.clone())),
            None => (spec.portal.clone(), None),
        };
        let mut login = self.narrowed.as_ref().unwrap_or(&spec.login).clone();
        let planted = spec.options.core.planted;
        login = login.with_planted(planted);
        if planted.has(Bug::ReconnectsAsAnother) && pace != Pace::Asked {
            let mut isid = login.isid();
            isid.0[5] ^= 0x80;
            login = login.with_isid(isid);
        }
        let attempt = Attempt {
            login,
            portal,
            sender,
            number: self.refusals.saturating_add(1),
            last_failure: self.last_refusal.clone(),
            progress,
        };
        Box::pin(async move {
            let _permit = turn.await;
            let losses = spec.links.as_ref().map_or(0, LinkMonitor::losses);
            let connected = connect(&runtime, &spec, attempt).await?;
            Ok(Connected {
                losses,
                ..connected
            })
        })
    }

    /// Starts the next login where the last successful one ended.
    pub(super) fn remember(&mut self, moved: Option<Moved>, narrowed: Option<LoginConfig>) {
        self.refusals = 0;
        self.last_refusal = None;
        self.moved = moved;
        if narrowed.is_some() {
            self.narrowed = narrowed;
        }
    }

    /// Starts the next login at the configured portal with the configured offer: where we were sent
    /// to may not be the answer any more.
    pub(super) fn failed(&mut self, error: &LoginError) {
        if error.is_of_credentials() {
            self.refusals = self.refusals.saturating_add(1);
            self.last_refusal = Some(error.clone());
        }
        self.moved = None;
        self.narrowed = None;
    }

    /// The session is over; its ISID may be used again.
    pub(super) fn release(&mut self) {
        self.claim = None;
    }
}

/// Logs in as `dead` does, with its name and ISID, but from the local end of `via` to its portal, which
/// is to be of portal group `group`; then drops that connection.
pub(super) async fn reinstate(
    runtime: &Arc<dyn Runtime>,
    limiter: &Arc<Limiter>,
    dead: &Spec,
    via: &Spec,
    group: TargetPortalGroupTag,
) -> Result<(), LoginError> {
    let mut portal = via.portal.clone();
    // Whatever the options say of portal groups, this is the one that is asked for.
    portal.tpgt = Some(group);
    let spec = Arc::new(Spec {
        portal,
        bind: via.bind.clone(),
        login: dead.login.clone().with_portal_group(Some(group)),
        options: Arc::clone(&dead.options),
        challenges: Arc::clone(&dead.challenges),
        links: None,
    });
    let mut connector = Connector::new(Arc::clone(runtime), spec, Arc::clone(limiter), None);
    let mut connected = connector.log_in(Pace::Asked).await?;
    // No logout: nothing was said on it, and to end it this way is quicker.
    connected.transport.abort();
    Ok(())
}

/// What came of one portal.
enum Arrival {
    Connected(Box<Connected>),
    Redirected {
        portal: Portal,
        permanent: bool,
        /// Who says so.
        address: IpAddr,
    },
}

async fn connect(
    runtime: &Arc<dyn Runtime>,
    spec: &Spec,
    attempt: Attempt,
) -> Result<Connected, LoginError> {
    let policy = &spec.options.redirect;
    let mut portal = attempt.portal.clone();
    let mut sender = attempt.sender.clone();
    let mut redirections: Vec<Redirection> = Vec::new();
    loop {
        let arrival = arrive(runtime, spec, &attempt, &portal, sender.as_ref()).await;
        // Whoever has sent us here has answered.
        let is_first = redirections.is_empty();
        let arrival = arrival.map_err(|error| {
            let unanswered = is_first && error.is_unanswered();
            error.with_unanswered(unanswered)
        })?;
        let (to, permanent, address) = match arrival {
            Arrival::Connected(mut connected) => {
                // A permanent redirection behind a temporary one is not permanent for us. Without any,
                // it began where an earlier one led, if there was one, and stays there.
                let permanent = redirections.iter().all(|hop| hop.permanent);
                let moved = sender.filter(|_| permanent && portal != spec.portal);
                connected.moved = moved.map(|by| Moved { to: portal, by });
                connected.redirections = redirections;
                return Ok(*connected);
            }
            Arrival::Redirected {
                portal,
                permanent,
                address,
            } => (portal, permanent, address),
        };
        let hops = u32::try_from(redirections.len()).unwrap_or(u32::MAX);
        let redirection = Redirection {
            from: portal.clone(),
            to: to.clone(),
            permanent,
            hop: hops.saturating_add(1),
        };
        let seen = |known: &Portal| (&known.host, known.port) == (&to.host, to.port);
        // A name is looked at when it is resolved; an address before anybody is asked for credentials
        // on its account.
        let addressed = to.host.address();
        let is_reached = addressed.is_none_or(|to| policy.reaches(address, to));
        let failure = if !policy.allows(&redirection) || !is_reached {
            LoginFailure::RedirectRefused { to }
        } else if seen(&portal) || redirections.iter().any(|hop| seen(&hop.from)) {
            LoginFailure::RedirectLoop
        } else if hops >= policy.max_hops {
            LoginFailure::TooManyRedirects(policy.max_hops)
        } else {
            sender = Some(Sender { portal, address });
            portal = to;
            redirections.push(redirection);
            continue;
        };
        return Err(LoginError::new(portal, failure));
    }
}

/// What to log in to `portal` with.
enum Terms {
    Known(Box<LoginConfig>),
    /// Somebody has to be asked, who takes his time.
    Asked(BoxFuture<Result<LoginConfig, LoginFailure>>),
}

/// What to log in to `portal` with, if that is known at once.
async fn prepare(
    runtime: &Arc<dyn Runtime>,
    spec: &Spec,
    attempt: &Attempt,
    portal: &Portal,
) -> Result<Terms, LoginFailure> {
    let mut login = attempt.login.clone();
    if spec.options.require_portal_group {
        login = login.with_portal_group(portal.tpgt);
    }
    let Some(provider) = &spec.options.credentials else {
        return Ok(Terms::Known(Box::new(login)));
    };
    let request = CredentialRequest {
        target: login.target_name().cloned(),
        portal: portal.clone(),
        attempt: attempt.number,
        last_failure: attempt.last_failure.clone(),
    };
    let (runtime, provider) = (Arc::clone(runtime), Arc::clone(provider));
    let mut asked: BoxFuture<_> = Box::pin(async move {
        let mut asked = provider.credentials(&request);
        let mut timer = runtime.new_timer(runtime.now() + login.limits().timeout);
        let answer = poll_fn(|cx| match asked.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| Err(Timeout.into())),
        });
        match answer.await {
            Ok(authentication) => Ok(login.with_authentication(authentication)),
            Err(why) => Err(LoginFailure::Credentials(why.into())),
        }
    });
    match poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await {
        Poll::Ready(answer) => answer.map(|login| Terms::Known(Box::new(login))),
        Poll::Pending => Ok(Terms::Asked(asked)),
    }
}

/// The provider of credentials took too long.
#[derive(Debug, thiserror::Error)]
#[error("the provider did not answer in time")]
struct Timeout;

/// Tries all addresses of a portal to which `sender` may send us, in order, until one gives a definite
/// answer.
async fn arrive(
    runtime: &Arc<dyn Runtime>,
    spec: &Spec,
    from: &Attempt,
    portal: &Portal,
    sender: Option<&Sender>,
) -> Result<Arrival, LoginError> {
    let fail = |failure| LoginError::new(portal.clone(), failure);
    let mut addresses = resolve(&**runtime, spec, portal).await.map_err(fail)?;
    if let (Some(sender), false) = (sender, addresses.is_empty()) {
        // Not before: a name may lead anywhere, and elsewhere than it did before.
        let policy = &spec.options.redirect;
        addresses.retain(|to| policy.reaches(sender.address, to.ip()));
        if addresses.is_empty() {
            let to = portal.clone();
            let refused = LoginFailure::RedirectRefused { to };
            return Err(LoginError::new(sender.portal.clone(), refused));
        }
    }
    let mut last = LoginFailure::Resolve(Arc::new(io::ErrorKind::NotFound.into()));
    let mut unanswered = true;
    let mut prepared = None;
    let mut narrowed = None;
    for address in addresses {
        loop {
            from.progress.ask();
            let mut transport = match spec.connect(runtime, portal, address).await {
                Ok(transport) => transport,
                Err(error) => {
                    last = connect_failure(error);
                    break;
                }
            };
            unanswered = false;
            // Not before: whoever gives the credentials is not asked for a portal that is not there.
            let login = match &prepared {
                Some(login) => login,
                None => match prepare(runtime, spec, from, portal).await {
                    Ok(Terms::Known(login)) => &*prepared.insert(*login),
                    // A target has few connections for those who say nothing, and not for long.
                    Ok(Terms::Asked(answer)) => {
                        transport.abort();
                        drop(transport);
                        from.progress.rest();
                        prepared = Some(answer.await.map_err(fail)?);
                        continue;
                    }
                    Err(failure) => {
                        transport.abort();
                        return Err(fail(failure));
                    }
                },
            };
            let login = narrowed.as_ref().unwrap_or(login);
            match attempt(runtime, spec, from, login, portal, address, transport).await {
                Ok(Arrival::Connected(mut connected)) => {
                    connected.narrowed = narrowed;
                    return Ok(Arrival::Connected(connected));
                }
                Ok(redirected) => return Ok(redirected),
                Err(failure) => last = failure,
            }
            // Each narrowing leaves less to narrow, so this comes to an end.
            match &last {
                LoginFailure::Protocol(error) => match login.narrowed_after(error) {
                    Some(narrower) => narrowed = Some(narrower),
                    None => break,
                },
                _ => break,
            }
        }
        // Another address of the same portal is the same target: what it refused, it refuses there.
        if matches!(&last, LoginFailure::Protocol(e) if e.consequence() == Consequence::GiveUp) {
            break;
        }
    }
    Err(fail(last).with_unanswered(unanswered))
}

/// A connection with a login that may be given up at any moment. What was sent then is not to be delivered later: it
/// would end the session that has logged in with the same ISID by then.
struct Unfinished<'a> {
    transport: &'a mut dyn Transport,
    is_over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.transport.abort();
        }
    }
}

/// One login over one connection.
async fn attempt(
    runtime: &Arc<dyn Runtime>,
    spec: &Spec,
    from: &Attempt,
    login: &LoginConfig,
    portal: &Portal,
    address: SocketAddr,
    transport: Box<dyn Transport>,
) -> Result<Arrival, LoginFailure> {
    let (mut transport, tap) = match &spec.options.tap {
        None => (transport, None),
        Some(tap) => {
            let connection = TappedConnection {
                local: transport.local_addr(),
                remote: address,
                bind: &spec.bind,
                portal,
                target: login.target_name(),
            };
            tap::wrap(&**tap, runtime, transport, &connection)
        }
    };
    let mut unfinished = Unfinished {
        transport: &mut *transport,
        is_over: false,
    };
    let login = log_in(&**runtime, spec, from, unfinished.transport, login.clone());
    let outcome = login.await;
    unfinished.is_over = true;
    drop(unfinished);
    let failure = match outcome {
        Ok(LoginOutcome::Complete(logged_in)) => {
            if let Some(tap) = tap {
                tap.logged_in(runtime.now(), &logged_in);
            }
            return Ok(Arrival::Connected(Box::new(Connected {
                logged_in,
                transport,
                portal: portal.clone(),
                address,
                moved: None,
                narrowed: None,
                redirections: Vec::new(),
                losses: 0,
            })));
        }
        Ok(LoginOutcome::Redirect {
            portal, permanent, ..
        }) => {
            return Ok(Arrival::Redirected {
                portal,
                permanent,
                address: address.ip(),
            });
        }
        Ok(LoginOutcome::Failed(error)) => LoginFailure::Protocol(error),
        Ok(LoginOutcome::Pending(_)) => LoginFailure::Protocol(CoreError::Closed),
        Err(failure) => failure,
    };
    transport.abort();
    Err(failure)
}

/// Which end is to blame. The kind alone would not tell: `AddrNotAvailable` is also what a host says
/// that has run out of ports, and `PermissionDenied` what a local firewall makes of a connect.
fn connect_failure(error: io::Error) -> LoginFailure {
    let is_local = |inner: &(dyn StdError + Send + Sync + 'static)| {
        inner.is::<BindError>() || inner.is::<SocketOptionError>()
    };
    if error.get_ref().is_some_and(is_local) {
        LoginFailure::Bind(error.into())
    } else {
        LoginFailure::Connect(error.into())
    }
}

/// The addresses of a portal that can be reached from the session's local end, each once, in the order
/// in which they are tried.
async fn resolve(
    runtime: &dyn Runtime,
    spec: &Spec,
    portal: &Portal,
) -> Result<Vec<SocketAddr>, LoginFailure> {
    let port = portal.port;
    let mut addresses: Vec<SocketAddr> = match &portal.host {
        Host::V4(addr) => vec![SocketAddr::new(IpAddr::V4(*addr), port)],
        Host::V6 { addr, zone: None } => vec![SocketAddr::new(IpAddr::V6(*addr), port)],
        Host::V6 {
            addr,
            zone: Some(zone),
        } => {
            let scope = scope_id(zone).map_err(|error| LoginFailure::Bind(error.into()))?;
            vec![SocketAddrV6::new(*addr, port, 0, scope).into()]
        }
        Host::Name(name) => {
            let limit = spec.options.connect_timeout;
            let what = format!("resolving {name}");
            let found = within(runtime, limit, what, runtime.resolve(name)).await;
            let found = found.map_err(|error| LoginFailure::Resolve(error.into()))?;
            let mut addresses = Vec::with_capacity(found.len());
            for ip in found {
                let address = SocketAddr::new(ip, port);
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            addresses
        }
    };
    // A storage network often has names with addresses of both families and NICs with only one.
    if let Bind::Address(source) = spec.bind {
        let reachable = |address: &SocketAddr| address.is_ipv4() == source.is_ipv4();
        if let (false, Some(first)) = (addresses.iter().any(reachable), addresses.first()) {
            let mismatch = BindError::FamilyMismatch {
                address: source,
                portal: first.ip(),
            };
            return Err(LoginFailure::Bind(Arc::new(mismatch.into())));
        }
        addresses.retain(reachable);
    }
    Ok(addresses)
}

/// Drives a login over a fresh connection to its end.
async fn log_in(
    runtime: &dyn Runtime,
    spec: &Spec,
    from: &Attempt,
    transport: &mut dyn Transport,
    config: LoginConfig,
) -> Result<LoginOutcome, LoginFailure> {
    let epoch = runtime.now();
    let now = || Instant::ZERO.saturating_add(runtime.now().saturating_duration_since(epoch));
    let timeout = config.limits().timeout;
    let mut login = Login::new(config, now(), &mut |bytes| runtime.fill_random(bytes));
    let mut timer = runtime.new_timer(epoch + timeout);
    let mut in_flight = None;
    let step = poll_fn(|cx| {
        while login.is_pending() {
            if let (None, Some((ours, theirs))) = (&in_flight, login.chap_challenges()) {
                let entered = spec.challenges.enter(ours, theirs);
                in_flight = Some(entered.map_err(|why| LoginFailure::Protocol(why.into()))?);
            }
            match exchange(&mut login, transport, cx, now()) {
                Ok(Exchanged::Read) => from.progress.heard(),
                Ok(Exchanged::Written) => {}
                Ok(Exchanged::Nothing) => {
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

/// What an [`exchange`] did.
enum Exchanged {
    Written,
    Read,
    /// The transport has nothing for us, and will wake us.
    Nothing,
}

/// One write or read.
fn exchange(
    login: &mut Login,
    transport: &mut dyn Transport,
    cx: &mut Context<'_>,
    now: Instant,
) -> Result<Exchanged, LoginFailure> {
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
            return Ok(Exchanged::Written);
        }
    }
    let mut slices = [IoSliceMut::new(login.recv_buf())];
    match transport.poll_read_vectored(cx, &mut slices) {
        Poll::Pending => Ok(Exchanged::Nothing),
        Poll::Ready(read) => {
            let n = read.map_err(io)?;
            login.handle_recv(now, n).map_err(LoginFailure::Protocol)?;
            Ok(Exchanged::Read)
        }
    }
}
