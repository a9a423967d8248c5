//! One SCSI command until its answer is final: repeats, pauses, and what is learnt on the way.

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use iscsi_proto::{
    Error as CoreError,
    scsi::{SenseData, SenseKey, StandardInquiry, cdb::Cdb, lun::Lun, status::ScsiStatus},
    session::{Response, TaskErrorKind},
};

use super::{
    classify::{Budget, CommandClass, Disposition, Failure, Verdict, classify},
    options::LogicalUnitOptions,
    planted::{self, misread},
    recall::{self, Recall},
};
use crate::{
    error::{Error, ErrorKind, Outcome},
    quirks::Effects,
    runtime::Runtime,
    session::{
        Execute, Executed, Payload, ScsiRequest, Session, clamp_timeout, notice::Notice,
        units::UnitReports,
    },
};

/// The longest pause between repeats of one command.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a target can ask for by a status qualifier, which could say 27 minutes.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(30);

/// A LUN of a session, and what is known to be out of date about it.
#[derive(Debug)]
pub(super) struct Commander {
    pub(super) session: Session,
    pub(super) lun: Lun,
    pub(super) options: LogicalUnitOptions,
    /// Of the unit; of the target alone until that is known.
    pub(super) quirks: Effects,
    /// The unit has been there.
    is_known: bool,
    /// What the unit reports, to whoever asks it through this session.
    pub(super) unit: Arc<UnitReports>,
    /// Bits of [`stale`]; [`LOOKED_AT`](stale::LOOKED_AT) higher those that somebody is looking at just now, which are as
    /// much out of date for everybody else. In one place, so that nobody sees them between the two.
    stale: AtomicU8,
    /// The notices up to which `stale` is right: of capacity and identity.
    noticed: [AtomicU64; 2],
    /// The login up to which `stale` is right.
    logins: AtomicU64,
}

/// What a [`Notice`] has made out of date: bits of `Commander::stale`.
pub(super) mod stale {
    /// Capacity and mode parameters.
    pub(in super::super) const CAPACITY: u8 = 1;
    /// Whose LUN it is.
    pub(in super::super) const IDENTITY: u8 = 2;
    /// Both.
    pub(super) const ALL: u8 = CAPACITY | IDENTITY;
    /// By how many bits what is being looked at is shifted.
    pub(super) const LOOKED_AT: u8 = 4;
}

/// What somebody is looking at, one at a time: out of date again as far as they do not finish, and for everybody else
/// until they do.
#[derive(Debug)]
pub(super) struct StaleGuard<'a> {
    commander: &'a Commander,
    /// Bits of [`stale`].
    pub(super) what: u8,
}

impl<'a> StaleGuard<'a> {
    pub(super) fn take(commander: &'a Commander) -> Self {
        commander.stale();
        let mut what = 0;
        let take = |both: u8| {
            what = both & stale::ALL;
            Some(what << stale::LOOKED_AT)
        };
        _ = commander
            .stale
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        Self { commander, what }
    }
}

impl Drop for StaleGuard<'_> {
    fn drop(&mut self) {
        let give_back = |both: u8| Some((both & stale::ALL) | self.what);
        let stale = &self.commander.stale;
        _ = stale.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_back);
    }
}

/// A command with all that its repeats need.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) class: CommandClass,
    pub(super) cdb: Cdb,
    pub(super) payload: Payload,
    pub(super) deadline: Instant,
    pub(super) recall: Option<Recall>,
    tries: [u8; Budget::KINDS],
    pauses: u32,
    /// The worst that an earlier try may have done.
    outcome: Outcome,
}

/// How a try of a command went, and in which login it was made.
#[derive(Debug)]
pub(super) struct Tried {
    login: u64,
    executed: Executed,
}

/// See [`Commander::try_once`]. Not an `async` function: this is where every request waits, and the
/// command is to be polled where it was put.
pub(super) struct TryOnce<'a> {
    command: Execute,
    recall: Option<&'a Recall>,
    len: usize,
    login: u64,
}

