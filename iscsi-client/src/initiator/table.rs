//! Which sessions of an initiator are open, and on what terms.
//!
//! RFC 7143 section 4.4.3 allows one session per ISID and target portal group; which group a portal
//! belongs to is known only after the login, so this is stricter: one per ISID and target.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::future::{Shared, WeakShared};
use iscsi_proto::{Isid, login::Authentication, name::IscsiName, portal::Portal};

use crate::{
    bind::Bind,
    error::{LoginError, SlotDifference},
    isid::SessionSlot,
    runtime::BoxFuture,
    session::{Session, SessionOptions, connect::Claim, tether::Seed},
};

/// A login that several wait for. Whoever polls drives it, and it is dropped with the last of them.
///
/// The session in the result is a user of its own, so that it stays open until all who waited have
/// become users themselves.
pub(super) type SharedLogin = Shared<BoxFuture<Result<Session, LoginError>>>;
type WeakLogin = WeakShared<BoxFuture<Result<Session, LoginError>>>;

/// A session's name towards one initiator.
pub(super) type Key = (IscsiName, Isid);

/// What a session was opened with. Whoever wants to share it has to want the same.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) portal: Portal,
    pub(super) bind: Bind,
    pub(super) slot: SessionSlot,
    pub(super) authentication: Authentication,
    pub(super) options: Arc<SessionOptions>,
}

impl Terms {
    /// Whether both lead to one portal. Its group tag is a hint that some answers to SendTargets have and others have
    /// not, unless the login insists on it.
    fn leads_where(&self, other: &Self) -> bool {
        let (one, two) = (&self.portal, &other.portal);
        let insists = self.options.require_portal_group || other.options.require_portal_group;
        (&one.host, one.port) == (&two.host, two.port) && (!insists || one.tpgt == two.tpgt)
    }

    fn difference(&self, other: &Self) -> Option<SlotDifference> {
        if !self.leads_where(other) {
            return Some(SlotDifference::Portal);
        }
        if self.bind != other.bind {
            return Some(SlotDifference::Bind);
        }
        if !self.authentication.is_same(&other.authentication) {
            return Some(SlotDifference::Authentication);
        }
        let same = Arc::ptr_eq(&self.options, &other.options)
            || same_options(&self.options, &other.options);
        (!same).then_some(SlotDifference::Options)
    }
}

/// Plain values as `Debug` shows them, so that a field that is added is not forgotten here; and what
/// is the caller's own code by where it is, since it may look the same and do something else.
fn same_options(one: &SessionOptions, two: &SessionOptions) -> bool {
    fn same<T: ?Sized>(one: Option<&Arc<T>>, two: Option<&Arc<T>>) -> bool {
        match (one, two) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None | Some(_), _) => false,
        }
    }
    same(one.credentials.as_ref(), two.credentials.as_ref())
        && same(one.dialer.as_ref(), two.dialer.as_ref())
        && same(one.tap.as_ref(), two.tap.as_ref())
        && one.redirect.has_filter_of(&two.redirect)
        && plain(one) == plain(two)
}

/// The plain values alone. What the caller's own code says of itself may change from one look to the
/// next, and nothing of it may run while the table is locked.
fn plain(options: &SessionOptions) -> String {
    let plain = SessionOptions {
        credentials: None,
        dialer: None,
        tap: None,
        ..options.clone()
    };
    format!("{plain:?}")
}

/// The sessions of one initiator.
#[derive(Default)]
pub(super) struct SessionTable(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Key, Entry>,
    /// Closed: nobody logs in any more.
    closed: bool,
    /// Who waits for an entry to go, or for the close.
    watchers: Vec<(u64, Waker)>,
    next_id: u64,
}

struct Entry {
    id: u64,
    terms: Terms,
    /// Its driver belongs to somebody, who may drop it at any time; so it is not shared.
    exclusive: bool,
    login: Option<WeakLogin>,
    /// Set once it is logged in.
    seed: Option<Seed>,
}

