//! Full feature phase: commands in, answers out (RFC 7143 sections 4.2 and 11).
//!
//! What is per session lives here: the task set (`tasks`), the command window (`window`); what is
//! per connection lives in [`crate::connection`]. The files follow the life of a command:
//! `command` is submitted, `transmit` stages it and its data, `receive` dispatches what comes
//! back, `data_in`, `data_out` and `respond` judge it, `abort`, `manage` (task management), `ladder`
//! (timeouts) and `timers` end it early. `text`, `notice` (asynchronous messages) and `reject` are
//! about everything else that passes between the two sides.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

mod abort;
mod command;
mod config;
mod data_in;
mod data_out;
mod event;
mod exchange;
mod ladder;
mod manage;
mod notice;
mod receive;
mod reject;
mod respond;
mod tasks;
mod text;
mod timers;
mod transmit;
mod window;

#[cfg(test)]
mod tests;

use alloc::{collections::VecDeque, vec::Vec};

pub use command::{
    Command, DataLength, Execution, Response, Stats, SubmitError, TaskError, TaskErrorKind,
};
pub use config::SessionConfig;
pub use event::Event;
pub use ladder::{Rung, TimeoutLadder};
pub use manage::{TaskManagement, TaskManagementAnswer};
pub use text::DataSegmentLengths;

use self::{
    data_out::PingReply,
    event::Events,
    manage::Hold,
    tasks::{EarliestDeadline, Kind, Tasks},
    window::CommandWindow,
};
use crate::{
    connection::Connection,
    error::{ApiMisuse, Error},
    framing::{DataRef, DataStore, RecvPlan, TransmitPieces},
    held::HeldBytes,
    ids::{Cid, InitiatorTaskTag, TargetTransferTag},
    login::LoggedIn,
    pdu::{LogoutReason, TaskAttribute},
    planted::Bug,
    scsi::{cdb::Cdb, lun::Lun},
    text::{Parameters, SessionType},
    time::Instant,
};

/// One iSCSI session in full feature phase at ErrorRecoveryLevel 0, with its one connection.
///
/// It opens no socket, reads no clock and owns no payload. Whoever drives it keeps the memory of each
/// command under the [`InitiatorTaskTag`] that [`submit`](Self::submit) returned and resolves the
/// [`DataRef`]s by which the session names pieces of it ([`DataStore`]).
///
/// # Driving contract
///
/// * **Commands**: [`submit`](Self::submit), [`abandon`](Self::abandon), [`detach`](Self::detach),
///   [`ping`](Self::ping), [`text`](Self::text), [`task_management`](Self::task_management),
///   [`renegotiate`](Self::renegotiate), [`logout`](Self::logout). Any time; they only queue.
/// * **Inputs**: [`recv_plan`](Self::recv_plan), a read into it, [`handle_recv`](Self::handle_recv);
///   [`handle_transmitted`](Self::handle_transmitted); [`handle_timeout`](Self::handle_timeout);
///   [`handle_closed`](Self::handle_closed).
/// * **Outputs**, to be polled after every command and input, in this order:
///   [`poll_transmit`](Self::poll_transmit) and a write of its pieces, until it returns false or the
///   transport takes no more; [`poll_event`](Self::poll_event) until `None`;
///   [`poll_timeout`](Self::poll_timeout), the moment at which `handle_timeout` is due.
///
/// Reads and writes may be interleaved in any way. The plan of a read stays valid until the next
/// call of `recv_plan`, `handle_recv`, `abandon` or `detach`: after one of the latter, ask again before reading.
///
/// An `Err` of an input is the end: the connection cannot be used any more. Call `handle_closed` with
/// it, which ends every task with its true outcome; then drain `poll_event`.
///
/// # Memory of a command
///
/// A command's memory may be named by a plan from its submit until its [`Event::CommandDone`], never
/// after. [`abandon`](Self::abandon) and [`detach`](Self::detach) bring that event forward: at once for reads, and for writes as
/// soon as no staged PDU holds its payload.
#[derive(Debug)]
pub struct Session {
    parameters: Parameters,
    config: SessionConfig,
    session_type: SessionType,
    cid: Cid,
    connection: Connection,
    tasks: Tasks,
    window: CommandWindow,
    /// Commands that were submitted and not yet staged, in order.
    queue: VecDeque<InitiatorTaskTag>,
    /// Pings and text requests that wait to be staged.
    requests: VecDeque<InitiatorTaskTag>,
    /// Text that waits with them (a text exchange has one request at a time).
    text_out: Vec<u8>,
    /// The tag that the target's last continuation carried, and the LUN that goes with it.
    text_ttt: TargetTransferTag,
    text_lun: Lun,
    /// Commands whose abort is wanted.
    aborts: VecDeque<InitiatorTaskTag>,
    /// Task management functions that wait to be staged.
    functions: VecDeque<InitiatorTaskTag>,
    /// For which logical units new commands wait.
    holds: Vec<Hold>,
    /// Immediate requests that the target had no room for, and when they are sent again.
    later: Vec<(Instant, InitiatorTaskTag)>,
    /// Additional header segments of commands that wait in the queue.
    extended: Vec<(InitiatorTaskTag, Vec<u8>)>,
    ping_replies: VecDeque<PingReply>,
    /// Commands that are over but whose memory a staged PDU still names.
    deferred: Vec<Deferred>,
    deadlines: EarliestDeadline,
    events: Events,
    logout: Option<Logout>,
    /// The logout is the caller's, which waits for every command.
    logout_patient: bool,
    /// Until when a logout that the target asked for waits for commands under way.
    logout_at: Option<Instant>,
    /// Until when it must have been answered, however often the target has it sent again.
    logout_deadline: Option<Instant>,
    /// The last ping of the keepalive.
    own_ping: Option<InitiatorTaskTag>,
    closed: bool,
    bytes_in: u64,
    timeouts: u64,
    aborted: u64,
    resets: u64,
    rejects: u64,
    last_ping: Option<core::time::Duration>,
}

