//! The driver's side of the operations: which are where, and what became of them.

use std::{collections::VecDeque, sync::Arc, task::Waker};

use iscsi_proto::{
    InitiatorTaskTag,
    held::HeldBytes,
    pdu::LogoutResponse,
    session::{
        Command, Event, Response, Session as Core, Stats, SubmitError, TaskError, TaskManagement,
        TaskManagementAnswer,
    },
};

use super::{
    op_id::OpId,
    options::SessionOptions,
    outcome::{self, Loss},
    queue::{Batch, Control, Shared},
    slot::{Revocation, Then},
    state::SessionEventKind,
    stats::SessionStats,
    store::Store,
    work::{Finished, Held, Operation, Work},
};
use crate::error::{Error, ErrorKind};

/// Turns of the driver between two looks at what is held: a look costs 300 instructions.
const HELD_EVERY: u64 = 64;

/// The driver's side of the operations.
///
/// An operation is in one of three places: in `waiting`, in the core (then its memory is in `store`
/// and its tag in `tags`), or finished in `batch`.
#[derive(Debug)]
pub(super) struct Ops {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    batch: Batch,
    /// Taken over and not yet in the core: it was full, or there is no connection.
    waiting: VecDeque<(OpId, Box<Operation>)>,
    /// By the operation's place in the table.
    tags: Vec<Option<(OpId, InitiatorTaskTag)>>,
    pub(super) stats: SessionStats,
    /// The present connection's share of `stats`.
    live: Stats,
    /// What the session held when that was last added up.
    held: u64,
    last_receive: iscsi_proto::Instant,
    /// Whether commands wait for a session that is down.
    holds: bool,
    /// The target has asked for a logout; nothing goes to the core any more.
    leaving: bool,
}

impl Ops {
    pub(super) fn new(shared: Arc<Shared>, options: &SessionOptions) -> Self {
        Self {
            last_receive: shared.now(),
            shared,
            store: Store::default(),
            batch: Batch::default(),
            waiting: VecDeque::new(),
            tags: Vec::new(),
            stats: SessionStats::default(),
            live: Stats::default(),
            held: 0,
            holds: options.replacement_timeout.is_some(),
            leaving: false,
        }
    }

    /// Takes over what the handles asked.
    pub(super) fn take(&mut self) -> Control {
        self.shared.take(&mut self.batch)
    }

    /// Gives what was taken over to the core, oldest first, and revokes what is wanted back.
    pub(super) fn start(&mut self, core: &mut Core, now: iscsi_proto::Instant) {
        if !self.batch.submitted.is_empty() {
            self.take_in(core, now);
        }
        self.admit(core, now);
        if !self.batch.revoked.is_empty() {
            self.revoke(Some(core), now);
        }
    }

    fn take_in(&mut self, core: &mut Core, now: iscsi_proto::Instant) {
        let mut submitted = std::mem::take(&mut self.batch.submitted);
        for (op, work) in submitted.drain(..) {
            match work {
                Work::Command(mut operation) => {
                    operation.request.start_clock(|| now);
                    self.arrive(core, now, op, operation);
                }
                request => {
                    if let Some(finished) = self.request(core, now, op, request) {
                        self.finish(op, finished);
                    }
                }
            }
        }
        self.batch.submitted = submitted;
    }

    /// Gives anything but a command to the core; its end, if it is refused or already known.
    fn request(
        &mut self,
        core: &mut Core,
        now: iscsi_proto::Instant,
        op: OpId,
        work: Work,
    ) -> Option<Finished> {
        let submitted = match &work {
            Work::Ping(deadline) => core.ping(now, *deadline),
            Work::Text(text) => core.text(now, text),
            Work::Manage(request, deadline) => core.task_management(now, *request, *deadline),
            Work::Renegotiate(length) => core.renegotiate(now, *length),
            Work::Query(of, deadline) => {
                let Some(itt) = self.tag(*of) else {
                    return Some(Finished::Managed(Ok(TaskManagementAnswer::ABSENT)));
                };
                core.task_management(now, TaskManagement::QueryTask(itt), *deadline)
            }
            // Commands have a way of their own.
            Work::Command(_) => Err(SubmitError::Closing),
        };
        match submitted {
            Ok(itt) => {
                self.store.insert(itt, op, None);
                None
            }
            // The session is not closed: it logs out and in again.
            Err(SubmitError::Closing) if self.leaving => Some(work.fail(outcome::leaving())),
            Err(error) => Some(work.fail(outcome::submit_error(error))),
        }
    }

    fn note_tag(&mut self, op: OpId, itt: InitiatorTaskTag) {
        let place = op.index();
        if place >= self.tags.len() {
            // It grows as the operations' own table does, which has a bound.
            self.tags.resize(place + 1, None);
        }
        if let Some(tag) = self.tags.get_mut(place) {
            *tag = Some((op, itt));
        }
    }

