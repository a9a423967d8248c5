//! The two byte queues of a connection.

use iscsi_proto::{digest, pdu::Bhs};

/// Room that a read of the socket finds at least.
const READ_ROOM: usize = 256 * 1024;

/// Received bytes that are not a whole PDU yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Where the next bytes of the stream belong.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            // What is left is less than one PDU, nearly always nothing.
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buf.len() < self.end + READ_ROOM {
            self.buf.resize(self.end + READ_ROOM, 0);
        }
        &mut self.buf[self.end..]
    }

    pub(super) fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.buf.len());
    }

    pub(super) fn consumed(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }
}

/// Which digests are in force.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digests {
    pub(super) header: bool,
    pub(super) data: bool,
}

/// PDUs on their way out. The buffer only grows, so that payload can be computed in place without
/// clearing the memory first.
#[derive(Debug, Default)]
pub(super) struct Output {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    pub(super) pdus: u64,
}

impl Output {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    pub(super) fn sent(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Appends a PDU whose data segment of `len` bytes `fill` computes in place.
    pub(super) fn push_with(
        &mut self,
        bhs: &Bhs,
        digests: Digests,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let padded = len.next_multiple_of(4);
        let most = self.end + Bhs::LEN + 4 + padded + 4;
        if self.buf.len() < most {
            self.buf.resize(most, 0);
        }
        self.append(bhs.as_bytes());
        if digests.header {
            self.append(&digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
        }
        if len > 0 {
            let data = &mut self.buf[self.end..self.end + padded];
            fill(&mut data[..len]);
            data[len..].fill(0);
            let crc = digests.data.then(|| digest::crc32c(0, data));
            self.end += padded;
            if let Some(crc) = crc {
                self.append(&digest::to_wire(crc));
            }
        }
        self.pdus += 1;
    }

    pub(super) fn push(&mut self, bhs: &Bhs, digests: Digests, data: &[u8]) {
        self.push_with(bhs, digests, data.len(), |segment| {
            segment.copy_from_slice(data)
        });
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buf[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
}
