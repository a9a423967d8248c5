//! One SCSI command as a future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_proto::{
    ApiMisuse,
    pdu::TaskAttribute,
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
    session::{Command, DataLength, Response},
};

use super::{
    op_id::OpId,
    queue::Submitted,
    request::ManageTasks,
    slot::{Then, Ticket},
    tether::Tether,
    work::{Held, Payload, Prepared},
};
use crate::error::{Error, ErrorKind, Outcome, Retry};

/// A SCSI command to be executed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ScsiRequest {
    /// The logical unit.
    pub lun: Lun,
    /// The command descriptor block.
    pub cdb: Cdb,
    /// All of a CDB of 17 to 260 bytes, which goes out in an additional header segment (RFC 7143 section
    /// 11.2.2.3); `cdb` is not used then. `None` unless changed.
    pub extended_cdb: Option<Box<[u8]>>,
    /// Simple unless changed.
    pub attribute: TaskAttribute,
    /// Command priority (RFC 7144), 1 (highest) to 15; 0, the default, is "none". Others are refused
    /// on a session whose target did not agree to `iSCSIProtocolLevel` 2.
    pub priority: u8,
    /// The data buffer; its kind is the direction, its length the expected data transfer length.
    pub payload: Payload,
    /// How long the command may take from its first poll to its answer; waiting for a slot, and for a
    /// session that is down, counts. `None`: the session's
    /// [`command_timeout`](super::SessionOptions::command_timeout). What happens to a command that
    /// was sent and not answered in time says
    /// [`TimeoutLadder`](iscsi_proto::session::TimeoutLadder).
    pub timeout: Option<Duration>,
    /// By when it has to be over instead, for those who have computed that already.
    pub(crate) deadline: Option<Instant>,
}

impl ScsiRequest {
    /// A Simple task with the session's default timeout.
    #[must_use]
    pub const fn new(lun: Lun, cdb: Cdb, payload: Payload) -> Self {
        Self {
            lun,
            cdb,
            extended_cdb: None,
            attribute: TaskAttribute::Simple,
            priority: 0,
            payload,
            timeout: None,
            deadline: None,
        }
    }

    /// As [`with_timeout`](Self::with_timeout), for those who know the end by the runtime's clock.
    pub(crate) const fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// With a CDB of 17 to 260 bytes in place of the other.
    #[must_use]
    pub fn with_extended_cdb(mut self, cdb: impl Into<Box<[u8]>>) -> Self {
        self.extended_cdb = Some(cdb.into());
        self
    }

    /// With a timeout of its own.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The end of a SCSI command.
#[derive(Debug)]
#[must_use = "it holds the outcome and the buffer"]
pub struct Executed {
    /// The target's answer, of whatever SCSI status; or why there is none, and what the command may
    /// have done all the same ([`Error::outcome`]).
    pub result: Result<Response, Error>,
    /// The buffer that was moved in. Data-In is valid for the first `transferred` bytes of a response
    /// with status GOOD, and unspecified otherwise.
    pub payload: Payload,
}

/// All slots of the session are taken, or others wait for one.
#[derive(Debug, thiserror::Error)]
#[error("all command slots of the session are taken")]
pub struct QueueFull {
    /// The request, unchanged.
    pub request: Box<ScsiRequest>,
}

impl QueueFull {
    pub(super) fn new(session: &Tether, prepared: Prepared, timeout: Option<Duration>) -> Self {
        let command = prepared.command;
        let busy = Err(Error::not_executed(ErrorKind::Busy));
        let request = ScsiRequest {
            lun: command.lun,
            cdb: command.cdb,
            extended_cdb: prepared.extended,
            attribute: command.attribute,
            priority: command.priority,
            payload: conclude(session, busy, prepared.held).payload,
            timeout,
            deadline: command
                .deadline
                .map(|deadline| session.shared.runtime_time(deadline)),
        };
        Self {
            request: Box::new(request),
        }
    }
}

/// A SCSI command on its way; see [`Session::execute`](super::Session::execute).
///
/// # Cancel safety
///
/// Dropping this future is a defined act. A command that the driver has not seen is removed without
/// a trace. Of any other, the driver drops the buffer at its next poll, tells the target to abort it
/// (ABORT TASK), and throws late data away; memory regions are not touched after the drop. What it
/// had done at the target by then stays done: a dropped write may or may not be on the medium, now
/// or a little later. [`revoke`](Self::revoke) does the same and says how it ended.
#[must_use = "futures do nothing unless polled"]
pub struct Execute {
    session: Arc<Tether>,
    stage: Stage,
    revoked: AtomicBool,
}

enum Stage {
    New(ScsiRequest),
    /// In the line for a slot.
    Waiting {
        prepared: Prepared,
        ticket: Option<Ticket>,
    },
    /// In the driver's hands.
    Running(OpId),
    /// Over before anybody polled.
    Early(Executed),
    Over,
}

impl Execute {
    pub(super) const fn new(session: Arc<Tether>, request: ScsiRequest) -> Self {
        Self {
            session,
            stage: Stage::New(request),
            revoked: AtomicBool::new(false),
        }
    }

