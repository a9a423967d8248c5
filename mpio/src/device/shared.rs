//! What the handles, the requests and the driver of a device share.
//!
//! # One lock, twice per request
//!
//! There is one lock around the core and the tables. A request that nothing stands in the way of takes
//! it twice, each time for one to two hundred instructions: once to be checked, admitted and booked
//! ([`Multipath::admit`]), once to be booked as done ([`Multipath::complete`]). It is not held while a
//! path does anything, and such a request has no mailbox, causes no action and wakes nobody. Everything
//! else (waiting for a path or an overlapping write, a failure, a loss, a recall, a cancellation) goes by
//! way of the core's actions and a mailbox.
//!
//! There is no second, lock-free way for reads. What makes the failover right is that at the moment of a
//! loss the core knows every attempt that may be on that path, and that none is added afterwards: with
//! one lock that holds by itself. A way past it would need a book per path, and an agreement at each
//! change of a path's standing about whose book an attempt is in; it would save two uncontended locks of
//! some twenty instructions each, next to the session's own locks.

use std::{
    future::{Future, poll_fn},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::{Context, Poll, Waker},
    time::Instant,
};

use iscsi_client::{device::DeviceInfo, logical_unit::Recall, runtime::Runtime};
use iscsi_proto::planted::Planted;
use smallvec::SmallVec;

use super::{
    job::{Job, Preempt},
    log::EventLog,
    places::Place,
    reserve::book::{Book, Reserve},
    vessel::Vessel,
};
use crate::{
    arrays::Array,
    core::{
        Action, AttemptId, IoId, Multipath, PathId, Verdict,
        arena::{Arena, Key},
    },
    path::{LocalEnd, Path},
};

/// Vessels that are kept for use again: as many as writes are usually under way.
const SPARE: usize = 256;

/// What a request is told to do.
#[derive(Debug)]
pub(super) enum Order<P> {
    /// Try it on this path.
    Go(Go<P>),
    /// Tell the caller.
    Done(Verdict),
}

#[derive(Debug)]
pub(super) struct Go<P> {
    pub(super) attempt: AttemptId,
    pub(super) id: PathId,
    pub(super) path: Arc<P>,
    pub(super) recall: Recall,
}

/// The letter box of a request that had to wait for something.
#[derive(Debug)]
pub(super) struct Mailbox<P> {
    io: IoId,
    order: Option<Order<P>>,
    pub(super) waker: Option<Waker>,
    /// Nobody waits for the verdict any more.
    pub(super) abandoned: bool,
}

/// A path of the device.
#[derive(Debug)]
pub(super) struct Member<P> {
    pub(super) id: PathId,
    pub(super) path: Arc<P>,
    pub(super) local_end: Option<LocalEnd>,
    /// Of the last status that the core was told.
    pub(super) generation: u64,
    /// That status was `Up`.
    pub(super) up: bool,
    /// The core was told that the present connection leads to this device.
    pub(super) verified: bool,
    /// A verification is under way, or is to be made after a pause.
    pub(super) verifying: bool,
    /// Its number.
    pub(super) verification: u64,
    /// How often its registration has failed on this connection.
    pub(super) key_failures: u32,
    /// How far it is with what the device's user wants of it.
    pub(super) book: Book,
    /// What the core was told of its carrier.
    pub(super) has_carrier: bool,
}

/// Carried out after the lock is released: wakers may run anything.
#[derive(Default)]
pub(super) struct Deferred {
    wakers: SmallVec<[Waker; 4]>,
    recalls: SmallVec<[Recall; 2]>,
    detached: SmallVec<[Recall; 2]>,
}