/// A `CommandDone` that waits for the plan to let go of the command's memory.
#[derive(Debug)]
struct Deferred {
    itt: InitiatorTaskTag,
    result: Result<Response, TaskError>,
    then: Then,
}

/// How far a logout is.
#[derive(Clone, Copy, Debug)]
enum Logout {
    /// Commands are still under way.
    Wanted(LogoutReason),
    /// The request is staged; its task has the deadline.
    Staged(LogoutReason),
}

/// What becomes of a task's slot once `CommandDone` is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The target is done with it.
    Free,
    /// The target may still answer.
    Keep,
}

impl Session {
    /// A session over the connection that `login` brought into full feature phase. Bytes that login
    /// read ahead are processed here.
    ///
    /// # Errors
    ///
    /// [`ApiMisuse::OutOfRange`] for a configuration outside its ranges; or what is wrong with the
    /// bytes read ahead.
    pub fn new(now: Instant, login: LoggedIn, config: SessionConfig) -> Result<Self, Error> {
        config.validate()?;
        let connection = Connection::new(now, &login, config.connection());
        let reserved = SessionConfig::RESERVED_SLOTS;
        let mut session = Self {
            session_type: login.session_type(),
            cid: login.cid(),
            connection,
            tasks: Tasks::new(config.max_tasks, reserved, config.first_generation)
                .planted(config.planted),
            window: CommandWindow::new(login.cmd_sn(), login.exp_cmd_sn(), login.max_cmd_sn())
                .planted(config.planted),
            queue: VecDeque::new(),
            requests: VecDeque::new(),
            text_out: Vec::new(),
            text_ttt: TargetTransferTag::RESERVED,
            text_lun: Lun::ZERO,
            aborts: VecDeque::new(),
            functions: VecDeque::new(),
            holds: Vec::new(),
            later: Vec::new(),
            extended: Vec::new(),
            ping_replies: VecDeque::new(),
            deferred: Vec::new(),
            deadlines: EarliestDeadline::default(),
            events: Events::default(),
            logout: None,
            logout_patient: false,
            logout_at: None,
            logout_deadline: None,
            own_ping: None,
            closed: false,
            bytes_in: 0,
            timeouts: 0,
            aborted: 0,
            resets: 0,
            rejects: 0,
            last_ping: None,
            config,
            parameters: login.into_parts().0,
        };
        session.process(now, &mut NoMemory)?;
        Ok(session)
    }

    /// What was negotiated.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Commands that the target's window admits right now.
    #[must_use]
    pub const fn window_open(&self) -> u32 {
        self.window.open()
    }

