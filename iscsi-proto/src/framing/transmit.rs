//! The outgoing stream as a plan of pieces.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{collections::VecDeque, vec::Vec};

use super::DataRef;
use crate::held::HeldBytes;

/// One piece of the outgoing stream, in stream order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitPiece<'a> {
    /// Headers, padding, digests: bytes that the plan itself holds.
    Inline(&'a [u8]),
    /// Payload that the caller holds.
    Data(DataRef),
}

/// What is to be written next, and how much of everything has been written so far.
///
/// Positions are counted from the first byte of the stream in 64 bits. They answer the one question
/// that a failover asks of a connection: has any byte of this command left the process? (See
/// [`TransmitPlan::sent`].)
#[derive(Debug, Default)]
pub struct TransmitPlan {
    /// Inline bytes that are not yet sent, and a sent prefix that is cut off now and then.
    arena: Vec<u8>,
    /// Stream-independent number of the first byte of `arena`.
    arena_base: u64,
    pieces: VecDeque<Piece>,
    /// The last so many bytes of `arena` are the last piece, which is not among `pieces`: neighbouring
    /// inline bytes are one piece, and 32 commands without data leave as one slice.
    open: usize,
    /// Bytes handed out so far.
    sent: u64,
    /// Bytes put into the plan so far.
    staged: u64,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Inline { start: u64, len: usize },
    Data(DataRef),
}

/// A sent prefix of the arena longer than this is cut off, though the plan is not empty: a
/// connection whose socket is always full would otherwise grow its arena for ever. The copy moves
/// what remains, which `poll_transmit`'s byte limit keeps to a few kilobytes of headers.
const ARENA_COMPACT_AT: usize = 64 * 1024;

impl TransmitPlan {
    /// Bytes of memory that it holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.arena.held_bytes() + self.pieces.held_bytes()
    }

    /// Appends bytes that the plan shall hold itself.
    // Inlined for the sake of headers, whose length is known where they are pushed.
    #[inline]
    pub fn push_inline(&mut self, bytes: &[u8]) {
        if self.arena.len() >= ARENA_COMPACT_AT {
            self.compact();
        }
        self.arena.extend_from_slice(bytes);
        self.open += bytes.len();
        self.staged += bytes.len() as u64;
    }

    /// Appends payload by name.
    #[inline]
    pub fn push_data(&mut self, data: DataRef) {
        if data.len == 0 {
            return;
        }
        if self.open > 0 {
            let piece = self.last();
            self.pieces.push_back(piece);
            self.open = 0;
        }
        self.staged += u64::from(data.len);
        self.pieces.push_back(Piece::Data(data));
    }

    /// The piece that is still growing.
    fn last(&self) -> Piece {
        Piece::Inline {
            start: self.arena_base + (self.arena.len() - self.open) as u64,
            len: self.open,
        }
    }

    /// Whether everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open == 0 && self.pieces.is_empty()
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.staged - self.sent
    }

    /// The stream position up to which bytes have been handed to the transport. A PDU that starts
    /// at or after this position has not left the process, not even in part.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The stream position at which the next pushed byte will be.
    #[must_use]
    pub const fn staged(&self) -> u64 {
        self.staged
    }

    /// The pieces that wait, in stream order, the first one without what of it was already sent.
    #[must_use]
    pub fn pieces(&self) -> TransmitPieces<'_> {
        TransmitPieces {
            plan: self,
            next: 0,
        }
    }

    /// Notes that `n` bytes were accepted by the transport. Returns false, and changes nothing, when
    /// that is more than was waiting.
    #[must_use]
    pub fn advance(&mut self, n: usize) -> bool {
        let mut left = n as u64;
        if left > self.pending() {
            return false;
        }
        self.sent += left;
        if self.sent == self.staged {
            // Most writes take everything.
            self.clear();
            return true;
        }
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else {
                // No more than waited, and it was not before: it is of the last piece.
                self.open -= left as usize;
                break;
            };
            let len = front.len();
            if left >= len {
                left -= len;
                self.pieces.pop_front();
            } else {
                front.cut_front(left);
                left = 0;
            }
        }
        true
    }

    /// Forgets everything that was not sent.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.open = 0;
        self.arena_base += self.arena.len() as u64;
        self.arena.clear();
    }

    #[cold]
    fn compact(&mut self) {
        let first_kept = self.pieces.iter().find_map(|piece| match piece {
            Piece::Inline { start, .. } => Some((start - self.arena_base) as usize),
            Piece::Data(_) => None,
        });
        let dead = first_kept.unwrap_or(self.arena.len() - self.open);
        if dead >= ARENA_COMPACT_AT {
            self.arena.drain(..dead);
            self.arena_base += dead as u64;
        }
    }
}

