//! How far the bytes of a connection have come: what tells a dead network from a slow target.

use std::{fmt, time::Duration};

/// How far the bytes of a connection have come, as its platform knows it at one moment.
///
/// A target that is slow, or stopped, has a TCP that acknowledges all the same: its kernel does that. Where
/// nothing acknowledges what is in flight it is the network between that is dead, or the whole machine.
///
/// What TCP cannot tell: whether the target has *read* what was acknowledged, and whether it ever will.
/// And a proxy or a gateway on the way acknowledges for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that were given to our TCP since the connection began (give or take one).
    pub sent: u64,
    /// Of these, the bytes that the peer's TCP has acknowledged.
    pub acked: u64,
    /// Of those that are not acknowledged, the bytes that our TCP has not sent at all: the peer's window is
    /// full, or the network's.
    pub unsent: u64,
    /// For so long at least, nothing has been acknowledged though something that was sent waits for it. Zero if
    /// nothing does, or if it is not known: then two looks tell, between which `acked` has not grown.
    pub unacknowledged_for: Duration,
    /// Retransmission timeouts in a row that nothing has come of. Zero if that is not known.
    pub retransmits: u32,
    /// A round trip, smoothed by TCP. Zero if that is not known.
    pub rtt: Duration,
    /// Time since anything was received.
    pub last_receive: Duration,
}

impl Progress {
    /// So many bytes sent, of which so many are acknowledged; of the rest nothing is known.
    #[must_use]
    pub fn new(sent: u64, acked: u64) -> Self {
        Self {
            sent,
            acked,
            ..Self::default()
        }
    }

    /// Bytes that were sent, and that the peer's TCP has not acknowledged.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.sent
            .saturating_sub(self.acked)
            .saturating_sub(self.unsent)
    }
}

/// Tells how far the bytes of one connection have come, for as long as that lives.
///
/// A transport hands it out once ([`Transport::progress_source`](super::Transport::progress_source)); it is asked
/// from whatever thread wants to know, beside the task that moves the bytes, and seldom: when the connection is
/// doubted. It must not block for longer than a system call takes.
pub trait ProgressSource: fmt::Debug + Send + Sync + 'static {
    /// The progress now; `None` if it is not known, or if there is no connection any more.
    fn progress(&self) -> Option<Progress>;
}
