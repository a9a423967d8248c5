//! Targets that are elsewhere (RFC 7143 section 11.13.5, statuses 0101 and 0102).

use std::{fmt, net::IpAddr, sync::Arc};

use iscsi_proto::{
    portal::{Portal, may_be_a_host},
    text::send_targets::Discovered,
};

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
///
/// Two things are refused whatever else is allowed, also where a host name leads to them: what is no
/// address of a host (`0.0.0.0`, `[::]`, multicast, broadcast), and unless [`loopback`](Self::loopback)
/// says otherwise an address of this host's loopback, where services listen that trust whoever can
/// reach them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedirectPolicy {
    /// Whether any is followed. Default yes: some arrays give out one address and redirect every
    /// login from there.
    pub follow: bool,
    /// How many are followed in one login. Default 4: a target that balances load redirects once, and
    /// a cluster in the middle of a failover perhaps twice.
    pub max_hops: u32,
    /// Whether a portal of another host may send us to the loopback of this one. Default no; a portal
    /// on the loopback, such as the end of a tunnel, always may. It goes for the answers to
    /// SendTargets too, whose addresses on the loopback are left out otherwise
    /// ([`SkipReason::Loopback`](iscsi_proto::text::send_targets::SkipReason::Loopback)).
    pub loopback: bool,
    /// Has a say on each. Default `None`.
    pub filter: Option<RedirectFilter>,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self {
            follow: true,
            max_hops: 4,
            loopback: false,
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

    /// Whether who answered at `from` may have us connect to `to`.
    pub(super) fn reaches(&self, from: IpAddr, to: IpAddr) -> bool {
        let (from, to) = (from.to_canonical(), to.to_canonical());
        may_be_a_host(to) && (!to.is_loopback() || from.is_loopback() || self.loopback)
    }

    /// An answer to SendTargets without the addresses to which who answered at `from` may not have us
    /// connect.
    pub(crate) fn reachable(&self, from: IpAddr, found: Discovered) -> Discovered {
        if self.loopback || from.to_canonical().is_loopback() {
            return found;
        }
        found.without_loopback()
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
