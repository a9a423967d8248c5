//! The driver's one timer.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use iscsi_proto::Instant;

use crate::runtime::{AsyncTimer, Runtime};

/// The driver's one timer, set to whatever is due first.
///
/// Deadlines mostly move away: every byte that arrives postpones the next ping. So the timer is only
/// ever moved forward in time when it fires too early; a session under load then touches the
/// runtime's timer queue a few times per second instead of at every poll.
///
/// And as long as the same task waits for it, it is not even looked at: what was registered with it
/// still holds.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<dyn AsyncTimer>>,
    /// The time zero of the times here.
    epoch: std::time::Instant,
    /// When the timer will fire; `None` once it has.
    armed: Option<Instant>,
    /// Whom it will wake.
    waker: Option<Waker>,
}

impl Alarm {
    pub(super) fn new(runtime: &dyn Runtime, epoch: std::time::Instant) -> Self {
        Self {
            timer: runtime.new_timer(epoch),
            epoch,
            armed: Some(Instant::ZERO),
            waker: None,
        }
    }

    /// Ready if `due` has come; otherwise the task is woken then, or somewhat earlier.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        due: Option<Instant>,
        now: Instant,
    ) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        if due <= now {
            return Poll::Ready(());
        }
        let registered = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        let holds = |armed: Instant| armed > now && armed <= due;
        if registered && self.armed.is_some_and(holds) {
            return Poll::Pending;
        }
        loop {
            if self.armed.is_none_or(|armed| due < armed) {
                let after = due.saturating_duration_since(Instant::ZERO);
                self.timer.as_mut().reset(self.epoch + after);
                self.armed = Some(due);
            }
            match self.timer.as_mut().poll(cx) {
                Poll::Pending => {
                    match &mut self.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                Poll::Ready(()) if self.armed == Some(due) => {
                    self.armed = None;
                    return Poll::Ready(());
                }
                Poll::Ready(()) => self.armed = None,
            }
        }
    }
}
