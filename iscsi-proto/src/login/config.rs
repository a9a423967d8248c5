//! What a login needs to know before it begins.

use alloc::{sync::Arc, vec, vec::Vec};
use core::time::Duration;

use crate::{
    error::{Error, PeerIncompatible, PeerMisbehaved},
    ids::{Cid, Isid, Tsih},
    login::secret::Secret,
    name::IscsiName,
    text::{OperationalOffer, SessionType},
};

/// How the target may convince itself of who we are.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Authentication {
    /// `AuthMethod=None`.
    #[default]
    None,
    /// `AuthMethod=CHAP`: the target challenges us.
    Chap(ChapCredentials),
}

impl Authentication {
    /// Whether a login with either would prove the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Chap(one), Self::Chap(two)) => {
                one.name == two.name && one.secret.is_same(&two.secret)
            }
            (Self::None | Self::Chap(_), _) => false,
        }
    }
}

/// A CHAP algorithm (RFC 7143 section 12.1.3 and the IANA registry "PPP Authentication Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChapAlgorithm {
    /// 5. The standard demands it of every implementation, and most targets know nothing else.
    Md5,
    /// 7.
    Sha256,
}

impl ChapAlgorithm {
    /// The number in CHAP_A.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha256 => 7,
        }
    }
}

/// Why credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The name is empty, longer than 255 bytes, or holds a control character.
    #[error("CHAP name must have 1 to 255 bytes and no control characters")]
    Name,
    /// The secret is empty or longer than 255 bytes.
    #[error("CHAP secret must have 1 to 255 bytes")]
    Secret,
    /// The secret is shorter than 96 bits (section 9.2.1).
    #[error("CHAP secret is shorter than 12 bytes: set a longer one here and at the target")]
    WeakSecret,
}

/// Our name and secret for CHAP.
#[derive(Clone, Debug)]
pub struct ChapCredentials {
    pub(super) name: Arc<str>,
    pub(super) secret: Secret,
}

impl ChapCredentials {
    /// The least secret that section 9.2.1 wants where the network is not encrypted: 96 bits.
    pub const MIN_SECRET_LEN: usize = 12;

    /// A name of 1 to 255 bytes and a secret of 12 to 255 bytes.
    pub fn new(name: &str, secret: Secret) -> Result<Self, CredentialError> {
        if secret.len() < Self::MIN_SECRET_LEN && !secret.is_empty() {
            return Err(CredentialError::WeakSecret);
        }
        Self::with_weak_secret(name, secret)
    }

    /// As [`new`](Self::new), but takes a secret that a listener can guess offline. For targets that
    /// were set up so and cannot be changed.
    pub fn with_weak_secret(name: &str, secret: Secret) -> Result<Self, CredentialError> {
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(CredentialError::Name);
        }
        if secret.is_empty() || secret.len() > 255 {
            return Err(CredentialError::Secret);
        }
        Ok(Self {
            name: name.into(),
            secret,
        })
    }

    /// The name that is sent as CHAP_N.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Bounds on what a target can make us do before it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginLimits {
    /// Login Responses before [`PeerMisbehaved::Stalled`](crate::PeerMisbehaved::Stalled).
    /// Default 32; the longest honest exchange known takes about ten.
    pub max_rounds: u32,
    /// Time from the first byte to full feature phase. Default 15 s.
    pub timeout: Duration,
    /// Bytes of text that one exchange may have, over all PDUs that the C bit joins. Default 64 KiB.
    pub max_text: u32,
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            max_rounds: 32,
            timeout: Duration::from_secs(15),
            max_text: 65_536,
        }
    }
}

/// What a login needs to know before it begins.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    pub(super) initiator_name: IscsiName,
    pub(super) initiator_alias: Option<Arc<str>>,
    pub(super) target_name: Option<IscsiName>,
    pub(super) session_type: SessionType,
    pub(super) isid: Isid,
    pub(super) tsih: Tsih,
    pub(super) cid: Cid,
    pub(super) authentication: Authentication,
    pub(super) require_chap: bool,
    pub(super) algorithms: Vec<ChapAlgorithm>,
    pub(super) offer: OperationalOffer,
    pub(super) limits: LoginLimits,
}

impl LoginConfig {
    /// A session with one target. `isid` must be unique among our live sessions with the portal
    /// group, else the target ends the other one (session reinstatement, section 6.3.5).
    #[must_use]
    pub fn normal(initiator: IscsiName, target: IscsiName, isid: Isid) -> Self {
        let mut config = Self::discovery(initiator, isid);
        config.target_name = Some(target);
        config.session_type = SessionType::Normal;
        config
    }

