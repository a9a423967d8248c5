//! Targets that are elsewhere (RFC 7143 section 11.13.5, statuses 0101 and 0102).

use std::{fmt, sync::Arc};

use iscsi_proto::portal::Portal;

/// One redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redirection {
    /// The portal that sends us away.
    pub from: Portal,
    /// Where it sends us.
    pub to: Portal,
    /// "Target moved permanently": later logins begin there, until one of them fails. A temporary
    /// redirection holds for one login; the next one begins at the configured portal.
    pub permanent: bool,
    /// Which redirection of this login it is, from 1.
    pub hop: u32,
}

/// Which redirections are followed.
///
/// Nothing proves that a redirection comes from the target: whoever can write to the connection can
/// send a login, and what it answers to the challenge, to another host. Where that matters, follow
/// none, or let a [`RedirectFilter`] look at the addresses. Mutual CHAP then still proves who is at
/// the end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedirectPolicy {
    /// Whether any is followed. Default yes: some arrays give out one address and redirect every
    /// login from there.
    pub follow: bool,
    /// How many are followed in one login. Default 4: a target that balances load redirects once, and
    /// a cluster in the middle of a failover perhaps twice.
    pub max_hops: u32,
    /// Has a say on each. Default `None`.
    pub filter: Option<RedirectFilter>,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self {
            follow: true,
            max_hops: 4,
            filter: None,
        }
    }
}

impl RedirectPolicy {
    /// None is followed.
    #[must_use]
    pub fn none() -> Self {
        Self {
            follow: false,
            ..Self::default()
        }
    }

    /// Those that `filter` returns true for.
    #[must_use]
    pub fn filtered(filter: impl Fn(&Redirection) -> bool + Send + Sync + 'static) -> Self {
        Self {
            filter: Some(RedirectFilter(Arc::new(filter))),
            ..Self::default()
        }
    }

    /// Whether the caller's opinion is the same: the same code, and not only of the same kind.
    pub(crate) fn has_filter_of(&self, other: &Self) -> bool {
        match (&self.filter, &other.filter) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(&one.0, &two.0),
            (None | Some(_), _) => false,
        }
    }

    pub(super) fn allows(&self, redirection: &Redirection) -> bool {
        let filter = self.filter.as_ref();
        self.follow && filter.is_none_or(|filter| (filter.0)(redirection))
    }
}

/// A caller's opinion on redirections; see [`RedirectPolicy::filtered`]. It is called within the
/// login and must not block.
#[derive(Clone)]
pub struct RedirectFilter(Arc<dyn Fn(&Redirection) -> bool + Send + Sync>);

impl fmt::Debug for RedirectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedirectFilter")
    }
}
