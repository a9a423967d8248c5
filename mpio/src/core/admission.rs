//! The short way: an I/O that nothing stands in the way of, and one that succeeds.
//!
//! Almost every I/O of a device's life finds a usable path, no earlier write to wait for and nothing
//! else going on, and then succeeds. [`Multipath::admit`] and [`Multipath::complete`] book exactly what
//! [`submit`](Multipath::submit) and [`handle_outcome`](Multipath::handle_outcome) would, in the same
//! tables, and answer directly instead of by way of the queue of actions. So whatever happens in between
//! (a path is suspected, lost, removed, the device is closed) finds such an I/O where it finds all
//! others: nothing here has a second book that would have to be reconciled.

use std::time::Instant;

use super::{
    AttemptId, Execution, Io, IoClass, IoId, IoState, Multipath, Outcome, PathId, Steer,
    SubmitError, Tries, earlier, latency,
};

/// What became of an I/O that was offered to [`Multipath::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Try it on `path`, at once. Stands for the [`Dispatch`](super::Action::Dispatch) that there is
    /// no action of, and is to be followed by its outcome as that.
    Go {
        /// The I/O.
        io: IoId,
        /// This try of it.
        attempt: AttemptId,
        /// Where.
        path: PathId,
    },
    /// Accepted; actions will tell, and some may be there already.
    Wait(IoId),
}

impl Multipath {
    /// Accepts an I/O as [`submit`](Self::submit) does, and says at once where it goes if that can be
    /// said at once.
    ///
    /// # Errors
    /// [`SubmitError`]: nothing was accepted and nothing will be reported.
    pub fn admit(&mut self, now: Instant, class: IoClass) -> Result<Admission, SubmitError> {
        if self.closing {
            return Err(SubmitError::Closed);
        }
        if self.ios.len() >= self.config.queue_limit {
            return Err(SubmitError::QueueFull);
        }
        let modifies = class.modifies();
        let io = IoId(self.ios.insert(Io {
            class,
            state: IoState::Pending,
            steer: Steer::Any,
            tries: Tries::default(),
            claim: None,
            execution: Execution::NotExecuted,
            cancelled: false,
            since: now,
        }));
        self.counters.submitted += 1;
        let mut free = true;
        if let Some(range) = modifies {
            let (claim, is_free) = self.writes.claim(range);
            free = is_free;
            if let Some(entry) = self.ios.get_mut(io.0) {
                entry.claim = Some(claim);
            }
        }
        if !free {
            self.hold(io);
        } else if let Some((path, attempt)) = self.go(now, io) {
            return Ok(Admission::Go { io, attempt, path });
        } else {
            self.pending.push_back(io);
        }
        self.settle(now);
        Ok(Admission::Wait(io))
    }

    /// Dispatches an I/O unless others come first or consequences have yet to be drawn.
    fn go(&mut self, now: Instant, io: IoId) -> Option<(PathId, AttemptId)> {
        if !self.pending.is_empty() || self.restless || self.stopped {
            return None;
        }
        let path = self.choose(now, io)?;
        Some((path, self.dispatch(now, io, path)?))
    }

    /// An attempt has succeeded; as [`handle_outcome`](Self::handle_outcome), but this is the end of its
    /// I/O, of which no [`Finish`](super::Action::Finish) will tell. Unknown attempts are ignored.
    pub fn complete(&mut self, now: Instant, attempt: AttemptId) {
        let Some(ended) = self.attempts.remove(attempt.0) else {
            return;
        };
        let Some(io) = self.ios.remove(ended.io.0) else {
            return;
        };
        if let Some(path) = self.paths.get_mut(ended.path.0) {
            let change = path.ended(now, &self.config, &ended, &io.class, Outcome::Success);
            self.restless |= change.restless;
            self.sooner = earlier(self.sooner, change.sooner);
            // Mostly its first attempt, which began when it was accepted.
            let bucket = if io.since == ended.started {
                change.bucket
            } else {
                latency::bucket(now.saturating_duration_since(io.since))
            };
            self.latencies.record_in(io.class.kind, bucket);
        }
        if let Some(claim) = io.claim {
            self.give_back(ended.io, claim, true);
        }
        if self.pending.is_empty() && self.held.is_empty() && !self.restless && !self.stopped {
            self.released = false;
        } else {
            self.settle(now);
            // That may have brought forward any deadline, and need not have told of it.
            self.sooner = earlier(self.sooner, self.poll_timeout());
        }
    }
}
