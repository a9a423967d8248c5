//! The answer of REPORT LUNS (SPC-4, REPORT LUNS command).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what we make ourselves"
)]

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::field::{self, be32};
use super::lun::Lun;
use crate::error::DecodeError;

/// The LUNs that a target reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportLuns {
    /// In the order of the target, each once.
    pub luns: Vec<Lun>,
    /// LUN LIST LENGTH in bytes, which counts LUNs beyond the allocation length too.
    pub list_length: u32,
    /// The list goes on past the data: ask again with [`ReportLuns::needed_length`].
    pub truncated: bool,
}

impl ReportLuns {
    /// The most logical units that one answer may announce: the flat address space.
    pub const MAX_LUNS: u32 = 16_384;
    const HEADER: u32 = 8;
    const ENTRY: u32 = 8;

    /// Parses the parameter data. Memory is taken for the bytes that came, never for the length
    /// that they announce; repeated LUNs are listed once.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than eight bytes, [`DecodeError::Scsi`] for a list
    /// length that is no multiple of eight, [`DecodeError::TooManyLuns`] for more than
    /// [`ReportLuns::MAX_LUNS`].
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let entries = data
            .get(Self::HEADER as usize..)
            .ok_or_else(|| field::truncated(data, Self::HEADER))?;
        let list_length = be32(data, 0).ok_or_else(|| field::truncated(data, Self::HEADER))?;
        if list_length % Self::ENTRY != 0 {
            return Err(DecodeError::Scsi { offset: 0 });
        }
        let count = list_length / Self::ENTRY;
        if count > Self::MAX_LUNS {
            return Err(DecodeError::TooManyLuns {
                count,
                limit: Self::MAX_LUNS,
            });
        }
        let (entries, truncated) = field::clamp(entries, list_length as usize);
        let mut seen = BTreeSet::new();
        let luns = entries
            .chunks_exact(Self::ENTRY as usize)
            .filter_map(|entry| field::array(entry, 0).map(Lun::from_wire))
            .filter(|lun| seen.insert(*lun))
            .collect();
        Ok(Self {
            luns,
            list_length,
            truncated,
        })
    }

    /// The allocation length that a repeated command needs for the whole list.
    #[must_use]
    pub const fn needed_length(&self) -> u32 {
        self.list_length.saturating_add(Self::HEADER)
    }

    /// The parameter data for these LUNs. Cut it to the allocation length; the list length in it
    /// stays that of the whole list, as the standard wants.
    #[must_use]
    pub fn emit(luns: &[Lun]) -> Vec<u8> {
        let length = u32::try_from(luns.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(Self::ENTRY);
        let mut data = Vec::with_capacity(Self::HEADER as usize + length as usize);
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        for lun in luns {
            data.extend_from_slice(&lun.to_wire());
        }
        data
    }
}
