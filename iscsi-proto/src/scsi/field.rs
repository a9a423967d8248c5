//! Reading fields at fixed offsets of a buffer that may end anywhere.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use crate::error::DecodeError;

/// `N` bytes at `at`, `None` where the buffer ends before.
pub(crate) fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

pub(crate) fn byte(data: &[u8], at: usize) -> Option<u8> {
    data.get(at).copied()
}

pub(crate) fn be16(data: &[u8], at: usize) -> Option<u16> {
    array(data, at).map(u16::from_be_bytes)
}

pub(crate) fn be32(data: &[u8], at: usize) -> Option<u32> {
    array(data, at).map(u32::from_be_bytes)
}

pub(crate) fn be64(data: &[u8], at: usize) -> Option<u64> {
    array(data, at).map(u64::from_be_bytes)
}

/// The error of a structure whose fixed part is `needed` bytes long.
pub(crate) fn truncated(data: &[u8], needed: u32) -> DecodeError {
    DecodeError::Truncated {
        length: u32::try_from(data.len()).unwrap_or(u32::MAX),
        needed,
    }
}

/// The first `claimed` bytes of `data`, and whether some of them are missing.
pub(crate) fn clamp(data: &[u8], claimed: usize) -> (&[u8], bool) {
    match data.get(..claimed) {
        Some(part) => (part, false),
        None => (data, true),
    }
}

/// `bytes` without the spaces and NULs that pad ASCII fields at their end.
pub(crate) fn trim_padding(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|&b| b != b' ' && b != 0)
        .map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or(bytes)
}
