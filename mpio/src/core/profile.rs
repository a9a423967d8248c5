//! What is known of targets that decides how a lost write is proven dead.

use std::{fmt, time::Duration};

/// Whether a target has finished or killed everything of a session by the time when it answers the
/// login that reinstates it (RFC 7143 section 6.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reinstatement {
    /// It has. To say so of a target that has not is silent corruption.
    Barrier,
    /// It has not: what is in its back end goes on.
    NotBarrier,
    /// Nobody has looked. Counts as `NotBarrier`.
    Unknown,
}

impl fmt::Display for Reinstatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Barrier => "barrier",
            Self::NotBarrier => "not a barrier",
            Self::Unknown => "unknown",
        })
    }
}

/// What a kind of target does with the commands of a session that is lost. Nothing here is found out at
/// run time: it is what the administrator says of the target, as [`FenceConfig::target`]. The example
/// `fence_probe` finds out what there is to be found out; `docs/fencing.md` has its verdicts.
///
/// [`FenceConfig::target`]: super::FenceConfig::target
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TargetProfile {
    /// What it is called in logs.
    pub name: &'static str,
    /// Whether a reinstating login proves anything.
    pub reinstatement: Reinstatement,
    /// After this long since the abortive close of a connection no command of it is executed any more.
    /// `None`: time proves nothing. Range 100 ms to 1 h.
    pub quiesce: Option<Duration>,
    /// Whether PREEMPT AND ABORT aborts the commands of a nexus that is merely registered (SPC-4 section
    /// 5.12.11.2.6). `Some(false)`: it does not, and [`FenceConfig::preempt`](super::FenceConfig::preempt) is refused.
    /// `None`: whoever sets that option has to know.
    pub preempt_aborts: Option<bool>,
}

/// See [`TargetProfile::UNKNOWN`].
const QUIESCE: Duration = Duration::from_secs(10);

impl TargetProfile {
    /// A target of which nothing is known, and the default: only time counts, 10 s of it. What a
    /// target's TCP still holds is delivered in milliseconds, what its back end holds is done in
    /// seconds, and a back end that needs longer than this for a write has let the usual 30 s command
    /// timers of others expire too. It is an estimate: an array that fails over between its
    /// controllers may take longer, and its vendor says how long.
    pub const UNKNOWN: Self = Self {
        name: "unknown",
        reinstatement: Reinstatement::Unknown,
        quiesce: Some(QUIESCE),
        preempt_aborts: None,
    };

    /// The Linux kernel's target (LIO). It answers a login only when the session that it replaces is
    /// closed, for which it waits until the commands of its connections are done or aborted
    /// (`iscsi_check_for_session_reinstatement` and `iscsit_free_session`; kernel commit 197b806ae5db
    /// is about logins that are blocked by that wait). PREEMPT AND ABORT ends in GOOD and aborts nothing of a nexus
    /// that is merely registered: what it aborts is chosen by the key of the reservation's holder
    /// (`target_check_cdb_and_preempt` compares `pr_res_key` of the command, which is set where there is one).
    pub const LIO: Self = Self {
        name: "lio",
        reinstatement: Reinstatement::Barrier,
        quiesce: Some(QUIESCE),
        preempt_aborts: Some(false),
    };

    /// The Linux SCSI target framework (tgtd). It closes the connection of the old session and goes on
    /// with the login; what its back end's threads have begun they finish (`conn_close` and
    /// `session_put` in usr/iscsi).
    pub const TGT: Self = Self {
        name: "tgt",
        reinstatement: Reinstatement::NotBarrier,
        quiesce: Some(QUIESCE),
        preempt_aborts: None,
    };

    /// SPDK's target. It has the old session's connections closed by a message to their threads, and
    /// does not wait for that before it goes on with the login (`iscsi_drop_conns`).
    pub const SPDK: Self = Self {
        name: "spdk",
        reinstatement: Reinstatement::NotBarrier,
        quiesce: Some(QUIESCE),
        preempt_aborts: None,
    };

    /// All of the above, as far as they name a target.
    pub const TABLE: [Self; 3] = [Self::LIO, Self::TGT, Self::SPDK];

    /// A target of one's own knowledge.
    #[must_use]
    pub const fn new(
        name: &'static str,
        reinstatement: Reinstatement,
        quiesce: Option<Duration>,
    ) -> Self {
        Self {
            name,
            reinstatement,
            quiesce,
            preempt_aborts: None,
        }
    }

    /// A profile of the table by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::TABLE.into_iter().find(|profile| profile.name == name)
    }

    /// Whether a reinstating login proves a write dead.
    #[must_use]
    pub const fn is_barrier(&self) -> bool {
        matches!(self.reinstatement, Reinstatement::Barrier)
    }
}

impl fmt::Display for TargetProfile {
    /// For instance `lio: reinstatement is a barrier, quiesce 10s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: reinstatement is {}", self.name, self.reinstatement)?;
        match self.quiesce {
            Some(time) => write!(f, ", quiesce {time:?}"),
            None => f.write_str(", time proves nothing"),
        }
    }
}
