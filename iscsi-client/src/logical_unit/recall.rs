//! Taking a request back from where it is, without losing its buffer.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::session::{Execute, Executed};

/// Takes a request back: the other end of
/// [`LogicalUnit::read_recallable`](super::LogicalUnit::read_recallable). Clones are the same.
///
/// Dropping the request's future would do so too, but then its buffer is gone; a caller that wants to
/// try the same buffer elsewhere needs it back.
#[derive(Clone, Debug, Default)]
pub struct Recall(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// [`NOT`], [`DETACHED`] or [`RECALLED`].
    state: AtomicU8,
    /// Of the commands that the request consists of: one, mostly, but those of a split request are
    /// polled one by one and each only when its own waker was used.
    wakers: Mutex<Vec<Waker>>,
}

const NOT: u8 = 0;
const DETACHED: u8 = 1;
const RECALLED: u8 = 2;

impl Recall {
    /// Ends the request soon: every command of it is revoked, and the request completes with
    /// [`ErrorKind::Aborted`](crate::error::ErrorKind::Aborted), or as if nothing had been asked, if
    /// the answer came first.
    pub fn recall(&self) {
        self.take_back(RECALLED);
    }

    /// Ends the request as [`recall`](Self::recall) does, but every command of it is
    /// [detached](crate::session::Execute::detach) instead of revoked: the target is left to answer it.
    pub fn detach(&self) {
        self.take_back(DETACHED);
    }

    fn take_back(&self, how: u8) {
        self.0.state.fetch_max(how, Ordering::Release);
        let wakers = mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it was recalled, or detached.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        self.state() != NOT
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn apply(&self, command: &Execute) {
        match self.state() {
            NOT => {}
            DETACHED => command.detach(),
            _ => command.revoke(),
        }
    }

    /// Makes it usable for another request.
    pub fn reset(&self) {
        self.wakers().clear();
        self.0.state.store(NOT, Ordering::Release);
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        // Nothing in a critical section can leave the list half-changed.
        self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once it is recalled; otherwise the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut wakers = self.wakers();
        if self.is_recalled() {
            return Poll::Ready(());
        }
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Polls a command until its end or until it is recalled.
pub(super) fn poll_execute(
    command: &mut Execute,
    recall: Option<&Recall>,
    cx: &mut Context<'_>,
) -> Poll<Executed> {
    let Some(recall) = recall else {
        return Pin::new(command).poll(cx);
    };
    recall.apply(command);
    let polled = Pin::new(&mut *command).poll(cx);
    // Only now: a command that is over need not be woken for a recall any more.
    if polled.is_pending() && recall.poll(cx).is_ready() {
        recall.apply(command);
        return Pin::new(command).poll(cx);
    }
    polled
}
