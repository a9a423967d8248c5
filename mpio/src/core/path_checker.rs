//! What a path is asked at each check.

use super::ProbeKind;

/// What a path is asked at each check (`path_checker`).
///
/// Whatever it is, a path on which an I/O has failed, and one that is not ready, is asked by TEST UNIT READY: a connection
/// that is alive says nothing about those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum PathChecker {
    /// TEST UNIT READY. It also brings unit attentions to paths that are idle: that the unit has another size now, or
    /// is another one.
    Tur,
    /// TEST UNIT READY and a READ of the first block, for units that say that they are ready and are not.
    Read,
    /// Whether the connection is alive; the unit is not asked. Each path asks for itself, by a NOP-Out of its session,
    /// but only if nothing at all was received there since its last check (or if it is on probation, or ranked by its
    /// latency): so of all units behind an idle session those ask that are due first, one each, and the answer spares
    /// the others. For very many units per target. What only a command is told of (another size, another unit, other
    /// access states) is found out on an idle path when it is used.
    Nop,
}

impl PathChecker {
    /// The name that multipath.conf(5) gives it, where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tur => "tur",
            Self::Read => "readsector0",
            Self::Nop => "nop",
        }
    }

    /// What a path is asked of which nothing bad is known, or something is.
    pub(crate) const fn question(self, is_well: bool) -> ProbeKind {
        match self {
            Self::Read => ProbeKind::Read,
            Self::Nop if is_well => ProbeKind::Nop,
            Self::Tur | Self::Nop => ProbeKind::Tur,
        }
    }
}
