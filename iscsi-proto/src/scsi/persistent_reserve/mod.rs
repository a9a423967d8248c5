//! Persistent reservations: PERSISTENT RESERVE IN and PERSISTENT RESERVE OUT (SPC-4 sections 5.12, 6.15 and
//! 6.16).
//!
//! A *registration* gives an I_T nexus a key; a *reservation* is held by one registration, or by all of
//! them, and keeps others out. Both belong to the nexus, not to the session: they outlive a lost connection
//! and a reset, and a login with the same ISID to the same portal group finds them.

mod capabilities;
mod full_status;
mod keys;
mod out;
mod transport_id;

use core::fmt;

pub use capabilities::ReservationCapabilities;
pub use full_status::{FullStatus, Registration};
pub use keys::{CurrentReservation, ReservationKeys};
pub use out::{PersistentReserveOut, ReserveAction};
pub use transport_id::TransportId;

use super::cdb::{Cdb, opcode};

/// RESERVATION KEY: what a nexus is registered with. 0 is no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(pub u64);

impl ReservationKey {
    /// No key: what an unregistered nexus has, and what unregisters.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for ReservationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// TYPE of a reservation (SPC-4 table 60, with the SCOPE of the logical unit, the only one there is).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReservationType {
    /// 1h: only the holder writes.
    WriteExclusive,
    /// 3h: only the holder reads and writes.
    ExclusiveAccess,
    /// 5h: only registered nexuses write; one of them is the holder.
    WriteExclusiveRegistrantsOnly,
    /// 6h: only registered nexuses read and write; one of them is the holder.
    ExclusiveAccessRegistrantsOnly,
    /// 7h: only registered nexuses write, and each of them is a holder.
    WriteExclusiveAllRegistrants,
    /// 8h: only registered nexuses read and write, and each of them is a holder.
    ExclusiveAccessAllRegistrants,
    /// Any other value of the four bits.
    Unknown(u8),
}

impl ReservationType {
    /// The type in the low four bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x1 => Self::WriteExclusive,
            0x3 => Self::ExclusiveAccess,
            0x5 => Self::WriteExclusiveRegistrantsOnly,
            0x6 => Self::ExclusiveAccessRegistrantsOnly,
            0x7 => Self::WriteExclusiveAllRegistrants,
            0x8 => Self::ExclusiveAccessAllRegistrants,
            other => Self::Unknown(other),
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::WriteExclusive => 0x1,
            Self::ExclusiveAccess => 0x3,
            Self::WriteExclusiveRegistrantsOnly => 0x5,
            Self::ExclusiveAccessRegistrantsOnly => 0x6,
            Self::WriteExclusiveAllRegistrants => 0x7,
            Self::ExclusiveAccessAllRegistrants => 0x8,
            Self::Unknown(bits) => bits & 0x0f,
        }
    }
}

impl fmt::Display for ReservationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteExclusive => "Write Exclusive",
            Self::ExclusiveAccess => "Exclusive Access",
            Self::WriteExclusiveRegistrantsOnly => "Write Exclusive - Registrants Only",
            Self::ExclusiveAccessRegistrantsOnly => "Exclusive Access - Registrants Only",
            Self::WriteExclusiveAllRegistrants => "Write Exclusive - All Registrants",
            Self::ExclusiveAccessAllRegistrants => "Exclusive Access - All Registrants",
            Self::Unknown(bits) => return write!(f, "reservation type {bits:#x}"),
        })
    }
}

/// What PERSISTENT RESERVE IN is to report: its service action (SPC-4 table 199).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReserveReport {
    /// READ KEYS: [`ReservationKeys`].
    Keys,
    /// READ RESERVATION: [`CurrentReservation`].
    Reservation,
    /// REPORT CAPABILITIES: [`ReservationCapabilities`].
    Capabilities,
    /// READ FULL STATUS: [`FullStatus`].
    FullStatus,
}

impl ReserveReport {
    /// SERVICE ACTION.
    #[must_use]
    pub const fn service_action(self) -> u8 {
        match self {
            Self::Keys => 0x00,
            Self::Reservation => 0x01,
            Self::Capabilities => 0x02,
            Self::FullStatus => 0x03,
        }
    }

    /// PERSISTENT RESERVE IN for at most `allocation_length` bytes.
    #[must_use]
    pub const fn cdb(self, allocation_length: u16) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = opcode::PERSISTENT_RESERVE_IN;
        bytes[1] = self.service_action();
        [bytes[7], bytes[8]] = allocation_length.to_be_bytes();
        Cdb::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn every_type_survives_the_round_trip_and_the_six_have_names() {
        for bits in 0..16 {
            assert_eq!(ReservationType::from_bits(bits).to_bits(), bits);
        }
        let known = [1, 3, 5, 6, 7, 8].map(ReservationType::from_bits);
        for kind in known {
            assert!(!matches!(kind, ReservationType::Unknown(_)), "{kind}");
        }
    }

    #[test]
    fn the_in_command_is_byte_exact() {
        let cases = [
            (ReserveReport::Keys, 0),
            (ReserveReport::Reservation, 1),
            (ReserveReport::Capabilities, 2),
            (ReserveReport::FullStatus, 3),
        ];
        for (report, action) in cases {
            let cdb = report.cdb(0x1234);
            let bytes = [0x5e, action, 0, 0, 0, 0, 0, 0x12, 0x34, 0];
            assert_eq!(cdb.as_bytes(), bytes);
        }
        let text = ReserveReport::Keys.cdb(8).to_string();
        assert_eq!(text, "PERSISTENT RESERVE IN, READ KEYS");
    }
}