impl Future for TryOnce<'_> {
    type Output = Result<Payload, Tried>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(executed) = recall::poll_execute(&mut this.command, this.recall, cx) else {
            return Poll::Pending;
        };
        let whole = executed.result.as_ref().is_ok_and(|response| {
            response.status == ScsiStatus::Good && response.transferred as usize >= this.len
        });
        Poll::Ready(if whole {
            Ok(executed.payload)
        } else {
            Err(Tried {
                login: this.login,
                executed,
            })
        })
    }
}

/// How far [`Commander::run`] has come.
#[derive(Debug)]
pub(super) enum Step {
    /// The final answer, and the buffer.
    Done(Result<Response, Error>, Payload),
    /// To be repeated, after what is out of date has been looked at.
    Attend(Attempt),
}

/// A SCSI status that no standard explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct UnexpectedStatus(ScsiStatus);

impl Attempt {
    pub(super) const fn new(
        class: CommandClass,
        cdb: Cdb,
        payload: Payload,
        deadline: Instant,
    ) -> Self {
        Self {
            class,
            cdb,
            payload,
            deadline,
            recall: None,
            tries: [0; Budget::KINDS],
            pauses: 0,
            outcome: Outcome::NotExecuted,
        }
    }

    fn take(&mut self, budget: Budget) -> bool {
        let tries = &mut self.tries[budget as usize];
        *tries += 1;
        *tries <= budget.limit()
    }

    fn done(self, result: Result<Response, Error>) -> Step {
        Step::Done(result.map_err(|error| self.after_all(error)), self.payload)
    }

    /// The error of the whole: with the worst outcome of all tries.
    pub(super) fn after_all(&self, error: Error) -> Error {
        let outcome = worse(self.outcome, error.outcome());
        error.with_outcome(outcome)
    }

    fn fail(self, failure: Failure, response: Response) -> Step {
        let status = response.status;
        let mut error = Error::new(failure.kind, failure.outcome).with_retry(failure.retry);
        match response.sense {
            Some(sense) => error = error.with_sense(sense),
            None if failure.kind == ErrorKind::Refused => {
                error = error.with_source(UnexpectedStatus(status));
            }
            None => {}
        }
        self.done(Err(error))
    }
}

/// Whether a command was ended for a reason that says nothing of it. A connection may be lost for what
/// the target did to another command; then the kind tells of that.
fn is_interruption(error: &Error) -> bool {
    let source = error.source();
    let lost = source.is_some_and(|source| source.is::<CoreError>());
    let ended = source.and_then(|source| source.downcast_ref::<TaskErrorKind>());
    error.kind() == ErrorKind::Transport
        || lost
        || matches!(ended, Some(TaskErrorKind::Terminated(_)))
}

/// Of two outcomes, the one that a caller has to reckon with.
pub(super) const fn worse(a: Outcome, b: Outcome) -> Outcome {
    match (a, b) {
        (Outcome::Unknown, _) | (_, Outcome::Unknown) => Outcome::Unknown,
        (Outcome::Executed, _) | (_, Outcome::Executed) => Outcome::Executed,
        (Outcome::NotExecuted, Outcome::NotExecuted) => Outcome::NotExecuted,
    }
}

impl Commander {
    pub(super) fn new(session: Session, lun: Lun, options: LogicalUnitOptions) -> Self {
        let unit = session.unit(lun);
        let known = |target| session.options().quirks.for_target(target);
        let quirks = session.target_name().map(known).unwrap_or_default();
        Self {
            logins: AtomicU64::new(session.logins()),
            noticed: unit.outdated().map(AtomicU64::new),
            unit,
            session,
            lun,
            options,
            quirks,
            is_known: false,
            stale: AtomicU8::new(0),
        }
    }

    /// The unit has said who it is.
    pub(super) fn heed(&mut self, inquiry: &StandardInquiry) {
        let (vendor, product) = (inquiry.vendor.to_string(), inquiry.product.to_string());
        let table = &self.session.options().quirks;
        self.quirks = table.for_unit(self.session.target_name(), &vendor, &product);
        self.is_known = true;
        self.options.flush_timeout = self.options.flush_timeout.or(self.quirks.flush_timeout);
    }

    pub(super) fn now(&self) -> Instant {
        self.session.runtime().now()
    }

