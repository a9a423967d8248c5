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
    /// REPORT TARGET PORT GROUPS: one answer shows that the unit is reached through this path, and tells the access
    /// states of all groups, for which no question of its own is sent then. The path stands by if its group does. As with
    /// TEST UNIT READY, unit attentions come to paths that are idle. Where there is no asymmetric access (TPGS 0), and
    /// while the unit refuses the command, it is TEST UNIT READY.
    Rtpg,
    /// Whether the connection is alive; the unit is not asked. Each path asks for itself, by a NOP-Out of its session,
    /// but only if nothing at all was received there since its last check (or if it is on probation, or ranked by its
    /// latency): so of all units behind an idle session those ask that are due first, one each, and the answer spares
    /// the others; where more ask at a time than a session has pings (eight), the rest asks its unit by TEST UNIT READY. For very many units per target. What only a command is told of (another size, another unit, other
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
            Self::Rtpg => "rtpg",
            Self::Nop => "nop",
        }
    }

    /// What a path is asked of which nothing bad is known, or something is. `tells_groups`: its unit has access states,
    /// and can be asked for them now.
    pub(crate) const fn question(self, is_well: bool, tells_groups: bool) -> ProbeKind {
        match self {
            Self::Read => ProbeKind::Read,
            Self::Rtpg if is_well && tells_groups => ProbeKind::Rtpg,
            Self::Nop if is_well => ProbeKind::Nop,
            Self::Tur | Self::Rtpg | Self::Nop => ProbeKind::Tur,
        }
    }
}
