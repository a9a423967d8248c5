//! Additional header segments (RFC 7143 section 11.2.2), which only SCSI Command takes.
//!
//! ```text
//! | AHSLength (2) | AHSType (1) | body: AHSLength bytes, the first one reserved | padding to 4 |
//! ```

use alloc::vec::Vec;

use super::pad_len;
use crate::error::DecodeError;

/// AHSLength and AHSType.
const HEADER_LEN: usize = 3;
/// The upper two bits of AHSType are reserved.
const KIND_MASK: u8 = 0x3f;
/// How much of a CDB the basic header takes.
const CDB_IN_BHS: usize = 16;

wire_enum! {
    /// AHS code (section 11.2.2.1; six bits on the wire).
    AhsKind, "AHS type" {
        /// The rest of a CDB of more than 16 bytes.
        ExtendedCdb = 1, "extended CDB";
        /// Expected Bidirectional Read Data Transfer Length.
        BidirectionalReadLength = 2, "bidirectional read length";
    }
}

/// One additional header segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahs<'a> {
    /// What it is.
    pub kind: AhsKind,
    /// AHSLength bytes, at least one; the first is reserved in both kinds that exist.
    pub body: &'a [u8],
}

impl<'a> Ahs<'a> {
    /// What follows the first 16 bytes of the CDB, if this is an extended CDB.
    #[must_use]
    pub fn extended_cdb(&self) -> Option<&'a [u8]> {
        match self.kind {
            AhsKind::ExtendedCdb => self.body.get(1..),
            _ => None,
        }
    }

    /// The read length in bytes, if this is a bidirectional read length of the right size.
    #[must_use]
    pub fn bidirectional_read_length(&self) -> Option<u32> {
        match (self.kind, self.body) {
            (AhsKind::BidirectionalReadLength, &[_, a, b, c, d]) => {
                Some(u32::from_be_bytes([a, b, c, d]))
            }
            _ => None,
        }
    }
}

/// Walks over the additional header segments of a PDU. `bytes` is all of them, as long as
/// [`Bhs::total_ahs_length`](super::Bhs::total_ahs_length) says. After an error it ends.
#[must_use]
pub const fn parse(bytes: &[u8]) -> AhsIter<'_> {
    AhsIter { rest: bytes }
}

/// See [`parse`].
#[derive(Clone, Debug)]
pub struct AhsIter<'a> {
    rest: &'a [u8],
}

impl<'a> AhsIter<'a> {
    /// The next segment and what follows it; `None` where it does not fit into the bytes.
    fn split(bytes: &'a [u8]) -> Option<(Ahs<'a>, &'a [u8])> {
        let (&[high, low, kind], rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 {
            return None;
        }
        let (body, rest) = rest.split_at_checked(length)?;
        let rest = rest.get(pad_len(HEADER_LEN + length)..)?;
        let kind = AhsKind::from_byte(kind & KIND_MASK);
        Some((Ahs { kind, body }, rest))
    }
}

impl<'a> Iterator for AhsIter<'a> {
    type Item = Result<Ahs<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = Self::split(self.rest);
        self.rest = split.map_or(&[], |(_, rest)| rest);
        Some(split.map(|(ahs, _)| ahs).ok_or(DecodeError::Ahs))
    }
}

impl core::iter::FusedIterator for AhsIter<'_> {}

/// Appends the segment that carries `cdb` from its 17th byte on; nothing for a CDB of up to 16.
///
/// # Errors
///
/// [`DecodeError::Ahs`] where TotalAHSLength cannot say the length: a CDB has at most 260 bytes
/// (SPC-4 section 4.2.3), which leaves room for both kinds.
pub fn emit_extended_cdb(cdb: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    const MAX_CDB: usize = 260;
    if cdb.len() > MAX_CDB {
        return Err(DecodeError::Ahs);
    }
    match cdb.get(CDB_IN_BHS..) {
        None | Some([]) => {}
        // The reserved byte counts.
        Some(rest) => emit(AhsKind::ExtendedCdb, (rest.len() + 1) as u16, rest, out),
    }
    Ok(())
}

/// Appends the segment that carries the Expected Bidirectional Read Data Transfer Length, in bytes.
pub fn emit_bidirectional_read_length(length: u32, out: &mut Vec<u8>) {
    let kind = AhsKind::BidirectionalReadLength;
    emit(kind, 5, &length.to_be_bytes(), out);
}

fn emit(kind: AhsKind, ahs_length: u16, rest: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&ahs_length.to_be_bytes());
    out.extend_from_slice(&[kind.to_byte(), 0]);
    out.extend_from_slice(rest);
    // The four bytes above are a whole word, so `rest` alone decides about the padding.
    out.resize(out.len() + pad_len(rest.len()), 0);
}