    /// The tag of a command that is in the core.
    fn tag(&self, op: OpId) -> Option<InitiatorTaskTag> {
        let (owner, itt) = self.tags.get(op.index()).copied().flatten()?;
        (owner == op).then_some(itt)
    }

    /// The target has asked for a logout: what is not in the core waits for the next login, or fails.
    fn leave(&mut self) {
        self.leaving = true;
        self.stats.logouts_requested += 1;
        if !self.holds {
            self.shared.refuse(outcome::leaving());
        }
    }

    /// Submits waiting commands as far as the core has room, and ends those whose time is over.
    /// Whether there were any.
    pub(super) fn admit(&mut self, core: &mut Core, now: iscsi_proto::Instant) -> bool {
        let before = self.waiting.len();
        if before == 0 {
            return false;
        }
        self.fail_waiting(|command| {
            let over = command.deadline.is_some_and(|deadline| deadline <= now);
            over.then(|| Error::not_executed(ErrorKind::Timeout))
        });
        if self.leaving {
            if !self.holds {
                self.fail_waiting(|_| Some(outcome::leaving()));
            }
            return self.waiting.len() < before;
        }
        while let Some((op, operation)) = self.waiting.pop_front() {
            if let Some(operation) = self.submit(core, now, op, operation) {
                self.waiting.push_front((op, operation));
                break;
            }
        }
        self.waiting.len() < before
    }

    /// A command is new: it goes to the core at once, unless others wait or it is to wait.
    fn arrive(
        &mut self,
        core: &mut Core,
        now: iscsi_proto::Instant,
        op: OpId,
        operation: Box<Operation>,
    ) {
        let waits = match self.leaving || !self.waiting.is_empty() {
            true => Some(operation),
            false => self.submit(core, now, op, operation),
        };
        if let Some(operation) = waits {
            self.waiting.push_back((op, operation));
        }
    }

    /// Gives the command back if the core is full.
    fn submit(
        &mut self,
        core: &mut Core,
        now: iscsi_proto::Instant,
        op: OpId,
        operation: Box<Operation>,
    ) -> Option<Box<Operation>> {
        let command = &operation.request.command;
        let error = if command.deadline.is_some_and(|deadline| deadline <= now) {
            Error::not_executed(ErrorKind::Timeout)
        } else {
            let submitted = match &operation.request.extended {
                None => core.submit(now, command),
                Some(cdb) => core.submit_extended(now, command, cdb),
            };
            match submitted {
                Ok(itt) => {
                    self.store.insert(itt, op, Some(operation));
                    self.note_tag(op, itt);
                    return None;
                }
                Err(SubmitError::QueueFull) => return Some(operation),
                Err(error) => outcome::submit_error(error),
            }
        };
        self.finish(op, Finished::Command(operation.fail(error)));
        None
    }

    /// What the handles asked, while there is no connection: commands wait, the rest is refused with
    /// `refusal`.
    pub(super) fn park(&mut self, now: iscsi_proto::Instant, refusal: &Error) {
        let mut submitted = std::mem::take(&mut self.batch.submitted);
        for (op, work) in submitted.drain(..) {
            match work {
                Work::Command(mut operation) => {
                    operation.request.start_clock(|| now);
                    self.waiting.push_back((op, operation));
                }
                other => self.finish(op, other.fail(refusal.clone())),
            }
        }
        self.batch.submitted = submitted;
        self.revoke(None, now);
        self.fail_waiting(|command| {
            let late = command.deadline.is_some_and(|deadline| deadline <= now);
            late.then(|| Error::not_executed(ErrorKind::Timeout))
        });
    }

    /// The earliest deadline of a command that waits, here or for a slot.
    pub(super) fn earliest_deadline(&self) -> Option<iscsi_proto::Instant> {
        let deadlines = self.waiting.iter();
        let deadlines = deadlines.filter_map(|(_, one)| one.request.command.deadline);
        deadlines.chain(self.batch.line_due).min()
    }

    /// Ends the waiting commands for which `verdict` has an error.
    pub(super) fn fail_waiting(&mut self, verdict: impl Fn(&Command) -> Option<Error>) {
        for _ in 0..self.waiting.len() {
            let Some((op, operation)) = self.waiting.pop_front() else {
                return;
            };
            match verdict(&operation.request.command) {
                Some(error) => self.finish(op, Finished::Command(operation.fail(error))),
                None => self.waiting.push_back((op, operation)),
            }
        }
    }

