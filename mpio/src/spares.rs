//! Which paths have a spare, and from when on.

use std::time::Duration;

/// Which paths have a *spare*: a second session from the same local end to the same portal, with an ISID of its own, that
/// takes I/O only while its path does not. What it does is said at [`SpareState`](crate::core::SpareState).
///
/// It helps where one connection is lost: aborted, reset, ended by the target. It helps against nothing that ends all
/// connections of a network device. Most targets want an initiator to wait after such a loss, before it logs in with the
/// same ISID again (DefaultTime2Wait, RFC 7143 section 13.15; two seconds unless a target says something else). The wait is
/// kept, and a spare has no part in it.
///
/// Keep it over restarts: a spare of a former process that does not log in again is not reinstated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spares {
    /// None.
    None,
    /// One is opened when the target has a path wait before its login, and gives up if it is not there by the end of that
    /// wait. It is closed once its path takes I/O again: not before ten seconds have passed, as a connection that was lost
    /// may be lost again, and not while a write that was lost there may still land. So a device has no more sessions than
    /// paths as long as no connection is lost; where a target has no room for one more, it is
    /// [missing](crate::Topology::missing) until the path is back. One that is removed by hand is gone, and the next loss opens
    /// another.
    ///
    /// After a [former life](crate::core::FormerLife::Fence) each path has one at the beginning, which is closed in the same
    /// way: the former process may have written through its spares. A target with no room for that leaves the former
    /// life to be fenced by other means; where no process of before had spares, [`None`](Self::None) needs none of it.
    #[default]
    OnDemand,
    /// Each path has one from the beginning, logged in: it takes over in a round trip. That is twice the sessions, and
    /// targets limit those: one that cannot log in is [missing](crate::Topology::missing) like any path, and tried again.
    Warm,
}

/// How long a spare that was opened for a loss stays at least.
pub(crate) const STAY: Duration = Duration::from_secs(10);
