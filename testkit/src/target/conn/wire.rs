//! What a connection has in every phase: framing, digests, StatSN, counters.

use std::sync::Arc;

use iscsi_proto::{digest, pdu::Bhs, serial::StatSn};

use super::{
    super::{
        Violation,
        core::{Count, TargetCore},
    },
    buffers::{Digests, Output},
};

/// Both sides' limit until they declare another (section 13.12).
const LOGIN_SEGMENT: u32 = 8192;

/// A received PDU.
pub(super) struct Frame<'a> {
    pub(super) bhs: Bhs,
    /// The additional header segments.
    pub(super) ahs: &'a [u8],
    pub(super) data: &'a [u8],
    pub(super) data_intact: bool,
    /// Bytes of the stream that it takes.
    pub(super) len: usize,
}

pub(super) struct Wire {
    pub(super) core: Arc<TargetCore>,
    pub(super) portal: usize,
    pub(super) out: Output,
    pub(super) digests: Digests,
    /// The StatSN of the next response.
    pub(super) stat_sn: StatSn,
    pub(super) max_recv: u32,
}

impl Wire {
    pub(super) fn new(core: &Arc<TargetCore>, portal: usize) -> Self {
        Self {
            core: Arc::clone(core),
            portal,
            out: Output::default(),
            digests: Digests::default(),
            stat_sn: StatSn(0),
            max_recv: LOGIN_SEGMENT,
        }
    }

    pub(super) fn count(&self, what: Count, by: u64) {
        self.core.portals[self.portal].count(what, by);
    }

    pub(super) fn violation(&self, violation: Violation) {
        self.core.violation(self.portal, violation);
    }

    /// The StatSN of a response that is about to be sent.
    pub(super) fn next_stat_sn(&mut self) -> StatSn {
        let next = self.stat_sn.next();
        std::mem::replace(&mut self.stat_sn, next)
    }

    pub(super) fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        self.out.push(bhs, self.digests, data);
    }

    pub(super) fn transmitted(&mut self, len: usize) {
        self.out.sent(len);
        self.count(Count::BytesOut, len as u64);
        let pdus = std::mem::take(&mut self.out.pdus);
        self.count(Count::PdusOut, pdus);
    }

    /// The PDU at the beginning of `bytes`, `None` while it is not complete.
    pub(super) fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Violation> {
        let Some((bhs, _)) = bytes.split_first_chunk::<{ Bhs::LEN }>() else {
            return Ok(None);
        };
        let bhs = Bhs::from(*bhs);
        let header = Bhs::LEN + bhs.total_ahs_length();
        let header_end = header + if self.digests.header { 4 } else { 0 };
        if bytes.len() < header_end {
            return Ok(None);
        }
        if self.digests.header && !matches(&bytes[..header], &bytes[header..header_end]) {
            return Err(Violation::HeaderDigest);
        }
        let length = bhs.data_segment_length();
        if length > self.max_recv {
            return Err(Violation::SegmentTooLong {
                length,
                limit: self.max_recv,
            });
        }
        let data_end = header_end + length as usize;
        let padded_end = data_end.next_multiple_of(4);
        let digest = self.digests.data && length > 0;
        let len = padded_end + if digest { 4 } else { 0 };
        if bytes.len() < len {
            return Ok(None);
        }
        if bytes[data_end..padded_end].iter().any(|pad| *pad != 0) {
            self.violation(Violation::Padding);
        }
        let data_intact =
            !digest || matches(&bytes[header_end..padded_end], &bytes[padded_end..len]);
        Ok(Some(Frame {
            bhs,
            ahs: &bytes[Bhs::LEN..header],
            data: &bytes[header_end..data_end],
            data_intact,
            len,
        }))
    }

    /// Reserved bits are those that the codec does not carry over.
    pub(super) fn judge_reserved(&self, received: &Bhs, meaning: &Bhs) {
        let mut pairs = received.as_bytes().iter().zip(meaning.as_bytes());
        if let Some(offset) = pairs.position(|(a, b)| a != b) {
            self.violation(Violation::Reserved {
                opcode: received.opcode(),
                offset,
            });
        }
    }
}

fn matches(bytes: &[u8], found: &[u8]) -> bool {
    digest::to_wire(digest::crc32c(0, bytes)) == found
}
