//! Bytes of the target, until they are a whole PDU.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{vec, vec::Vec};

use crate::{
    error::{ApiMisuse, DecodeError, Error, PeerMisbehaved},
    ids::LoginStatus,
    pdu::{Bhs, LoginResponse, pad_len},
    text::codec::MAX_SEGMENT,
};

/// A whole Login Response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) bhs: Bhs,
    pub(super) data: Vec<u8>,
}

impl Response {
    /// Status-Class and Status-Detail. Read by themselves, since the other fields of a refusal mean
    /// nothing and may hold anything (RFC 7143 section 11.13.5).
    pub(super) fn status(&self) -> LoginStatus {
        let bytes = self.bhs.as_bytes();
        LoginStatus {
            class: bytes[36],
            detail: bytes[37],
        }
    }
}

/// Room for the largest PDU that a target may send during login.
pub(super) struct Inbox {
    buf: Vec<u8>,
    filled: usize,
}

const REJECT: u8 = 0x3f;

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buf: vec![0; Bhs::LEN + MAX_SEGMENT],
            filled: 0,
        }
    }

    /// Where the next bytes go. Never empty: a whole PDU fits, and is taken out at once.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.filled..).unwrap_or_default()
    }

    pub(super) fn fill(&mut self, n: usize) -> Result<(), ApiMisuse> {
        if n > self.buf.len() - self.filled {
            return Err(ApiMisuse::PlanOverrun);
        }
        self.filled += n;
        Ok(())
    }

    /// Takes out the next response, if it is whole. A header that promises something else than we
    /// take is refused as soon as it is there.
    pub(super) fn next(&mut self) -> Result<Option<Response>, Error> {
        let bytes = self.buf.get(..self.filled).unwrap_or_default();
        let Some((header, rest)) = bytes.split_first_chunk::<48>() else {
            return Ok(None);
        };
        let bhs = Bhs::from(*header);
        check_header(&bhs)?;
        let length = bhs.data_segment_length() as usize;
        let padded = length + pad_len(length);
        if rest.len() < padded {
            return Ok(None);
        }
        let data = rest.get(..length).unwrap_or_default().to_vec();
        let used = Bhs::LEN + padded;
        self.buf.copy_within(used..self.filled, 0);
        self.filled -= used;
        Ok(Some(Response { bhs, data }))
    }

    /// Whatever came behind the last response.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.buf.truncate(self.filled);
        self.filled = 0;
        core::mem::take(&mut self.buf)
    }
}

fn check_header(bhs: &Bhs) -> Result<(), Error> {
    match bhs.opcode() {
        LoginResponse::OPCODE => {}
        REJECT => return Err(PeerMisbehaved::Rejected(bhs.as_bytes()[2]).into()),
        // The opcodes of a target in full feature phase.
        0x20..=0x26 | 0x31 | 0x32 => return Err(PeerMisbehaved::Phase.into()),
        opcode => return Err(DecodeError::Opcode(opcode).into()),
    }
    if bhs.total_ahs_length() != 0 {
        return Err(DecodeError::UnexpectedAhs.into());
    }
    let length = bhs.data_segment_length();
    if length as usize > MAX_SEGMENT {
        let limit = MAX_SEGMENT as u32;
        return Err(DecodeError::DataSegmentTooLong { length, limit }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_room_for() {
        let mut inbox = Inbox::new();
        let room = inbox.room().len();
        assert_eq!(inbox.fill(room + 1), Err(ApiMisuse::PlanOverrun));
        assert_eq!(inbox.fill(room - 1), Ok(()));
        assert_eq!(inbox.fill(2), Err(ApiMisuse::PlanOverrun));
        assert_eq!(inbox.fill(1), Ok(()));
        assert!(inbox.room().is_empty());
    }
}
