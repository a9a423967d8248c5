//! The initiator: who we are, towards every target.

mod builder;
mod snapshot;
mod table;
mod target;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, FutureExt, poll_fn, select};
use iscsi_proto::{
    ApiMisuse, Error as CoreError,
    login::{Authentication, LoginConfig},
    name::IscsiName,
    portal::Portal,
};

use crate::{
    bind::Bind,
    error::{LoginError, LoginFailure},
    links::LinkMonitor,
    login_rate::{Limiter, Pace},
    runtime::{BoxFuture, Runtime},
    session::{
        self, Driver, Session, SessionOptions,
        connect::{Claim, Connected, Connector, Spec},
        reflection::Challenges,
        tether::{Identity, Seed},
    },
};

pub use crate::login_rate::LoginRate;

use self::table::{Key, Lease, SessionTable, SharedLogin, Slot, Tenant, Terms};
pub use self::{
    builder::InitiatorBuilder,
    snapshot::{SessionSnapshot, SnapshotState},
    target::SessionTarget,
};

/// How much longer than its own time to close a session may take, before nobody waits for it any
/// more: a driver that is polled is done by then.
const CLOSE_SLACK: Duration = Duration::from_secs(1);

/// The initiator: made once by a program, and the origin of all its sessions. Clones are the same.
///
/// It holds what must be the same, or must differ, over all sessions: the name, credentials, which
/// sessions are open and under which ISIDs, and how fast logins follow each other. There is no
/// process-global state; two initiators of different names in one process are two hosts to a target.
#[derive(Clone, Debug)]
pub struct Initiator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Arc<dyn Runtime>,
    name: IscsiName,
    alias: Option<Arc<str>>,
    authentication: Authentication,
    discovery: Option<Authentication>,
    challenges: Arc<Challenges>,
    options: Arc<SessionOptions>,
    table: Arc<SessionTable>,
    limiter: Arc<Limiter>,
    links: Option<LinkMonitor>,
}

impl Initiator {
    /// An initiator of this name. There is no default name: two of one name that run at the same time,
    /// on two hosts or on one, take each other's sessions. Derive it from something that identifies
    /// the host or guest and survives a restart, and give each program of a host a name of its own.
    #[must_use]
    pub fn builder(name: IscsiName, runtime: Arc<dyn Runtime>) -> InitiatorBuilder {
        InitiatorBuilder {
            runtime,
            name,
            alias: None,
            authentication: Authentication::None,
            discovery: None,
            options: SessionOptions::default(),
            login_rate: LoginRate::default(),
            links: None,
        }
    }

    /// Our name.
    #[must_use]
    pub fn name(&self) -> &IscsiName {
        &self.0.name
    }

    /// The runtime that everything lives on.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    /// The session with this target in this slot: the one that is open, or a new one. It is shared by
    /// all who ask for it, for several logical units of one target say, and logs out once the last
    /// of them has dropped or [closed](Session::close) it. Its driver is spawned on the runtime.
    ///
    /// However many ask at the same time, there is one login. A session that is logging out is waited
    /// for.
    ///
    /// # Errors
    ///
    /// [`LoginError`]: which portal, what failed, and advice; all who waited for one login get the
    /// same. [`LoginFailure::SlotDiffers`] if the slot has a session with another portal, local end,
    /// authentication or other options. [`LoginFailure::SessionExists`] if it has one of
    /// [`connect`](Self::connect), whose driver somebody owns, so that it is not shared.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a login that others wait for goes on, driven by them. When the last of them has
    /// gone it is abandoned.
    pub async fn session(&self, to: &SessionTarget) -> Result<Session, LoginError> {
        let refuse = |failure| LoginError::new(to.portal.clone(), failure);
        let (key, terms) = self.terms(to)?;
        loop {
            let begin = |lease| self.begin(&key, &terms, lease);
            match self.0.table.share(&key, &terms, begin) {
                Slot::Login(login) => {
                    let founder = login.await?;
                    // Else it was closed in this very moment; look again.
                    if let Some(session) = Session::grown(&founder.seed()) {
                        return Ok(session);
                    }
                }
                Slot::Open(seed, tenant) => match Session::grown(&seed) {
                    Some(session) => return Ok(session),
                    None => self.await_exit(to, Some(&seed), &tenant).await?,
                },
                Slot::Taken(seed, tenant) => self.await_exit(to, seed.as_ref(), &tenant).await?,
                Slot::Vacating(tenant) => self.0.table.vacated(&tenant).await,
                Slot::Differs(difference) => {
                    return Err(refuse(LoginFailure::SlotDiffers(difference)));
                }
                Slot::Closed => return Err(refuse(LoginFailure::Closed)),
                // Not an answer to this question.
                Slot::Ours(_) => return Err(refuse(LoginFailure::SessionExists)),
            }
        }
    }

