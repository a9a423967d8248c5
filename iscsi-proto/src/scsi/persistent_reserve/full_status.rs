//! READ FULL STATUS (SPC-4 section 6.15.5).

use alloc::vec::Vec;

use super::{
    ReservationKey, ReservationType, TransportId,
    keys::{HEADER, header},
};
use crate::{
    error::DecodeError,
    scsi::field::{be16, be32, be64, byte},
};

/// A full status descriptor without its TransportID.
const DESCRIPTOR: usize = 24;

/// One registration, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// Its key.
    pub key: ReservationKey,
    /// ALL_TG_PT: it is one of every target port, and `relative_target_port` means nothing.
    pub all_target_ports: bool,
    /// The reservation that it holds, alone or with all others.
    pub holds: Option<ReservationType>,
    /// RELATIVE TARGET PORT IDENTIFIER: the other end of the nexus.
    pub relative_target_port: u16,
    /// The initiator port; [`TransportId::Other`] where that makes no sense.
    pub transport_id: TransportId,
}

/// All registrations with the nexuses that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullStatus {
    /// PRGENERATION.
    pub generation: u32,
    /// In the order of the unit.
    pub registrations: Vec<Registration>,
    /// ADDITIONAL LENGTH in bytes, which counts registrations beyond the allocation length too.
    pub list_length: u32,
    /// The list goes on past the data: ask again with [`needed_length`](Self::needed_length), once. A descriptor
    /// that lies about its length is cut off again.
    pub truncated: bool,
}

impl FullStatus {
    /// Parses the parameter data. Memory is taken for the bytes that came. A descriptor that is cut off is
    /// left out, and so is what follows one that lies about its length.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than eight bytes.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (generation, list_length, mut list, mut truncated) = header(data)?;
        let mut registrations = Vec::new();
        while !list.is_empty() {
            let Some((registration, taken)) = descriptor(list) else {
                truncated = true;
                break;
            };
            registrations.push(registration);
            list = list.get(taken..).unwrap_or_default();
        }
        Ok(Self {
            generation,
            registrations,
            list_length,
            truncated,
        })
    }

    /// The allocation length that a repeated command needs for the whole list.
    #[must_use]
    pub const fn needed_length(&self) -> u32 {
        self.list_length.saturating_add(HEADER)
    }

    /// The parameter data for these registrations, with a length that is theirs.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for one in &self.registrations {
            let flags = u8::from(one.all_target_ports) << 1 | u8::from(one.holds.is_some());
            let kind = one.holds.map_or(0, ReservationType::to_bits);
            let id = one.transport_id.emit();
            list.extend_from_slice(&one.key.0.to_be_bytes());
            list.extend_from_slice(&[0, 0, 0, 0, flags, kind, 0, 0, 0, 0]);
            list.extend_from_slice(&one.relative_target_port.to_be_bytes());
            list.extend_from_slice(&u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
            list.extend_from_slice(&id);
        }
        let mut data = self.generation.to_be_bytes().to_vec();
        let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(&list);
        data
    }
}

/// The first descriptor of a list and its length; `None` where it is not all there.
fn descriptor(list: &[u8]) -> Option<(Registration, usize)> {
    let additional = usize::try_from(be32(list, 20)?).ok()?;
    let end = DESCRIPTOR.checked_add(additional)?;
    let id = list.get(DESCRIPTOR..end)?;
    let flags = byte(list, 12)?;
    let kind = ReservationType::from_bits(byte(list, 13)?);
    let transport_id = match TransportId::parse(id) {
        Ok((id, _)) => id,
        Err(_) => TransportId::Other(id.to_vec()),
    };
    let registration = Registration {
        key: ReservationKey(be64(list, 0)?),
        all_target_ports: flags & 0x02 != 0,
        holds: (flags & 0x01 != 0).then_some(kind),
        relative_target_port: be16(list, 18)?,
        transport_id,
    };
    Some((registration, end))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::ids::Isid;

    fn example() -> FullStatus {
        let registration = |key, holds| Registration {
            key: ReservationKey(key),
            all_target_ports: false,
            holds,
            relative_target_port: 0x102,
            transport_id: TransportId::Port("iqn.a:b".into(), Isid([0x80, 1, 2, 3, 4, 5])),
        };
        FullStatus {
            generation: 7,
            registrations: vec![
                registration(5, Some(ReservationType::WriteExclusiveRegistrantsOnly)),
                registration(6, None),
            ],
            list_length: 2 * (24 + 4 + 28),
            truncated: false,
        }
    }

    #[test]
    fn registrations_are_byte_exact() {
        let status = example();
        let bytes = status.emit();
        assert_eq!(bytes[..8], [0, 0, 0, 7, 0, 0, 0, 112]);
        assert_eq!(bytes[8..20], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
        assert_eq!(bytes[20..32], [1, 5, 0, 0, 0, 0, 1, 2, 0, 0, 0, 32]);
        assert_eq!(&bytes[36..60], b"iqn.a:b,i,0x800102030405");
        assert_eq!(FullStatus::parse(&bytes), Ok(status));
    }

    #[test]
    fn what_is_cut_off_is_left_out_and_said_to_be() {
        let bytes = example().emit();
        for length in 8..bytes.len() {
            let cut = FullStatus::parse(&bytes[..length]).unwrap();
            assert!(cut.truncated, "{length}");
            let whole = (length - 8) / (24 + 32);
            assert_eq!(cut.registrations.len(), whole, "{length}");
        }
        assert!(FullStatus::parse(&bytes[..7]).is_err());
    }

    #[test]
    fn a_descriptor_that_lies_about_its_length_ends_the_list() {
        let mut bytes = example().emit();
        bytes[28..32].copy_from_slice(&u32::MAX.to_be_bytes());
        let parsed = FullStatus::parse(&bytes).unwrap();
        assert!(parsed.truncated && parsed.registrations.is_empty());
        // One without a TransportID has an unknown port.
        bytes[28..32].copy_from_slice(&0_u32.to_be_bytes());
        let parsed = FullStatus::parse(&bytes).unwrap();
        assert_eq!(
            parsed.registrations[0].transport_id,
            TransportId::Other(vec![])
        );
    }
}
