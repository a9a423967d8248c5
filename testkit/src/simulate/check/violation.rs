//! What was broken, told so that it can be understood without the seed.

use std::fmt;

/// The rules of the project's invariants, by the names that they have everywhere in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`says` documents each")]
pub enum Row {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I13,
    I14,
    I15,
    I16,
    I17,
    I18,
    I19,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
}

impl Row {
    /// The rule, in one line.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::I1 => "each block behaves like a register for all acknowledged reads and writes",
            Self::I2 => "a write is acknowledged only if the target executed it as it was given",
            Self::I3 => "a read returns exactly the bytes that its command transferred",
            Self::I4 => "each request completes exactly once",
            Self::I5 => "no buffer is touched after its completion",
            Self::I6 => "every PDU keeps to the standard",
            Self::I7 => "no medium access to a unit of another identity",
            Self::I8 => "no medium access through a path that is not to be used",
            Self::I9 => "a reservation conflict reaches the caller",
            Self::I10 => "memory stays below its cap",
            Self::I11 => "nothing is sent past MaxCmdSN",
            Self::I12 => "each unit attention is consumed once and reported at most once",
            Self::I13 => "no full feature phase without the required authentication",
            Self::I14 => "an acknowledged flush covers every write acknowledged before it",
            Self::I15 => "the same seed gives the same run",
            Self::I16 => "no overlapping write is acknowledged while an earlier one may still land",
            Self::I17 => {
                "what a device says of registrations and reservations is what the target did"
            }
            Self::I18 => {
                "a device has a size that all its paths told, and takes a new one as configured"
            }
            Self::I19 => {
                "a silent connection is called dead, and ended early, only by what was acknowledged and heard"
            }
            Self::L1 => "every request completes within the bound once a path is healthy",
            Self::L2 => "every healed path is usable within the bound",
            Self::L3 => "with all paths down, requests fail within the configured limit",
            Self::L4 => "no login storm and no endless work for one request",
            Self::L5 => "the preferred paths are used again within the bound",
            Self::L6 => "with a path healthy throughout, callers see no error",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken rule, with what led to it.
///
/// `Display` is an account of several lines: the rule, what happened, then the operations around it
/// in order of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Which rule.
    pub row: Row,
    /// What happened, in one line.
    pub what: String,
    /// The operations and events around it, one a line, in order of time.
    pub account: Vec<String>,
}

impl Violation {
    /// A violation without an account.
    #[must_use]
    pub fn new(row: Row, what: impl Into<String>) -> Self {
        Self {
            row,
            what: what.into(),
            account: Vec::new(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.row, self.row.says(), self.what)?;
        self.account
            .iter()
            .try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Simulated time as it is shown: seconds with six digits.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:06}s", ns / 1_000_000_000, ns / 1_000 % 1_000_000)
}