    /// Logs in, following redirects, and returns the session with the driver that makes it work: the
    /// caller polls or spawns it. Every address of the portal is tried; there is no second round.
    /// The session is the caller's alone; see [`session`](Self::session) for one that is shared.
    ///
    /// # Errors
    ///
    /// [`LoginError`]: which portal, what failed, and advice. A slot that is in use towards this
    /// target is refused ([`LoginFailure::SessionExists`]) before anything is sent: logging in with
    /// its ISID would end the other session. One that is logging out is waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt. A target that has already taken the login drops the
    /// session when it sees the connection end.
    pub async fn connect(&self, to: &SessionTarget) -> Result<(Session, Driver), LoginError> {
        let refuse = |failure| LoginError::new(to.portal.clone(), failure);
        let (key, terms) = self.terms(to)?;
        loop {
            match self.0.table.take(&key, &terms) {
                Slot::Ours(lease) => return self.log_in(key, terms, lease).await,
                Slot::Taken(seed, tenant) => self.await_exit(to, seed.as_ref(), &tenant).await?,
                Slot::Vacating(tenant) => self.0.table.vacated(&tenant).await,
                Slot::Closed => return Err(refuse(LoginFailure::Closed)),
                // Not answers to this question.
                Slot::Login(_) | Slot::Open(..) | Slot::Differs(_) => {
                    return Err(refuse(LoginFailure::SessionExists));
                }
            }
        }
    }

    /// As [`connect`](Self::connect), and the driver is spawned on the runtime.
    ///
    /// # Errors
    ///
    /// As `connect`.
    pub async fn connect_spawned(&self, to: &SessionTarget) -> Result<Session, LoginError> {
        let (session, driver) = self.connect(to).await?;
        self.0.runtime.spawn(Box::pin(driver));
        Ok(session)
    }

    /// Closes the initiator: whoever logs in from now on, or is about to, gets
    /// [`LoginFailure::Closed`], and every session logs out after the commands that are under way,
    /// whoever uses it. Ready when that is done, or when all sessions have had their
    /// [`close_timeout`](SessionOptions::close_timeout): a driver that nobody polls is not waited for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the initiator is closed from the first poll on, what remains is done in the
    /// background.
    pub async fn close(&self) {
        let table = &self.0.table;
        table.close();
        let patience = table.close_timeout() + CLOSE_SLACK;
        // Whether they were all gone in time is told by `sessions`.
        let _in_time = self.within(patience, table.emptied()).await;
    }

    /// Name and terms of the session that is asked for.
    fn terms(&self, to: &SessionTarget) -> Result<(Key, Terms), LoginError> {
        let inner = &*self.0;
        let isid = to.slot.isid(&inner.name).ok_or_else(|| {
            let error = CoreError::ApiMisuse(ApiMisuse::OutOfRange);
            LoginError::new(to.portal.clone(), LoginFailure::Protocol(error))
        })?;
        let own = || Arc::clone(&inner.options);
        let options = to.options.clone();
        let terms = Terms {
            portal: to.portal.clone(),
            bind: to.bind.clone(),
            slot: to.slot,
            authentication: to
                .authentication
                .as_ref()
                .unwrap_or(&inner.authentication)
                .clone(),
            options: options.map_or_else(own, |options| Arc::new(options.clamped())),
        };
        Ok(((to.target.clone(), isid), terms))
    }

    /// The login of a shared session, not yet begun.
    fn begin(&self, key: &Key, terms: &Terms, lease: Lease) -> SharedLogin {
        let (this, key, terms) = (self.clone(), key.clone(), terms.clone());
        let login: BoxFuture<Result<Session, LoginError>> = Box::pin(async move {
            let (session, driver) = this.log_in(key, terms, lease).await?;
            this.0.runtime.spawn(Box::pin(driver));
            Ok(session)
        });
        login.shared()
    }

