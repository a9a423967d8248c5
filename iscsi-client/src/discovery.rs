//! SendTargets discovery (RFC 7143 appendix C).

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use iscsi_proto::{
    Error as CoreError, Isid,
    login::{Authentication, LoginConfig},
    name::IscsiName,
    portal::Portal,
    text::send_targets::{self, Discovered},
};

use crate::{
    bind::Bind,
    error::{LoginError, LoginFailure},
    initiator::Initiator,
    session::{Driver, Session, SessionOptions},
};

/// What to ask of which portal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Discovery {
    /// Whom to ask. Every address of a host name is tried.
    pub portal: Portal,
    /// The local end.
    pub bind: Bind,
    /// What to ask for; `None` for all targets that the portal lets us know.
    pub target: Option<IscsiName>,
    /// Instead of the initiator's.
    pub authentication: Option<Authentication>,
    /// Instead of the initiator's.
    pub options: Option<SessionOptions>,
}

impl Discovery {
    /// All targets, asked from anywhere.
    #[must_use]
    pub const fn new(portal: Portal) -> Self {
        Self {
            portal,
            bind: Bind::Any,
            target: None,
            authentication: None,
            options: None,
        }
    }

    /// From this local end.
    #[must_use]
    pub fn with_bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// One target: where it listens.
    #[must_use]
    pub fn with_target(mut self, target: IscsiName) -> Self {
        self.target = Some(target);
        self
    }

    /// With credentials of its own, which the target must want.
    #[must_use]
    pub fn with_authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// With options of its own.
    #[must_use]
    pub fn with_options(mut self, options: SessionOptions) -> Self {
        self.options = Some(options);
        self
    }
}

impl Initiator {
    /// Asks a portal which targets it knows and where they listen, in a session of its own that is
    /// closed again. A target without portals in the answer listens on the portal that was asked.
    /// Addresses on the loopback are left out unless the portal is there too, or
    /// [`RedirectPolicy::loopback`](crate::session::RedirectPolicy::loopback) lets them be.
    ///
    /// # Errors
    ///
    /// [`LoginError`] for the login as well as for the exchange after it. Parts of the answer that
    /// cannot be used are no error: [`Discovered::skipped`] says what was left out and why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn discover(&self, portal: &Portal, bind: &Bind) -> Result<Discovered, LoginError> {
        let all = Discovery::new(portal.clone()).with_bind(bind.clone());
        self.discover_with(&all).await
    }

    /// As [`discover`](Self::discover), with more to choose.
    ///
    /// # Errors
    ///
    /// As `discover`.
    pub async fn discover_with(&self, discovery: &Discovery) -> Result<Discovered, LoginError> {
        let mut isid = [0; 6];
        self.runtime().fill_random(&mut isid);
        // Type "random" (section 11.12.5). A fixed one would make two discoveries end each other.
        isid[0] = 0x80;
        let (authentication, required) = match &discovery.authentication {
            Some(own) => (own, true),
            None => self.discovery_authentication(),
        };
        let login = LoginConfig::discovery(self.name().clone(), Isid(isid))
            .with_authentication(authentication.clone())
            .with_require_chap(required);
        let Discovery { portal, bind, .. } = discovery;
        let (session, driver) = self
            .open(
                login,
                portal.clone(),
                bind.clone(),
                discovery.options.clone(),
            )
            .await?;
        let asked = session.login().address.ip();
        let policy = session.options().redirect.clone();
        let which = discovery.target.as_ref().map_or("All", IscsiName::as_str);
        let answer = ask(session, driver, format!("SendTargets={which}\0")).await;
        let fail = |failure| LoginError::new(portal.clone(), failure);
        let text = answer.map_err(|error| fail(LoginFailure::Discovery(error)))?;
        let found = send_targets::parse(&text, bind.zone_at(portal).as_deref())
            .map_err(|e| fail(LoginFailure::Protocol(CoreError::Decode(e))))?;
        Ok(policy.reachable(asked, found))
    }
}

/// Polls the driver itself instead of spawning it: nothing then outlives the call.
async fn ask(
    session: Session,
    driver: Driver,
    request: String,
) -> Result<Vec<u8>, crate::error::Error> {
    let mut driver = pin!(driver);
    let answer = {
        let mut text = pin!(session.text(request.into_bytes()));
        poll_fn(|cx| {
            // The driver never ends before the answer: ending it would answer with an error.
            let driven = driver.as_mut().poll(cx);
            match text.as_mut().poll(cx) {
                Poll::Pending if driven.is_ready() => {
                    let closed = crate::error::ErrorKind::Closed;
                    Poll::Ready(Err(crate::error::Error::not_executed(closed)))
                }
                polled => polled,
            }
        })
        .await
    };
    drop(session);
    finish(driver).await;
    answer
}

/// Lets the driver log out; it has a deadline of its own.
async fn finish(driver: Pin<&mut Driver>) {
    driver.await;
}
