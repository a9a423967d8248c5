//! Turning one PDU into pieces of the outgoing stream.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use super::Connection;
use crate::{
    digest,
    framing::{DataRef, DataStore},
    pdu::{Bhs, pad_len},
    planted::Bug,
    serial::StatSn,
};

/// The data segment of a PDU that is being staged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    None,
    /// Bytes that are copied into the plan: text, ping data.
    Inline(&'a [u8]),
    /// Bytes that the caller keeps and the plan names.
    Named(DataRef),
}

impl Connection {
    /// The acknowledgement that every PDU of ours carries.
    pub(crate) const fn exp_stat_sn(&self) -> StatSn {
        match self.planted.has(Bug::AcknowledgesTooMuch) {
            true => self.exp_stat_sn.next(),
            false => self.exp_stat_sn,
        }
    }

    /// Appends one whole PDU: header, header digest, data segment, padding, data digest. The
    /// header's DataSegmentLength is the caller's affair and must match. Returns the stream position
    /// at which the PDU begins.
    #[inline(never)]
    pub(crate) fn stage(&mut self, bhs: &Bhs, payload: Payload<'_>, store: &impl DataStore) -> u64 {
        self.stage_with_ahs(bhs, &[], payload, store)
    }

    /// The same with additional header segments, whose length the header tells too.
    // Always inlined: a call would carry the header through memory once more.
    #[inline(always)]
    pub(crate) fn stage_with_ahs(
        &mut self,
        bhs: &Bhs,
        ahs: &[u8],
        payload: Payload<'_>,
        store: &impl DataStore,
    ) -> u64 {
        let begin = self.plan.staged();
        self.pdus_out += 1;
        // Every PDU of ours carries ExpStatSN.
        self.acknowledged = self.exp_stat_sn;
        self.unacknowledged_since = None;
        self.plan.push_inline(bhs.as_bytes());
        if self.header_digest || !ahs.is_empty() {
            self.stage_rest_of_header(bhs, ahs);
        }
        match payload {
            Payload::None => {}
            Payload::Named(data) if !self.data_digest && pad_len(data.len as usize) == 0 => {
                self.plan.push_data(data);
            }
            payload => self.stage_payload(payload, store),
        }
        begin
    }

    #[inline(never)]
    fn stage_rest_of_header(&mut self, bhs: &Bhs, ahs: &[u8]) {
        self.plan.push_inline(ahs);
        if self.header_digest {
            let crc = digest::crc32c(digest::crc32c(0, bhs.as_bytes()), ahs);
            self.plan.push_inline(&digest::to_wire(crc));
        }
    }

    #[inline(never)]
    fn stage_payload(&mut self, payload: Payload<'_>, store: &impl DataStore) {
        const ZEROS: [u8; 3] = [0; 3];
        let mut crc = 0;
        let len = match payload {
            Payload::None => return,
            Payload::Inline(bytes) => {
                self.plan.push_inline(bytes);
                if self.data_digest {
                    crc = digest::crc32c(0, bytes);
                }
                bytes.len()
            }
            Payload::Named(data) => {
                self.plan.push_data(data);
                if self.data_digest {
                    store.visit(data, &mut |bytes| crc = digest::crc32c(crc, bytes));
                }
                data.len as usize
            }
        };
        if len == 0 {
            return;
        }
        let padding = &ZEROS[..pad_len(len)];
        self.plan.push_inline(padding);
        if self.data_digest {
            self.plan
                .push_inline(&digest::to_wire(digest::crc32c(crc, padding)));
        }
    }
}