    async fn log_in(
        &self,
        (target, isid): Key,
        terms: Terms,
        lease: Lease,
    ) -> Result<(Session, Driver), LoginError> {
        let login = LoginConfig::normal(self.0.name.clone(), target, isid)
            .with_authentication(terms.authentication);
        let record = lease.record();
        let portal = terms.portal.clone();
        let options = Some(terms.options);
        let (session, driver) = self
            .dial(login, terms.portal, terms.bind, options, Some(lease))
            .await?;
        if record.opened(session.seed()) {
            return Ok((session, driver));
        }
        Err(LoginError::new(portal, LoginFailure::Closed))
    }

    /// Waits for a session that is logging out; an error if it is not, or does not get done.
    async fn await_exit(
        &self,
        to: &SessionTarget,
        seed: Option<&Seed>,
        tenant: &Tenant,
    ) -> Result<(), LoginError> {
        let looked = seed.map(Seed::look);
        let leaves = looked.is_some_and(|looked| looked.is_none_or(|(_, _, leaving)| leaving));
        let patience = tenant.close_timeout + CLOSE_SLACK;
        if leaves && self.within(patience, self.0.table.vacated(tenant)).await {
            return Ok(());
        }
        let failure = LoginFailure::SessionExists;
        Err(LoginError::new(to.portal.clone(), failure))
    }

    /// Whether `future` is done in time.
    async fn within(&self, time: Duration, future: impl Future<Output = ()>) -> bool {
        let mut timer = self.0.runtime.new_timer(self.0.runtime.now() + time);
        let timer = poll_fn(|cx| timer.as_mut().poll(cx));
        matches!(select(pin!(future), timer).await, Either::Left(_))
    }

    /// Opens a session as `login` says, in no slot: for discovery.
    pub(crate) async fn open(
        &self,
        login: LoginConfig,
        portal: Portal,
        bind: Bind,
        options: Option<SessionOptions>,
    ) -> Result<(Session, Driver), LoginError> {
        let options = options.map(|options| Arc::new(options.clamped()));
        self.dial(login, portal, bind, options, None).await
    }

    async fn dial(
        &self,
        login: LoginConfig,
        portal: Portal,
        bind: Bind,
        options: Option<Arc<SessionOptions>>,
        lease: Option<Lease>,
    ) -> Result<(Session, Driver), LoginError> {
        let inner = &*self.0;
        let options = options.unwrap_or_else(|| Arc::clone(&inner.options));
        let mut login = options.configure(login);
        if let Some(alias) = &inner.alias {
            login = login.with_initiator_alias(alias);
        }
        let (target, isid) = (login.target_name().cloned(), login.isid());
        let spec = Arc::new(Spec {
            portal: portal.clone(),
            bind: bind.clone(),
            login,
            options: Arc::clone(&options),
            challenges: Arc::clone(&inner.challenges),
            links: inner.links.clone(),
        });
        let runtime = Arc::clone(&inner.runtime);
        let limiter = Arc::clone(&inner.limiter);
        let identity = Identity {
            initiator: inner.name.clone(),
            target,
            portal: portal.clone(),
            bind,
            isid,
            spec: Arc::clone(&spec),
            limiter: Arc::clone(&limiter),
        };
        let claim = lease.map(|lease| Box::new(lease) as Box<dyn Claim>);
        let mut connector = Connector::new(Arc::clone(&runtime), spec, limiter, claim);
        // The close is looked at first, so that a closed initiator does not dial.
        let closed = pin!(inner.table.closed());
        let connected: Connected = match select(closed, connector.log_in(Pace::Asked)).await {
            Either::Left(_) => return Err(LoginError::new(portal, LoginFailure::Closed)),
            Either::Right((connected, _)) => connected?,
        };
        session::establish(runtime, identity, options, connector, connected)
    }

    /// What discovery authenticates with, and whether it must.
    pub(crate) fn discovery_authentication(&self) -> (&Authentication, bool) {
        match &self.0.discovery {
            Some(own) => (own, true),
            None => (&self.0.authentication, false),
        }
    }
}
