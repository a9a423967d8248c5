//! What a session is, and what happened to it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use iscsi_proto::{
    TargetPortalGroupTag,
    held::HeldBytes,
    pdu::AsyncMessage,
    portal::Portal,
    scsi::{lun::Lun, sense::SenseData},
    session::Rung,
};

use super::{login_info::LoginInfo, redirect::Redirection};
use crate::{
    error::{Error, LoginError},
    runtime::ProgressSource,
};

/// Whether a session takes commands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionState {
    /// In full feature phase.
    Up,
    /// Without a connection; the driver logs in again.
    Down {
        /// Why.
        reason: DownReason,
        /// When the next login begins; `None` while one is under way or waits for its turn
        /// ([`LoginRate`](crate::initiator::LoginRate)). It changes, without an event of its own, with the carrier of the
        /// device ([`links`](crate::links)).
        next_attempt: Option<Instant>,
    },
    /// Logged out, or the driver is gone. Nothing brings it back.
    Closed,
}

impl SessionState {
    /// Whether commands are sent to the target now.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

/// Why a session is down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The connection ended.
    Lost(Error),
    /// The last login failed.
    Login(LoginError),
    /// Another initiator logs in again and again under our name and ISID, which ends our session
    /// each time (RFC 7143 section 6.3.5): after three sessions in a row that the target ended in
    /// silence, each within ten seconds of its login, while another connection to it, without a
    /// login, stayed open. The next login waits for 30 to 60 s, and the session is back once the
    /// other one is gone. Give every initiator a name of its own.
    ///
    /// A target that takes every login and closes each of these connections in good order, but not
    /// the others, looks the same from here. Commands meanwhile get an error with
    /// [`LoginFailure::NexusTaken`](crate::error::LoginFailure::NexusTaken) as its source.
    NexusTaken,
    /// The target asked for a logout, and the session has logged out.
    LogoutRequested,
    /// [`Session::reconnect`](super::Session::reconnect) was called.
    Requested,
    /// A logical unit is not there any more that another login may lead to
    /// ([`Effects::missing_unit_has_moved`](crate::quirks::Effects::missing_unit_has_moved)).
    UnitMoved,
}

/// A session's state, and the number of the last event.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// Counts events. Equal generations: nothing has happened.
    pub generation: u64,
    /// The state after that event.
    pub state: SessionState,
    /// False if the device that the session is bound to is known to have lost its carrier; see
    /// [`links`](crate::links). Whoever has logged in since has a carrier.
    pub has_carrier: bool,
}

/// Something that happened to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionEvent {
    /// Its number, from 1.
    pub number: u64,
    /// When, by the runtime's clock.
    pub at: Instant,
    /// What.
    pub kind: SessionEventKind,
}

/// Kinds of [`SessionEvent`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// Logged in.
    Up {
        /// The portal, after redirects.
        portal: Portal,
        /// The remote address.
        address: SocketAddr,
        /// The local address, where the transport tells it.
        local: Option<SocketAddr>,
    },
    /// A login was sent to another portal and followed there; the [`Up`](Self::Up) after it says where
    /// that led.
    Redirected(Redirection),
    /// The portal belongs to another portal group than its
    /// [`tpgt`](iscsi_proto::portal::Portal::tpgt), which discovery told, says: the target was
    /// reconfigured since, or another one listens there. Discover again. See
    /// [`SessionOptions::require_portal_group`](super::SessionOptions::require_portal_group).
    PortalGroup {
        /// What discovery told.
        expected: TargetPortalGroupTag,
        /// What the target says now; `None` if nothing.
        found: Option<TargetPortalGroupTag>,
    },
    /// The connection to be bound to a device is bound to its source address only: why.
    BindWarning(Arc<str>),
    /// The connection is gone; a login begins after `retry_in`.
    Down {
        /// Why.
        reason: DownReason,
        /// The delay before the next login, unless the carrier comes or goes meanwhile ([`links`](crate::links)).
        retry_in: Duration,
        /// How much of that is DefaultTime2Wait (RFC 7143 section 13.15): the time before which this ISID may not log in
        /// again after an *unexpected* loss. A session with another ISID may log in meanwhile. Zero where the target asks
        /// for no time, where the loss was not unexpected, and where the target has said that it ends the connection.
        time2wait: Duration,
    },
    /// A command was not answered in time, and this is done about it now.
    CommandLate {
        /// Its logical unit.
        lun: Lun,
        /// The step of the timeout ladder.
        rung: Rung,
    },
    /// The target wants a logout. New commands wait or fail, as while the session is down; those under
    /// way get some time; then comes `Down`, and a new login.
    LogoutRequested {
        /// How long the target waits for it.
        within: Duration,
    },
    /// The target said something on its own account (RFC 7143 section 11.9). What has to be done about
    /// it is done by the session.
    Async {
        /// The message.
        message: AsyncMessage,
        /// Its sense data, if it is a SCSI event.
        sense: Option<SenseData>,
    },
    /// The device that the session is bound to has lost its carrier, was set down, or is gone.
    LinkDown {
        /// Which.
        device: Arc<str>,
    },
    /// It has a carrier again, or nobody knows any more.
    LinkUp {
        /// Which.
        device: Arc<str>,
    },
    /// Logged out, or the driver was dropped.
    Closed,
}