    /// Submits at once or not at all.
    pub(super) fn try_submit(
        session: Arc<Tether>,
        request: ScsiRequest,
    ) -> Result<Self, QueueFull> {
        let (prepared, timeout) = prepare_if_free(&session, request)?;
        let mut this = Self {
            session,
            stage: Stage::Over,
            revoked: AtomicBool::new(false),
        };
        let mut prepared = match prepared {
            Ok(prepared) => Some(prepared),
            Err(executed) => {
                this.stage = Stage::Early(executed);
                return Ok(this);
            }
        };
        let submitted = this.session.submit_command(&mut None, &mut prepared, None);
        this.stage = match (submitted, prepared) {
            (Submitted::Taken(op), _) => Stage::Running(op),
            (Submitted::Refused(error), Some(prepared)) => {
                Stage::Early(conclude(&this.session, Err(error), prepared.held))
            }
            (_, Some(prepared)) => return Err(QueueFull::new(&this.session, prepared, timeout)),
            (_, None) => unreachable!("a command that was not taken is still there"),
        };
        Ok(this)
    }

    /// Asks for the buffer back: the driver gives it up at its next poll. The future then completes
    /// with [`ErrorKind::Aborted`] and the outcome as it is known; or as if nothing had been asked,
    /// when the answer came first.
    pub fn revoke(&self) {
        self.take_back(Then::Abort);
    }

    /// Asks for the buffer back as [`revoke`](Self::revoke) does, but leaves the command to its end at the target,
    /// whose answer is thrown away: for one that is sent elsewhere since this target is silent at the moment. It is
    /// aborted only if it is not answered within
    /// [`TimeoutLadder::detached`](iscsi_proto::session::TimeoutLadder::detached); dropping the future afterwards
    /// changes nothing about that, unlike dropping one that was not detached: there are targets that an ABORT TASK
    /// costs the session, and whoever detaches wants that for nobody. Until its end it takes up one of
    /// the session's tasks. For reads: the rest of a write would not be sent.
    pub fn detach(&self) {
        self.take_back(Then::Leave);
    }

    fn take_back(&self, then: Then) {
        match &self.stage {
            Stage::Running(op) => self.session.shared.revoke(*op, then),
            Stage::New(_) => self.revoked.store(true, Ordering::Relaxed),
            Stage::Waiting { ticket, .. } => {
                self.revoked.store(true, Ordering::Relaxed);
                if let Some(ticket) = ticket {
                    self.session.shared.wake_waiter(*ticket);
                }
            }
            Stage::Early(_) | Stage::Over => {}
        }
    }

