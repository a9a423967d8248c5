//! The one lock that a session's handles and its driver share.
//!
//! It is held for pushes, swaps and copies of small structs, never across I/O and never while a waker
//! runs or a buffer is dropped. The driver takes it twice per poll: once for the whole batch of
//! requests, once for the whole batch of results.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use iscsi_proto::{
    held::HeldBytes,
    scsi::{lun::Lun, sense::SenseData},
    session::Response,
};

use super::{
    notice::attention_notice,
    op_id::OpId,
    options::SessionOptions,
    slot::{Abandoned, Class, Harvested, Owner, Revocation, RingId, Slots, Then, Ticket},
    state::{DownReason, Journal, SessionEventKind, SessionState},
    stats::SessionStats,
    units::UnitTable,
    work::{Finished, Held, Prepared, Work},
};
use crate::{
    error::{Error, ErrorKind, LoginError},
    links::LinkListener,
    runtime::{ProgressSource, Runtime},
};

/// What the handles and the driver share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) runtime: Arc<dyn Runtime>,
    /// The core's time zero.
    epoch: Instant,
    /// Logins so far. Outside the lock, since every command of a logical unit looks at it.
    logins: AtomicU64,
    pub(super) units: UnitTable,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Slots,
    driver: Option<Waker>,
    /// The driver has nothing to do and must be woken. Whoever does so clears this, so many
    /// submissions cost one wake-up; while the driver runs they cost none.
    asleep: bool,
    control: Control,
    /// Who uses the session; the last one to leave closes it.
    users: usize,
    /// A close was asked for: nobody new comes in.
    leaving: bool,
    /// Whether commands wait for a session that is down.
    holds: bool,
    /// Set while requests are refused.
    refusal: Option<Error>,
    journal: Journal,
    stats: SessionStats,
    last_receive: iscsi_proto::Instant,
}

/// What the handles ask of the driver apart from operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// Log out and end.
    pub(super) close: bool,
    /// Drop the connection and log in again, now.
    pub(super) reconnect: bool,
    /// Drop the connection and log in again, when the back-off says.
    pub(super) relogin: bool,
    /// The carrier was lost.
    pub(super) link_down: bool,
    /// The carrier is back, and since when.
    pub(super) link_up: Option<Instant>,
}

/// The driver's side of an exchange with [`Shared`]: vectors that are filled, emptied and reused.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) submitted: Vec<(OpId, Work)>,
    pub(super) revoked: Vec<Revocation>,
    pub(super) finished: Vec<(OpId, Finished)>,
    /// When somebody who waits for a slot is to be woken.
    pub(super) line_due: Option<iscsi_proto::Instant>,
    wakers: Vec<Waker>,
    trash: Vec<Finished>,
}

impl Batch {
    pub(super) fn held_bytes(&self) -> u64 {
        self.submitted.held_bytes()
            + self.revoked.held_bytes()
            + self.finished.held_bytes()
            + self.wakers.held_bytes()
            + self.trash.held_bytes()
    }
}

/// What became of a submission.
#[derive(Debug)]
pub(super) enum Submitted {
    /// The driver has it, or will at its next poll.
    Taken(OpId),
    /// No slot is free, or others came first.
    Busy,
    /// The session is down or closed.
    Refused(Error),
}

impl LinkListener for Shared {
    fn link_changed(&self, device: &Arc<str>, has_carrier: bool, wakers: &mut Vec<Waker>) {
        self.note_carrier(device, has_carrier, wakers);
    }
}

impl Shared {
    pub(super) fn new(runtime: Arc<dyn Runtime>, options: &SessionOptions) -> Self {
        let now = runtime.now();
        // Beats are counted from the epoch, so that has to be the one of all sessions.
        let epoch = runtime.beat().map_or(now, |beat| beat.origin().min(now));
        Self {
            epoch,
            runtime,
            logins: AtomicU64::new(0),
            units: UnitTable::default(),
            inner: Mutex::new(Inner {
                slots: Slots::new(options.queue_depth).planted(options.core.planted),
                driver: None,
                asleep: false,
                control: Control::default(),
                users: 0,
                leaving: false,
                holds: options.replacement_timeout.is_some(),
                refusal: None,
                journal: Journal::new(),
                stats: SessionStats::default(),
                last_receive: iscsi_proto::Instant::ZERO
                    .saturating_add(now.saturating_duration_since(epoch)),
            }),
        }
    }

    /// The core's time zero.
    pub(super) const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The present in the core's time.
    pub(super) fn now(&self) -> iscsi_proto::Instant {
        self.core_time(self.runtime.now())
    }

    pub(super) fn core_time(&self, at: Instant) -> iscsi_proto::Instant {
        iscsi_proto::Instant::ZERO.saturating_add(at.saturating_duration_since(self.epoch))
    }