    fn revoke(&mut self, mut core: Option<&mut Core>, now: iscsi_proto::Instant) {
        let mut revoked = std::mem::take(&mut self.batch.revoked);
        for Revocation { op, then } in revoked.drain(..) {
            match (self.tag(op), &mut core) {
                (Some(itt), Some(core)) => match then {
                    Then::Abort => core.abandon(now, itt),
                    Then::Leave => core.detach(now, itt),
                },
                _ => {
                    let place = self.waiting.iter().position(|(waiting, _)| *waiting == op);
                    let waiting = place.and_then(|place| self.waiting.remove(place));
                    if let Some((_, operation)) = waiting {
                        let aborted = Error::not_executed(ErrorKind::Aborted);
                        self.finish(op, Finished::Command(operation.fail(aborted)));
                    }
                }
            }
        }
        self.batch.revoked = revoked;
    }

    /// Takes in what the core has to say. `loss` is what ended the connection, if it has ended. The
    /// target's answer to our logout, once there is one.
    pub(super) fn drain(&mut self, core: &mut Core, loss: Option<&Loss>) -> Option<LogoutResponse> {
        let mut logged_out = None;
        while let Some(event) = core.poll_event() {
            match event {
                Event::CommandDone { itt, result } => {
                    let Some((op, Some(mut operation))) = self.store.remove(itt) else {
                        continue;
                    };
                    if let Some(tag) = self.tags.get_mut(op.index()) {
                        *tag = None;
                    }
                    self.count(&result, &operation.request.held);
                    let result = result.map_err(|error| outcome::task_error(error, loss));
                    operation.result = Some(result);
                    self.finish(op, Finished::Command(operation));
                }
                Event::PingDone { itt, result } => {
                    self.finish_request(itt, result, loss, Finished::Ping);
                }
                Event::TextDone { itt, result } => {
                    self.finish_request(itt, result, loss, Finished::Text);
                }
                Event::TaskManagementDone { itt, result } => {
                    self.finish_request(itt, result, loss, Finished::Managed);
                }
                Event::Renegotiated { itt, result } => {
                    self.finish_request(itt, result, loss, Finished::Renegotiated);
                }
                Event::LateAttention { lun, sense } => self.shared.late_attention(lun, &sense),
                Event::TaskDead { .. } => self.stats.tasks_proven_dead += 1,
                Event::CommandLate { lun, rung, .. } => {
                    self.tell(SessionEventKind::CommandLate { lun, rung });
                }
                Event::LogoutRequested { within } => {
                    self.leave();
                    self.tell(SessionEventKind::LogoutRequested { within });
                }
                Event::Async { message, sense } => {
                    self.tell(SessionEventKind::Async { message, sense });
                }
                Event::LoggedOut { response } => logged_out = Some(response),
                _ => {}
            }
        }
        self.live = core.stats();
        if self.stats.driver_polls % HELD_EVERY == 0 || self.held == 0 {
            self.held = core.held_bytes() + self.held_bytes();
        }
        self.last_receive = core.last_receive();
        logged_out
    }

    fn tell(&self, event: SessionEventKind) {
        self.shared.report(event, None);
    }

    fn finish_request<T>(
        &mut self,
        itt: InitiatorTaskTag,
        result: Result<T, TaskError>,
        loss: Option<&Loss>,
        finished: impl FnOnce(Result<T, Error>) -> Finished,
    ) {
        if let Some((op, _)) = self.store.remove(itt) {
            let result = result.map_err(|error| outcome::task_error(error, loss));
            self.finish(op, finished(result));
        }
    }

    fn count<E>(&mut self, result: &Result<Response, E>, held: &Held) {
        match result {
            Err(_) => self.stats.failed_ios += 1,
            Ok(response) => {
                self.stats.ios += 1;
                let bytes = u64::from(response.transferred);
                match held {
                    Held::Read(_) => self.stats.bytes_read += bytes,
                    Held::Write(_) => self.stats.bytes_written += bytes,
                    Held::None => {}
                }
            }
        }
    }

    /// The connection is over: its counters are history now.
    pub(super) fn connection_ended(&mut self) {
        let live = std::mem::take(&mut self.live);
        self.stats.add(&live);
        // The next connection counts anew.
        self.held = 0;
        self.leaving = false;
    }

    fn held_bytes(&self) -> u64 {
        let waiting = self.waiting.held_bytes() + self.tags.held_bytes();
        self.store.held_bytes() + self.batch.held_bytes() + waiting
    }

    fn finish(&mut self, op: OpId, finished: Finished) {
        self.batch.finished.push((op, finished));
    }

    /// Delivers the results; see [`Shared::settle`].
    pub(super) fn settle(&mut self, driver: Option<&Waker>) -> bool {
        let (stats, live, copied) = (&self.stats, &self.live, self.store.copied);
        let held = self.held;
        let publish = |shown: &mut SessionStats| {
            shown.publish(stats, live, copied);
            shown.held_bytes = held;
        };
        self.shared
            .settle(&mut self.batch, publish, self.last_receive, driver)
    }
}
