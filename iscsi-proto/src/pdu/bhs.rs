//! The 48 bytes that every PDU begins with (RFC 7143 section 11.2.1).

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "offsets are constants, in a header of 48 bytes"
)]

use crate::error::DecodeError;
use crate::ids::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// The fields at the same place in every PDU.
mod field {
    pub(super) const OPCODE: usize = 0;
    pub(super) const TOTAL_AHS_LENGTH: usize = 4;
    pub(super) const DATA_SEGMENT_LENGTH: usize = 5;
    pub(super) const LUN: usize = 8;
    pub(super) const INITIATOR_TASK_TAG: usize = 16;
}

/// Where most PDUs have their flags, or a code beside the F bit.
pub(super) const FLAGS: usize = 1;
/// F: the last PDU of a sequence. Most PDUs are always alone and have it fixed to 1.
pub(super) const FINAL: u8 = 0x80;

const OPCODE_MASK: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;

/// Basic header segment: any 48 bytes.
///
/// The getters read the fields that have one place in all PDUs, and so work before it is known
/// which PDU this is; where a PDU has something else at that place (a login has its ISID where others
/// have the LUN), they return those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bhs([u8; Self::LEN]);

impl Bhs {
    /// Length in bytes, without additional header segments and digests.
    pub const LEN: usize = 48;

    /// The largest DataSegmentLength that the 24-bit field can say.
    pub const MAX_DATA_SEGMENT_LENGTH: u32 = 0x00ff_ffff;

    /// The bytes as they are on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The bytes, to be received into.
    #[must_use]
    pub const fn as_bytes_mut(&mut self) -> &mut [u8; Self::LEN] {
        &mut self.0
    }