    /// Asks the target whether it has this command (QUERY TASK, RFC 7144): "function succeeded" says
    /// yes, "function complete" no. Of a command that was not sent, or is over, the answer is no
    /// without asking. `timeout` as for [`task_management`](super::Session::task_management).
    pub fn query(&self, timeout: Option<Duration>) -> ManageTasks {
        match &self.stage {
            Stage::Running(op) => ManageTasks::query(&self.session, *op, timeout),
            _ => ManageTasks::absent(&self.session),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Executed> {
        if let Stage::Running(op) = self.stage {
            return match self.session.shared.poll_command(op, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready((result, held)) => {
                    self.stage = Stage::Over;
                    Poll::Ready(conclude(&self.session, result, held))
                }
            };
        }
        if let Some(polled) = self.advance_plain(cx) {
            return polled;
        }
        let (prepared, mut ticket) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(request) => match prepare(&self.session, request) {
                Ok(prepared) => (prepared, None),
                Err(executed) => return Poll::Ready(executed),
            },
            Stage::Waiting { prepared, ticket } => (prepared, ticket),
            Stage::Early(executed) => return Poll::Ready(executed),
            Stage::Running(_) | Stage::Over => panic!("`Execute` polled after completion"),
        };
        let late = ticket.is_some()
            && prepared
                .command
                .deadline
                .is_some_and(|deadline| deadline <= self.session.shared.now());
        let mut prepared = Some(prepared);
        let submitted = if self.revoked.load(Ordering::Relaxed) {
            Submitted::Refused(Error::not_executed(ErrorKind::Aborted))
        } else if late {
            Submitted::Refused(Error::not_executed(ErrorKind::Timeout))
        } else {
            let waker = Some(cx.waker());
            self.session
                .submit_command(&mut ticket, &mut prepared, waker)
        };
        match (submitted, prepared) {
            (Submitted::Taken(op), _) => self.stage = Stage::Running(op),
            (Submitted::Refused(error), Some(prepared)) => {
                self.leave_line(ticket);
                return Poll::Ready(conclude(&self.session, Err(error), prepared.held));
            }
            (_, Some(prepared)) => self.stage = Stage::Waiting { prepared, ticket },
            (_, None) => unreachable!("a command that was not taken is still there"),
        }
        Poll::Pending
    }

    /// The usual way of a command that is new, unless there is anything unusual about it.
    fn advance_plain(&mut self, cx: &Context<'_>) -> Option<Poll<Executed>> {
        let Stage::New(request) = &mut self.stage else {
            return None;
        };
        if !is_plain(request) || self.revoked.load(Ordering::Relaxed) {
            return None;
        }
        let session = &*self.session;
        let fill = |place: &mut Prepared| fill(session, place, request);
        match session.submit_plain(Some(cx.waker()), fill) {
            Submitted::Taken(op) => {
                self.stage = Stage::Running(op);
                Some(Poll::Pending)
            }
            Submitted::Refused(_) | Submitted::Busy => None,
        }
    }

    fn leave_line(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.session.shared.leave_line(ticket);
        }
    }
}

/// Whether [`fill`] can take the request: its memory is in one piece and the caller's own, so there is
/// nothing to load or to allocate.
pub(super) fn is_plain(request: &ScsiRequest) -> bool {
    match &request.payload {
        Payload::None => true,
        Payload::In(buf) => buf.is_plain() && buf.len() <= u32::MAX as usize,
        Payload::Out(buf) => buf.is_plain() && buf.len() <= u32::MAX as usize,
    }
}

/// Moves what the driver needs of a [plain](is_plain) request to where the driver finds it. Done under
/// the session's lock, so that nothing is moved twice.
pub(super) fn fill(session: &Tether, place: &mut Prepared, request: &mut ScsiRequest) {
    let (data, held) = match std::mem::take(&mut request.payload) {
        Payload::None => (DataLength::None, Held::None),
        Payload::In(buf) => {
            let length = buf.len() as u32;
            (DataLength::In(length), Held::Read(buf.into_receive()))
        }
        Payload::Out(buf) => {
            let length = buf.len() as u32;
            match buf.snapshot() {
                Ok(snapshot) => (DataLength::Out(length), Held::Write(snapshot)),
                // Only regions refuse.
                Err(_) => (DataLength::None, Held::None),
            }
        }
    };
    place.held = held;
    place.extended = request.extended_cdb.take();
    let command = &mut place.command;
    command.lun = request.lun;
    command.cdb = request.cdb;
    command.attribute = request.attribute;
    command.priority = request.priority;
    command.data = data;
    command.deadline = request
        .deadline
        .map(|deadline| session.shared.core_time(deadline));
    place.timeout = match request.deadline {
        Some(_) => None,
        None => request.timeout.or(session.options.command_timeout),
    };
}

/// What the driver needs of the request, and the timeout that this has; the request, if it would have
/// to load regions for nothing, since no slot is free.
pub(super) fn prepare_if_free(
    session: &Tether,
    request: ScsiRequest,
) -> Result<(Result<Prepared, Executed>, Option<Duration>), QueueFull> {
    let loads = matches!(&request.payload, Payload::Out(buf) if buf.has_regions());
    if loads && !session.shared.has_free_slot() {
        return Err(QueueFull {
            request: Box::new(request),
        });
    }
    let timeout = request.timeout;
    Ok((prepare(session, request), timeout))
}

/// What the driver needs of the request.
fn prepare(session: &Tether, request: ScsiRequest) -> Result<Prepared, Executed> {
    let ScsiRequest {
        lun,
        cdb,
        extended_cdb: extended,
        attribute,
        priority,
        payload,
        timeout,
        deadline,
    } = request;
    let Some(data) = payload.data_length() else {
        let error = Error::not_executed(ErrorKind::Protocol)
            .with_retry(Retry::Never)
            .with_source(ApiMisuse::TransferLength);
        return Err(Executed {
            result: Err(error),
            payload,
        });
    };
    let held = match payload.hold() {
        Ok(held) => held,
        Err(refused) => {
            let (payload, error) = *refused;
            return Err(Executed {
                result: Err(error.into()),
                payload,
            });
        }
    };
    if matches!(held, Held::Write(_)) {
        session.shared.count_region_copy(held.region_bytes());
    }
    let mut command = Command::new(lun, cdb, data);
    command.attribute = attribute;
    command.priority = priority;
    command.deadline = deadline.map(|deadline| session.shared.core_time(deadline));
    let timeout = match deadline {
        Some(_) => None,
        None => timeout.or(session.options.command_timeout),
    };
    Ok(Prepared {
        command,
        held,
        extended,
        timeout,
    })
}

/// Turns what the driver left into what the caller gets.
pub(super) fn conclude(
    session: &Tether,
    mut result: Result<Response, Error>,
    held: Held,
) -> Executed {
    let good = result
        .as_ref()
        .is_ok_and(|response| response.status == ScsiStatus::Good);
    if let (true, Held::Read(_)) = (good, &held) {
        session.shared.count_region_copy(held.region_bytes());
    }
    let (payload, stored) = held.release(good);
    if let Err(error) = stored {
        // The target has done its part; what is missing is a place for the data.
        result = Err(Error::new(ErrorKind::Memory, Outcome::Executed).with_source(error));
    }
    Executed { result, payload }
}

impl Future for Execute {
    type Output = Executed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Executed> {
        self.advance(cx)
    }
}

impl Drop for Execute {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(op) => self.session.shared.abandon(op),
            Stage::Waiting { ticket, .. } => self.leave_line(ticket),
            Stage::New(_) | Stage::Early(_) | Stage::Over => {}
        }
    }
}

impl fmt::Debug for Execute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::New(_) => "new",
            Stage::Waiting { .. } => "waiting for a slot",
            Stage::Running(_) => "running",
            Stage::Early(_) | Stage::Over => "over",
        };
        write!(f, "Execute({stage})")
    }
}
