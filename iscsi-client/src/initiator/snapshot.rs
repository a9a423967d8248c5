//! Which sessions an initiator has, for people and programs to look at.

use std::fmt;

use iscsi_proto::{Isid, name::IscsiName, portal::Portal};

use super::{Initiator, table::Row};
use crate::{bind::Bind, isid::SessionSlot, session::SessionState};

/// A session of an [`Initiator`] at a moment; see [`Initiator::sessions`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// The target's name.
    pub target: IscsiName,
    /// The portal as configured.
    pub portal: Portal,
    /// The local end as configured.
    pub bind: Bind,
    /// The slot.
    pub slot: SessionSlot,
    /// The session identifier that the slot makes.
    pub isid: Isid,
    /// Where it stands.
    pub state: SnapshotState,
    /// Who uses it: one for each result of [`Initiator::session`] that is held, or that was dropped
    /// while commands of it are still under way. Clones of one result count once; those who wait for
    /// the first login together count once until they have it.
    pub users: usize,
    /// Whether further users can have it: not one of [`Initiator::connect`].
    pub shared: bool,
}

/// Where a session stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SnapshotState {
    /// Its first login is under way.
    LoggingIn,
    /// It was logged in.
    Open(SessionState),
    /// It logs out.
    LoggingOut,
}

impl Initiator {
    /// The sessions that are open, are being opened or are being closed, by target and ISID. Discovery
    /// sessions are not among them.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionSnapshot> {
        // Outside the table's lock: each asks its session, which has a lock of its own.
        let rows = self.0.table.rows();
        rows.into_iter().map(SessionSnapshot::of).collect()
    }
}

impl SessionSnapshot {
    fn of(row: Row) -> Self {
        let Row {
            key: (target, isid),
            terms,
            exclusive,
            seed,
        } = row;
        let logging_in = seed.is_none();
        let (state, users) = match seed.and_then(|seed| seed.look()) {
            Some((status, users, false)) => (SnapshotState::Open(status.state), users),
            Some((_, users, true)) => (SnapshotState::LoggingOut, users),
            None if logging_in => (SnapshotState::LoggingIn, 0),
            None => (SnapshotState::LoggingOut, 0),
        };
        Self {
            target,
            portal: terms.portal,
            bind: terms.bind,
            slot: terms.slot,
            isid,
            state,
            users,
            shared: !exclusive,
        }
    }
}

/// One line: `target via portal from bind, isid, state, users`.
impl fmt::Display for SessionSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            SnapshotState::LoggingIn => "logging in",
            SnapshotState::Open(SessionState::Up) => "up",
            SnapshotState::Open(SessionState::Down { .. }) => "down",
            SnapshotState::Open(SessionState::Closed) | SnapshotState::LoggingOut => "logging out",
        };
        let (target, portal, bind, isid) = (&self.target, &self.portal, &self.bind, self.isid);
        let users = self.users;
        write!(
            f,
            "{target} via {portal} from {bind}, isid {isid}, {state}, {users} {}",
            if users == 1 { "user" } else { "users" }
        )
    }
}
