//! The driver of a session: the one task that owns core, buffers and socket.

mod carrier;
mod leave;

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_proto::{
    Error as CoreError, error::TimedOut, pdu::LogoutReason, planted::Bug, session::Session as Core,
};

use super::{
    alarm::Alarm,
    backoff::Backoff,
    connect::{Connected, Connector},
    link::{Link, Pumped},
    login_info::LoginInfo,
    nexus::NexusWatch,
    ops::Ops,
    options::SessionOptions,
    outcome::Loss,
    queue::{Control, Shared},
    state::{DownReason, SessionEventKind, SessionState},
};
use crate::{
    error::{Error, ErrorKind, LoginError, LoginFailure},
    links::Subscription,
    login_rate::Pace,
    runtime::{Beat, BoxFuture, Transport},
};

/// The task that makes a [`Session`](super::Session) work: a plain future, to be spawned or polled
/// wherever the caller likes. It is ready once the session is closed.
///
/// It alone owns the protocol state, the buffers of commands under way and the connection. When the
/// connection is lost it logs in again, with the same ISID, at once and then after jittered delays of
/// 100 ms to 10 s where the target answers, and at
/// [short intervals](SessionOptions::reconnect_interval) while nobody does; where many sessions of the initiator are lost together, when its turn comes
/// ([`LoginRate`](crate::initiator::LoginRate)); and where it is known that the device has no [carrier](crate::links), when
/// that is back.
///
/// # Dropping it
///
/// Dropping the driver closes the connection abortively: what is still in a send buffer is never
/// delivered. Every command under way ends with its true outcome, `NotExecuted` or `Unknown`, and
/// the session is closed. To end in good order, drop the session's handles or call
/// [`Session::close`](super::Session::close), and let the driver run to its end.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver {
    ops: Ops,
    options: Arc<SessionOptions>,
    connector: Connector,
    phase: Phase,
    backoff: Backoff,
    nexus: NexusWatch,
    /// Before this no login, whoever wants one: what the target has asked for.
    not_before: Instant,
    /// The device whose carrier is followed.
    link: Option<Subscription>,
    /// The last connection was bound to it, and not to its address alone.
    is_on_device: bool,
    /// When a carrier was last heeded that came back.
    heeded_link: Option<Instant>,
    /// When that was, if nothing was tried in vain since.
    carrier_back: Option<Instant>,
    /// When it is looked again whether there is a carrier, or another device.
    looks_at: Option<Instant>,
    /// How the next login takes its turn.
    pace: Pace,
    /// When the login began that is under way, or was last.
    dialled: Instant,
    /// Where the last login succeeded.
    address: Option<SocketAddr>,
    alarm: Alarm,
    /// What commands get while there is no connection.
    down: Error,
    /// Until when commands wait for a connection.
    hold_until: Option<Instant>,
    /// Set by a close: no login any more, and the end by this time.
    close_by: Option<Instant>,
}

enum Phase {
    Up(Box<Link>),
    Dialing(BoxFuture<Result<Connected, LoginError>>),
    /// Until the next login, or the [carrier](Driver::begins).
    Waiting(Instant),
    /// Logged out; the transport is being closed.
    Closing(Box<dyn Transport>),
    Done,
}

/// What to do after a step.
enum Step {
    /// Something changed; look again at once.
    Again,
    /// Let others run first.
    Yield,
    /// Sleep until woken.
    Sleep,
    Done,
}

/// Rounds of a poll in which handles keep asking for something new; then others get their turn.
const MAX_STEPS: u32 = 64;

/// The longest Time2Wait that is honoured. The field reaches 18 hours, and a target that asks for
/// more than a controller's restart takes is more likely wrong than right.
const LONGEST_TIME2WAIT: Duration = Duration::from_secs(300);

