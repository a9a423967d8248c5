//! A request's dealings with the core.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_client::{
    error::{Error, ErrorKind, Retry},
    runtime::{AsyncTimer, Runtime},
};

use super::{
    job::Job,
    outcome::{DROPPED, UNREAD, outcome_of},
    shared::{Deferred, Order, Shared},
};
use crate::{
    core::{AttemptId, IoClass, IoId, PathId, SubmitError, arena::Key},
    path::Path,
};

impl<P: Path> Shared<P> {
    /// Hands a request to the core.
    pub(super) fn submit(self: &Arc<Self>, class: IoClass) -> Result<Ticket<P>, SubmitError> {
        let now = self.runtime.now();
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let io = state.core.submit(now, class)?;
        let key = state.open_mailbox(io);
        state.carry_out(now, &mut deferred);
        let next = state.take_order(key);
        drop(state);
        deferred.carry_out();
        Ok(Ticket {
            shared: Arc::clone(self),
            key,
            io,
            finished: matches!(next, Some(Order::Done(_))),
            next,
            attempt: None,
        })
    }
}

/// A request that the core has accepted. Dropping it cancels the request.
#[derive(Debug)]
pub(super) struct Ticket<P: Path> {
    shared: Arc<Shared<P>>,
    key: Key,
    io: IoId,
    /// An order that was there before anybody asked.
    next: Option<Order<P>>,
    /// The attempt that we are at.
    attempt: Option<(AttemptId, PathId)>,
    finished: bool,
}

impl<P: Path> Ticket<P> {
    /// Waits for the next order. `deadline` cancels the request while it waits.
    pub(super) async fn order(&mut self, deadline: &mut Deadline) -> Order<P> {
        let order = poll_fn(|cx| self.poll_order(cx, deadline)).await;
        match &order {
            Order::Go(go) => self.attempt = Some((go.attempt, go.id)),
            Order::Done(_) => self.finished = true,
        }
        order
    }

    fn poll_order(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Order<P>> {
        if let Some(order) = self.next.take() {
            return Poll::Ready(order);
        }
        let polled = self.poll_mailbox(cx);
        let runtime = &*self.shared.runtime;
        if polled.is_pending() && (deadline.is_expired() || deadline.poll_expired(cx, runtime)) {
            let io = self.io;
            self.shared.act(|state, now| state.core.cancel(now, io));
            return self.poll_mailbox(cx);
        }
        polled
    }

    fn poll_mailbox(&self, cx: &Context<'_>) -> Poll<Order<P>> {
        self.shared.look(|state| {
            if let Some(order) = state.take_order(self.key) {
                return Poll::Ready(order);
            }
            if let Some(mailbox) = state.mail.get_mut(self.key) {
                match &mut mailbox.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            Poll::Pending
        })
    }

    /// The attempt has ended.
    pub(super) fn end(&mut self, result: &Result<(), Error>) {
        let Some((attempt, path)) = self.attempt.take() else {
            return;
        };
        let other_unit = matches!(result, Err(error) if error.kind() == ErrorKind::WrongUnit);
        let now = self.shared.runtime.now();
        let mut deferred = Deferred::default();
        let mut state = self.shared.lock();
        state.core.handle_outcome(now, attempt, outcome_of(result));
        if other_unit {
            // The unit answers, so no checker would find anything wrong with this path.
            state.jobs.push(Job::Verify(path));
        }
        state.carry_out(now, &mut deferred);
        self.next = state.take_order(self.key);
        drop(state);
        deferred.carry_out();
    }

    /// The request's time is over before the attempt was made.
    pub(super) fn end_late(&mut self) {
        let timeout = Error::not_executed(ErrorKind::Timeout).with_retry(Retry::Never);
        self.end(&Err(timeout));
    }

    /// Somebody else will report the attempt.
    pub(super) fn hand_over(&mut self) -> Option<AttemptId> {
        self.attempt.take().map(|(attempt, _)| attempt)
    }
}

impl<P: Path> Drop for Ticket<P> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (io, key, attempt) = (self.io, self.key, self.attempt.take());
        // An order that was taken and not read: an attempt of which nothing is known to anybody.
        let next = self.next.take();
        if matches!(next, Some(Order::Done(_))) {
            return;
        }
        // Given back, and dropped without the lock: it may hold the last handle of its path.
        let _unread = self.shared.act(|state, now| {
            let unread = state.take_order(key).or(next);
            if matches!(unread, Some(Order::Done(_))) {
                return unread;
            }
            if let Some(mailbox) = state.mail.get_mut(key) {
                mailbox.abandoned = true;
            }
            state.core.cancel(now, io);
            if let Some(Order::Go(go)) = &unread {
                state.core.handle_outcome(now, go.attempt, UNREAD);
            }
            if let Some((attempt, _)) = attempt {
                state.core.handle_outcome(now, attempt, DROPPED);
            }
            unread
        });
    }
}

/// When a request has to be over. The timer is made when it is first waited for; most requests have
/// no deadline at all.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<dyn AsyncTimer>>>,
    expired: bool,
}

impl Deadline {
    pub(super) fn new(runtime: &dyn Runtime, timeout: Option<Duration>) -> Self {
        Self {
            // What is beyond the clock is no limit.
            at: timeout.and_then(|timeout| runtime.now().checked_add(timeout)),
            timer: None,
            expired: false,
        }
    }

    /// What is left for an attempt: `Ok(None)` without a limit, an error when nothing is.
    pub(super) fn left(&mut self, runtime: &dyn Runtime) -> Result<Option<Duration>, ()> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        let left = at.saturating_duration_since(runtime.now());
        self.expired |= left.is_zero();
        if left.is_zero() {
            Err(())
        } else {
            Ok(Some(left))
        }
    }

    pub(super) const fn is_expired(&self) -> bool {
        self.expired
    }

    /// True once, when the time is over; otherwise the task is woken then.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, runtime: &dyn Runtime) -> bool {
        let Some(at) = self.at.filter(|_| !self.expired) else {
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| runtime.new_timer(at));
        self.expired = timer.as_mut().poll(cx).is_ready();
        self.expired
    }
}
