//! READ CAPACITY (10) and (16) (SBC-3 sections 5.15, 5.16), and the size that follows.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use super::field::{self, be16, be32, be64, byte};
use crate::error::DecodeError;

/// The size of a logical unit, checked: block length and byte count can be calculated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    blocks: u64,
    block_length: u32,
}

impl Capacity {
    /// Bytes per block that are accepted, powers of two only. Protection information and the odd
    /// lengths of other device types (520, 2352) are outside of what a byte-addressed disk can use.
    pub const BLOCK_LENGTHS: core::ops::RangeInclusive<u32> = 512..=65_536;

    /// The size of a logical unit whose last block is `last_lba`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadGeometry`] for a block length outside [`Capacity::BLOCK_LENGTHS`] or no
    /// power of two, and where the size in bytes does not fit 64 bits.
    pub fn new(last_lba: u64, block_length: u32) -> Result<Self, DecodeError> {
        let bad = DecodeError::BadGeometry {
            last_lba,
            block_length,
        };
        if !Self::BLOCK_LENGTHS.contains(&block_length) || !block_length.is_power_of_two() {
            return Err(bad);
        }
        let blocks = last_lba.checked_add(1).ok_or(bad)?;
        blocks.checked_mul(u64::from(block_length)).ok_or(bad)?;
        Ok(Self {
            blocks,
            block_length,
        })
    }

    /// Number of logical blocks, at least one.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// LBA of the last block.
    #[must_use]
    pub const fn last_lba(&self) -> u64 {
        self.blocks - 1
    }

    /// Bytes per logical block, a power of two.
    #[must_use]
    pub const fn block_length(&self) -> u32 {
        self.block_length
    }

    /// Size in bytes.
    #[must_use]
    pub const fn size_in_bytes(&self) -> u64 {
        self.blocks * self.block_length as u64
    }

    /// Whether these blocks all exist. An empty range may lie right behind the last block.
    #[must_use]
    pub const fn contains(&self, lba: u64, blocks: u64) -> bool {
        match lba.checked_add(blocks) {
            Some(end) => end <= self.blocks,
            None => false,
        }
    }
}

/// Parameter data of READ CAPACITY (10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCapacity10 {
    /// RETURNED LOGICAL BLOCK ADDRESS: the last block, or FFFFFFFFh.
    pub last_lba: u32,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_length: u32,
}

impl ReadCapacity10 {
    /// The length of the parameter data.
    pub const LEN: usize = 8;

    /// Parses the parameter data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than eight bytes, [`DecodeError::BadGeometry`] as
    /// [`Capacity::new`].
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let needed = || field::truncated(data, Self::LEN as u32);
        let parsed = Self {
            last_lba: be32(data, 0).ok_or_else(needed)?,
            block_length: be32(data, 4).ok_or_else(needed)?,
        };
        Capacity::new(u64::from(parsed.last_lba), parsed.block_length)?;
        Ok(parsed)
    }

    /// The parameter data; nothing is checked, so that a test target can lie.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut data = [0; Self::LEN];
        data[..4].copy_from_slice(&self.last_lba.to_be_bytes());
        data[4..].copy_from_slice(&self.block_length.to_be_bytes());
        data
    }

    /// The size; `None` where it is too large for this command and READ CAPACITY (16) must tell.
    ///
    /// # Errors
    ///
    /// As [`Capacity::new`].
    pub fn capacity(&self) -> Result<Option<Capacity>, DecodeError> {
        if self.last_lba == u32::MAX {
            return Ok(None);
        }
        Capacity::new(u64::from(self.last_lba), self.block_length).map(Some)
    }
}

/// Parameter data of READ CAPACITY (16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCapacity16 {
    /// RETURNED LOGICAL BLOCK ADDRESS: the last block.
    pub last_lba: u64,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_length: u32,
    /// PROT_EN: the medium is formatted with protection information.
    pub protection_enabled: bool,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, 0 to 15.
    pub physical_block_exponent: u8,
    /// LBPME: thinly provisioned, UNMAP may be supported.
    pub provisioning_enabled: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub unmapped_reads_zeros: bool,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, 14 bits: the first LBA at the start of a physical
    /// block.
    pub lowest_aligned_lba: u16,
    /// Fewer than 32 bytes came; the missing fields read as zero.
    pub truncated: bool,
}

impl ReadCapacity16 {
    /// The length of the parameter data.
    pub const LEN: usize = 32;

    /// Parses the parameter data. The geometry is enough: some targets send no more than 12 bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than 12 bytes, [`DecodeError::BadGeometry`] as
    /// [`Capacity::new`].
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let needed = || field::truncated(data, 12);
        let flags = byte(data, 12).unwrap_or(0);
        let alignment = be16(data, 14).unwrap_or(0);
        let parsed = Self {
            last_lba: be64(data, 0).ok_or_else(needed)?,
            block_length: be32(data, 8).ok_or_else(needed)?,
            protection_enabled: flags & 0x01 != 0,
            physical_block_exponent: byte(data, 13).unwrap_or(0) & 0x0f,
            provisioning_enabled: alignment & 0x8000 != 0,
            unmapped_reads_zeros: alignment & 0x4000 != 0,
            lowest_aligned_lba: alignment & 0x3fff,
            truncated: data.len() < Self::LEN,
        };
        parsed.capacity()?;
        Ok(parsed)
    }

    /// The parameter data; the geometry is not checked, so that a test target can lie. Cut it to
    /// the allocation length.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let alignment = u16::from(self.provisioning_enabled) << 15
            | u16::from(self.unmapped_reads_zeros) << 14
            | self.lowest_aligned_lba & 0x3fff;
        let mut data = [0; Self::LEN];
        data[..8].copy_from_slice(&self.last_lba.to_be_bytes());
        data[8..12].copy_from_slice(&self.block_length.to_be_bytes());
        data[12] = u8::from(self.protection_enabled);
        data[13] = self.physical_block_exponent & 0x0f;
        data[14..16].copy_from_slice(&alignment.to_be_bytes());
        data
    }

    /// The size.
    ///
    /// # Errors
    ///
    /// As [`Capacity::new`].
    pub fn capacity(&self) -> Result<Capacity, DecodeError> {
        Capacity::new(self.last_lba, self.block_length)
    }

    /// Bytes per physical block. Cannot overflow: 32 bits shifted by at most 15.
    #[must_use]
    pub fn physical_block_length(&self) -> u64 {
        u64::from(self.block_length) << (self.physical_block_exponent & 0x0f)
    }
}