impl Piece {
    const fn len(&self) -> u64 {
        match self {
            Self::Inline { len, .. } => *len as u64,
            Self::Data(data) => data.len as u64,
        }
    }

    /// `by` is smaller than the piece.
    const fn cut_front(&mut self, by: u64) {
        match self {
            Self::Inline { start, len } => {
                *start += by;
                *len -= by as usize;
            }
            Self::Data(data) => {
                data.offset += by as u32;
                data.len -= by as u32;
            }
        }
    }
}

/// Iterator over the waiting pieces of a [`TransmitPlan`].
#[derive(Clone, Debug)]
pub struct TransmitPieces<'a> {
    plan: &'a TransmitPlan,
    next: usize,
}

impl<'a> Iterator for TransmitPieces<'a> {
    type Item = TransmitPiece<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = match self.plan.pieces.get(self.next) {
            Some(piece) => *piece,
            None if self.next == self.plan.pieces.len() && self.plan.open > 0 => self.plan.last(),
            None => return None,
        };
        self.next += 1;
        Some(match piece {
            Piece::Inline { start, len } => {
                let from = (start - self.plan.arena_base) as usize;
                TransmitPiece::Inline(&self.plan.arena[from..from + len])
            }
            Piece::Data(data) => TransmitPiece::Data(data),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InitiatorTaskTag;

    fn data(offset: u32, len: u32) -> DataRef {
        DataRef {
            itt: InitiatorTaskTag(7),
            offset,
            len,
        }
    }

    /// The stream that the plan describes, payload byte at offset o being `o as u8 | 0x80`.
    fn stream(plan: &TransmitPlan) -> Vec<u8> {
        plan.pieces()
            .flat_map(|piece| match piece {
                TransmitPiece::Inline(bytes) => bytes.to_vec(),
                TransmitPiece::Data(d) => (d.offset..d.offset + d.len)
                    .map(|o| o as u8 | 0x80)
                    .collect(),
            })
            .collect()
    }

    #[test]
    fn a_partial_write_may_end_at_any_byte() {
        let build = || {
            let mut plan = TransmitPlan::default();
            plan.push_inline(&[1, 2, 3]);
            plan.push_data(data(10, 4));
            plan.push_inline(&[4]);
            plan.push_inline(&[5, 6]);
            plan
        };
        let whole = stream(&build());
        for cut in 0..=whole.len() {
            let mut plan = build();
            assert!(plan.advance(cut));
            assert_eq!(stream(&plan), whole[cut..]);
            assert_eq!(plan.sent(), cut as u64);
            assert_eq!(plan.is_empty(), cut == whole.len());
        }
    }

    #[test]
    fn neighbouring_inline_pieces_are_one() {
        let mut plan = TransmitPlan::default();
        (0..32).for_each(|_| plan.push_inline(&[0; 48]));
        assert_eq!(plan.pieces().count(), 1);
    }

    #[test]
    fn more_than_was_planned_is_refused() {
        let mut plan = TransmitPlan::default();
        plan.push_inline(&[0; 4]);
        assert!(!plan.advance(5));
        assert!(plan.advance(4));
    }

    #[test]
    fn the_arena_stays_bounded_though_the_plan_never_runs_empty() {
        let mut plan = TransmitPlan::default();
        plan.push_inline(&[9; 48]);
        for round in 0..20_000u32 {
            plan.push_data(data(round % 100, 4));
            plan.push_inline(&[round as u8; 48]);
            assert!(plan.advance(52));
        }
        assert!(
            plan.arena.len() < 2 * ARENA_COMPACT_AT,
            "{}",
            plan.arena.len()
        );
    }
}
