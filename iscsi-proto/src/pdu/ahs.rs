//! Additional header segments (RFC 7143 section 11.2.2), which only SCSI Command takes.
//!
//! ```text
//! | AHSLength (2) | AHSType (1) | body: AHSLength bytes, the first one reserved | padding to 4 |
//! ```

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what we make ourselves"
)]

use alloc::vec::Vec;

use super::pad_len;
use crate::error::{ApiMisuse, DecodeError};

/// AHSLength and AHSType.
const HEADER_LEN: usize = 3;
/// The upper two bits of AHSType are reserved.
const KIND_MASK: u8 = 0x3f;
/// How much of a CDB the basic header takes.
const CDB_IN_BHS: usize = 16;

/// The longest CDB, in bytes: a variable-length one (SPC-4 section 4.2.3) whose one-byte length
/// says 252 after the first eight. Both kinds of segment together then still fit TotalAHSLength.
pub const MAX_CDB_LEN: usize = 260;

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
/// [`ApiMisuse::OutOfRange`] for more than [`MAX_CDB_LEN`] bytes; nothing is appended then.
pub fn emit_extended_cdb(cdb: &[u8], out: &mut Vec<u8>) -> Result<(), ApiMisuse> {
    if cdb.len() > MAX_CDB_LEN {
        return Err(ApiMisuse::OutOfRange);
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

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// A CDB of 17 bytes beyond the header's 16, and a read length.
    #[rustfmt::skip]
    static BOTH: [u8; 32] = [
        0x00, 0x12, 0x01, 0x00, // 17 bytes of CDB and the reserved one
        0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
        0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
        0x20, 0x00, 0x00, 0x00, // three bytes of padding
        0x00, 0x05, 0x02, 0x00, // bidirectional read length
        0x00, 0x01, 0x02, 0x03,
    ];

    #[test]
    fn both_kinds_are_emitted_and_read_back() {
        let cdb: [u8; 33] = core::array::from_fn(|i| i as u8);
        let mut out = Vec::new();
        emit_extended_cdb(&cdb, &mut out).unwrap();
        emit_bidirectional_read_length(0x1_0203, &mut out);
        assert_eq!(out, BOTH);

        // Reserved bits of the type, the reserved byte and the padding do not matter.
        let mut bytes = BOTH;
        for at in [3, 21, 22, 23, 27] {
            bytes[at] = 0xa5;
        }
        bytes[2] |= 0xc0;
        let segments: Vec<_> = parse(&bytes).map(Result::unwrap).collect();
        let [extended, read_length] = segments[..] else {
            panic!("{segments:?}")
        };
        assert_eq!(extended.extended_cdb(), Some(&cdb[16..]));
        assert_eq!(extended.bidirectional_read_length(), None);
        assert_eq!(read_length.bidirectional_read_length(), Some(0x1_0203));
        assert_eq!(read_length.extended_cdb(), None);
    }

    #[test]
    fn a_cdb_that_fits_the_header_needs_no_segment_and_an_endless_one_is_refused() {
        let mut out = Vec::new();
        assert_eq!(emit_extended_cdb(&[0; 16], &mut out), Ok(()));
        let endless = [0; MAX_CDB_LEN + 1];
        assert_eq!(
            emit_extended_cdb(&endless, &mut out),
            Err(ApiMisuse::OutOfRange)
        );
        assert_eq!(out, []);
        assert_eq!(emit_extended_cdb(&[0; MAX_CDB_LEN], &mut out), Ok(()));
        assert_eq!(out.len(), 4 + MAX_CDB_LEN - 16);
    }

    #[test]
    fn an_unknown_kind_is_kept_and_skipped_over() {
        let bytes = [0, 1, 0x3d, 0xaa, 0, 5, 2, 0, 0, 0, 2, 0];
        let segments: Vec<_> = parse(&bytes).map(Result::unwrap).collect();
        assert_eq!(segments[0].kind, AhsKind::Unknown(0x3d));
        assert_eq!(segments[0].body, [0xaa]);
        assert_eq!(segments[1].bidirectional_read_length(), Some(512));
    }

    #[test]
    fn a_length_of_zero_or_past_the_end_ends_the_walk() {
        let past_the_end = &BOTH[..28];
        for bytes in [
            &[0, 0, 1, 0][..],
            &[0, 2, 1, 0],
            &[0xff, 0xff, 1, 0],
            &[0, 1],
            past_the_end,
        ] {
            let last = parse(bytes).last();
            assert_eq!(last, Some(Err(DecodeError::Ahs)), "{bytes:?}");
        }
        let mut walk = parse(&[0, 0, 1, 0]);
        assert_eq!(walk.next(), Some(Err(DecodeError::Ahs)));
        assert_eq!(walk.next(), None);
        assert_eq!(parse(&[]).next(), None);
    }

    #[test]
    fn a_read_length_of_another_size_says_nothing() {
        let bytes = vec![0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let ahs = parse(&bytes).next().unwrap().unwrap();
        assert_eq!(ahs.bidirectional_read_length(), None);
    }
}
