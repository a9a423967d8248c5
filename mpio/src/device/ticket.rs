//! A request's dealings with the core.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_client::{
    error::{Error, ErrorKind, Retry},
    runtime::{AsyncTimer, Runtime},
};

use iscsi_proto::planted::Bug;

use super::{
    job::Job,
    keys,
    outcome::{DROPPED, UNREAD, outcome_on, refused},
    shared::{Deferred, Go, Order, Shared, State},
    vessel::{Vessel, vessel},
};
use crate::{
    core::{Admission, AttemptId, IoClass, IoId, IoKind, PathId, arena::Key},
    path::Path,
};

impl<P: Path> Shared<P> {
    /// Hands a request to the core, if `check` has no objection.
    pub(super) fn submit(
        &self,
        class: IoClass,
        check: impl FnOnce(&State<P>) -> Result<(), Error>,
    ) -> Result<Ticket<'_, P>, Error> {
        let now = self.runtime.now();
        let writes = class.kind == IoKind::Write;
        let mut state = self.lock();
        check(&state)?;
        let mut ticket = Ticket {
            shared: self,
            io: None,
            mailbox: None,
            next: None,
            attempt: None,
            vessel: None,
        };
        let deferred = match state.core.admit(now, class).map_err(refused)? {
            Admission::Go { io, attempt, path } => {
                ticket.io = Some(io);
                ticket.next = state.go(attempt, path).map(Order::Go);
                state.follow_up(now)
            }
            Admission::Wait(io) => {
                ticket.io = Some(io);
                let key = state.open_mailbox(io);
                ticket.mailbox = Some(key);
                let mut deferred = Deferred::default();
                state.carry_out(now, &mut deferred);
                ticket.next = state.take_order(key);
                Some(deferred)
            }
        };
        if writes {
            ticket.vessel = state.take_vessel();
        }
        drop(state);
        if let Some(deferred) = deferred {
            deferred.carry_out();
        }
        Ok(ticket)
    }
}

/// A request that the core has accepted. Dropping it cancels the request.
pub(super) struct Ticket<'a, P: Path> {
    shared: &'a Shared<P>,
    /// `None` once its verdict is known.
    io: Option<IoId>,
    /// Of a request that had to wait for something.
    mailbox: Option<Key>,
    /// An order that was there before anybody asked.
    next: Option<Order<P>>,
    /// The attempt that we are at.
    attempt: Option<(AttemptId, PathId)>,
    /// Of a write.
    vessel: Option<Box<dyn Vessel<P>>>,
}

