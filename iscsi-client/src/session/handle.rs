//! The handle of a session.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use iscsi_proto::{
    ApiMisuse, Isid,
    name::IscsiName,
    portal::Portal,
    scsi::Lun,
    session::TaskManagement,
    text::send_targets::{self, Discovered},
};

use super::{
    connect,
    execute::{Execute, QueueFull, ScsiRequest},
    login_info::LoginInfo,
    options::SessionOptions,
    queue::Shared,
    request::{ManageTasks, Ping, Renegotiate, Text},
    ring::Ring,
    state::{SessionEvent, SessionState, SessionStatus},
    stats::SessionStats,
    tether::{Identity, Seed, Tether},
    units::UnitReports,
};
use crate::{
    bind::Bind,
    error::{Error, ErrorKind, LoginError, LoginFailure, Outcome},
    runtime::Progress,
};

/// A session with one target: the handle. Cheap to clone; all clones are the same session, and the
/// same one of its users.
///
/// Its [`Driver`](super::Driver) does the work. When the last handle is dropped, and with it the last
/// command under way, the driver logs out in the background and ends within
/// [`close_timeout`](SessionOptions::close_timeout).
///
/// A session that comes from [`Initiator::session`](crate::initiator::Initiator::session) may have
/// further users, each with a handle of its own, and is open for as long as one of them holds it.
/// What is under way of one user is nobody else's affair; a [`reconnect`](Self::reconnect) is felt by
/// all.
///
/// # Cancel safety
///
/// Every future of a session may be dropped at any time. A future that only waits loses nothing; what
/// becomes of a command is said at [`Execute`].
#[derive(Clone, Debug)]
pub struct Session(Arc<Tether>);

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        identity: Identity,
        options: Arc<SessionOptions>,
    ) -> Option<Self> {
        let tether = Tether::new(shared, Arc::new(identity), options)?;
        Some(Self(Arc::new(tether)))
    }

    /// A further user of the session, unless that is being closed.
    pub(crate) fn grown(seed: &Seed) -> Option<Self> {
        seed.tether().map(|tether| Self(Arc::new(tether)))
    }

    /// From which further users can come.
    pub(crate) fn seed(&self) -> Seed {
        self.0.seed()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The options that the session was made with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.0.options
    }

    /// Our name.
    #[must_use]
    pub fn initiator_name(&self) -> &IscsiName {
        &self.0.identity.initiator
    }

    /// The target's name; `None` for a discovery session.
    #[must_use]
    pub fn target_name(&self) -> Option<&IscsiName> {
        self.0.identity.target.as_ref()
    }

    /// The portal as configured; [`SessionEventKind::Up`](super::SessionEventKind::Up) names the one
    /// that was reached after redirects.
    #[must_use]
    pub fn portal(&self) -> &Portal {
        &self.0.identity.portal
    }

    /// The local end as configured.
    #[must_use]
    pub fn bind(&self) -> &Bind {
        &self.0.identity.bind
    }

    /// The session identifier; the same over every re-login.
    #[must_use]
    pub fn isid(&self) -> Isid {
        self.0.identity.isid
    }

    /// The runtime that the session lives on.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn crate::runtime::Runtime> {
        &self.0.shared.runtime
    }

    /// Executes a SCSI command. The command is submitted when the future is first polled; while all
    /// slots are taken it waits, first come first served.
    ///
    /// While the session is down the command fails at once with
    /// [`Outcome::NotExecuted`](crate::error::Outcome::NotExecuted), or waits as
    /// [`replacement_timeout`](SessionOptions::replacement_timeout) says. When the connection is lost
    /// every command under way ends at once: with `NotExecuted` if not a byte of it had left, else
    /// with `Unknown`. Nothing is ever sent twice.
    ///
    /// Any SCSI status is an `Ok` here: what it means is up to whoever knows the command.
    pub fn execute(&self, request: ScsiRequest) -> Execute {
        Execute::new(Arc::clone(&self.0), request)
    }

    /// Submits a SCSI command now, if a slot is free; the future is then only for waiting.
    ///
    /// # Errors
    ///
    /// The request comes back when no slot is free. Other failures are the future's.
    pub fn try_execute(&self, request: ScsiRequest) -> Result<Execute, QueueFull> {
        Execute::try_submit(Arc::clone(&self.0), request)
    }

    /// A submission and completion queue, for a loop that keeps many commands under way.
    #[must_use]
    pub fn ring(&self) -> Ring {
        Ring::new(Arc::clone(&self.0))
    }

    /// Asks the target for a sign of life (NOP-Out, RFC 7143 section 11.18); sent at once, past all
    /// commands that wait. The result is the round trip. Without an answer it fails after twice the
    /// keepalive's [`nop_timeout`](iscsi_proto::session::SessionConfig::nop_timeout), which ends a
    /// connection that is silent altogether before that. Fails with [`ErrorKind::Busy`] when eight
    /// pings, text exchanges and task management functions are under way.
    pub fn ping(&self) -> Ping {
        let timeout = self.options().core.nop_timeout.saturating_mul(2);
        Ping::new(&self.0, timeout)
    }

    /// The same with a time of its own: a ping that is not answered `within` it fails with
    /// [`ErrorKind::Timeout`], and the session goes on.
    pub fn ping_within(&self, within: Duration) -> Ping {
        Ping::new(&self.0, within)
    }

    /// Asks for a task management function (RFC 7143 section 11.5, RFC 7144); sent at once, past all
    /// commands that wait, when this is called. The result is the target's answer, whatever it is.
    /// The commands that it ended have failed before: with [`ErrorKind::Aborted`], an unknown outcome,
    /// and [dead](Error::is_dead). New commands to the logical units of a function on several commands
    /// are held back until it is over.
    ///
    /// To abort one command, drop or [`revoke`](Execute::revoke) its future; to ask after one,
    /// [`Execute::query`].
    ///
    /// Without an answer within `timeout` (`None`: the session's
    /// [`task_management_timeout`](iscsi_proto::session::SessionConfig::task_management_timeout)) it
    /// fails with [`ErrorKind::Timeout`]; a later answer still ends commands. What the session cannot
    /// do (TASK REASSIGN; functions of RFC 7144 where `iSCSIProtocolLevel` 2 was not agreed to) is
    /// refused without asking, with an `ApiMisuse` as the error's source.
    pub fn task_management(
        &self,
        request: TaskManagement,
        timeout: Option<Duration>,
    ) -> ManageTasks {
        ManageTasks::new(&self.0, request, timeout)
    }

    /// Declares another MaxRecvDataSegmentLength, 512 to 2^24 - 1 bytes, and takes over what the target
    /// declares (RFC 7143 section 6.4). It holds for this connection: the next login offers what the
    /// options say.
    pub fn renegotiate(&self, max_recv_data_segment_length: u32) -> Renegotiate {
        Renegotiate::new(&self.0, max_recv_data_segment_length)
    }

    /// What a logical unit has reported through this session.
    pub(crate) fn unit(&self, lun: Lun) -> Arc<UnitReports> {
        self.shared().units.get(lun)
    }

    /// What the last successful login came to: parameters, portal group, the target's alias, and who
    /// has proven what.
    #[must_use]
    pub fn login(&self) -> Arc<LoginInfo> {
        let login = self.shared().with_journal(|journal| journal.login());
        // A session is made of a login.
        login.unwrap_or_else(|| unreachable!("a session without a login"))
    }

    /// How many logins have led to another portal group than the login before, as a redirection may. An I_T
    /// nexus is one of a portal group (RFC 7143 section 4.4.2): such a login is no reinstatement of what was
    /// there before, whose commands may still be executed.
    #[must_use]
    pub fn nexus_changes(&self) -> u64 {
        self.shared()
            .with_journal(|journal| journal.nexus_changes())
    }

    /// Asks the target of this session where it listens (an empty `SendTargets`, RFC 7143 appendix C):
    /// its portals and their groups, in as many PDUs as it takes. Addresses on the loopback are left out as
    /// [`RedirectPolicy::loopback`](super::RedirectPolicy::loopback) says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] for an answer that is none or too long; others as for a ping.
    pub async fn send_targets(&self) -> Result<Discovered, Error> {
        let text = self.text(b"SendTargets=\0".to_vec()).await?;
        let found = send_targets::parse(&text, self.bind().zone_at(self.portal()).as_deref())
            .map_err(|error| {
                Error::new(ErrorKind::Protocol, Outcome::Executed).with_source(error)
            })?;
        let asked = self.login().address.ip();
        Ok(self.options().redirect.reachable(asked, found))
    }

    pub(crate) fn text(&self, text: Vec<u8>) -> Text {
        Text::new(&self.0, text)
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.status().state
    }

    /// The present state and the number of the last event.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        if self.0.left().load(Ordering::Acquire) {
            return LEFT;
        }
        self.shared()
            .with_journal(|journal| journal.status().clone())
    }

    /// Waits until something has happened after event `seen` (a [`SessionStatus::generation`]).
    pub fn changed(&self, seen: u64) -> impl Future<Output = SessionStatus> + Send + use<> {
        let mut watch = Watch {
            shared: Arc::clone(&self.0.shared),
            left: Arc::clone(self.0.left()),
            id: None,
        };
        poll_fn(move |cx| {
            let Watch { shared, left, id } = &mut watch;
            // Registered first, so that a leave in between is not missed.
            let changed = shared.with_journal(|journal| journal.poll_changed(seen, id, cx));
            if !left.load(Ordering::Acquire) {
                return changed;
            }
            match seen == LEFT.generation {
                true => Poll::Pending,
                false => Poll::Ready(LEFT),
            }
        })
    }

    /// The events after number `seen`, oldest first, as far as they are kept (the last 64).
    #[must_use]
    pub fn events(&self, seen: u64) -> Vec<SessionEvent> {
        self.shared()
            .with_journal(|journal| journal.events_after(seen))
    }

    /// Waits until the session is up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if it is closed for good.
    pub async fn wait_up(&self) -> Result<(), Error> {
        let mut status = self.status();
        loop {
            match status.state {
                SessionState::Up => return Ok(()),
                SessionState::Closed => return Err(Error::not_executed(ErrorKind::Closed)),
                SessionState::Down { .. } => status = self.changed(status.generation).await,
            }
        }
    }

    /// Drops the connection now, so that nothing that is still in a send buffer is delivered, and
    /// logs in again with the same ISID (session reinstatement, RFC 7143 section 6.3.5). The state is
    /// `Down` when this returns; [`wait_up`](Self::wait_up) then waits for the new login. All users of
    /// a shared session lose what they have under way.
    ///
    /// While the session is down this only cuts the wait for the next login short; except that of
    /// [`DownReason::NexusTaken`](super::DownReason::NexusTaken), so that two initiators of one name
    /// do not make each other storm the target. Where the device is known to have no [carrier](crate::links) a session that
    /// was up waits for that, and one that was down tries all the same.
    pub fn reconnect(&self) {
        self.shared().request_reconnect();
    }

    /// Reinstates this session's nexus (RFC 7143 section 6.3.5) while the session is down: logs in with its
    /// ISID and its credentials, but the way `sibling` goes, and drops that connection. The target ends
    /// whatever it still has of this session; whether it has done so when it answers the login, is a
    /// property of the target. It only means something if `sibling` leads to the same target portal group,
    /// to which the login is held. This session's own next login is a reinstatement again.
    ///
    /// # Errors
    ///
    /// [`LoginError`]. [`LoginFailure::SessionExists`] if this session is up, which the login would end; an
    /// `ApiMisuse` ([`OutOfRange`](ApiMisuse::OutOfRange)) if the sessions are not with one target, or the
    /// target did not name this session's portal group.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the login, which the target may have taken already.
    pub async fn reinstate_through(&self, sibling: &Self) -> Result<(), LoginError> {
        let (own, via) = (&self.0.identity, &sibling.0.identity);
        let refuse = |failure| Err(LoginError::new(via.portal.clone(), failure));
        let same = own.target.is_some() && own.target == via.target;
        let (Some(group), true) = (self.login().portal_group(), same) else {
            let misuse = iscsi_proto::Error::ApiMisuse(ApiMisuse::OutOfRange);
            return refuse(LoginFailure::Protocol(misuse));
        };
        if matches!(self.state(), SessionState::Up) {
            return refuse(LoginFailure::SessionExists);
        }
        connect::reinstate(self.runtime(), &own.limiter, &own.spec, &via.spec, group).await
    }

    /// Asks for another login than number `login`, which leads to where a logical unit is not; nothing
    /// happens if there was one since. Unlike [`reconnect`](Self::reconnect) it keeps to the back-off.
    pub(crate) fn relogin(&self, login: u64) {
        self.shared().request_relogin(login);
    }

    /// Closes the session for this user. For the last one, or the only one, that logs out after the
    /// commands under way, and waits until the session is closed. If others use it, it stays open for
    /// them, and this handle and its clones take no more commands, from now on.
    ///
    /// Dropping the future does not take the request back.
    pub async fn close(&self) {
        if !self.0.leave() {
            return;
        }
        let mut status = self.status();
        while !matches!(status.state, SessionState::Closed) {
            status = self.changed(status.generation).await;
        }
    }

    /// How often the session has logged in. After a change, whatever was known of its logical units
    /// may no longer be true.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.shared().logins()
    }

    /// Counters, as of the driver's last poll.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.shared().stats()
    }

    /// When the last byte came from the target, by the runtime's clock.
    #[must_use]
    pub fn last_receive(&self) -> Instant {
        self.shared().last_receive()
    }

    /// How far the bytes of the present connection have come, as its platform tells: whether the peer's TCP
    /// acknowledges them tells a dead network from a target that is slow or stopped. It is a system call or two, at
    /// once: made to be asked when a session is doubted, not for each command.
    ///
    /// `None` while the session is down, and where nobody tells: on Linux the feature `tcp-progress` does, unless
    /// the kernel refuses; a [`Dialer`](crate::runtime::Dialer) passes on what is below it
    /// ([`StreamTransport::with_progress_source`](crate::runtime::StreamTransport::with_progress_source)).
    #[must_use]
    pub fn network_progress(&self) -> Option<Progress> {
        // Asked without the lock.
        let source = self.shared().with_journal(|journal| journal.progress())?;
        source.progress()
    }
}

/// What a user sees who has left: the last that it will ever see.
const LEFT: SessionStatus = SessionStatus {
    generation: u64::MAX,
    state: SessionState::Closed,
    has_carrier: true,
};

/// A registered watcher of the journal; takes its waker away when the future is dropped.
struct Watch {
    shared: Arc<Shared>,
    left: Arc<AtomicBool>,
    id: Option<u64>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let id = self.id.take();
        if id.is_some() {
            self.shared.with_journal(|journal| journal.unwatch(id));
        }
    }
}