/// A slot in use; free again when dropped.
pub(super) struct Lease {
    table: Arc<SessionTable>,
    key: Key,
    id: u64,
}

/// What stands in a slot.
pub(super) enum Slot {
    /// It was free and is the caller's now.
    Ours(Lease),
    /// Somebody logs in, on the same terms; wait for it with them.
    Login(SharedLogin),
    /// It is logged in, or was: see what [`Session::grown`] says.
    Open(Seed, Tenant),
    /// In use, and not to be shared; logged in where there is a seed.
    Taken(Option<Seed>, Tenant),
    /// Those who wanted it have gone; it will be free in a moment.
    Vacating(Tenant),
    /// In use on other terms.
    Differs(SlotDifference),
    /// The initiator is closed.
    Closed,
}

/// Who is in a slot, to wait for the end.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    key: Key,
    id: u64,
    /// How long it takes to leave, at most.
    pub(super) close_timeout: Duration,
}

/// One line of [`Initiator::sessions`](super::Initiator::sessions), before it is looked at.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) terms: Terms,
    pub(super) exclusive: bool,
    pub(super) seed: Option<Seed>,
}

impl SessionTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the slot for a session that is not shared, or tells who has it.
    pub(super) fn take(self: &Arc<Self>, key: &Key, terms: &Terms) -> Slot {
        let mut inner = self.lock();
        if let Some((slot, held)) = inner.stands(key, terms, true) {
            drop(inner);
            drop(held);
            return slot;
        }
        let entry = inner.entry(terms, true);
        let lease = self.lease(key, entry.id);
        inner.entries.insert(key.clone(), entry);
        Slot::Ours(lease)
    }

    /// Takes the slot for a shared session and begins the login, or tells who has it. `login` only
    /// makes the future, since the table is locked.
    pub(super) fn share(
        self: &Arc<Self>,
        key: &Key,
        terms: &Terms,
        login: impl FnOnce(Lease) -> SharedLogin,
    ) -> Slot {
        let mut inner = self.lock();
        if let Some((slot, held)) = inner.stands(key, terms, false) {
            drop(inner);
            drop(held);
            return slot;
        }
        let mut entry = inner.entry(terms, false);
        let login = login(self.lease(key, entry.id));
        entry.login = login.downgrade();
        inner.entries.insert(key.clone(), entry);
        Slot::Login(login)
    }

    fn lease(self: &Arc<Self>, key: &Key, id: u64) -> Lease {
        Lease {
            table: Arc::clone(self),
            key: key.clone(),
            id,
        }
    }

    /// Waits until a tenant has left.
    pub(super) async fn vacated(&self, tenant: &Tenant) {
        self.until(|inner| {
            let entry = inner.entries.get(&tenant.key);
            entry.is_none_or(|entry| entry.id != tenant.id)
        })
        .await;
    }

    /// Waits for the close.
    pub(super) async fn closed(&self) {
        self.until(|inner| inner.closed).await;
    }

    /// Waits until no session is left.
    pub(super) async fn emptied(&self) {
        self.until(|inner| inner.entries.is_empty()).await;
    }

    /// Nobody logs in from now on. What is open is told to close.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let seeds: Vec<Seed> = inner
            .entries
            .values()
            .filter_map(|e| e.seed.clone())
            .collect();
        inner.unlock_and_wake();
        // Outside the lock: a session's own lock is taken, and its driver woken.
        seeds.iter().for_each(Seed::close);
    }

    /// The longest that a session takes to close.
    pub(super) fn close_timeout(&self) -> Duration {
        let inner = self.lock();
        let entries = inner.entries.values();
        let timeouts = entries.map(|entry| entry.terms.options.close_timeout);
        timeouts.max().unwrap_or_default()
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let inner = self.lock();
        let row = |(key, entry): (&Key, &Entry)| Row {
            key: key.clone(),
            terms: entry.terms.clone(),
            exclusive: entry.exclusive,
            seed: entry.seed.clone(),
        };
        inner.entries.iter().map(row).collect()
    }

    async fn until(&self, done: impl Fn(&Inner) -> bool) {
        let mut watch = Watch {
            table: self,
            id: None,
        };
        poll_fn(|cx| {
            let mut inner = self.lock();
            if done(&inner) {
                return Poll::Ready(());
            }
            let id = *watch.id.get_or_insert_with(|| inner.next_id());
            match inner.watchers.iter_mut().find(|(other, _)| *other == id) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => inner.watchers.push((id, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Entry {
    fn stands(
        &self,
        key: &Key,
        terms: &Terms,
        exclusive: bool,
        login: Option<SharedLogin>,
    ) -> Slot {
        let tenant = Tenant {
            key: key.clone(),
            id: self.id,
            close_timeout: self.terms.options.close_timeout,
        };
        if self.seed.is_none() && !self.exclusive && login.is_none() {
            return Slot::Vacating(tenant);
        }
        if exclusive || self.exclusive {
            return Slot::Taken(self.seed.clone(), tenant);
        }
        match (self.terms.difference(terms), &self.seed, login) {
            (Some(difference), ..) => Slot::Differs(difference),
            (None, Some(seed), _) => Slot::Open(seed.clone(), tenant),
            (None, None, Some(login)) => Slot::Login(login),
            (None, None, None) => Slot::Vacating(tenant),
        }
    }
}

impl Inner {
    const fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Who is in the way of a login; and what may only be dropped once the table is unlocked: the
    /// last trace of a login gives its slot back.
    fn stands(
        &self,
        key: &Key,
        terms: &Terms,
        exclusive: bool,
    ) -> Option<(Slot, Option<SharedLogin>)> {
        if self.closed {
            return Some((Slot::Closed, None));
        }
        let entry = self.entries.get(key)?;
        let login = entry.login.as_ref().and_then(WeakShared::upgrade);
        Some((entry.stands(key, terms, exclusive, login.clone()), login))
    }

    fn entry(&mut self, terms: &Terms, exclusive: bool) -> Entry {
        Entry {
            id: self.next_id(),
            terms: terms.clone(),
            exclusive,
            login: None,
            seed: None,
        }
    }
}

/// Ends the critical section before a waker runs.
trait UnlockAndWake {
    fn unlock_and_wake(self);
}

impl UnlockAndWake for MutexGuard<'_, Inner> {
    fn unlock_and_wake(mut self) {
        let watchers = std::mem::take(&mut self.watchers);
        drop(self);
        watchers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Takes its waker away when the future is dropped.
struct Watch<'a> {
    table: &'a SessionTable,
    id: Option<u64>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut inner = self.table.lock();
            inner.watchers.retain(|(other, _)| *other != id);
        }
    }
}

impl Lease {
    /// What makes the session known once it is logged in, when the lease itself is elsewhere.
    pub(super) fn record(&self) -> Record {
        Record {
            table: Arc::clone(&self.table),
            key: self.key.clone(),
            id: self.id,
        }
    }
}

impl Claim for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.table.lock();
        let ours = inner
            .entries
            .get(&self.key)
            .is_some_and(|entry| entry.id == self.id);
        let entry = ours.then(|| inner.entries.remove(&self.key));
        inner.unlock_and_wake();
        // After the lock: it may hold the last trace of a session.
        drop(entry);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, {})", self.key.0, self.key.1)
    }
}

/// A session's line in the table.
pub(super) struct Record {
    table: Arc<SessionTable>,
    key: Key,
    id: u64,
}

impl Record {
    /// The session is logged in. False if the initiator was closed meanwhile.
    pub(super) fn opened(&self, seed: Seed) -> bool {
        let mut inner = self.table.lock();
        if inner.closed {
            return false;
        }
        if let Some(entry) = inner.entries.get_mut(&self.key) {
            if entry.id == self.id {
                entry.seed = Some(seed);
            }
        }
        true
    }
}

impl fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("SessionTable")
            .field("sessions", &inner.entries.len())
            .field("closed", &inner.closed)
            .finish_non_exhaustive()
    }
}
