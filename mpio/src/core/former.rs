//! The writes of a process that died before this one began.
//!
//! They are one ghost of unknown number and place: it holds the whole device, ahead of every write of this
//! life, until it is proven dead ([`FormerLife`](super::FormerLife)).

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Event, FencedBy, Multipath, RungStep, earlier,
    fence::{ClaimId, WriteRanges},
};

/// What may still land of the former life.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) claim: ClaimId,
    /// The first login of this life.
    pub(crate) since: Option<Instant>,
    pub(crate) proof: Option<FencedBy>,
    /// The limit has passed.
    pub(crate) overdue: bool,
    look_again: Option<Instant>,
}

impl Former {
    /// To be made before any write.
    pub(crate) fn new(writes: &mut WriteRanges) -> Self {
        let (claim, _) = writes.claim(0..u64::MAX);
        Self {
            claim,
            since: None,
            proof: None,
            overdue: false,
            look_again: None,
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.look_again
    }
}

impl Multipath {
    /// This process has logged in once on every nexus that a former process may have had. On a target
    /// where that is a barrier, nothing of the former one can land any more. Called once, or never.
    pub fn handle_former_reinstated(&mut self, now: Instant) {
        if let (Some(former), true) = (&mut self.former, self.config.fence.target.is_barrier()) {
            _ = former.proof.get_or_insert(FencedBy::Reinstated);
            self.settle(now);
        }
    }

    /// A path is up; the clock of the former life starts with the first.
    pub(super) fn notice_login(&mut self, now: Instant) {
        let Some(former) = &mut self.former else {
            return;
        };
        if former.since.is_none() {
            former.since = Some(now);
            self.events.push(Event::FormerLifeFenceStarted);
        }
    }

    /// Lets the writes of this life go once those of the former one are dead, and does what may prove
    /// that.
    pub(super) fn lay_former(&mut self, now: Instant) {
        let fence = self.config.fence;
        let Some(former) = &mut self.former else {
            return;
        };
        former.look_again = None;
        let Some(since) = former.since else {
            return;
        };
        let quiet = fence.target.quiesce.map(|quiet| since + quiet);
        let skipped = quiet.is_some() && self.config.planted.has(Bug::FormerTimeSkipped);
        if skipped || quiet.is_some_and(|at| at <= now) {
            _ = former.proof.get_or_insert(FencedBy::QuietTime);
        }
        if let Some(by) = former.proof {
            let claim = former.claim;
            self.former = None;
            self.writes.release(claim);
            self.released = true;
            self.events.push(Event::FormerLifeFenced { by });
            return;
        }
        let limit = since + fence.limit;
        if quiet.is_none() && limit <= now && !former.overdue {
            former.overdue = true;
            self.released = true;
            let rung = super::FenceRung::OutcomeUnknown;
            self.tell_step(None, rung, RungStep::Started);
        }
        let mut again = quiet.or(Some(limit)).filter(|&at| at > now);
        if let Some(drain) = fence.unit_reset {
            if let super::ladder::Turn::Later(at) = self.climb_reset(now, since + drain) {
                again = earlier(again, at);
            }
        }
        if let Some(former) = &mut self.former {
            former.look_again = again;
        }
    }
}
