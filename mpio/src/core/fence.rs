//! No write lands late.
//!
//! A write whose path was lost may still sit in the target's receive buffer or back end, and may be
//! executed at any later time: a *ghost*. Writing the same bytes again through another path is
//! harmless by itself. Harm is done when a later write to the same place is acknowledged and the
//! ghost lands on top of it. So
//!
//! * a write that may still land is tried again only after its ghost is known to be dead, and
//! * a write is not dispatched while an earlier one that it overlaps is unfinished or a ghost.
//!
//! The second rule holds for *all* unfinished writes, not only for ambiguous ones: were two
//! overlapping writes in flight on two paths, and the first got lost, its repetition would land after
//! the acknowledgement of the second. Initiators with sense do not send overlapping writes at the
//! same time, so the rule costs one scan of a short list.
//!
//! A read waits for nothing. While a write is unfinished, a read that overlaps it may return old or
//! new data, on one path as on several; the caller knows that its write is not acknowledged.
//!
//! This is the first rung of the ladder: a ghost is dead when the target confirmed it, when its
//! nexus was reinstated on a target where that is a barrier, or when a quiet time has passed since
//! the abortive close of its connection. Whatever is not configured does not count.

use std::{ops::Range, time::Instant};

use super::{
    arena::{AttemptId, IoId, PathId},
    config::FenceConfig,
    event::FencedBy,
};

/// A write that may still land.
#[derive(Debug)]
pub(crate) struct Ghost {
    /// The attempt that it was.
    pub(crate) attempt: AttemptId,
    pub(crate) path: PathId,
    /// The latest of the path's connections that it may have been sent on.
    pub(crate) epoch: u32,
    /// The I/O that waits for its end; `None` once its caller has been told.
    pub(crate) io: Option<IoId>,
    /// The range that it may still change.
    pub(crate) claim: Option<ClaimId>,
    pub(crate) since: Instant,
    /// When its connection was closed abortively.
    pub(crate) closed: Option<Instant>,
    pub(crate) reinstated: bool,
    pub(crate) confirmed: bool,
}

impl Ghost {
    /// How we know that it is dead, if we do.
    pub(crate) fn laid_by(&self, now: Instant, config: &FenceConfig) -> Option<FencedBy> {
        if self.confirmed {
            return Some(FencedBy::Confirmed);
        }
        let closed = self.closed?;
        if self.reinstated && config.reinstatement_is_barrier {
            return Some(FencedBy::Reinstated);
        }
        match config.quiet_time {
            Some(quiet) if closed + quiet <= now => Some(FencedBy::QuietTime),
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
            Some(closed) => Some(closed + config.quiet_time.unwrap_or(config.limit)),
            None => Some(self.since + config.abort_grace),
        }
    }
}

impl FenceConfig {
    /// Whether anything but the target's own word can prove a write dead.
    pub(crate) const fn can_fence(&self) -> bool {
        self.reinstatement_is_barrier || self.quiet_time.is_some()
    }
}

/// Who keeps a range from being written by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Io(IoId),
    /// A ghost whose I/O is finished.
    Ghost(AttemptId),
}

/// A slot of [`WriteRanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimId(u32);

/// An empty slot has an empty range, which overlaps nothing.
#[derive(Debug)]
struct Claim {
    range: Range<u64>,
    order: u64,
    owner: Owner,
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
}

impl WriteRanges {
    /// Enters a write; false if it has to wait for an earlier one.
    pub(crate) fn claim(&mut self, io: IoId, range: Range<u64>) -> (ClaimId, bool) {
        let order = self.next_order;
        self.next_order += 1;
        let free = self.blocker(&range, order).is_none();
        let claim = Claim {
            range,
            order,
            owner: Owner::Io(io),
        };
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

    /// The owner of the first earlier claim that keeps `claim` waiting.
    pub(crate) fn blocker_of(&self, claim: ClaimId) -> Option<Owner> {
        let claim = self.claims.get(claim.0 as usize)?;
        self.blocker(&claim.range, claim.order)
    }

    fn blocker(&self, range: &Range<u64>, order: u64) -> Option<Owner> {
        self.claims
            .iter()
            .find(|c| range.start < c.range.end && c.range.start < range.end && c.order < order)
            .map(|c| c.owner)
    }

    /// The I/O is finished, its ghost is not.
    pub(crate) fn bequeath(&mut self, claim: ClaimId, ghost: AttemptId) {
        if let Some(claim) = self.claims.get_mut(claim.0 as usize) {
            claim.owner = Owner::Ghost(ghost);
        }
    }

    /// Gives a claim up. Each is given up once: by its I/O, or by the ghost that inherited it.
    pub(crate) fn release(&mut self, claim: ClaimId) {
        if let Some(entry) = self.claims.get_mut(claim.0 as usize) {
            entry.range = 0..0;
            self.free.push(claim.0);
        }
    }
}
