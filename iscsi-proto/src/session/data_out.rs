//! R2T: the target asks for data (RFC 7143 section 11.8); and answers to its pings.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

use alloc::vec::Vec;

use super::Session;
use crate::{
    connection::Burst,
    error::{Error, PeerMisbehaved},
    ids::TargetTransferTag,
    pdu::{NopIn, R2t},
    planted::Bug,
    scsi::lun::Lun,
    serial::DataSn,
};

/// A NOP-Out that a NOP-In asked for.
#[derive(Debug)]
pub(super) struct PingReply {
    pub(super) lun: Lun,
    pub(super) ttt: TargetTransferTag,
    pub(super) data: Vec<u8>,
}

impl PingReply {
    /// A NOP-Out that answers nothing and wants no answer: it only carries ExpStatSN (section 11.18).
    pub(super) const fn acknowledgement(lun: Lun) -> Self {
        Self {
            lun,
            ttt: TargetTransferTag::RESERVED,
            data: Vec::new(),
        }
    }
}

/// Answers that may wait at a time. A target that asks faster than it reads is refused: the answers
/// would grow without bound.
const MAX_PING_REPLIES: usize = 64;
/// Bytes that those answers may hold.
const MAX_PING_REPLY_BYTES: usize = 512 * 1024;

/// A length that was checked to fit a data segment.
pub(super) fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Session {
    /// Checks an R2T and queues the sequence that answers it. All arithmetic is 64 bits wide: an
    /// offset plus a length that wraps has made other initiators send their own memory.
    pub(super) fn handle_r2t(&mut self, r2t: &R2t) -> Result<(), Error> {
        let (offset, len) = (r2t.buffer_offset, r2t.desired_data_transfer_length);
        let range = PeerMisbehaved::R2tRange {
            offset,
            length: len,
        };
        let task = match self.tasks.get_mut(r2t.itt) {
            Some(task) if task.is_command() && task.begin.is_some() && !task.finished => task,
            _ => return Ok(self.tasks.expect_straggler(r2t.itt)?),
        };
        let expected = task.expected_out();
        if expected == 0 {
            return Err(PeerMisbehaved::UnknownTask(r2t.itt).into());
        }
        if r2t.r2t_sn != task.r2t_sn {
            let expected = task.r2t_sn.0;
            return Err(PeerMisbehaved::R2tSn {
                expected,
                found: r2t.r2t_sn.0,
            }
            .into());
        }
        let end = u64::from(offset) + u64::from(len);
        let in_bounds = len > 0
            && len <= self.parameters.max_burst_length
            && end <= u64::from(expected)
            && offset == task.solicited
            && r2t.ttt != TargetTransferTag::RESERVED;
        if !in_bounds {
            return Err(range.into());
        }
        if task.open_r2ts >= self.parameters.max_outstanding_r2t {
            return Err(PeerMisbehaved::TooManyR2ts.into());
        }
        task.r2t_sn = task.r2t_sn.next();
        // It is worked on, whatever a Reject said: what becomes of it is not known any more.
        task.rejected = None;
        task.solicited = u32::try_from(end).unwrap_or(u32::MAX);
        if task.abandoned || task.no_more_data {
            // Its memory is gone and its ABORT TASK is on the way; or the target knows that it gets no
            // data for it.
            return Ok(());
        }
        task.open_r2ts += 1;
        self.connection.bursts.push_back(Burst {
            itt: r2t.itt,
            ttt: r2t.ttt,
            offset,
            remaining: len,
            data_sn: match self.config.planted.has(Bug::DataSnNotReset) {
                true => DataSn(r2t.r2t_sn.0),
                false => DataSn(0),
            },
        });
        Ok(())
    }

    /// Queues the answer to a NOP-In that asks for one (section 11.19): its tag, LUN and data come
    /// back, the data cut to what the target accepts.
    pub(super) fn queue_ping_reply(&mut self, ping: &NopIn, data: &[u8]) -> Result<(), Error> {
        let cut = data
            .len()
            .min(self.parameters.max_xmit_data_segment_length as usize);
        let held: usize = self.ping_replies.iter().map(|reply| reply.data.len()).sum();
        if held + cut > MAX_PING_REPLY_BYTES {
            return Err(PeerMisbehaved::Flood.into());
        }
        let data = data.get(..cut).unwrap_or_default().to_vec();
        self.queue_reply(PingReply {
            lun: ping.lun,
            ttt: ping.ttt,
            data,
        })
    }

    /// Queues a NOP-Out that the target asked for in whatever way.
    pub(super) fn queue_reply(&mut self, reply: PingReply) -> Result<(), Error> {
        if self.ping_replies.len() >= MAX_PING_REPLIES {
            return Err(PeerMisbehaved::Flood.into());
        }
        self.ping_replies.push_back(reply);
        Ok(())
    }
}
