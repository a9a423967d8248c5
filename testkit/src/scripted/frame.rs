//! A PDU as it is on the wire: header, additional header segments, data, and their digests.

use iscsi_proto::{
    digest,
    error::DecodeError,
    pdu::{Bhs, Pdu, pad_len},
};

/// Which digests a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// HeaderDigest.
    pub header: bool,
    /// DataDigest.
    pub data: bool,
}

/// One PDU. Nothing in it need be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The basic header segment. Its lengths are written as they are here, whatever follows it.
    pub bhs: Bhs,
    /// Additional header segments, a multiple of four bytes.
    pub ahs: Vec<u8>,
    /// The data segment, without padding.
    pub data: Vec<u8>,
}

/// Why bytes are no PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The header digest is another one.
    #[error("header digest")]
    HeaderDigest,
    /// The data digest is another one.
    #[error("data digest")]
    DataDigest,
    /// Padding has to be zero (section 11.1).
    #[error("padding that is not zero")]
    Padding,
}

impl Frame {
    /// The PDU with this header and data; DataSegmentLength is that of the data.
    #[must_use]
    pub fn new(pdu: impl Into<Pdu>, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        let mut frame = Self {
            bhs: pdu.into().emit(),
            ahs: Vec::new(),
            data,
        };
        frame.set_length(u32::try_from(frame.data.len()).unwrap_or(u32::MAX));
        frame
    }

    /// The header, read.
    ///
    /// # Errors
    ///
    /// It is no PDU's.
    pub fn pdu(&self) -> Result<Pdu, DecodeError> {
        Pdu::parse(&self.bhs)
    }

    /// Says a DataSegmentLength, true or not: the lower 24 bits of `length`.
    pub fn set_length(&mut self, length: u32) {
        self.bhs.as_bytes_mut()[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
    }

    /// The 32-bit field at byte `at` of the header.
    #[must_use]
    pub fn field(&self, at: usize) -> u32 {
        let mut field = [0; 4];
        field.copy_from_slice(&self.bhs.as_bytes()[at..at + 4]);
        u32::from_be_bytes(field)
    }

    /// Writes the 32-bit field at byte `at` of the header.
    pub fn set_field(&mut self, at: usize, value: u32) {
        self.bhs.as_bytes_mut()[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// As it goes over the wire. Digests and padding are right.
    #[must_use]
    pub fn to_bytes(&self, digests: Digests) -> Vec<u8> {
        let mut bytes = self.bhs.as_bytes().to_vec();
        bytes.extend(&self.ahs);
        if digests.header {
            bytes.extend(digest::to_wire(digest::crc32c(0, &bytes)));
        }
        let from = bytes.len();
        bytes.extend(&self.data);
        bytes.resize(bytes.len() + pad_len(self.data.len()), 0);
        if digests.data && !self.data.is_empty() {
            let crc = digest::crc32c(0, &bytes[from..]);
            bytes.extend(digest::to_wire(crc));
        }
        bytes
    }

    /// The first PDU of `bytes` and its length there; `None` if it goes on behind them.
    ///
    /// # Errors
    ///
    /// What is wrong about its bytes. (Whether its header makes sense is another question.)
    pub fn split(bytes: &[u8], digests: Digests) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((header, _)) = bytes.split_first_chunk::<{ Bhs::LEN }>() else {
            return Ok(None);
        };
        let bhs = Bhs::from(*header);
        let header_len = Bhs::LEN + bhs.total_ahs_length();
        let data_len = bhs.data_segment_length() as usize;
        let data_at = header_len + if digests.header { 4 } else { 0 };
        let padded = data_len + pad_len(data_len);
        let with_digest = digests.data && data_len > 0;
        let end = data_at + padded + if with_digest { 4 } else { 0 };
        if bytes.len() < end {
            return Ok(None);
        }
        let digest_at = |at: usize| {
            let mut found = [0; 4];
            found.copy_from_slice(&bytes[at..at + 4]);
            digest::from_wire(found)
        };
        if digests.header && digest_at(header_len) != digest::crc32c(0, &bytes[..header_len]) {
            return Err(Malformed::HeaderDigest);
        }
        let padded = &bytes[data_at..data_at + padded];
        if with_digest && digest_at(data_at + padded.len()) != digest::crc32c(0, padded) {
            return Err(Malformed::DataDigest);
        }
        let (data, padding) = padded.split_at(data_len);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed::Padding);
        }
        let frame = Self {
            bhs,
            ahs: bytes[Bhs::LEN..header_len].to_vec(),
            data: data.to_vec(),
        };
        Ok(Some((frame, end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::Say;

    const BOTH: Digests = Digests {
        header: true,
        data: true,
    };

    #[test]
    fn a_pdu_is_the_same_after_the_wire_and_is_cut_from_what_follows() {
        for len in 0..9 {
            for digests in [Digests::default(), BOTH] {
                let frame = Frame::new(Say::nop_in(), vec![7; len]);
                let mut bytes = frame.to_bytes(digests);
                let whole = bytes.len();
                for end in 0..whole {
                    assert_eq!(Frame::split(&bytes[..end], digests), Ok(None));
                }
                bytes.push(1);
                assert_eq!(Frame::split(&bytes, digests), Ok(Some((frame, whole))));
            }
        }
    }

    #[test]
    fn damage_is_told_by_its_part() {
        let frame = Frame::new(Say::nop_in(), vec![7; 5]);
        let bytes = frame.to_bytes(BOTH);
        for (at, expected) in [(0, Malformed::HeaderDigest), (52, Malformed::DataDigest)] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(Frame::split(&bytes, BOTH), Err(expected));
        }
        let mut bytes = frame.to_bytes(Digests::default());
        bytes[Bhs::LEN + 5] = 1;
        assert_eq!(
            Frame::split(&bytes, Digests::default()),
            Err(Malformed::Padding)
        );
    }
}
