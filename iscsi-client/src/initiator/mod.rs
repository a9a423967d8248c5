//! The initiator: who we are, towards every target.

mod builder;
mod target;

use std::sync::Arc;

use iscsi_proto::{
    ApiMisuse, Error as CoreError,
    login::{Authentication, LoginConfig},
    name::IscsiName,
    portal::Portal,
};

use crate::{
    bind::Bind,
    error::{LoginError, LoginFailure},
    isid::{IsidLease, IsidTable},
    runtime::Runtime,
    session::{
        self, Driver, Session, SessionOptions,
        connect::{Connected, Connector, Spec},
        reflection::Challenges,
        tether::Identity,
    },
};

pub use self::{builder::InitiatorBuilder, target::SessionTarget};

/// The initiator: made once by a program, and the origin of all its sessions. Clones are the same.
///
/// It holds what must be the same, or must differ, over all sessions: the name, credentials, and
/// which ISIDs are in use. There is no process-global state; two initiators of different names in
/// one process are two hosts to a target.
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
    isids: Arc<IsidTable>,
}

impl Initiator {
    /// An initiator of this name. There is no default name: two hosts of one name log each other out.
    /// Derive it from something that identifies the host or guest and survives a restart.
    #[must_use]
    pub fn builder(name: IscsiName, runtime: Arc<dyn Runtime>) -> InitiatorBuilder {
        InitiatorBuilder {
            runtime,
            name,
            alias: None,
            authentication: Authentication::None,
            discovery: None,
            options: SessionOptions::default(),
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

    /// Logs in, following redirects, and returns the session with the driver that makes it work: the
    /// caller polls or spawns it. Every address of the portal is tried; there is no second round.
    ///
    /// # Errors
    ///
    /// [`LoginError`]: which portal, what failed, and advice. A slot that is in use towards this
    /// target is refused ([`LoginFailure::SessionExists`]) before anything is sent: logging in with
    /// its ISID would end the other session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt. A target that has already taken the login drops the
    /// session when it sees the connection end.
    pub async fn connect(&self, to: &SessionTarget) -> Result<(Session, Driver), LoginError> {
        let inner = &*self.0;
        let refuse = |failure| LoginError::new(to.portal.clone(), failure);
        let isid = to.slot.isid(&inner.name).ok_or_else(|| {
            refuse(LoginFailure::Protocol(CoreError::ApiMisuse(
                ApiMisuse::OutOfRange,
            )))
        })?;
        let lease = IsidTable::lease(&inner.isids, &to.target, isid)
            .ok_or_else(|| refuse(LoginFailure::SessionExists))?;
        let authentication = to.authentication.as_ref().unwrap_or(&inner.authentication);
        let login = LoginConfig::normal(inner.name.clone(), to.target.clone(), isid)
            .with_authentication(authentication.clone());
        self.open(
            login,
            to.portal.clone(),
            to.bind.clone(),
            to.options.clone(),
            Some(lease),
        )
        .await
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

    /// Opens a session as `login` says; for discovery without a lease.
    pub(crate) async fn open(
        &self,
        login: LoginConfig,
        portal: Portal,
        bind: Bind,
        options: Option<SessionOptions>,
        lease: Option<IsidLease>,
    ) -> Result<(Session, Driver), LoginError> {
        let inner = &*self.0;
        let options = options.map_or_else(|| Arc::clone(&inner.options), |o| Arc::new(o.clamped()));
        let mut login = options.configure(login);
        if let Some(alias) = &inner.alias {
            login = login.with_initiator_alias(alias);
        }
        let identity = Identity {
            initiator: inner.name.clone(),
            target: login.target_name().cloned(),
            portal: portal.clone(),
            bind: bind.clone(),
            isid: login.isid(),
        };
        let spec = Arc::new(Spec {
            portal,
            bind,
            login,
            options: Arc::clone(&options),
            challenges: Arc::clone(&inner.challenges),
        });
        let runtime = Arc::clone(&inner.runtime);
        let connector = Connector::new(Arc::clone(&runtime), spec, lease);
        let connected: Connected = connector.dial().await?;
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