    /// The moment of the last byte that was received.
    #[must_use]
    pub const fn last_receive(&self) -> Instant {
        self.connection.last_receive()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            pdus_out: self.connection.pdus_out,
            pdus_in: self.connection.receiver.pdus(),
            bytes_out: self.connection.plan.sent(),
            bytes_in: self.bytes_in,
            commands: self.tasks.commands(),
            queued: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            timeouts: self.timeouts,
            aborts: self.aborted,
            resets: self.resets,
            rejects: self.rejects,
            last_ping: self.last_ping,
        }
    }

    /// Bytes of memory that the session holds at the moment: buffers, tables, what waits to be sent or
    /// polled. Not the payload of commands, which is the caller's. It is a sum of some twenty sizes: not
    /// for each turn of a driver.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let extended = self
            .extended
            .iter()
            .map(|(_, headers)| headers.held_bytes());
        let answers = self
            .ping_replies
            .iter()
            .map(|reply| reply.data.held_bytes());
        [
            self.connection.held_bytes(),
            self.tasks.held_bytes(),
            self.queue.held_bytes(),
            self.requests.held_bytes(),
            self.text_out.held_bytes(),
            self.aborts.held_bytes(),
            self.functions.held_bytes(),
            self.holds.held_bytes(),
            self.later.held_bytes(),
            self.extended.held_bytes(),
            self.ping_replies.held_bytes(),
            self.deferred.held_bytes(),
            self.events.held_bytes(),
        ]
        .into_iter()
        .chain(extended)
        .chain(answers)
        .sum()
    }

    /// Queues a SCSI command. Exactly one [`Event::CommandDone`] with the returned tag follows.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; nothing was queued. [`ApiMisuse::ProtocolLevel`] for a priority on a
    /// session without `iSCSIProtocolLevel` 2, [`ApiMisuse::OutOfRange`] for one above 15 and for a
    /// task attribute that does not exist.
    pub fn submit(
        &mut self,
        _now: Instant,
        command: &Command,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        if self.session_type == SessionType::Discovery {
            return Err(ApiMisuse::DiscoverySession.into());
        }
        if self.is_closing() {
            return Err(SubmitError::Closing);
        }
        if command.priority != 0 && self.parameters.protocol_level < 2 {
            return Err(ApiMisuse::ProtocolLevel.into());
        }
        if command.priority > 15 || matches!(command.attribute, TaskAttribute::Unknown(_)) {
            return Err(ApiMisuse::OutOfRange.into());
        }
        let itt = self
            .tasks
            .insert(Kind::Command, command, command.deadline)
            .ok_or(SubmitError::QueueFull)?;
        self.deadlines.add(command.deadline);
        self.queue.push_back(itt);
        Ok(itt)
    }

    /// As [`submit`](Self::submit), for a CDB of 17 to 260 bytes: all of it is `cdb`, and what
    /// `command` has is not used. It travels in an additional header segment (section 11.2.2.3).
    ///
    /// # Errors
    ///
    /// As `submit`; [`ApiMisuse::OutOfRange`] for a CDB of another length.
    pub fn submit_extended(
        &mut self,
        now: Instant,
        command: &Command,
        cdb: &[u8],
    ) -> Result<InitiatorTaskTag, SubmitError> {
        let Some((&first, rest)) = cdb.split_first_chunk::<16>() else {
            return Err(ApiMisuse::OutOfRange.into());
        };
        if rest.is_empty() {
            return Err(ApiMisuse::OutOfRange.into());
        }
        let mut ahs = Vec::new();
        crate::pdu::ahs::emit_extended_cdb(cdb, &mut ahs)?;
        let mut command = *command;
        command.cdb = Cdb::from_bytes(first);
        let itt = self.submit(now, &command)?;
        if let Some(task) = self.tasks.get_mut(itt) {
            task.extended = true;
            self.extended.push((itt, ahs));
        }
        Ok(itt)
    }

    /// Sends a NOP-Out that wants an answer (RFC 7143 section 11.18); [`Event::PingDone`] follows, at
    /// `deadline` at the latest. It is immediate: a closed command window does not hold it back. A
    /// ping that is not answered in time says so and no more: it is the keepalive that ends
    /// connections.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`].
    pub fn ping(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        self.queue_ping(now, deadline, false)
    }

    /// Asks for a logout: nothing new is accepted, what was submitted runs to its end, however long
    /// that takes, then the Logout Request goes out and [`Event::LoggedOut`] follows its answer. With
    /// its one connection, "close the connection" ends the session as "close the session" does.
    ///
    /// # Errors
    ///
    /// [`ApiMisuse::ErrorRecoveryLevel`] for [`LogoutReason::RemoveForRecovery`], which needs level 2;
    /// [`ApiMisuse::OutOfRange`] for a reason that does not exist.
    pub const fn logout(&mut self, _now: Instant, reason: LogoutReason) -> Result<(), ApiMisuse> {
        match reason {
            LogoutReason::RemoveForRecovery => return Err(ApiMisuse::ErrorRecoveryLevel),
            LogoutReason::Unknown(_) => return Err(ApiMisuse::OutOfRange),
            LogoutReason::CloseSession | LogoutReason::CloseConnection => {}
        }
        if !self.is_closing() {
            self.logout = Some(Logout::Wanted(reason));
            self.logout_patient = true;
        }
        Ok(())
    }

    /// Where the next bytes of the stream belong; see [`RecvPlan`].
    #[inline]
    pub fn recv_plan(&mut self) -> RecvPlan<'_> {
        self.connection.receiver.plan()
    }

    /// `n` bytes were read, filling the last plan in its order.
    ///
    /// # Errors
    ///
    /// The connection is over; see the driving contract.
    pub fn handle_recv(
        &mut self,
        now: Instant,
        n: usize,
        store: &mut impl DataStore,
    ) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        self.connection.receiver.received(n, store)?;
        self.bytes_in += n as u64;
        if n > 0 {
            self.connection.note_received(now);
        }
        self.process(now, store)
    }

    /// Stages PDUs until about `max_bytes` wait to be written. Returns whether anything waits; the
    /// pieces are [`transmit_pieces`](Self::transmit_pieces).
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_bytes: usize,
        store: &impl DataStore,
    ) -> bool {
        if self.wants_to_send() {
            self.stage_up_to(max_bytes as u64, now, store);
        }
        !self.connection.plan.is_empty()
    }

    /// What waits to be written, in stream order.
    #[must_use]
    #[inline]
    pub fn transmit_pieces(&self) -> TransmitPieces<'_> {
        self.connection.plan.pieces()
    }

    /// The transport took `n` bytes from the front of the pieces.
    ///
    /// # Errors
    ///
    /// [`ApiMisuse::PlanOverrun`] if that is more than waited.
    #[inline]
    pub fn handle_transmitted(&mut self, _now: Instant, n: usize) -> Result<(), Error> {
        if !self.connection.handle_transmitted(n) {
            return Err(ApiMisuse::PlanOverrun.into());
        }
        if !self.deferred.is_empty() {
            self.release_deferred();
        }
        Ok(())
    }

    /// The next event, if any.
    #[must_use]
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    const fn is_closing(&self) -> bool {
        self.closed || self.logout.is_some()
    }

    /// The Logout Request is out.
    const fn is_logging_out(&self) -> bool {
        self.closed || matches!(self.logout, Some(Logout::Staged(_)))
    }

    fn queue_ping(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        own: bool,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        if self.is_logging_out() {
            return Err(SubmitError::Closing);
        }
        let plug = None;
        let kind = Kind::Ping {
            sent: now,
            own,
            plug,
        };
        self.insert_request(kind, deadline)
    }

    fn insert_request(
        &mut self,
        kind: Kind,
        deadline: Option<Instant>,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        let itt = self
            .tasks
            .insert(kind, &no_command(), deadline)
            .ok_or(SubmitError::QueueFull)?;
        self.deadlines.add(deadline);
        self.requests.push_back(itt);
        Ok(itt)
    }

    /// Ends a command: reports it now, or as soon as no staged PDU names its memory.
    fn finish(&mut self, itt: InitiatorTaskTag, result: Result<Response, TaskError>, then: Then) {
        let sent = self.connection.plan.sent();
        let Some(task) = self.tasks.get_mut(itt) else {
            return;
        };
        // The target's own answer waits among the deferred ones. It is the last word, and a "task
        // does not exist" behind it says nothing new.
        if task.finished {
            return;
        }
        if task.reported {
            if then == Then::Free {
                self.tasks.release(itt);
                self.events.push(Event::TaskDead { itt });
            }
            return;
        }
        task.finished = then == Then::Free;
        if task.finished {
            task.deadline = None;
        }
        if !self.connection.bursts.is_empty() {
            self.connection.bursts.retain(|burst| burst.itt != itt);
        }
        if task.named_until > sent && !self.config.planted.has(Bug::MemoryBackTooEarly) {
            // The later verdict replaces an earlier one that still waits: an abandoned write whose
            // answer came after all is a finished one.
            self.deferred.retain(|deferred| deferred.itt != itt);
            self.deferred.push(Deferred { itt, result, then });
        } else {
            self.report(itt, result, then);
        }
    }

    #[inline]
    fn report(&mut self, itt: InitiatorTaskTag, result: Result<Response, TaskError>, then: Then) {
        match then {
            Then::Free => self.tasks.release(itt),
            Then::Keep => {
                if let Some(task) = self.tasks.get_mut(itt) {
                    task.reported = true;
                }
            }
        }
        self.events.push(Event::CommandDone { itt, result });
    }

    #[cold]
    fn release_deferred(&mut self) {
        let sent = self.connection.plan.sent();
        let mut i = 0;
        while let Some(deferred) = self.deferred.get(i) {
            let named = self
                .tasks
                .get(deferred.itt)
                .is_some_and(|task| task.named_until > sent);
            if named {
                i += 1;
            } else {
                let Deferred { itt, result, then } = self.deferred.swap_remove(i);
                self.report(itt, result, then);
            }
        }
    }
}

/// The command of a task that is none.
const fn no_command() -> Command {
    Command::new(Lun::ZERO, Cdb::test_unit_ready(), DataLength::None)
}

/// The store of a session that has no commands yet: nothing can be named.
struct NoMemory;

impl DataStore for NoMemory {
    fn store(&mut self, _: DataRef, _: &[u8]) {}

    fn visit(&self, _: DataRef, _: &mut dyn FnMut(&[u8])) {}
}