/// How many events are kept for a reader that sleeps. A flapping session makes a few per second at
/// its worst, and a reader that misses some sees that by the numbers.
const KEPT_EVENTS: usize = 64;

/// State and recent events of a session, and who waits for the next one.
#[derive(Debug)]
pub(super) struct Journal {
    status: SessionStatus,
    login: Option<Arc<LoginInfo>>,
    /// Logins that led to another portal group than the one before.
    nexus_changes: u64,
    /// Of the present connection.
    progress: Option<Arc<dyn ProgressSource>>,
    /// The device whose carrier is followed.
    followed: Option<Arc<str>>,
    events: VecDeque<SessionEvent>,
    watchers: Vec<(u64, Waker)>,
    next_watcher: u64,
}

impl Journal {
    pub(super) fn held_bytes(&self) -> u64 {
        self.events.held_bytes() + self.watchers.held_bytes()
    }

    pub(super) fn new() -> Self {
        Self {
            status: SessionStatus {
                generation: 0,
                state: SessionState::Up,
                has_carrier: true,
            },
            login: None,
            nexus_changes: 0,
            progress: None,
            followed: None,
            events: VecDeque::with_capacity(KEPT_EVENTS),
            watchers: Vec::new(),
            next_watcher: 0,
        }
    }

    pub(super) fn set_login(&mut self, login: Arc<LoginInfo>) {
        let before = self.login.replace(Arc::clone(&login));
        if before.is_some_and(|before| before.portal_group() != login.portal_group()) {
            self.nexus_changes += 1;
        }
    }

    pub(super) const fn nexus_changes(&self) -> u64 {
        self.nexus_changes
    }

    /// The one of before is to be dropped without the lock.
    #[must_use]
    pub(super) const fn replace_progress(
        &mut self,
        source: Option<Arc<dyn ProgressSource>>,
    ) -> Option<Arc<dyn ProgressSource>> {
        std::mem::replace(&mut self.progress, source)
    }

    pub(super) fn progress(&self) -> Option<Arc<dyn ProgressSource>> {
        self.progress.clone()
    }

    pub(super) fn login(&self) -> Option<Arc<LoginInfo>> {
        self.login.clone()
    }

    pub(super) fn status(&self) -> &SessionStatus {
        &self.status
    }

    pub(super) const fn set_carrier(&mut self, has_carrier: bool) {
        self.status.has_carrier = has_carrier;
    }

    pub(super) fn follow(&mut self, device: Arc<str>) {
        self.followed = Some(device);
    }

    pub(super) fn follows(&self, device: &Arc<str>) -> bool {
        self.followed.as_ref() == Some(device)
    }

    /// Of a session that is down.
    pub(super) const fn set_next_attempt(&mut self, at: Option<Instant>) {
        if let SessionState::Down { next_attempt, .. } = &mut self.status.state {
            *next_attempt = at;
        }
    }

    pub(super) fn events_after(&self, number: u64) -> Vec<SessionEvent> {
        self.events
            .iter()
            .filter(|event| event.number > number)
            .cloned()
            .collect()
    }

    pub(super) fn push(
        &mut self,
        at: Instant,
        kind: SessionEventKind,
        state: Option<SessionState>,
        wakers: &mut Vec<Waker>,
    ) {
        if self.events.len() == KEPT_EVENTS {
            self.events.pop_front();
        }
        self.status.generation += 1;
        self.events.push_back(SessionEvent {
            number: self.status.generation,
            at,
            kind,
        });
        if let Some(state) = state {
            self.status.state = state;
        }
        self.wake_watchers(wakers);
    }

    pub(super) fn wake_watchers(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.watchers.drain(..).map(|(_, waker)| waker));
    }

    /// Ready once something has happened after event `seen`.
    pub(super) fn poll_changed(
        &mut self,
        seen: u64,
        watcher: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<SessionStatus> {
        if self.status.generation != seen {
            self.unwatch(watcher.take());
            return Poll::Ready(self.status.clone());
        }
        let entry = watcher.and_then(|id| self.watchers.iter_mut().find(|(other, _)| *other == id));
        match entry {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                self.watchers.push((self.next_watcher, cx.waker().clone()));
                *watcher = Some(self.next_watcher);
                self.next_watcher += 1;
            }
        }
        Poll::Pending
    }

    pub(super) fn unwatch(&mut self, watcher: Option<u64>) {
        if let Some(id) = watcher {
            self.watchers.retain(|(other, _)| *other != id);
        }
    }
}
