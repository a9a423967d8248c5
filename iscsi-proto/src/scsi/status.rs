//! The status byte of a finished command (SAM-5 section 5.3.1).

use core::fmt;

/// SCSI status code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScsiStatus {
    /// GOOD (00h): the command ran to its end without error.
    #[default]
    Good,
    /// CHECK CONDITION (02h): sense data says what happened.
    CheckCondition,
    /// CONDITION MET (04h): the comparison of PRE-FETCH and its like succeeded.
    ConditionMet,
    /// BUSY (08h): not accepted now; the same command may be sent again.
    Busy,
    /// RESERVATION CONFLICT (18h): somebody else's reservation excludes this command.
    ReservationConflict,
    /// TASK SET FULL (28h): the task set had no room for the command.
    TaskSetFull,
    /// ACA ACTIVE (30h): an auto contingent allegiance blocks the command.
    AcaActive,
    /// TASK ABORTED (40h): another initiator aborted the command.
    TaskAborted,
    /// Any other byte: reserved, obsolete (INTERMEDIATE) or unknown.
    Unknown(u8),
}

impl ScsiStatus {
    /// The status that this byte stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x00 => Self::Good,
            0x02 => Self::CheckCondition,
            0x04 => Self::ConditionMet,
            0x08 => Self::Busy,
            0x18 => Self::ReservationConflict,
            0x28 => Self::TaskSetFull,
            0x30 => Self::AcaActive,
            0x40 => Self::TaskAborted,
            other => Self::Unknown(other),
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Good => 0x00,
            Self::CheckCondition => 0x02,
            Self::ConditionMet => 0x04,
            Self::Busy => 0x08,
            Self::ReservationConflict => 0x18,
            Self::TaskSetFull => 0x28,
            Self::AcaActive => 0x30,
            Self::TaskAborted => 0x40,
            Self::Unknown(byte) => byte,
        }
    }
}

impl fmt::Display for ScsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "GOOD",
            Self::CheckCondition => "CHECK CONDITION",
            Self::ConditionMet => "CONDITION MET",
            Self::Busy => "BUSY",
            Self::ReservationConflict => "RESERVATION CONFLICT",
            Self::TaskSetFull => "TASK SET FULL",
            Self::AcaActive => "ACA ACTIVE",
            Self::TaskAborted => "TASK ABORTED",
            Self::Unknown(byte) => return write!(f, "status {byte:#04x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=u8::MAX {
            assert_eq!(ScsiStatus::from_byte(byte).to_byte(), byte);
        }
    }
}
