//! READ KEYS and READ RESERVATION (SPC-4 sections 6.15.2 and 6.15.3).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what we make ourselves"
)]

use alloc::vec::Vec;

use super::{ReservationKey, ReservationType};
use crate::{
    error::DecodeError,
    scsi::field::{self, array, be32, be64, byte},
};

/// PRGENERATION and ADDITIONAL LENGTH, with which all answers but the capabilities begin.
pub(super) const HEADER: u32 = 8;
const KEY: usize = 8;
/// The one reservation descriptor.
const RESERVATION: u32 = 16;

/// PRGENERATION, ADDITIONAL LENGTH, and what came of the list.
pub(super) fn header(data: &[u8]) -> Result<(u32, u32, &[u8], bool), DecodeError> {
    let short = || field::truncated(data, HEADER);
    let generation = be32(data, 0).ok_or_else(short)?;
    let length = be32(data, 4).ok_or_else(short)?;
    let list = data.get(HEADER as usize..).ok_or_else(short)?;
    let claimed = usize::try_from(length).unwrap_or(usize::MAX);
    let (list, truncated) = field::clamp(list, claimed);
    Ok((generation, length, list, truncated))
}

/// The keys of all registrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationKeys {
    /// PRGENERATION: counts what changed registrations, by whomever; wraps.
    pub generation: u32,
    /// One for each registration, so that two nexuses with one key make it appear twice.
    pub keys: Vec<ReservationKey>,
    /// ADDITIONAL LENGTH in bytes, which counts keys beyond the allocation length too.
    pub list_length: u32,
    /// The list goes on past the data: ask again with [`needed_length`](Self::needed_length).
    pub truncated: bool,
}

impl ReservationKeys {
    /// Parses the parameter data. Memory is taken for the bytes that came, never for the length that they
    /// announce.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than eight bytes, [`DecodeError::Scsi`] for a length that is no
    /// multiple of eight.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (generation, list_length, list, truncated) = header(data)?;
        if list_length as usize % KEY != 0 {
            return Err(DecodeError::Scsi { offset: 4 });
        }
        let keys = list.chunks_exact(KEY).filter_map(|key| array(key, 0));
        Ok(Self {
            generation,
            keys: keys.map(u64::from_be_bytes).map(ReservationKey).collect(),
            list_length,
            truncated,
        })
    }

    /// The allocation length that a repeated command needs for the whole list.
    #[must_use]
    pub const fn needed_length(&self) -> u32 {
        self.list_length.saturating_add(HEADER)
    }

    /// The parameter data for these keys, with a length that is theirs.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let length = u32::try_from(self.keys.len() * KEY).unwrap_or(u32::MAX);
        let mut data = self.generation.to_be_bytes().to_vec();
        data.extend_from_slice(&length.to_be_bytes());
        for key in &self.keys {
            data.extend_from_slice(&key.0.to_be_bytes());
        }
        data
    }
}

/// The reservation of a unit, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CurrentReservation {
    /// PRGENERATION.
    pub generation: u32,
    /// The holder's key and the type; the key is [`ReservationKey::NONE`] where all registrants hold it.
    pub held: Option<(ReservationKey, ReservationType)>,
}

impl CurrentReservation {
    /// The length of the longest answer.
    pub const LEN: u16 = (HEADER + RESERVATION) as u16;

    /// Parses the parameter data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] where data that is announced is not there, [`DecodeError::Scsi`] for an
    /// announced length that is no reservation's, or another SCOPE than the logical unit's.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (generation, length, list, truncated) = header(data)?;
        if length == 0 {
            return Ok(Self {
                generation,
                held: None,
            });
        }
        if length < RESERVATION {
            return Err(DecodeError::Scsi { offset: 4 });
        }
        let whole = || field::truncated(data, HEADER + RESERVATION);
        let key = be64(list, 0).ok_or_else(whole)?;
        let scope_type = byte(list, 13).ok_or_else(whole)?;
        if truncated && list.len() < RESERVATION as usize {
            return Err(whole());
        }
        if scope_type & 0xf0 != 0 {
            return Err(DecodeError::Scsi { offset: 21 });
        }
        Ok(Self {
            generation,
            held: Some((ReservationKey(key), ReservationType::from_bits(scope_type))),
        })
    }

    /// The parameter data.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let length = if self.held.is_some() { RESERVATION } else { 0 };
        let mut data = self.generation.to_be_bytes().to_vec();
        data.extend_from_slice(&length.to_be_bytes());
        if let Some((key, kind)) = self.held {
            data.extend_from_slice(&key.0.to_be_bytes());
            data.extend_from_slice(&[0, 0, 0, 0, 0, kind.to_bits(), 0, 0]);
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_far_as_they_came() {
        let bytes = [
            0, 0, 0, 9, 0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 2,
        ];
        let keys = ReservationKeys::parse(&bytes).unwrap();
        assert_eq!((keys.generation, keys.truncated), (9, false));
        let expected = [0x0102_0304_0506_0708, 2].map(ReservationKey);
        assert_eq!(keys.keys, expected);
        assert_eq!(keys.emit(), bytes);
        let cut = ReservationKeys::parse(&bytes[..20]).unwrap();
        assert_eq!((cut.keys.len(), cut.truncated), (1, true));
        assert_eq!(cut.needed_length(), 24);
        for length in 0..8 {
            let error = DecodeError::Truncated { length, needed: 8 };
            let parsed = ReservationKeys::parse(&bytes[..length as usize]);
            assert_eq!(parsed, Err(error));
        }
    }

    #[test]
    fn a_list_of_half_a_key_is_inconsistent_and_a_huge_one_takes_no_memory() {
        let mut bytes = [0; 16];
        bytes[7] = 4;
        assert_eq!(
            ReservationKeys::parse(&bytes),
            Err(DecodeError::Scsi { offset: 4 })
        );
        bytes[4..8].copy_from_slice(&0xffff_fff8_u32.to_be_bytes());
        let keys = ReservationKeys::parse(&bytes).unwrap();
        assert!(keys.truncated);
        assert_eq!((keys.keys.len(), keys.needed_length()), (1, u32::MAX));
    }

    #[test]
    fn a_reservation_is_there_or_not() {
        let none = [0, 0, 0, 3, 0, 0, 0, 0];
        let parsed = CurrentReservation::parse(&none).unwrap();
        assert_eq!((parsed.generation, parsed.held), (3, None));
        assert_eq!(parsed.emit(), none);
        let held = [
            0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 6, 0, 0,
        ];
        let parsed = CurrentReservation::parse(&held).unwrap();
        let kind = ReservationType::ExclusiveAccessRegistrantsOnly;
        assert_eq!(parsed.held, Some((ReservationKey(5), kind)));
        assert_eq!(parsed.emit(), held);
    }

    #[test]
    fn a_reservation_that_lies_about_its_length_or_scope_is_refused() {
        let mut held = [0; 24];
        (held[7], held[21]) = (16, 0x11);
        let scope = DecodeError::Scsi { offset: 21 };
        assert_eq!(CurrentReservation::parse(&held), Err(scope));
        held[21] = 1;
        assert!(CurrentReservation::parse(&held).is_ok());
        for length in 8..24 {
            let error = DecodeError::Truncated { length, needed: 24 };
            let parsed = CurrentReservation::parse(&held[..length as usize]);
            assert_eq!(parsed, Err(error));
        }
        held[7] = 8;
        let error = DecodeError::Scsi { offset: 4 };
        assert_eq!(CurrentReservation::parse(&held), Err(error));
    }
}
