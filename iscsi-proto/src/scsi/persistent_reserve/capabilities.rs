//! REPORT CAPABILITIES (SPC-4 section 6.15.4).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use super::ReservationType;
use crate::{
    error::DecodeError,
    scsi::field::{self, be16, byte},
};

/// What a unit does about persistent reservations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservationCapabilities {
    /// RLR_C: REPLACE LOST RESERVATION is there.
    pub replace_lost_reservation: bool,
    /// CRH: RESERVE (6) and RELEASE (6) of a registrant conflict no more.
    pub compatible_reservation_handling: bool,
    /// SIP_C: SPEC_I_PT may be set, so that a nexus registers others.
    pub specify_initiator_ports: bool,
    /// ATP_C: ALL_TG_PT may be set, so that a registration is one of all target ports.
    pub all_target_ports: bool,
    /// PTPL_C: APTPL may be set, so that registrations survive a loss of power.
    pub persist_through_power_loss_capable: bool,
    /// PTPL_A: they do.
    pub persist_through_power_loss: bool,
    /// PERSISTENT RESERVATION TYPE MASK, where TMV says that it is valid: first byte in the upper half.
    pub types: Option<u16>,
}

impl ReservationCapabilities {
    /// The length of the answer.
    pub const LEN: u16 = 8;
    /// What the answer says of its own length.
    const LENGTH: u16 = 8;

    /// Parses the parameter data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than six bytes, [`DecodeError::Scsi`] for a length that is
    /// shorter than what is used.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let short = || field::truncated(data, 6);
        if be16(data, 0).ok_or_else(short)? < 6 {
            return Err(DecodeError::Scsi { offset: 0 });
        }
        let flags = byte(data, 2).ok_or_else(short)?;
        let more = byte(data, 3).ok_or_else(short)?;
        let mask = be16(data, 4).ok_or_else(short)?;
        Ok(Self {
            replace_lost_reservation: flags & 0x80 != 0,
            compatible_reservation_handling: flags & 0x10 != 0,
            specify_initiator_ports: flags & 0x08 != 0,
            all_target_ports: flags & 0x04 != 0,
            persist_through_power_loss_capable: flags & 0x01 != 0,
            persist_through_power_loss: more & 0x01 != 0,
            types: (more & 0x80 != 0).then_some(mask),
        })
    }

    /// Whether the unit says that it knows this type; `None` where it does not say which it knows.
    #[must_use]
    pub const fn allows(&self, kind: ReservationType) -> Option<bool> {
        let Some(mask) = self.types else {
            return None;
        };
        // Bit n of the first byte is type n, and bit 0 of the second one type 8.
        let bits = kind.to_bits();
        let bit = if bits < 8 { bits + 8 } else { bits - 8 };
        Some(mask >> bit & 1 != 0)
    }

    /// The parameter data, with ALLOW COMMANDS 000b (no information).
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN as usize] {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let [l0, l1] = Self::LENGTH.to_be_bytes();
        let [m0, m1] = self.types.unwrap_or(0).to_be_bytes();
        let flags = bit(self.replace_lost_reservation, 0x80)
            | bit(self.compatible_reservation_handling, 0x10)
            | bit(self.specify_initiator_ports, 0x08)
            | bit(self.all_target_ports, 0x04)
            | bit(self.persist_through_power_loss_capable, 0x01);
        let more = bit(self.types.is_some(), 0x80) | bit(self.persist_through_power_loss, 0x01);
        [l0, l1, flags, more, m0, m1, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_are_read_from_their_bits() {
        let bytes = [0, 8, 0x9d, 0x81, 0xea, 0x01, 0, 0];
        let all = ReservationCapabilities::parse(&bytes).unwrap();
        assert!(all.replace_lost_reservation && all.compatible_reservation_handling);
        assert!(all.specify_initiator_ports && all.all_target_ports);
        assert!(all.persist_through_power_loss_capable && all.persist_through_power_loss);
        for kind in [1, 3, 5, 6, 7, 8].map(ReservationType::from_bits) {
            assert_eq!(all.allows(kind), Some(true), "{kind}");
        }
        for kind in [0, 2, 4, 9].map(ReservationType::from_bits) {
            assert_eq!(all.allows(kind), Some(false), "{kind}");
        }
        assert_eq!(all.emit(), bytes);
        let none = ReservationCapabilities::parse(&[0, 8, 0, 0, 0xff, 0xff, 0, 0]).unwrap();
        assert_eq!(none, ReservationCapabilities::default());
        assert_eq!(none.allows(ReservationType::WriteExclusive), None);
    }

    #[test]
    fn a_short_answer_is_no_answer() {
        let bytes = [0, 8, 0, 0x80, 0xea, 1, 0, 0];
        for length in 0..6 {
            let error = DecodeError::Truncated { length, needed: 6 };
            let parsed = ReservationCapabilities::parse(&bytes[..length as usize]);
            assert_eq!(parsed, Err(error));
        }
        let liar = [0, 5, 0, 0x80, 0xea, 1, 0, 0];
        let error = DecodeError::Scsi { offset: 0 };
        assert_eq!(ReservationCapabilities::parse(&liar), Err(error));
    }
}
