//! The 64-bit logical unit number (SAM-5 section 4.7).

use core::fmt;
use core::str::FromStr;

use crate::error::DecodeError;

/// A logical unit number as SAM-5 defines it: eight bytes, of which the first two name the unit in
/// the single-level forms that nearly every iSCSI target uses.
///
/// Two encodings of the same number are different LUNs to a target: send back what REPORT LUNS said
/// ([`Lun::from_wire`]), and use [`Lun::new`] only for a number that a person typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(u64);

impl Lun {
    /// LUN 0, which every target answers for.
    pub const ZERO: Self = Self(0);
    /// The REPORT LUNS well-known logical unit (SPC-4 section 8.2).
    pub const REPORT_LUNS: Self = Self(0xc101_0000_0000_0000);

    /// The single-level LUN of a number: peripheral device addressing below 256, flat space
    /// addressing from 256 to 16383, as Linux, ESX and libiscsi write it.
    ///
    /// Numbers of 16384 and more take extended flat space addressing (SAM-5 section 4.7.7.5).
    #[must_use]
    pub const fn new(number: u16) -> Self {
        let number = number as u64;
        Self(match number {
            0..=0xff => number << 48,
            0x100..=0x3fff => (0x4000 | number) << 48,
            // Method 11b, length 01b, extended method 2: three bytes of number.
            _ => (0xd2 << 56) | (number << 32),
        })
    }

    /// The LUN in these eight bytes of a PDU or of a REPORT LUNS list.
    #[must_use]
    pub const fn from_wire(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The eight bytes on the wire.
    #[must_use]
    pub const fn to_wire(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The number of a single-level LUN: peripheral device addressing on bus 0, flat space or
    /// extended flat space. `None` for everything else (well-known units, several levels, a bus).
    #[must_use]
    pub const fn number(self) -> Option<u16> {
        let first = (self.0 >> 48) as u16;
        let rest = self.0 & 0x0000_ffff_ffff_ffff;
        match (first >> 14, rest) {
            (0b00, 0) if first <= 0xff => Some(first),
            (0b01, 0) => Some(first & 0x3fff),
            (0b11, _) if self.0 >> 48 == 0xd200 && rest & 0xffff_ffff == 0 => {
                Some((rest >> 32) as u16)
            }
            _ => None,
        }
    }
}

/// The number where [`Lun::new`] of that number is this LUN again, else `0x` and 16 digits, so
/// that the text always parses back to the same eight bytes.
impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) if Self::new(number) == *self => fmt::Display::fmt(&number, f),
            _ => write!(f, "{:#018x}", self.0),
        }
    }
}

/// A decimal number (see [`Lun::new`]), or `0x` and exactly 16 hexadecimal digits.
impl FromStr for Lun {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        if let Some(digits) = text.strip_prefix("0x") {
            if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(DecodeError::Address);
            }
            return u64::from_str_radix(digits, 16)
                .map(Self)
                .map_err(|_| DecodeError::Address);
        }
        // `parse` alone would take "+1".
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DecodeError::Address);
        }
        text.parse()
            .map(Self::new)
            .map_err(|_| DecodeError::Address)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn small_numbers_use_peripheral_addressing_and_large_ones_flat() {
        assert_eq!(Lun::new(0).to_wire(), [0; 8]);
        assert_eq!(Lun::new(255).to_wire(), [0, 255, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun::new(256).to_wire(), [0x41, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun::new(16383).to_wire(), [0x7f, 0xff, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun::new(16384).to_wire(), [0xd2, 0, 0x40, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_number_survives_the_wire_and_the_text() {
        for number in 0..=u16::MAX {
            let lun = Lun::new(number);
            assert_eq!(Lun::from_wire(lun.to_wire()), lun);
            assert_eq!(lun.number(), Some(number));
            assert_eq!(lun.to_string().parse(), Ok(lun));
        }
    }

    #[test]
    fn a_small_number_in_flat_addressing_keeps_its_encoding_in_text() {
        let flat = Lun::from_wire([0x40, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(flat.number(), Some(5));
        assert_eq!(flat.to_string(), "0x4005000000000000");
        assert_eq!("0x4005000000000000".parse(), Ok(flat));
    }

    #[test]
    fn several_levels_and_well_known_units_have_no_number() {
        assert_eq!(Lun::from_wire([0, 1, 0, 2, 0, 0, 0, 0]).number(), None);
        assert_eq!(Lun::from_wire([1, 1, 0, 0, 0, 0, 0, 0]).number(), None);
        assert_eq!(Lun::REPORT_LUNS.number(), None);
        assert_eq!(Lun::REPORT_LUNS.to_string(), "0xc101000000000000");
    }

    #[test]
    fn text_that_is_no_lun_is_refused() {
        for text in [
            "",
            "+1",
            "-1",
            "65536",
            "0x41",
            "0x410000000000000g",
            "0x+100000000000000",
        ] {
            assert_eq!(text.parse::<Lun>(), Err(DecodeError::Address), "{text}");
        }
    }
}