impl<P: Path> Ticket<'_, P> {
    /// The next order, if it is there already.
    pub(super) fn ready_order(&mut self) -> Option<Order<P>> {
        let order = self.next.take();
        match &order {
            Some(Order::Go(go)) => self.attempt = Some((go.attempt, go.id)),
            Some(Order::Done(_)) => self.io = None,
            None => {}
        }
        order
    }

    /// Waits for the next order. `deadline` cancels the request while it waits.
    pub(super) async fn order(&mut self, deadline: &mut Deadline) -> Order<P> {
        poll_fn(|cx| self.poll_order(cx, deadline)).await
    }

    fn poll_order(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Order<P>> {
        if self.next.is_none() {
            match self.poll_waiting(cx, deadline) {
                Poll::Ready(order) => self.next = Some(order),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.ready_order().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_waiting(&self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Order<P>> {
        let polled = self.poll_mailbox(cx);
        let runtime = &*self.shared.runtime;
        if polled.is_pending() && (deadline.is_expired() || deadline.poll_expired(cx, runtime)) {
            if let Some(io) = self.io {
                self.shared.act(|state, now| state.core.cancel(now, io));
            }
            return self.poll_mailbox(cx);
        }
        polled
    }

    fn poll_mailbox(&self, cx: &Context<'_>) -> Poll<Order<P>> {
        let Some(key) = self.mailbox else {
            return Poll::Pending;
        };
        self.shared.look(|state| {
            if let Some(order) = state.take_order(key) {
                return Poll::Ready(order);
            }
            if let Some(mailbox) = state.mail.get_mut(key) {
                match &mut mailbox.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            Poll::Pending
        })
    }

    /// The attempt that `go` asked for has ended. True if that was a success, and the end of the
    /// request; otherwise the next order tells.
    pub(super) fn end(&mut self, go: Go<P>, result: &Result<(), Error>) -> bool {
        let (Some((attempt, path)), Some(io)) = (self.attempt.take(), self.io) else {
            return false;
        };
        // Before the core hears of it: then the index is another attempt's. And without the lock,
        // since wakers are dropped.
        go.recall.reset();
        drop(go);
        match result {
            Ok(()) => self.succeed(attempt),
            Err(error) => self.fail(io, attempt, path, error),
        }
        result.is_ok()
    }

    fn succeed(&mut self, attempt: AttemptId) {
        let now = self.shared.runtime.now();
        let mut state = self.shared.lock();
        state.core.complete(now, attempt);
        if let Some(key) = self.mailbox {
            state.close_mailbox(key);
        }
        self.io = None;
        let deferred = state.follow_up(now);
        let vessel = self.vessel.take();
        let unkept = vessel.and_then(|vessel| state.keep_vessel(vessel));
        drop(state);
        drop(unkept);
        if let Some(deferred) = deferred {
            deferred.carry_out();
        }
    }

    fn fail(&mut self, io: IoId, attempt: AttemptId, path: PathId, error: &Error) {
        let now = self.shared.runtime.now();
        let mut deferred = Deferred::default();
        let mut state = self.shared.lock();
        let key = *self.mailbox.get_or_insert_with(|| state.open_mailbox(io));
        let (keyed, keyless) = (state.forgives_attention(), state.is_without_key(path));
        let (outcome, lost) = outcome_on(error, keyed, keyless);
        state.core.handle_outcome(now, attempt, outcome);
        if lost {
            state.core.handle_registrations_lost();
        }
        if error.kind() == ErrorKind::ReservationConflict {
            state.doubt(now, path, keys::is_loss(error));
        }
        if error.kind() == ErrorKind::WrongUnit {
            // The unit answers, so no checker would find anything wrong with this path.
            state.jobs.push(Job::Verify(path));
        }
        state.carry_out(now, &mut deferred);
        self.next = state.take_order(key);
        drop(state);
        deferred.carry_out();
    }

    /// The request's time is over before the attempt was made.
    pub(super) fn end_late(&mut self, go: Go<P>) {
        let timeout = Error::not_executed(ErrorKind::Timeout).with_retry(Retry::Never);
        self.end(go, &Err(timeout));
    }

    /// Where the attempts of this write live.
    pub(super) fn vessel(&mut self) -> &mut dyn Vessel<P> {
        &mut **self.vessel.get_or_insert_with(vessel)
    }
}

impl<P: Path> Drop for Ticket<'_, P> {
    fn drop(&mut self) {
        let Some(io) = self.io else {
            return;
        };
        // An order that was taken and not read: an attempt of which nothing is known to anybody.
        let next = self.next.take();
        if matches!(next, Some(Order::Done(_))) {
            return;
        }
        let (key, attempt) = (self.mailbox, self.attempt.take());
        // Under way if there is an attempt, otherwise empty.
        let mut vessel = self.vessel.take();
        // All of it under one lock: were the driver to see a write to its end before the core knows that
        // nobody waits for it, the core could ask us for another attempt.
        // Given back, and dropped without the lock: it may hold the last handle of its path.
        let _unread = self.shared.act(|state, now| {
            let unread = key.and_then(|key| state.take_order(key)).or(next);
            if matches!(unread, Some(Order::Done(_))) {
                return unread;
            }
            if let Some(mailbox) = key.and_then(|key| state.mail.get_mut(key)) {
                mailbox.abandoned = true;
            }
            state.core.cancel(now, io);
            if let Some(Order::Go(go)) = &unread {
                state.core.handle_outcome(now, go.attempt, UNREAD);
            }
            match (attempt, vessel.is_some()) {
                (Some((attempt, _)), false) => state.core.handle_outcome(now, attempt, DROPPED),
                // The driver will report it. With no driver left nobody would poll it, and it would keep
                // its session open.
                (Some((attempt, _)), true) => {
                    if self.shared.planted.has(Bug::DroppedMeansNotExecuted) {
                        state.core.handle_outcome(now, attempt, UNREAD);
                    }
                    if let Some(vessel) = vessel.take_if(|_| !state.ended) {
                        state.jobs.push(Job::Finish(attempt, vessel));
                    }
                }
                (None, _) => {}
            }
            unread
        });
        // Without the lock, as in the driver's end.
        drop(vessel);
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