    /// A session for SendTargets only.
    #[must_use]
    pub fn discovery(initiator: IscsiName, isid: Isid) -> Self {
        Self {
            initiator_name: initiator,
            initiator_alias: None,
            target_name: None,
            session_type: SessionType::Discovery,
            isid,
            tsih: Tsih(0),
            cid: Cid(0),
            authentication: Authentication::None,
            require_chap: true,
            algorithms: vec![ChapAlgorithm::Sha256, ChapAlgorithm::Md5],
            offer: OperationalOffer::default(),
            limits: LoginLimits::default(),
        }
    }

    /// A name for humans, shown by some targets. Cut to 255 bytes; control characters end it.
    #[must_use]
    pub fn with_initiator_alias(mut self, alias: &str) -> Self {
        let mut end = alias.find(char::is_control).unwrap_or(alias.len()).min(255);
        while !alias.is_char_boundary(end) {
            end -= 1;
        }
        self.initiator_alias = alias.get(..end).filter(|a| !a.is_empty()).map(Into::into);
        self
    }

    /// How we authenticate. Default: not at all.
    #[must_use]
    pub fn with_authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = authentication;
        self
    }

    /// Whether a login with credentials fails when the target does not ask for them. Default yes: a
    /// target that skips authentication may not be the one that we mean, and `None` in the offer is
    /// an invitation to a man in the middle.
    #[must_use]
    pub const fn with_require_chap(mut self, require: bool) -> Self {
        self.require_chap = require;
        self
    }

    /// CHAP algorithms in order of preference. Default SHA-256, then MD5; see
    /// [`narrowed_after`](Self::narrowed_after) for targets that fail with it. An empty list leaves
    /// the default.
    #[must_use]
    pub fn with_chap_algorithms(mut self, algorithms: &[ChapAlgorithm]) -> Self {
        if !algorithms.is_empty() {
            self.algorithms = algorithms.to_vec();
        }
        self
    }

    /// What to try next after a login with this configuration failed with `error`: the same with MD5
    /// alone, where a longer list of algorithms may have been the cause; else `None`.
    ///
    /// Two kinds of targets need it. Linux before 3.15 and boxes built on it refuse any list. The
    /// Linux user-space target takes 7 for SHA-1, chooses it, and then refuses our SHA-256.
    /// Somebody in between gains nothing by forcing this: the first offer had MD5 in it already.
    #[must_use]
    pub fn narrowed_after(&self, error: &Error) -> Option<Self> {
        let chap = matches!(self.authentication, Authentication::Chap(_));
        let wider = self.algorithms.len() > 1 && self.algorithms.contains(&ChapAlgorithm::Md5);
        let blamed = match error {
            Error::LoginRejected(status) => {
                matches!((status.class, status.detail), (2, 0 | 1 | 7 | 11))
            }
            Error::PeerIncompatible(PeerIncompatible::NoCommonAuthMethod)
            | Error::PeerMisbehaved(PeerMisbehaved::Chap) => true,
            _ => false,
        };
        (chap && wider && blamed).then(|| self.clone().with_chap_algorithms(&[ChapAlgorithm::Md5]))
    }

    /// Operational parameters to offer.
    #[must_use]
    pub const fn with_offer(mut self, offer: OperationalOffer) -> Self {
        self.offer = offer;
        self
    }

    /// The connection ID. Default 0.
    #[must_use]
    pub const fn with_cid(mut self, cid: Cid) -> Self {
        self.cid = cid;
        self
    }

    /// Bounds on the exchange.
    #[must_use]
    pub const fn with_limits(mut self, limits: LoginLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Which target; `None` for discovery.
    #[must_use]
    pub const fn target_name(&self) -> Option<&IscsiName> {
        self.target_name.as_ref()
    }

    /// Our name.
    #[must_use]
    pub const fn initiator_name(&self) -> &IscsiName {
        &self.initiator_name
    }

    /// What the session is for.
    #[must_use]
    pub const fn session_type(&self) -> SessionType {
        self.session_type
    }

    /// Bounds on the exchange.
    #[must_use]
    pub const fn limits(&self) -> &LoginLimits {
        &self.limits
    }

    /// The session identifier.
    #[must_use]
    pub const fn isid(&self) -> Isid {
        self.isid
    }
}
