//! No write lands late.
//!
//! A write whose path was lost may still sit in the target's receive buffer or back end, and may be
//! executed at any later time: a *ghost*. Writing the same bytes again through another path is
//! harmless by itself. Harm is done when a later write to the same place is acknowledged and the
//! ghost lands on top of it. So a write is not dispatched while an earlier one that it overlaps is
//! unfinished or has a ghost; and where others write to the device too, a write that may still land is
//! not even tried again before its ghost is known to be dead ([`WriterMode`](super::WriterMode)).
//!
//! The first rule holds for *all* unfinished writes, not only for ambiguous ones: were two
//! overlapping writes in flight on two paths, and the first got lost, its repetition would land after
//! the acknowledgement of the second. Initiators with sense do not send overlapping writes at the
//! same time, so the rule costs one scan of a short list.
//!
//! A read waits for nothing. While a write is unfinished, a read that overlaps it may return old or
//! new data, on one path as on several; the caller knows that its write is not acknowledged. After that
//! its ghost changes nothing that a read could see.
//!
//! What proves a ghost dead, and in which order that is tried, is in `ladder.rs`. Whatever is not
//! configured does not count.

use std::{ops::Range, time::Instant};

use iscsi_proto::{
    held::HeldBytes,
    planted::{Bug, Planted},
};

use super::{
    arena::{AttemptId, IoId, PathId},
    event::FencedBy,
    fence_config::FenceConfig,
};

/// A write that may still land.
#[derive(Debug)]
pub(crate) struct Ghost {
    /// The attempt that it was.
    pub(crate) attempt: AttemptId,
    pub(crate) path: PathId,
    /// The latest of the path's connections that it may have been sent on.
    pub(crate) epoch: u32,
    /// The nexus that it was sent on, unless the path has had several since: only a login on the very same
    /// one reinstates it.
    pub(crate) nexus: u64,
    /// In the order in which ghosts came and rungs were begun: what was begun before proves nothing.
    pub(crate) number: u64,
    /// The I/O that it was an attempt of; `None` once its caller has been told.
    pub(crate) io: Option<IoId>,
    /// The caller was told that the write is done. So it has no reason to expect that it may land
    /// later than what it writes next.
    pub(crate) acknowledged: bool,
    /// The limit has passed and the ghost has to stay all the same; whether that was told.
    pub(crate) overdue: Option<bool>,
    /// The range that it may still change.
    pub(crate) claim: Option<ClaimId>,
    pub(crate) since: Instant,
    /// When its connection was closed abortively.
    pub(crate) closed: Option<Instant>,
    /// How it is known to be dead; but for the target's own word only from the close on.
    pub(crate) proof: Option<FencedBy>,
}

impl Ghost {
    /// How we know that it is dead, if we do.
    pub(crate) fn laid_by(
        &self,
        now: Instant,
        config: &FenceConfig,
        planted: Planted,
    ) -> Option<FencedBy> {
        if self.proof == Some(FencedBy::Confirmed) {
            return self.proof;
        }
        let closed = self.closed?;
        if self.proof.is_some() {
            return self.proof;
        }
        match config.target.quiesce {
            Some(quiet) if closed + quiet <= now || planted.has(Bug::QuietTimeSkipped) => {
                Some(FencedBy::QuietTime)
            }
            // Its caller is told `Unknown` and decides from here on. Holding the range any longer
            // could hold it for ever: nothing is configured that ends the wait, or the path that
            // would have to be reinstated does not come back.
            None if !config.can_fence() || closed + config.limit <= now => Some(FencedBy::Unfenced),
            _ => None,
        }
    }

    /// When to look again without any input: for the quiet time, or to lose patience with a target
    /// that does not confirm on a living connection.
    pub(crate) fn deadline(&self, config: &FenceConfig) -> Option<Instant> {
        match self.closed {
            Some(_) if self.overdue.is_some() => None,
            Some(closed) => Some(closed + config.target.quiesce.unwrap_or(config.limit)),
            None => Some(self.since + config.abort_grace),
        }
    }
}

/// A slot of [`WriteRanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimId(u32);

/// An empty slot has an empty range, which overlaps nothing.
#[derive(Debug)]
struct Claim {
    range: Range<u64>,
    order: u64,
}

/// The ranges of all writes that are unfinished or may still land, in the order of submission.
///
/// A plain list: it is as long as the device's write queue was ever deep, and a scan of a few hundred
/// neighbouring entries is quicker than any tree. Revisit if someone runs thousands.
#[derive(Debug, Default)]
pub(crate) struct WriteRanges {
    claims: Vec<Claim>,
    free: Vec<u32>,
    next_order: u64,
    pub(crate) planted: Planted,
}

impl WriteRanges {
    pub(crate) fn held_bytes(&self) -> u64 {
        self.claims.held_bytes() + self.free.held_bytes()
    }

    /// Enters a write; false if it has to wait for an earlier one.
    pub(crate) fn claim(&mut self, range: Range<u64>) -> (ClaimId, bool) {
        let order = self.next_order;
        self.next_order += 1;
        let free = self.blockers(&range, order).next().is_none();
        let claim = Claim { range, order };
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.claims.len()).unwrap_or(u32::MAX);
            self.claims.push(Claim {
                range: 0..0,
                ..claim
            });
            slot
        });
        if let Some(entry) = self.claims.get_mut(slot as usize) {
            *entry = claim;
        }
        (ClaimId(slot), free)
    }

    /// The earlier claims that keep `claim` waiting.
    pub(crate) fn blockers_of(&self, claim: ClaimId) -> impl Iterator<Item = ClaimId> {
        let claim = self.claims.get(claim.0 as usize);
        claim
            .into_iter()
            .flat_map(|claim| self.blockers(&claim.range, claim.order))
    }

    fn blockers(&self, range: &Range<u64>, order: u64) -> impl Iterator<Item = ClaimId> {
        let slots = self.claims.iter().zip(0..);
        slots
            .filter(move |(c, _)| {
                let overlap = match self.planted.has(Bug::PartialOverlapIgnored) {
                    true => *range == c.range,
                    false => range.start < c.range.end && c.range.start < range.end,
                };
                overlap && c.order < order
            })
            .map(|(_, slot)| ClaimId(slot))
    }

    /// Gives a claim up. Each is given up once: by its I/O, or by the ghost that inherited it.
    pub(crate) fn release(&mut self, claim: ClaimId) {
        if let Some(entry) = self.claims.get_mut(claim.0 as usize) {
            entry.range = 0..0;
            if !self.planted.has(Bug::ClaimsAreKept) {
                self.free.push(claim.0);
            }
        }
    }
}
