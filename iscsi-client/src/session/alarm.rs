//! The driver's one timer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use crate::runtime::{AsyncTimer, Runtime};

/// The driver's one timer, set to whatever is due first.
///
/// Deadlines mostly move away: every byte that arrives postpones the next ping. So the timer is only
/// ever moved forward in time when it fires too early; a session under load then touches the
/// runtime's timer queue a few times per second instead of at every poll.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<dyn AsyncTimer>>,
    /// When the timer will fire; `None` once it has.
    armed: Option<Instant>,
}

impl Alarm {
    pub(super) fn new(runtime: &dyn Runtime) -> Self {
        let now = runtime.now();
        Self {
            timer: runtime.new_timer(now),
            armed: Some(now),
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
        loop {
            if self.armed.is_none_or(|armed| due < armed) {
                self.timer.as_mut().reset(due);
                self.armed = Some(due);
            }
            match self.timer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if self.armed == Some(due) => {
                    self.armed = None;
                    return Poll::Ready(());
                }
                Poll::Ready(()) => self.armed = None,
            }
        }
    }
}
