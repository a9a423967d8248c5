//! One operation, seen from one block.

use super::stamp::Stamp;

/// Before everything that was recorded.
pub(super) const BEFORE: u64 = 0;
/// After everything that was recorded.
pub(super) const AFTER: u64 = u64::MAX;

/// What is known of whether a write happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It was acknowledged: it happened between its two moments.
    Did,
    /// It did if anybody saw it.
    Maybe,
    /// The caller was told that it did not.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Read,
    Write(Certainty),
}

/// What one operation did to one block, or saw there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// The index of its record.
    pub(super) op: u32,
    pub(super) device: u16,
    /// The write that it was, or that it saw.
    pub(super) stamp: Stamp,
    pub(super) role: Role,
    /// The order of its invocation.
    pub(super) invoked: u64,
    /// By when it has happened, if it did: [`AFTER`] for a write that may be late.
    pub(super) responded: u64,
    /// When its caller heard of its end; [`AFTER`] if never.
    pub(super) ended: u64,
}

impl Access {
    pub(super) const fn is_read(&self) -> bool {
        matches!(self.role, Role::Read)
    }
}

/// Why a block's accesses are in no order that a register could have had. Operations are named by
/// the index of their record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// A value that nobody wrote.
    Nowhere { read: u32, stamp: Stamp },
    /// A value whose writer was told that it was not written.
    NotExecuted { read: u32, write: u32 },
    /// A value that was read before its write was asked for.
    Early { read: u32, write: u32 },
    /// The first value was there before and after the second.
    Return { outer: Stamp, inner: Stamp },
    /// Each of the two was there before the other.
    Interleaved { first: Stamp, second: Stamp },
    /// Two values of before the power loss, where the block can have kept one.
    TwoSurvivors { first: Stamp, second: Stamp },
    /// What survived the power loss is older than what had been flushed.
    Unflushed { survivor: Stamp },
}
