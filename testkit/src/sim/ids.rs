//! What processes and connections are called, and the two ends of a connection.

use super::slab::Key;

/// A process's number; 0 is what the world's owner runs, which cannot die.
pub(super) type ProcessId = u32;

/// A connection's number.
pub(super) type ConnId = Key;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Initiator = 0,
    Target = 1,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Initiator, Self::Target];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Target,
            Self::Target => Self::Initiator,
        }
    }
}