impl Deferred {
    pub(super) fn carry_out(self) {
        self.recalls.iter().for_each(Recall::recall);
        self.detached.iter().for_each(Recall::detach);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(super) struct State<P> {
    pub(super) core: Multipath,
    /// By `PathId::index`.
    pub(super) members: Vec<Option<Member<P>>>,
    pub(super) mail: Arena<Mailbox<P>>,
    /// Of each attempt, by `AttemptId::index`. One that was used is never found here again, so the
    /// next attempt of that index has one that was not.
    recalls: Vec<Recall>,
    /// For writes to come.
    vessels: Vec<Box<dyn Vessel<P>>>,
    /// The mailbox of each I/O of the core, by `IoId::index`. The core uses its index again as soon
    /// as it has said `Finish`, the mailbox lives until its owner has read that.
    by_io: Vec<Key>,
    pub(super) jobs: Vec<Job<P>>,
    pub(super) log: EventLog,
    /// Persistent reservations, as the device's user wants them.
    pub(super) reserve: Reserve,
    pub(super) info: Arc<DeviceInfo>,
    /// The row of the table of arrays that its settings go by.
    pub(super) array: Option<Array>,
    /// The size that all paths in use tell, if the device has kept another one.
    pub(super) size_not_taken: Option<u64>,
    /// The paths are being asked what size the unit has.
    pub(super) asking_for_size: Arc<AtomicBool>,
    /// Paths that could not be opened so far: name and reason.
    pub(super) missing: Vec<(Arc<str>, String)>,
    /// For spares that are opened when they are needed.
    pub(super) places: Vec<Place<P>>,
    /// The driver has to look whether it is done.
    nudge: bool,
    /// Something that `until` may wait for has changed.
    pub(super) news: bool,
    /// Events, info or the end: rare, so one list serves all.
    watchers: Vec<(u64, Waker)>,
    next_watcher: u64,
    pub(super) driver: Option<Waker>,
    /// When the driver will look at the clock.
    pub(super) armed: Option<Instant>,
    /// The driver is done, or gone.
    pub(super) ended: bool,
}

/// One short lock around the core and the tables (see the top of this file). It is held while the core
/// decides, never across I/O and never while a waker runs.
#[derive(Debug)]
pub(super) struct Shared<P> {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) planted: Planted,
    state: Mutex<State<P>>,
}

impl<P: Path> Shared<P> {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        core: Multipath,
        info: Arc<DeviceInfo>,
        array: Option<Array>,
    ) -> Self {
        let log = EventLog::new(core.made());
        Self {
            runtime,
            planted: core.config().planted,
            state: Mutex::new(State {
                core,
                members: Vec::new(),
                mail: Arena::new(),
                recalls: Vec::new(),
                vessels: Vec::new(),
                by_io: Vec::new(),
                jobs: Vec::new(),
                log,
                reserve: Reserve::default(),
                info,
                array,
                size_not_taken: None,
                asking_for_size: Arc::default(),
                missing: Vec::new(),
                places: Vec::new(),
                nudge: false,
                news: false,
                watchers: Vec::new(),
                next_watcher: 0,
                driver: None,
                armed: None,
                ended: false,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<P>> {
        // The core has no panics of its own; after one of the standard library's the tables are
        // still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state, changing nothing that the core would act on.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut State<P>) -> T) -> T {
        look(&mut self.lock())
    }

    /// Changes the state and draws the consequences.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut State<P>, Instant) -> T) -> T {
        let now = self.runtime.now();
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let result = act(&mut state, now);
        state.carry_out(now, &mut deferred);
        drop(state);
        deferred.carry_out();
        result
    }

    /// Waits until `look` finds what it looks for; it is asked again after every event, change of
    /// the info, and at the end.
    pub(super) fn until<T, F>(&self, mut look: F) -> impl Future<Output = T>
    where
        F: FnMut(&State<P>) -> Option<T>,
    {
        let mut watch = Watch {
            shared: self,
            id: None,
        };
        poll_fn(move |cx| watch.poll(cx, &mut look))
    }
}

impl<P: Path> State<P> {
    pub(super) fn open_mailbox(&mut self, io: IoId) -> Key {
        let key = self.mail.insert(Mailbox {
            io,
            order: None,
            waker: None,
            abandoned: false,
        });
        if io.index() >= self.by_io.len() {
            self.by_io.resize(io.index() + 1, key);
        }
        self.by_io[io.index()] = key;
        key
    }

    fn mailbox(&mut self, io: IoId) -> Option<&mut Mailbox<P>> {
        let key = *self.by_io.get(io.index())?;
        self.mail.get_mut(key).filter(|mailbox| mailbox.io == io)
    }

    /// The next order; after the last one the mailbox is gone.
    pub(super) fn take_order(&mut self, key: Key) -> Option<Order<P>> {
        let order = self.mail.get_mut(key)?.order.take()?;
        if matches!(order, Order::Done(_)) {
            self.close_mailbox(key);
        }
        Some(order)
    }

    /// Its waker is gone already: whoever leaves an order takes it.
    pub(super) fn close_mailbox(&mut self, key: Key) {
        self.mail.remove(key);
    }

    /// What an attempt needs to be made.
    pub(super) fn go(&mut self, attempt: AttemptId, path: PathId) -> Option<Go<P>> {
        let path_of = Arc::clone(&self.member(path)?.path);
        let index = attempt.index();
        if index >= self.recalls.len() {
            self.recalls.resize_with(index + 1, Recall::default);
        }
        Some(Go {
            attempt,
            id: path,
            path: path_of,
            recall: self.recalls[index].clone(),
        })
    }

    /// Keeps the next attempt of this index from having the same one. The old one is to be dropped
    /// without the lock: it may hold wakers.
    pub(super) fn take_recall(&mut self, attempt: AttemptId) -> Option<Recall> {
        self.recalls.get_mut(attempt.index()).map(mem::take)
    }

    pub(super) fn take_vessel(&mut self) -> Option<Box<dyn Vessel<P>>> {
        self.vessels.pop()
    }

    /// An empty one; what is too much is returned.
    pub(super) fn keep_vessel(&mut self, vessel: Box<dyn Vessel<P>>) -> Option<Box<dyn Vessel<P>>> {
        if self.vessels.len() >= SPARE {
            return Some(vessel);
        }
        self.vessels.push(vessel);
        None
    }

    /// What is left to do after the core has booked something by the short way; mostly nothing.
    pub(super) fn follow_up(&mut self, now: Instant) -> Option<Deferred> {
        let sooner = self.core.take_sooner();
        let is_sooner = sooner.is_some_and(|due| self.armed.is_none_or(|armed| due < armed));
        if !is_sooner && !self.core.has_output() {
            return None;
        }
        let mut deferred = Deferred::default();
        self.carry_out(now, &mut deferred);
        Some(deferred)
    }

    pub(super) fn member(&self, path: PathId) -> Option<&Member<P>> {
        let member = self.members.get(path.index())?.as_ref();
        member.filter(|member| member.id == path)
    }

    pub(super) fn member_mut(&mut self, path: PathId) -> Option<&mut Member<P>> {
        let member = self.members.get_mut(path.index())?.as_mut();
        member.filter(|member| member.id == path)
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.core.close(now);
        self.news = true;
        self.nudge = true;
    }

    /// Does what the core says, and tells what it tells.
    pub(super) fn carry_out(&mut self, now: Instant, deferred: &mut Deferred) {
        while let Some(action) = self.core.poll_action() {
            self.obey(action, deferred);
        }
        while let Some(event) = self.core.poll_event() {
            self.log.push(now, event);
            self.news = true;
        }
        if mem::take(&mut self.news) {
            let watchers = self.watchers.drain(..).map(|(_, waker)| waker);
            deferred.wakers.extend(watchers);
        }
        let due = self.core.poll_timeout();
        let earlier = due.is_some_and(|due| self.armed.is_none_or(|armed| due < armed));
        if earlier || mem::take(&mut self.nudge) || !self.jobs.is_empty() {
            if earlier {
                self.armed = due;
            }
            deferred.wakers.extend(self.driver.take());
        }
    }

    fn obey(&mut self, action: Action, deferred: &mut Deferred) {
        match action {
            Action::Dispatch { io, attempt, path } => {
                let Some(go) = self.go(attempt, path) else {
                    return;
                };
                if let Some(mailbox) = self.mailbox(io) {
                    mailbox.order = Some(Order::Go(go));
                    deferred.wakers.extend(mailbox.waker.take());
                }
            }
            Action::Recall { attempt } => {
                // Taken here, under the lock: it is used after it, when the attempt may have ended and
                // another one have its index.
                deferred.recalls.extend(self.take_recall(attempt));
            }
            Action::Detach { attempt } => {
                deferred.detached.extend(self.take_recall(attempt));
            }
            Action::Finish { io, verdict } => {
                let Some(mailbox) = self.mailbox(io) else {
                    return;
                };
                mailbox.order = Some(Order::Done(verdict));
                deferred.wakers.extend(mailbox.waker.take());
                if mailbox.abandoned {
                    let key = self.by_io[io.index()];
                    self.close_mailbox(key);
                }
            }
            Action::Probe { path, kind } => self.jobs.push(Job::Probe(path, kind)),
            Action::AskProgress { path } => self.jobs.push(Job::AskProgress(path)),
            Action::ReportPortGroups { path } => self.jobs.push(Job::ReportPortGroups(path)),
            Action::Activate { path, group } => self.jobs.push(Job::Activate(path, group)),
            Action::Fence { path } => self.jobs.push(Job::Fence(path)),
            Action::Reinstate { step, dead, via } => {
                self.jobs.push(Job::Reinstate(step, dead, via));
            }
            Action::Register { path } => self.jobs.push(Job::Register(path)),
            Action::Preempt {
                step,
                dead,
                via,
                own,
                victim,
            } => self.jobs.push(Job::Preempt(Preempt {
                step,
                dead,
                via,
                own,
                victim,
            })),
            Action::ResetUnit { step, via } => self.jobs.push(Job::ResetUnit(step, via)),
            Action::Close { path } => self.jobs.push(Job::Close(path)),
        }
    }
}

/// Takes its waker away when the future is dropped.
struct Watch<'a, P: Path> {
    shared: &'a Shared<P>,
    id: Option<u64>,
}

impl<P: Path> Watch<'_, P> {
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        look: &mut impl FnMut(&State<P>) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.shared.lock();
        if let Some(found) = look(&state) {
            return Poll::Ready(found);
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next_watcher += 1;
            state.next_watcher
        });
        match state.watchers.iter_mut().find(|(other, _)| *other == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.watchers.push((id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl<P: Path> Drop for Watch<'_, P> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut state = self.shared.lock();
            state.watchers.retain(|(other, _)| *other != id);
        }
    }
}
