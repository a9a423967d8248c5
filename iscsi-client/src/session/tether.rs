//! What keeps a session open.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use iscsi_proto::{Isid, name::IscsiName, portal::Portal};

use super::{
    connect::Spec,
    options::SessionOptions,
    queue::{Shared, Submitted},
    slot::{Owner, RingId, Ticket},
    state::SessionStatus,
    work::{Prepared, Work},
};
use crate::{
    bind::Bind,
    error::{Error, ErrorKind},
    login_rate::Limiter,
};

/// One user of a session: what all clones of one handle and all their commands under way share. A
/// session has several where it is shared; the last one to leave closes it.
#[derive(Debug)]
pub(super) struct Tether {
    pub(super) shared: Arc<Shared>,
    pub(super) identity: Arc<Identity>,
    pub(super) options: Arc<SessionOptions>,
    /// No longer counted among the users.
    gone: AtomicBool,
    /// Gone while others stay: closed for this user, and for nobody else. On its own, since whoever
    /// watches the session must not hold it open.
    left: Arc<AtomicBool>,
}

impl Tether {
    /// A further user, unless the session is being closed.
    pub(super) fn new(
        shared: Arc<Shared>,
        identity: Arc<Identity>,
        options: Arc<SessionOptions>,
    ) -> Option<Self> {
        shared.join().then(|| Self {
            shared,
            identity,
            options,
            gone: AtomicBool::new(false),
            left: Arc::default(),
        })
    }

    /// This user leaves. True if the session closes, false if it stays with others.
    pub(super) fn leave(&self) -> bool {
        if self.gone.swap(true, Ordering::AcqRel) {
            return !self.left.load(Ordering::Acquire);
        }
        let closes = self.shared.leave();
        if !closes {
            self.left.store(true, Ordering::Release);
            self.shared.wake_watchers();
        }
        closes
    }

    /// As [`Shared::submit`], for as long as this user has not left.
    pub(super) fn submit(&self, work: &mut Option<Work>) -> Submitted {
        match self.has_left() {
            Some(refused) => refused,
            None => self.shared.submit(work),
        }
    }

    /// As [`Shared::submit_command`], for as long as this user has not left.
    pub(super) fn submit_command(
        &self,
        ticket: &mut Option<Ticket>,
        prepared: &mut Option<Prepared>,
        waiter: Option<&Waker>,
    ) -> Submitted {
        match self.has_left() {
            Some(refused) => refused,
            None => self.shared.submit_command(ticket, prepared, waiter),
        }
    }

    /// As [`Shared::submit_filled`], for as long as this user has not left.
    pub(super) fn submit_plain(
        &self,
        waiter: Option<&Waker>,
        fill: impl FnOnce(&mut Prepared),
    ) -> Submitted {
        match self.has_left() {
            Some(refused) => refused,
            None => self
                .shared
                .submit_filled(Owner::Future(waiter.cloned()), fill),
        }
    }

    /// The same for a command of a ring.
    pub(super) fn submit_to_ring(
        &self,
        ring: RingId,
        tag: u64,
        fill: impl FnOnce(&mut Prepared),
    ) -> Submitted {
        match self.has_left() {
            Some(refused) => refused,
            None => self.shared.submit_filled(Owner::Ring(ring, tag), fill),
        }
    }

    fn has_left(&self) -> Option<Submitted> {
        let left = self.left.load(Ordering::Acquire);
        left.then(|| Submitted::Refused(Error::not_executed(ErrorKind::Closed)))
    }

    pub(super) fn left(&self) -> &Arc<AtomicBool> {
        &self.left
    }

    /// From which further users can come.
    pub(super) fn seed(&self) -> Seed {
        Seed {
            shared: Arc::downgrade(&self.shared),
            identity: Arc::clone(&self.identity),
            options: Arc::clone(&self.options),
        }
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        // Nobody is left whom it would interest whether the session closes.
        let _closes = self.leave();
    }
}

/// What a session is known by to those who do not use it.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    shared: Weak<Shared>,
    identity: Arc<Identity>,
    options: Arc<SessionOptions>,
}

impl Seed {
    pub(super) fn tether(&self) -> Option<Tether> {
        let shared = self.shared.upgrade()?;
        Tether::new(
            shared,
            Arc::clone(&self.identity),
            Arc::clone(&self.options),
        )
    }

    /// Asks for the close, whoever uses the session.
    pub(crate) fn close(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.request_close();
        }
    }

    /// State, number of users, and whether it is being closed; `None` once it is gone.
    pub(crate) fn look(&self) -> Option<(SessionStatus, usize, bool)> {
        let shared = self.shared.upgrade()?;
        let (users, leaving) = shared.users();
        let status = shared.with_journal(|journal| journal.status().clone());
        Some((status, users, leaving))
    }
}

/// Between whom a session is, and how it was logged in.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) initiator: IscsiName,
    /// `None` for a discovery session.
    pub(crate) target: Option<IscsiName>,
    pub(crate) portal: Portal,
    pub(crate) bind: Bind,
    pub(crate) isid: Isid,
    pub(crate) spec: Arc<Spec>,
    pub(crate) limiter: Arc<Limiter>,
}
