//! Block Limits, page B0h (SBC-3).

use alloc::vec::Vec;
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64};

use crate::error::DecodeError;
use crate::scsi::field::{be16, be32, be64, byte};
use crate::scsi::inquiry::Peripheral;

/// Limits of a disk, in logical blocks unless said otherwise. Zero on the wire means "not
/// reported", which is `None` here, so that nobody divides by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME does not take zero for "up to the end".
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH; `None`: the command is not supported.
    pub maximum_compare_and_write_length: Option<NonZeroU8>,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub optimal_transfer_length_granularity: Option<NonZeroU16>,
    /// MAXIMUM TRANSFER LENGTH of one command.
    pub maximum_transfer_length: Option<NonZeroU32>,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer_length: Option<NonZeroU32>,
    /// MAXIMUM PREFETCH LENGTH.
    pub maximum_prefetch_length: Option<NonZeroU32>,
    /// MAXIMUM UNMAP LBA COUNT of one command; `u32::MAX` means no limit, `None` no UNMAP.
    pub maximum_unmap_lba_count: Option<NonZeroU32>,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; `u32::MAX` means no limit, `None` no UNMAP.
    pub maximum_unmap_block_descriptor_count: Option<NonZeroU32>,
    /// OPTIMAL UNMAP GRANULARITY.
    pub optimal_unmap_granularity: Option<NonZeroU32>,
    /// UNMAP GRANULARITY ALIGNMENT, 31 bits; `None` without UGAVALID.
    pub unmap_granularity_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH; `None`: no limit reported.
    pub maximum_write_same_length: Option<NonZeroU64>,
    /// The page is longer than the data.
    pub truncated: bool,
}

impl BlockLimits {
    /// PAGE LENGTH of the page in SBC-3. Older devices send 0Ch, newer ones may send more.
    const BODY: usize = 0x3c;

    /// Parses the page. Fields past its end are not reported; an optimal length or granularity
    /// beyond the maximum contradicts it and counts as not reported too.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (body, truncated) = super::body(data, super::BLOCK_LIMITS)?;
        // Offsets count from the start of the body, four less than in the standard's table.
        let nonzero = |at| be32(body, at).and_then(NonZeroU32::new);
        let maximum = nonzero(4);
        let within = |length: u32| maximum.is_none_or(|maximum| length <= maximum.get());
        let alignment = be32(body, 28).unwrap_or(0);
        Ok(Self {
            write_same_non_zero: byte(body, 0).unwrap_or(0) & 0x01 != 0,
            maximum_compare_and_write_length: byte(body, 1).and_then(NonZeroU8::new),
            optimal_transfer_length_granularity: be16(body, 2)
                .and_then(NonZeroU16::new)
                .filter(|length| within(u32::from(length.get()))),
            maximum_transfer_length: maximum,
            optimal_transfer_length: nonzero(8).filter(|length| within(length.get())),
            maximum_prefetch_length: nonzero(12),
            maximum_unmap_lba_count: nonzero(16),
            maximum_unmap_block_descriptor_count: nonzero(20),
            optimal_unmap_granularity: nonzero(24),
            unmap_granularity_alignment: (alignment & 1 << 31 != 0)
                .then_some(alignment & !(1 << 31)),
            maximum_write_same_length: be64(body, 32).and_then(NonZeroU64::new),
            truncated,
        })
    }

    /// The page with the PAGE LENGTH of SBC-3.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        let word = |value: Option<NonZeroU32>| value.map_or(0, NonZeroU32::get).to_be_bytes();
        let mut body = Vec::with_capacity(Self::BODY);
        body.push(u8::from(self.write_same_non_zero));
        body.push(
            self.maximum_compare_and_write_length
                .map_or(0, NonZeroU8::get),
        );
        let granularity = self
            .optimal_transfer_length_granularity
            .map_or(0, NonZeroU16::get);
        body.extend_from_slice(&granularity.to_be_bytes());
        body.extend_from_slice(&word(self.maximum_transfer_length));
        body.extend_from_slice(&word(self.optimal_transfer_length));
        body.extend_from_slice(&word(self.maximum_prefetch_length));
        body.extend_from_slice(&word(self.maximum_unmap_lba_count));
        body.extend_from_slice(&word(self.maximum_unmap_block_descriptor_count));
        body.extend_from_slice(&word(self.optimal_unmap_granularity));
        let alignment = self
            .unmap_granularity_alignment
            .map_or(0, |lba| lba | 1 << 31);
        body.extend_from_slice(&alignment.to_be_bytes());
        let write_same = self.maximum_write_same_length.map_or(0, NonZeroU64::get);
        body.extend_from_slice(&write_same.to_be_bytes());
        body.resize(Self::BODY, 0);
        super::emit(peripheral, super::BLOCK_LIMITS, &body)
    }
}
