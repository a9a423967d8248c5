//! What is set once, before there is an initiator.

use std::sync::Arc;

use iscsi_proto::{
    login::{Authentication, ChapCredentials},
    name::IscsiName,
};

use super::{Initiator, Inner};
use crate::{
    links::LinkMonitor,
    login_rate::{Limiter, LoginRate},
    runtime::Runtime,
    session::SessionOptions,
};

/// Builds an [`Initiator`].
#[derive(Debug)]
pub struct InitiatorBuilder {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) name: IscsiName,
    pub(super) alias: Option<Arc<str>>,
    pub(super) authentication: Authentication,
    pub(super) discovery: Option<Authentication>,
    pub(super) options: SessionOptions,
    pub(super) login_rate: LoginRate,
    pub(super) links: Option<LinkMonitor>,
}

impl InitiatorBuilder {
    /// Authenticates by CHAP, unless a [`SessionTarget`](super::SessionTarget) says otherwise.
    #[must_use]
    pub fn credentials(mut self, credentials: ChapCredentials) -> Self {
        self.authentication = Authentication::Chap(credentials);
        self
    }

    /// How discovery authenticates. Without this it has the credentials of
    /// [`credentials`](Self::credentials) at hand for a target that asks, and goes on where none are
    /// wanted, as with most targets' discovery; except that a target which is to prove itself must.
    #[must_use]
    pub fn discovery_authentication(mut self, authentication: Authentication) -> Self {
        self.discovery = Some(authentication);
        self
    }

    /// A name for humans, which some targets show.
    #[must_use]
    pub fn alias(mut self, alias: &str) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// Options of every session, unless a [`SessionTarget`](super::SessionTarget) says otherwise.
    #[must_use]
    pub fn options(mut self, options: SessionOptions) -> Self {
        self.options = options;
        self
    }

    /// How many logins are under way at a time and how fast they follow each other.
    #[must_use]
    pub const fn login_rate(mut self, rate: LoginRate) -> Self {
        self.login_rate = rate;
        self
    }

    /// Sessions that are bound to a device follow its carrier; see [`links`](crate::links).
    #[must_use]
    pub fn links(mut self, links: LinkMonitor) -> Self {
        self.links = Some(links);
        self
    }

    /// The initiator.
    #[must_use]
    pub fn build(self) -> Initiator {
        let limiter = Limiter::new(Arc::clone(&self.runtime), self.login_rate);
        Initiator(Arc::new(Inner {
            runtime: self.runtime,
            name: self.name,
            alias: self.alias,
            authentication: self.authentication,
            discovery: self.discovery,
            challenges: Arc::default(),
            options: Arc::new(self.options.clamped()),
            table: Arc::default(),
            limiter: Arc::new(limiter),
            links: self.links,
        }))
    }
}