    /// Opcode without the I bit, see [`opcode`](super::opcode).
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.0[field::OPCODE] & OPCODE_MASK
    }

    /// The I bit: a request to be executed out of the order of CmdSN. Reserved in what targets send.
    #[must_use]
    pub const fn is_immediate(&self) -> bool {
        self.0[field::OPCODE] & IMMEDIATE != 0
    }

    /// TotalAHSLength in bytes, 0..=1020: the wire counts four-byte words.
    #[must_use]
    pub const fn total_ahs_length(&self) -> usize {
        self.total_ahs_words() as usize * 4
    }

    /// DataSegmentLength in bytes, without padding: 0..=[`Self::MAX_DATA_SEGMENT_LENGTH`].
    #[must_use]
    pub const fn data_segment_length(&self) -> u32 {
        let at = field::DATA_SEGMENT_LENGTH;
        u32::from_be_bytes([0, self.0[at], self.0[at + 1], self.0[at + 2]])
    }

    /// Logical unit number, where the PDU has one.
    #[must_use]
    pub fn lun(&self) -> Lun {
        Lun::from_wire(self.bytes_at(field::LUN))
    }

    /// Initiator Task Tag; [`InitiatorTaskTag::RESERVED`] where the PDU belongs to no task.
    #[must_use]
    pub fn initiator_task_tag(&self) -> InitiatorTaskTag {
        InitiatorTaskTag(self.u32_at(field::INITIATOR_TASK_TAG))
    }

    // What follows is for the PDU files only. All offsets are constants below 48, so the indexing
    // cannot be made to panic by anything that a peer sends.

    /// Starts a header that `emit` will fill: what it does not write is zero, as RFC 7143 section
    /// 11 wants reserved bits.
    pub(super) const fn new(opcode: u8) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[field::OPCODE] = opcode;
        Self(bytes)
    }

    pub(super) fn expect_opcode(&self, expected: u8) -> Result<(), DecodeError> {
        let found = self.opcode();
        if found == expected {
            Ok(())
        } else {
            Err(DecodeError::WrongOpcode { expected, found })
        }
    }

    /// Only SCSI Command takes additional header segments (section 11.2.2).
    pub(super) fn expect_no_ahs(&self) -> Result<(), DecodeError> {
        if self.total_ahs_words() == 0 {
            Ok(())
        } else {
            Err(DecodeError::UnexpectedAhs)
        }
    }

    /// DataSegmentLength of a PDU without additional header segments. One load and one comparison:
    /// the two lengths are neighbours.
    #[inline]
    pub(crate) fn length_without_ahs(&self) -> Result<u32, DecodeError> {
        match self.u32_at(field::TOTAL_AHS_LENGTH) {
            length if length <= Self::MAX_DATA_SEGMENT_LENGTH => Ok(length),
            _ => Err(DecodeError::UnexpectedAhs),
        }
    }

    /// For PDUs that are a header and nothing more: neither AHS nor data segment.
    pub(super) fn expect_header_only(&self) -> Result<(), DecodeError> {
        self.expect_no_ahs()?;
        match self.data_segment_length() {
            0 => Ok(()),
            length => Err(DecodeError::DataSegmentTooLong { length, limit: 0 }),
        }
    }

    pub(super) const fn total_ahs_words(&self) -> u8 {
        self.0[field::TOTAL_AHS_LENGTH]
    }

    pub(super) const fn u8_at(&self, at: usize) -> u8 {
        self.0[at]
    }

    pub(super) const fn is_set(&self, flag: u8) -> bool {
        self.0[FLAGS] & flag != 0
    }

    pub(super) fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes_at(at))
    }

    pub(super) fn u32_at(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes_at(at))
    }

    pub(super) fn bytes_at<const N: usize>(&self, at: usize) -> [u8; N] {
        core::array::from_fn(|i| self.0[at + i])
    }

    pub(super) fn ttt_at(&self, at: usize) -> TargetTransferTag {
        TargetTransferTag(self.u32_at(at))
    }

    pub(super) fn cmd_sn_at(&self, at: usize) -> CmdSn {
        CmdSn(self.u32_at(at))
    }

    pub(super) fn stat_sn_at(&self, at: usize) -> StatSn {
        StatSn(self.u32_at(at))
    }

    pub(super) const fn put_immediate(&mut self, immediate: bool) {
        if immediate {
            self.0[field::OPCODE] |= IMMEDIATE;
        }
    }

    pub(super) const fn put_total_ahs_words(&mut self, words: u8) {
        self.0[field::TOTAL_AHS_LENGTH] = words;
    }

    /// The field has 24 bits; a longer segment is a bug of the caller and cannot be said.
    pub(super) fn put_data_segment_length(&mut self, length: u32) {
        debug_assert!(length <= Self::MAX_DATA_SEGMENT_LENGTH, "{length}");
        let [_, bytes @ ..] = length.to_be_bytes();
        self.put(field::DATA_SEGMENT_LENGTH, bytes);
    }

    pub(super) fn put_lun(&mut self, lun: Lun) {
        self.put(field::LUN, lun.to_wire());
    }

    pub(super) fn put_itt(&mut self, itt: InitiatorTaskTag) {
        self.put_u32(field::INITIATOR_TASK_TAG, itt.0);
    }

    pub(super) const fn put_flag(&mut self, flag: u8, on: bool) {
        if on {
            self.0[FLAGS] |= flag;
        }
    }

    pub(super) const fn put_u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    pub(super) fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, value.to_be_bytes());
    }

    pub(super) fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, value.to_be_bytes());
    }

    pub(super) fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }
}

impl From<[u8; Self::LEN]> for Bhs {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl Default for Bhs {
    /// All zero, to be received into.
    fn default() -> Self {
        Self([0; Self::LEN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_fields_are_where_the_standard_has_them() {
        let mut bytes: [u8; 48] = core::array::from_fn(|i| i as u8);
        bytes[0] = 0xc1;
        let bhs = Bhs::from(bytes);
        assert_eq!(bhs.opcode(), 0x01);
        assert!(bhs.is_immediate());
        assert_eq!(bhs.total_ahs_length(), 16);
        assert_eq!(bhs.data_segment_length(), 0x05_0607);
        assert_eq!(bhs.lun().to_wire(), [8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(bhs.initiator_task_tag().0, 0x1011_1213);
    }

    #[test]
    fn the_largest_lengths_fit_their_types() {
        let bhs = Bhs::from([0xff; 48]);
        assert_eq!(bhs.total_ahs_length(), 1020);
        assert_eq!(bhs.data_segment_length(), Bhs::MAX_DATA_SEGMENT_LENGTH);
    }
}
