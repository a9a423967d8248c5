//! What a login needs to know before it begins.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use crate::{
    error::{Error, PeerIncompatible, PeerMisbehaved},
    ids::{Cid, Isid, TargetPortalGroupTag, Tsih},
    login::credentials::{Authentication, ChapAlgorithm},
    name::IscsiName,
    planted::Planted,
    text::{OperationalOffer, SessionType},
};

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

/// Which algorithms to offer alone once the list `algorithms` was refused.
fn fallbacks(algorithms: &[ChapAlgorithm]) -> Vec<ChapAlgorithm> {
    use ChapAlgorithm as A;
    if algorithms.len() < 2 {
        return Vec::new();
    }
    if algorithms.contains(&A::Md5) {
        return Vec::from([A::Md5]);
    }
    let by_spread = [A::Sha256, A::Sha1, A::Sha3_256];
    let offered = |one: &A| algorithms.contains(one);
    by_spread.into_iter().filter(offered).collect()
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
    /// What to offer alone, one after the other, to a target that refuses `algorithms`.
    fallbacks: Vec<ChapAlgorithm>,
    pub(super) portal_group: Option<TargetPortalGroupTag>,
    pub(super) offer: OperationalOffer,
    pub(super) limits: LoginLimits,
    pub(super) planted: Planted,
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
            algorithms: ChapAlgorithm::ALL.to_vec(),
            fallbacks: fallbacks(ChapAlgorithm::ALL),
            portal_group: None,
            offer: OperationalOffer::default(),
            limits: LoginLimits::default(),
            planted: Planted::NONE,
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
    /// an invitation to a man in the middle. Credentials that demand the target's proof
    /// ([`ChapCredentials::with_target`](super::ChapCredentials::with_target)) are required whatever
    /// is said here.
    #[must_use]
    pub const fn with_require_chap(mut self, require: bool) -> Self {
        self.require_chap = require;
        self
    }

    /// CHAP algorithms in order of preference; each counts once, and what is not in the list is
    /// neither offered nor accepted. So MD5 is refused by a list without it
    /// ([`ChapAlgorithm::WITHOUT_MD5`]). Default [`ChapAlgorithm::ALL`]; see
    /// [`narrowed_after`](Self::narrowed_after) for targets that fail with it. An empty list leaves
    /// what was set before.
    #[must_use]
    pub fn with_chap_algorithms(mut self, algorithms: &[ChapAlgorithm]) -> Self {
        if !algorithms.is_empty() {
            self.algorithms.clear();
            for algorithm in algorithms {
                if !self.algorithms.contains(algorithm) {
                    self.algorithms.push(*algorithm);
                }
            }
            self.fallbacks = fallbacks(&self.algorithms);
        }
        self
    }

    /// What to try next after a login with this configuration failed with `error`, where a longer
    /// list of algorithms may have been the cause; else `None`.
    ///
    /// Two kinds of targets need it. Linux before 3.15 and boxes built on it refuse any list. The
    /// Linux user-space target takes 7 for SHA-1, chooses it, and then refuses our SHA-256. Both know
    /// MD5, so where the list has MD5 the next try is MD5 alone, and that is the last one: a target
    /// that counts failed logins must not lock us out over one wrong secret. Somebody in between
    /// gains nothing by forcing it, since the first offer had MD5 in it already. A list without MD5
    /// never leads to it: its algorithms are tried alone instead, SHA-256, SHA-1, SHA3-256 in turn.
    #[must_use]
    pub fn narrowed_after(&self, error: &Error) -> Option<Self> {
        let chap = matches!(self.authentication, Authentication::Chap(_));
        let blamed = match error {
            Error::LoginRejected(status) => {
                matches!((status.class, status.detail), (2, 0 | 1 | 7 | 11))
            }
            Error::PeerIncompatible(PeerIncompatible::NoCommonAuthMethod)
            | Error::PeerMisbehaved(PeerMisbehaved::Chap) => true,
            _ => false,
        };
        let (next, rest) = self.fallbacks.split_first()?;
        (chap && blamed).then(|| {
            let mut narrowed = self.clone();
            narrowed.algorithms = Vec::from([*next]);
            narrowed.fallbacks = rest.to_vec();
            narrowed
        })
    }

    /// The algorithms that are offered, best first.
    #[must_use]
    pub fn chap_algorithms(&self) -> &[ChapAlgorithm] {
        &self.algorithms
    }

    /// The portal group that must answer: any other tag, or none, ends the login with
    /// [`PeerIncompatible::PortalGroup`]. Default `None`: the tag is told in
    /// [`Parameters`](crate::text::Parameters) and not judged. Section 6.3 leaves it to the
    /// environment, and some targets send no tag though they must. A discovery session has none.
    #[must_use]
    pub const fn with_portal_group(mut self, expected: Option<TargetPortalGroupTag>) -> Self {
        self.portal_group = expected;
        self
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

    /// Not part of the API: see [`crate::planted`].
    #[doc(hidden)]
    #[must_use]
    pub const fn with_planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    /// Not part of the API: for a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_isid(mut self, isid: Isid) -> Self {
        self.isid = isid;
        self
    }
}