    pub(super) fn runtime_time(&self, at: iscsi_proto::Instant) -> Instant {
        self.epoch + at.saturating_duration_since(iscsi_proto::Instant::ZERO)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under this lock; if something ever does, the table is still consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the handles' side ---

    /// Hands a request of [`Class::Control`], which must be there, to the driver; it stays if it is
    /// not taken.
    pub(super) fn submit(&self, work: &mut Option<Work>) -> Submitted {
        let mut inner = self.lock();
        if let Some(error) = &inner.refusal {
            return Submitted::Refused(error.clone());
        }
        match inner.slots.submit(Class::Control, &mut None, work, None) {
            Some(op) => {
                inner.unlock_and_wake_driver();
                Submitted::Taken(op)
            }
            None => Submitted::Busy,
        }
    }

    /// Hands a command, which must be there, to the driver; it stays if it is not taken. `waiter` is
    /// woken when it is done; without a free slot it stands in the line.
    pub(super) fn submit_command(
        &self,
        ticket: &mut Option<Ticket>,
        prepared: &mut Option<Prepared>,
        waiter: Option<&Waker>,
    ) -> Submitted {
        let mut inner = self.lock();
        if let Some(error) = &inner.refusal {
            return Submitted::Refused(error.clone());
        }
        if let Some(op) = inner.slots.submit_command(ticket, prepared, waiter) {
            inner.unlock_and_wake_driver();
            return Submitted::Taken(op);
        }
        if let (Some(waker), Some(prepared)) = (waiter, prepared) {
            prepared.start_clock(|| self.now());
            // The driver keeps the time for everybody.
            if inner.slots.wait(ticket, waker, prepared.command.deadline) {
                inner.unlock_and_wake_driver();
            }
        }
        Submitted::Busy
    }

    /// The same for somebody who does not wait for a slot, with a command that `fill` puts into its
    /// place.
    pub(super) fn submit_filled(
        &self,
        owner: Owner,
        fill: impl FnOnce(&mut Prepared),
    ) -> Submitted {
        let mut inner = self.lock();
        if let Some(error) = &inner.refusal {
            return Submitted::Refused(error.clone());
        }
        match inner.slots.submit_filled(owner, fill) {
            Some(op) => {
                inner.unlock_and_wake_driver();
                Submitted::Taken(op)
            }
            None => Submitted::Busy,
        }
    }

    pub(super) fn open_ring(&self) -> RingId {
        self.lock().slots.open_ring()
    }

    /// See [`Slots::harvest`]; `wakers` is for use again.
    pub(super) fn harvest(
        &self,
        ring: RingId,
        waker: Option<&Waker>,
        wakers: &mut Vec<Waker>,
        sink: impl FnMut(Harvested),
    ) -> Poll<()> {
        let polled = self.lock().slots.harvest(ring, waker, wakers, sink);
        wake_all(wakers);
        polled
    }

    pub(super) fn close_ring(&self, ring: RingId) {
        let mut abandoned = Vec::new();
        let mut inner = self.lock();
        inner.slots.close_ring(ring, &mut abandoned);
        if abandoned
            .iter()
            .any(|one| matches!(one, Abandoned::Running))
        {
            inner.unlock_and_wake_driver();
        } else {
            drop(inner);
        }
        for one in abandoned {
            if let Abandoned::Unsent(_, next) | Abandoned::Unread(_, next) = one {
                wake(next);
            }
        }
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.lock().slots.has_free()
    }

    pub(super) fn poll_finished(&self, op: OpId, cx: &mut Context<'_>) -> Poll<Finished> {
        let polled = self.lock().slots.poll(op, cx.waker());
        polled.map(|(finished, next)| {
            wake(next);
            finished
        })
    }

    /// The same for a command.
    pub(super) fn poll_command(
        &self,
        op: OpId,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<Response, Error>, Held)> {
        let polled = self.lock().slots.poll_command(op, cx.waker());
        polled.map(|(result, held, next)| {
            wake(next);
            (result, held)
        })
    }

    pub(super) fn revoke(&self, op: OpId, then: Then) {
        let mut inner = self.lock();
        if inner.slots.revoke(op, then) {
            inner.unlock_and_wake_driver();
        }
    }

    /// The future of `op` is gone.
    pub(super) fn abandon(&self, op: OpId) {
        let mut inner = self.lock();
        match inner.slots.abandon(op) {
            Abandoned::Gone => {}
            Abandoned::Running => inner.unlock_and_wake_driver(),
            Abandoned::Unsent(work, next) => {
                drop(inner);
                wake(next);
                drop(work);
            }
            Abandoned::Unread(finished, next) => {
                drop(inner);
                self.hear(&finished);
                wake(next);
                drop(finished);
            }
        }
    }

    /// A result that nobody will fetch may tell of a unit attention all the same.
    fn hear(&self, finished: &Finished) {
        let Finished::Command(operation) = finished else {
            return;
        };
        if let Some(Ok(response)) = &operation.result {
            let attention = response.sense.as_ref().filter(|sense| sense.is_attention());
            let lun = operation.request.command.lun;
            attention
                .into_iter()
                .for_each(|sense| self.late_attention(lun, sense));
        }
    }

    /// A unit attention that came with the answer to a command for which nobody waits any more. The target
    /// does not tell it again, so all who use the unit hear of it here.
    pub(super) fn late_attention(&self, lun: Lun, sense: &SenseData) {
        let notice = attention_notice(sense.code());
        let unit = self.units.get(lun);
        unit.outdate(notice.capacity, notice.identity);
        unit.push(self.runtime.now(), sense);
    }

    pub(super) fn leave_line(&self, ticket: Ticket) {
        let next = self.lock().slots.leave(ticket);
        wake(next);
    }

    /// Makes a waiter look again.
    pub(super) fn wake_waiter(&self, ticket: Ticket) {
        let waiter = self.lock().slots.waiter(ticket);
        wake(waiter);
    }

    pub(super) fn request_close(&self) {
        let mut inner = self.lock();
        inner.leaving = true;
        inner.control.close = true;
        inner.unlock_and_wake_driver();
    }

    /// Counts one more user; false if the session is being closed, or is.
    pub(super) fn join(&self) -> bool {
        let mut inner = self.lock();
        let open = !inner.leaving && !matches!(inner.journal.status().state, SessionState::Closed);
        inner.users += usize::from(open);
        open
    }

    /// One user less. The last one asks for the close, which makes this true.
    pub(super) fn leave(&self) -> bool {
        let mut inner = self.lock();
        inner.users = inner.users.saturating_sub(1);
        if inner.users > 0 && !inner.leaving {
            return false;
        }
        inner.leaving = true;
        inner.control.close = true;
        inner.unlock_and_wake_driver();
        true
    }

    /// Users, and whether it is being closed.
    pub(super) fn users(&self) -> (usize, bool) {
        let inner = self.lock();
        let closed = matches!(inner.journal.status().state, SessionState::Closed);
        (inner.users, inner.leaving || closed)
    }

    /// Makes everybody who watches look again, though nothing has happened to the session.
    pub(super) fn wake_watchers(&self) {
        let mut wakers = Vec::new();
        self.lock().journal.wake_watchers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks for a new connection. The state is `Down` at once and not at the driver's next poll, so
    /// that whoever then waits for `Up` waits for the new login.
    pub(super) fn request_reconnect(&self) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        inner.control.reconnect = true;
        if inner.journal.status().state.is_up() {
            self.go_down(&mut inner, DownReason::Requested, &mut wakers);
        }
        inner.unlock_and_wake_driver();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks for another login than number `login`, if that one holds still: however many find out
    /// that it leads nowhere, it is replaced once, and not before the back-off allows it.
    pub(super) fn request_relogin(&self, login: u64) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        if self.logins() != login || !inner.journal.status().state.is_up() {
            return;
        }
        inner.control.relogin = true;
        self.go_down(&mut inner, DownReason::UnitMoved, &mut wakers);
        inner.unlock_and_wake_driver();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The carrier of the device that the session is bound to has come or gone.
    fn note_carrier(&self, device: &Arc<str>, has_carrier: bool, wakers: &mut Vec<Waker>) {
        let at = self.runtime.now();
        let mut inner = self.lock();
        let status = inner.journal.status();
        if status.has_carrier == has_carrier
            || matches!(status.state, SessionState::Closed)
            || !inner.journal.follows(device)
        {
            return;
        }
        let device = Arc::clone(device);
        let event = match has_carrier {
            true => SessionEventKind::LinkUp { device },
            false => SessionEventKind::LinkDown { device },
        };
        inner.journal.set_carrier(has_carrier);
        inner.journal.push(at, event, None, wakers);
        match has_carrier {
            true => inner.control.link_up = Some(at),
            false => inner.control.link_down = true,
        }
        inner.unlock_and_wake_driver();
    }

    fn go_down(&self, inner: &mut Inner, reason: DownReason, wakers: &mut Vec<Waker>) {
        let at = self.runtime.now();
        if !inner.holds {
            inner.refusal = Some(Error::not_executed(ErrorKind::Transport));
            inner.slots.wake_line(wakers);
        }
        let event = SessionEventKind::Down {
            reason: reason.clone(),
            retry_in: Duration::ZERO,
            time2wait: Duration::ZERO,
        };
        let state = SessionState::Down {
            reason,
            next_attempt: None,
        };
        inner.journal.push(at, event, Some(state), wakers);
    }

    /// Bytes that a handle copied between guest memory and a private buffer.
    pub(super) fn count_region_copy(&self, bytes: usize) {
        if bytes > 0 {
            self.lock().stats.region_copied_bytes += bytes as u64;
        }
    }

    pub(super) fn stats(&self) -> SessionStats {
        let inner = self.lock();
        let mut stats = inner.stats.clone();
        stats.held_bytes += inner.slots.held_bytes() + inner.journal.held_bytes();
        stats
    }

    pub(super) fn last_receive(&self) -> Instant {
        let last = self.lock().last_receive;
        self.runtime_time(last)
    }

    /// Looks at the journal under the lock; `look` must be short and must not wake anybody.
    pub(super) fn with_journal<T>(&self, look: impl FnOnce(&mut Journal) -> T) -> T {
        look(&mut self.lock().journal)
    }

    /// Who tells how far the bytes of the present connection have come.
    pub(super) fn set_progress(&self, source: Option<Arc<dyn ProgressSource>>) {
        drop(self.with_journal(|journal| journal.replace_progress(source)));
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().journal.status().state.is_up()
    }

    // --- the driver's side ---

    /// Takes everything that was asked since the last call.
    pub(super) fn take(&self, batch: &mut Batch) -> Control {
        let mut inner = self.lock();
        if inner.slots.has_news() {
            inner.slots.take_submitted(&mut batch.submitted);
            inner.slots.take_revoked(&mut batch.revoked);
        }
        if let Some(due) = inner.slots.line_due() {
            let now = self.now();
            if due <= now {
                inner.slots.expire_line(now, &mut batch.wakers);
            }
        }
        batch.line_due = inner.slots.line_due();
        inner.asleep = false;
        std::mem::take(&mut inner.control)
    }

    /// Delivers results and statistics. If nothing new was asked meanwhile, keeps the driver's waker
    /// and returns true: the driver may sleep. The waker is stored under the lock that saw nothing
    /// to do, so no request can slip between the look and the sleep.
    pub(super) fn settle(
        &self,
        batch: &mut Batch,
        publish: impl FnOnce(&mut SessionStats),
        last_receive: iscsi_proto::Instant,
        driver: Option<&Waker>,
    ) -> bool {
        let mut inner = self.lock();
        if !batch.finished.is_empty() {
            for (op, finished) in batch.finished.drain(..) {
                inner
                    .slots
                    .finish(op, finished, &mut batch.wakers, &mut batch.trash);
            }
        }
        publish(&mut inner.stats);
        inner.last_receive = last_receive;
        let idle = !inner.slots.has_news() && inner.control == Control::default();
        if let (true, Some(waker)) = (idle, driver) {
            inner.asleep = true;
            match &mut inner.driver {
                Some(stored) => stored.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        drop(inner);
        batch.trash.iter().for_each(|finished| self.hear(finished));
        batch.trash.clear();
        wake_all(&mut batch.wakers);
        idle
    }

    /// Notes an event, and with it perhaps another state.
    pub(super) fn report(&self, event: SessionEventKind, state: Option<SessionState>) {
        let at = self.runtime.now();
        let mut wakers = Vec::new();
        self.lock().journal.push(at, event, state, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Keeps an error for the statistics.
    pub(super) fn note_lost(&self, error: Error) {
        self.lock().stats.last_error = Some(error);
    }

    /// Keeps an error for the statistics.
    pub(super) fn note_login_failed(&self, error: LoginError) {
        self.lock().stats.last_login_error = Some(error);
    }

    /// Requests get `error` from now on. Those that the driver has not taken yet are its own affair.
    pub(super) fn refuse(&self, error: Error) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        inner.refusal = Some(error);
        inner.slots.wake_line(&mut wakers);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Acquire)
    }

    /// Requests are taken from now on, after a login.
    pub(super) fn accept(&self) {
        self.logins.fetch_add(1, Ordering::AcqRel);
        self.lock().refusal = None;
    }
}

/// `MutexGuard` extension: ends the critical section before a waker runs, since a waker may run
/// anything, even a poll of the driver.
trait UnlockAndWake {
    fn unlock_and_wake_driver(self);
}

impl UnlockAndWake for MutexGuard<'_, Inner> {
    fn unlock_and_wake_driver(mut self) {
        let driver = if std::mem::take(&mut self.asleep) {
            self.driver.clone()
        } else {
            None
        };
        drop(self);
        wake(driver);
    }
}

/// Wakes them in their order; most often there is nobody.
fn wake_all(wakers: &mut Vec<Waker>) {
    if !wakers.is_empty() {
        wakers.drain(..).for_each(Waker::wake);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