    /// When a request that starts now is over.
    pub(super) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        self.now() + clamp_timeout(timeout.unwrap_or(self.options.timeout))
    }

    /// What is out of date, bits of [`stale`]. A login makes everything so: whoever answers after it
    /// may serve something else under this LUN, and not every target says so with a unit attention.
    pub(super) fn stale(&self) -> u8 {
        let logins = self.session.logins();
        if self.logins.load(Ordering::Acquire) != logins {
            // In this order: who finds the number right must find the rest out of date.
            self.mark_stale(stale::IDENTITY | stale::CAPACITY);
            self.logins.store(logins, Ordering::Release);
        }
        let bits = [stale::CAPACITY, stale::IDENTITY];
        for ((seen, count), bit) in self.noticed.iter().zip(self.unit.outdated()).zip(bits) {
            if seen.load(Ordering::Acquire) != count {
                self.mark_stale(bit);
                seen.store(count, Ordering::Release);
            }
        }
        let both = self.stale.load(Ordering::Acquire);
        (both | both >> stale::LOOKED_AT) & stale::ALL
    }

    pub(super) fn mark_stale(&self, what: u8) {
        self.stale.fetch_or(what, Ordering::AcqRel);
    }

    /// Nothing that was noticed before counts afterwards. For whoever opens the unit, and is alone with it.
    pub(super) fn forget_stale(&self) {
        self.stale();
        self.stale.store(0, Ordering::Release);
    }

    /// True if something has to be looked at. Everybody who uses the unit through this session has to:
    /// it says so once.
    fn note(&self, notice: Notice) -> bool {
        self.unit.outdate(notice.capacity, notice.identity);
        notice.capacity || notice.identity
    }

    /// A unit attention, for all who use the unit. Noted first: who reads the event finds the info out
    /// of date.
    pub(super) fn report(&self, sense: &SenseData, notice: Notice) -> bool {
        let noted = self.note(notice);
        for _ in 0..planted::tellings(&self.session) {
            self.unit.push(self.now(), sense);
        }
        noted
    }

    /// Runs a command that asks about the unit itself: notices are kept for later.
    pub(super) async fn query(&self, mut attempt: Attempt) -> (Result<Response, Error>, Payload) {
        loop {
            match self.run(attempt).await {
                Step::Done(result, payload) => return (result, payload),
                Step::Attend(again) => attempt = again,
            }
        }
    }

    /// Runs a command until its answer is final, or until something has to be looked at before it
    /// is repeated.
    pub(super) async fn run(&self, attempt: Attempt) -> Step {
        self.run_from(attempt, None).await
    }

    /// One try of a command that mostly goes well; the caller goes on with [`run_from`](Self::run_from)
    /// if it does not.
    pub(super) fn try_once<'a>(
        &self,
        cdb: Cdb,
        payload: Payload,
        deadline: Instant,
        recall: Option<&'a Recall>,
    ) -> TryOnce<'a> {
        let len = payload.len();
        let login = self.session.logins();
        let request = ScsiRequest::new(self.lun, cdb, payload).until(deadline);
        TryOnce {
            command: self.session.execute(request),
            recall,
            len,
            login,
        }
    }

    /// As [`run`](Self::run), where the first try has been made.
    pub(super) async fn run_from(&self, mut attempt: Attempt, mut tried: Option<Tried>) -> Step {
        loop {
            let Tried { login, executed } = match tried.take() {
                Some(tried) => tried,
                None => {
                    let payload = std::mem::take(&mut attempt.payload);
                    let request =
                        ScsiRequest::new(self.lun, attempt.cdb, payload).until(attempt.deadline);
                    let login = self.session.logins();
                    let mut command = self.session.execute(request);
                    let recall = attempt.recall.as_ref();
                    let executed = poll_fn(|cx| recall::poll_execute(&mut command, recall, cx));
                    Tried {
                        login,
                        executed: executed.await,
                    }
                }
            };
            let Executed { result, payload } = executed;
            attempt.payload = payload;
            let response = match result {
                Ok(response) => response,
                Err(error) if self.rides_out(&error, &mut attempt) => {
                    self.mark_stale(stale::IDENTITY | stale::CAPACITY);
                    return Step::Attend(attempt);
                }
                Err(error) => return attempt.done(Err(error)),
            };
            let short = attempt.class != CommandClass::Query
                && usize::try_from(response.transferred).unwrap_or(usize::MAX)
                    < attempt.payload.len();
            let Verdict {
                disposition,
                notice,
            } = misread(
                self.session.options().core.planted,
                classify(
                    response.status,
                    response.sense.as_ref(),
                    attempt.class,
                    short,
                ),
                &response,
            );
            let attention = response.sense.as_ref().filter(|sense| {
                let is_one = sense.key() == SenseKey::UnitAttention && !sense.is_deferred();
                is_one && response.status == ScsiStatus::CheckCondition
            });
            let noticed = match attention {
                Some(sense) => self.report(sense, notice),
                None => self.note(notice),
            };
            match disposition {
                Disposition::Complete => return attempt.done(Ok(response)),
                Disposition::Again { budget, then } => {
                    if !attempt.take(budget) {
                        return attempt.fail(then, response);
                    }
                    attempt.outcome = worse(attempt.outcome, then.outcome);
                    if noticed {
                        return Step::Attend(attempt);
                    }
                }
                Disposition::Later { pause, then } => {
                    let asked = response.retry_delay().unwrap_or_default();
                    let asked = asked.min(LONGEST_ASKED_PAUSE);
                    if !self.pause(pause, asked, &mut attempt).await {
                        return attempt.fail(then.not_before(asked), response);
                    }
                }
                Disposition::Fail(failure) => {
                    let has_moved = failure.kind == ErrorKind::NoSuchUnit
                        && self.is_known
                        && self.quirks.missing_unit_has_moved;
                    let again =
                        self.options.ride_out && has_moved && attempt.take(Budget::Reconnect);
                    if has_moved && (again || !self.options.ride_out) {
                        // Where it has moved to, the next login will be told.
                        self.session.relogin(login);
                    }
                    if again && self.up_again(attempt.deadline).await {
                        return Step::Attend(attempt);
                    }
                    return attempt.fail(failure, response);
                }
            }
        }
    }

    /// The command was ended by something that was not its own: the connection was lost, or a task
    /// management function ended it with others. Where the session waits for its re-login, it is sent
    /// again through it if that cannot do harm: it never left, it is dead, or it changes nothing.
    fn rides_out(&self, error: &Error, attempt: &mut Attempt) -> bool {
        let harmless = error.outcome() == Outcome::NotExecuted
            || (error.is_dead() && attempt.class.is_repeatable())
            || !attempt.class.changes_something();
        let again = self.options.ride_out
            && is_interruption(error)
            && harmless
            && self.now() < attempt.deadline
            && attempt.take(Budget::Reconnect);
        if again {
            attempt.outcome = worse(attempt.outcome, error.outcome());
        }
        again
    }

    /// Waits until the session is up; false if it is not in time.
    async fn up_again(&self, deadline: Instant) -> bool {
        let runtime = self.session.runtime();
        let late = sleep_until(runtime.as_ref(), deadline);
        let up = self.session.wait_up();
        match select(pin!(up), pin!(late)).await {
            Either::Left((up, _)) => up.is_ok(),
            Either::Right(_) => false,
        }
    }

    /// Waits before a repeat, twice as long each time and with jitter, so that the many commands
    /// that a full target has refused do not all come back at once; not less than the target has
    /// `asked` for. `false` if the time does not suffice, or the options leave this to somebody with
    /// other paths.
    async fn pause(&self, first: Duration, asked: Duration, attempt: &mut Attempt) -> bool {
        if !self.options.ride_out {
            return false;
        }
        let runtime = self.session.runtime();
        let doubled = first.saturating_mul(1 << attempt.pauses.min(10));
        attempt.pauses += 1;
        let mut random = [0; 1];
        runtime.fill_random(&mut random);
        // Between a half and three halves.
        let pause = doubled.min(MAX_PAUSE) * (128 + u32::from(random[0])) / 256;
        let pause = pause.max(asked);
        let until = runtime.now() + pause;
        if until >= attempt.deadline {
            return false;
        }
        sleep_until(runtime.as_ref(), until).await;
        true
    }
}

async fn sleep_until(runtime: &dyn Runtime, at: Instant) {
    let mut timer = runtime.new_timer(at);
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}