impl Driver {
    /// A driver over a connection that is logged in.
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Arc<SessionOptions>,
        connector: Connector,
        connected: Connected,
    ) -> Result<Self, LoginError> {
        let now = shared.runtime.now();
        let mut driver = Self {
            alarm: Alarm::new(&*shared.runtime, shared.epoch()),
            ops: Ops::new(shared, &options),
            options,
            connector,
            phase: Phase::Done,
            backoff: Backoff::default(),
            nexus: NexusWatch::default(),
            not_before: now,
            link: None,
            is_on_device: true,
            heeded_link: None,
            carrier_back: None,
            looks_at: None,
            pace: Pace::Again,
            dialled: now,
            address: None,
            down: Error::not_executed(ErrorKind::Closed),
            hold_until: None,
            close_by: None,
        };
        driver.up(connected)?;
        driver.ops.settle(None);
        Ok(driver)
    }

    fn shared(&self) -> &Shared {
        &self.ops.shared
    }

    fn now(&self) -> Instant {
        self.shared().runtime.now()
    }

    fn random(&self) -> u32 {
        let mut bytes = [0; 4];
        self.shared().runtime.fill_random(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn obey(&mut self, control: Control) {
        if control.close && self.close_by.is_none() {
            self.close_by = Some(self.now() + self.options.close_timeout);
            self.shared().refuse(Error::not_executed(ErrorKind::Closed));
            let now = self.shared().now();
            match &mut self.phase {
                Phase::Up(link) => {
                    // What was submitted before the close still runs.
                    self.ops.start(&mut link.core, now);
                    // Of one connection, and with a reason that exists, nothing refuses it.
                    let _never = link.core.logout(now, LogoutReason::CloseSession);
                }
                Phase::Dialing(_) | Phase::Waiting(_) => self.end(),
                Phase::Closing(_) | Phase::Done => {}
            }
        }
        let is_up = matches!(self.phase, Phase::Up(_));
        if control.relogin && !control.reconnect && is_up && self.close_by.is_none() {
            self.lost(Loss::Core(CoreError::Closed), Some(DownReason::UnitMoved));
        }
        if control.link_down && self.close_by.is_none() {
            self.link_down();
        }
        if let (Some(since), None) = (control.link_up, self.close_by) {
            self.link_up(since);
        }
        if control.reconnect && self.close_by.is_none() {
            match &self.phase {
                Phase::Up(_) => {
                    self.backoff.reset();
                    self.lost(Loss::Core(CoreError::Closed), Some(DownReason::Requested));
                }
                Phase::Waiting(_) if self.nexus.is_taken() => {}
                Phase::Waiting(_) => {
                    self.backoff.reset();
                    self.dial(Pace::Again);
                }
                Phase::Dialing(_) | Phase::Closing(_) | Phase::Done => {}
            }
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Step {
        if matches!(self.phase, Phase::Dialing(_) | Phase::Waiting(_)) {
            self.nexus.poll(cx);
        }
        match &mut self.phase {
            Phase::Up(_) => self.step_up(cx),
            Phase::Dialing(login) => match login.as_mut().poll(cx) {
                Poll::Ready(Ok(connected)) => match self.up(connected) {
                    Ok(()) => Step::Again,
                    Err(error) => self.login_failed(error),
                },
                Poll::Ready(Err(error)) => self.login_failed(error),
                Poll::Pending => self.step_down(cx, None),
            },
            Phase::Waiting(until) => {
                let until = *until;
                let look = self.next_look(until);
                self.step_down(cx, Some(look))
            }
            Phase::Closing(transport) => {
                // An error says no less than success that the connection is gone.
                if transport.poll_close(cx).is_ready() {
                    self.phase = Phase::Done;
                } else {
                    let shared = &self.ops.shared;
                    let (now, close_by) = (shared.now(), self.close_by);
                    let close_by = close_by.map(|close_by| shared.core_time(close_by));
                    if self.alarm.poll(cx, close_by, now).is_pending() {
                        return Step::Sleep;
                    }
                }
                self.end();
                Step::Done
            }
            Phase::Done => Step::Done,
        }
    }

    fn step_up(&mut self, cx: &mut Context<'_>) -> Step {
        // The clock is read once per step.
        let now = self.ops.shared.now();
        let Phase::Up(link) = &mut self.phase else {
            return Step::Again;
        };
        self.ops.start(&mut link.core, now);
        let busy = match link.pump(cx, now, &mut self.ops) {
            Pumped::Idle => false,
            Pumped::Busy => true,
            Pumped::LoggedOut(answer) => return self.logged_out(&answer),
            Pumped::Lost(loss) => return self.lost(loss, None),
        };
        let due = link.core.poll_timeout();
        // What was received may have made room in the core for a command that waits for it.
        if !busy && self.ops.admit(&mut link.core, now) {
            return Step::Again;
        }
        let close_by = self.close_by.map(|at| self.ops.shared.core_time(at));
        let waiting = self.ops.earliest_deadline();
        let due = [due, waiting, close_by].into_iter().flatten().min();
        // A target that talks without end keeps us from sleeping, not from looking at the clock.
        if busy && due.is_none_or(|due| due > now) {
            return Step::Yield;
        }
        if self.alarm.poll(cx, due, now).is_pending() {
            return Step::Sleep;
        }
        let now = self.ops.shared.now();
        if close_by.is_some_and(|close_by| close_by <= now) {
            return self.lost(Loss::Core(TimedOut::Logout.into()), None);
        }
        match link.core.handle_timeout(now) {
            Ok(()) if busy => Step::Yield,
            Ok(()) => Step::Again,
            Err(error) => self.lost(Loss::Core(error), None),
        }
    }

    /// Without a connection: commands wait, or fail.
    fn step_down(&mut self, cx: &mut Context<'_>, retry: Option<Instant>) -> Step {
        let at = self.now();
        let now = self.shared().core_time(at);
        self.ops.park(now, &self.down);
        if self.hold_until.is_none_or(|until| until <= at) {
            if self.hold_until.take().is_some() {
                self.shared().refuse(self.down.clone());
            }
            let error = self.down.clone();
            self.ops.fail_waiting(|_| Some(error.clone()));
        }
        let deadline = self.ops.earliest_deadline();
        let due = [retry, self.hold_until].into_iter().flatten().min();
        let due = due.map(|due| self.ops.shared.core_time(due));
        let due = due.into_iter().chain(deadline).min();
        if self.alarm.poll(cx, due, now).is_pending() {
            return Step::Sleep;
        }
        let is_time = retry.is_some_and(|retry| retry <= self.now());
        if let (true, Phase::Waiting(due)) = (is_time, &self.phase) {
            let due = *due;
            if !self.put_off(due) {
                self.dial(self.pace);
            }
        }
        Step::Again
    }

    /// Begins a login.
    fn dial(&mut self, pace: Pace) {
        self.dialled = self.now();
        self.shared()
            .with_journal(|journal| journal.set_next_attempt(None));
        self.phase = Phase::Dialing(self.connector.log_in(pace));
    }

    /// Logged in.
    fn up(&mut self, connected: Connected) -> Result<(), LoginError> {
        let Connected {
            logged_in,
            mut transport,
            portal,
            address,
            moved,
            narrowed,
            redirections,
            losses,
        } = connected;
        let info = LoginInfo::new(&logged_in, &portal, address);
        let local = transport.local_addr();
        let mut config = self.options.core.clone();
        config.first_generation = self.random();
        if let (Some(_), Some(interval), true) = (
            self.shared().runtime.beat(),
            config.nop_interval,
            config.nop_beat.is_zero(),
        ) {
            config.nop_beat = Beat::unit(interval);
        }
        let core = match Core::new(self.shared().now(), logged_in, config) {
            Ok(core) => core,
            Err(error) => {
                transport.abort();
                return Err(LoginError::new(portal, LoginFailure::Protocol(error)));
            }
        };
        let now = self.now();
        self.backoff.up(now);
        self.nexus.up(now);
        self.address = Some(address);
        self.hold_until = None;
        self.ops.stats.logins += 1;
        self.connector.remember(moved, narrowed);
        let warning = transport.bind_warning();
        self.is_on_device = warning.is_none();
        self.shared().set_progress(transport.progress_source());
        self.phase = Phase::Up(Box::new(Link { core, transport }));
        self.shared().accept();
        for redirection in redirections {
            self.shared()
                .report(SessionEventKind::Redirected(redirection), None);
        }
        if let Some(expected) = info.other_group_than() {
            let found = info.portal_group();
            let kind = SessionEventKind::PortalGroup { expected, found };
            self.shared().report(kind, None);
        }
        let info = Arc::new(info);
        self.follow_link();
        self.shared()
            .with_journal(|journal| journal.set_login(info));
        let lost = self.note_carrier(losses);
        self.shared().report(
            SessionEventKind::Up {
                portal,
                address,
                local,
            },
            Some(SessionState::Up),
        );
        if let Some(device) = lost {
            self.shared()
                .report(SessionEventKind::LinkDown { device }, None);
        }
        if let Some(warning) = warning {
            self.shared()
                .report(SessionEventKind::BindWarning(warning), None);
        }
        Ok(())
    }

    /// The connection is over, or is to be: why we bring that about ourselves.
    fn lost(&mut self, loss: Loss, requested: Option<DownReason>) -> Step {
        let Phase::Up(link) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return Step::Again;
        };
        // Section 13.15: so long to wait before an implicit logout after an *unexpected* end. One
        // that we bring about ourselves is for a reinstatement, now.
        let planted = self.options.core.planted;
        let time2wait = match (&loss, &requested) {
            _ if planted.has(Bug::Time2WaitIgnored) => Duration::ZERO,
            (_, Some(_)) => Duration::ZERO,
            (Loss::Core(CoreError::DropRequested { wait, .. }), _) => *wait,
            _ => Duration::from_secs(link.core.parameters().default_time2wait.into()),
        };
        let time2wait = time2wait.min(LONGEST_TIME2WAIT);
        let is_asked_for = matches!(loss, Loss::Core(CoreError::DropRequested { .. }));
        self.shared().set_progress(None);
        link.abort(&loss, &mut self.ops);
        self.ops.stats.connections_lost += 1;
        self.down = loss.error();
        self.shared().note_lost(self.down.clone());
        if self.close_by.is_some() {
            self.end();
            return Step::Done;
        }
        let now = self.now();
        self.hold_until = self.options.replacement_timeout.map(|hold| now + hold);
        if self.nexus.ended(now, &loss, requested.is_some()) {
            if let Some(address) = self.address {
                self.nexus.control(self.connector.bare(address));
            }
        }
        let reason = match requested {
            Some(reason) => reason,
            None if self.nexus.is_taken() => {
                let portal = self.connector.portal().clone();
                let taken = LoginError::new(portal, LoginFailure::NexusTaken);
                self.down = taken.clone().into();
                self.ops.stats.nexus_taken += 1;
                self.shared().note_login_failed(taken);
                DownReason::NexusTaken
            }
            None => DownReason::Lost(self.down.clone()),
        };
        // What the target has announced, or another initiator has brought about, is not of this ISID alone.
        let is_of_isid = !is_asked_for && matches!(reason, DownReason::Lost(_));
        let default_time2wait = if is_of_isid {
            time2wait
        } else {
            Duration::ZERO
        };
        self.retry(reason, time2wait, default_time2wait)
    }

    fn login_failed(&mut self, error: LoginError) -> Step {
        self.ops.stats.login_failures += 1;
        self.nexus.login_failed();
        self.shared().note_login_failed(error.clone());
        self.down = error.clone().into();
        self.connector.failed(&error);
        // Even what a second attempt with this configuration will not cure is tried again: the
        // target's access list is somebody else's configuration, and somebody may be correcting it.
        let planted = self.options.core.planted;
        let at_least = match error.failure() {
            // It came along with the last Login Response: the session was over before it was up.
            LoginFailure::Protocol(CoreError::DropRequested { wait, .. })
                if !planted.has(Bug::Time2WaitIgnored) =>
            {
                (*wait).min(LONGEST_TIME2WAIT)
            }
            LoginFailure::Resolve(_) if planted.has(Bug::NameNotAskedAgain) => {
                Duration::from_secs(3600)
            }
            _ => Duration::ZERO,
        };
        self.retry(DownReason::Login(error), at_least, Duration::ZERO)
    }

    fn retry(&mut self, reason: DownReason, at_least: Duration, time2wait: Duration) -> Step {
        let now = self.now();
        let random = self.random();
        let interval = self.options.reconnect_interval;
        let (pause, pace) = match &reason {
            DownReason::Login(error) if error.is_unanswered() && self.take_repetition() => {
                (Duration::ZERO, Pace::Again)
            }
            DownReason::Login(error) if error.is_unanswered() => (
                Backoff::unanswered(now, self.dialled, interval, random),
                Pace::Repeat,
            ),
            _ => (self.backoff.next(now, random), Pace::Again),
        };
        self.pace = pace;
        self.not_before = now + at_least;
        let mut retry_in = pause.max(at_least);
        if self.options.core.planted.has(Bug::ReconnectsWithoutPause) {
            retry_in = at_least;
        }
        if self.nexus.is_taken() {
            retry_in = retry_in.max(NexusWatch::delay(random));
        }
        let due = now + retry_in;
        let begins = self.begins(due);
        let retry_in = begins.saturating_duration_since(now);
        let next_attempt = (!retry_in.is_zero()).then_some(begins);
        match next_attempt {
            Some(_) => {
                self.looks_at = None;
                self.phase = Phase::Waiting(due);
            }
            None => self.dial(pace),
        }
        if self.hold_until.is_none() {
            self.shared().refuse(self.down.clone());
        }
        // A requested loss was reported when it was requested, but not with a delay.
        let reported = matches!(reason, DownReason::Requested | DownReason::UnitMoved);
        if !reported || next_attempt.is_some() || self.shared().is_up() {
            let state = SessionState::Down {
                reason: reason.clone(),
                next_attempt,
            };
            let kind = SessionEventKind::Down {
                reason,
                retry_in,
                time2wait,
            };
            self.shared().report(kind, Some(state));
        }
        Step::Again
    }

    /// Closed for good, by whatever way.
    fn end(&mut self) {
        let loss = Loss::Core(CoreError::Closed);
        self.shared().set_progress(None);
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Up(link) => link.abort(&loss, &mut self.ops),
            Phase::Closing(mut transport) => transport.abort(),
            Phase::Dialing(_) | Phase::Waiting(_) | Phase::Done => {}
        }
        let closed = Error::not_executed(ErrorKind::Closed);
        // First the door, then those inside: whoever came before the refusal is in this batch.
        self.shared().refuse(closed.clone());
        self.ops.take();
        self.ops.park(self.shared().now(), &closed);
        self.ops.fail_waiting(|_| Some(closed.clone()));
        self.ops.settle(None);
        self.shared()
            .report(SessionEventKind::Closed, Some(SessionState::Closed));
        self.nexus = NexusWatch::default();
        self.link = None;
        self.connector.release();
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.ops.stats.driver_polls += 1;
        for _ in 0..MAX_STEPS {
            let control = this.ops.take();
            if control != Control::default() {
                this.obey(control);
            }
            match this.step(cx) {
                Step::Again => {}
                Step::Yield => break,
                Step::Sleep => {
                    if this.ops.settle(Some(cx.waker())) {
                        return Poll::Pending;
                    }
                }
                Step::Done => return Poll::Ready(()),
            }
        }
        this.ops.settle(None);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Done) {
            self.end();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Up(_) => "up",
            Phase::Dialing(_) => "logging in",
            Phase::Waiting(_) => "waiting for the next login",
            Phase::Closing(_) => "closing",
            Phase::Done => "done",
        };
        write!(f, "Driver({phase})")
    }
}
