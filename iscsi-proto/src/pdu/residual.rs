//! Residual counts, which SCSI Response and Data-In carry alike (RFC 7143 sections 11.4.5, 11.7.3).

use core::fmt;

use crate::error::DecodeError;

/// How far the transfer missed the Expected Data Transfer Length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Residual {
    /// Exactly as much as expected, as far as the target says.
    #[default]
    None,
    /// So many of the expected bytes were not transferred (U).
    Underflow(u32),
    /// The command had so many bytes more than were expected (O).
    Overflow(u32),
}

impl Residual {
    /// Both bits at once exclude each other: no count could be meant. `flags_at` names the byte.
    pub(super) const fn from_wire(
        overflow: bool,
        underflow: bool,
        count: u32,
        flags_at: u8,
    ) -> Result<Self, DecodeError> {
        match (overflow, underflow) {
            (false, false) => Ok(Self::None),
            (false, true) => Ok(Self::Underflow(count)),
            (true, false) => Ok(Self::Overflow(count)),
            (true, true) => Err(DecodeError::Field { offset: flags_at }),
        }
    }

    pub(super) const fn is_overflow(self) -> bool {
        matches!(self, Self::Overflow(_))
    }

    pub(super) const fn is_underflow(self) -> bool {
        matches!(self, Self::Underflow(_))
    }

    /// The count in bytes, in either direction; 0 for [`Self::None`].
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Underflow(count) | Self::Overflow(count) => count,
        }
    }
}

impl fmt::Display for Residual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no residual"),
            Self::Underflow(count) => write!(f, "underflow {count}"),
            Self::Overflow(count) => write!(f, "overflow {count}"),
        }
    }
}
