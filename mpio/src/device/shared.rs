//! What the handles, the requests and the driver of a device share.

use std::{
    future::{Future, poll_fn},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use iscsi_client::{device::DeviceInfo, logical_unit::Recall, runtime::Runtime};
use smallvec::SmallVec;

use super::{job::Job, log::EventLog};
use crate::{
    core::{
        Action, AttemptId, IoId, Multipath, PathId, Verdict,
        arena::{Arena, Key},
    },
    path::{LocalEnd, Path},
};

/// Recalls that are kept for use again: as many as requests are usually under way.
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

/// The letter box of a request.
#[derive(Debug)]
pub(super) struct Mailbox<P> {
    io: IoId,
    order: Option<Order<P>>,
    pub(super) waker: Option<Waker>,
    recall: Recall,
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
}

/// Carried out after the lock is released: wakers may run anything.
#[derive(Default)]
pub(super) struct Deferred {
    wakers: SmallVec<[Waker; 4]>,
    recalls: SmallVec<[Recall; 2]>,
}

impl Deferred {
    pub(super) fn carry_out(self) {
        self.recalls.iter().for_each(Recall::recall);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(super) struct State<P> {
    pub(super) core: Multipath,
    /// By `PathId::index`.
    pub(super) members: Vec<Option<Member<P>>>,
    pub(super) mail: Arena<Mailbox<P>>,
    /// For mailboxes to come.
    spare: Vec<Recall>,
    /// The mailbox of each I/O of the core, by `IoId::index`. The core uses its index again as soon
    /// as it has said `Finish`, the mailbox lives until its owner has read that.
    by_io: Vec<Key>,
    /// The I/O of each attempt, by `AttemptId::index`.
    by_attempt: Vec<IoId>,
    pub(super) jobs: Vec<Job<P>>,
    pub(super) log: EventLog,
    pub(super) info: Arc<DeviceInfo>,
    /// Paths that could not be opened so far: name and reason.
    pub(super) missing: Vec<(Arc<str>, String)>,
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

/// One short lock around the core and the tables. It is held while the core decides, never across
/// I/O and never while a waker runs.
#[derive(Debug)]
pub(super) struct Shared<P> {
    pub(super) runtime: Arc<dyn Runtime>,
    state: Mutex<State<P>>,
}

impl<P: Path> Shared<P> {
    pub(super) fn new(runtime: Arc<dyn Runtime>, core: Multipath, info: Arc<DeviceInfo>) -> Self {
        Self {
            runtime,
            state: Mutex::new(State {
                core,
                members: Vec::new(),
                mail: Arena::new(),
                spare: Vec::new(),
                by_io: Vec::new(),
                by_attempt: Vec::new(),
                jobs: Vec::new(),
                log: EventLog::default(),
                info,
                missing: Vec::new(),
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
        let recall = self.spare.pop().unwrap_or_default();
        let key = self.mail.insert(Mailbox {
            io,
            order: None,
            waker: None,
            recall,
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

    fn close_mailbox(&mut self, key: Key) {
        let Some(mailbox) = self.mail.remove(key) else {
            return;
        };
        // One that is about to be used was replaced, so nobody else holds this one for long.
        if self.spare.len() < SPARE {
            mailbox.recall.reset();
            self.spare.push(mailbox.recall);
        }
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
                let Some(member) = self.member(path) else {
                    return;
                };
                let (id, path) = (member.id, Arc::clone(&member.path));
                if attempt.index() >= self.by_attempt.len() {
                    self.by_attempt.resize(attempt.index() + 1, io);
                }
                self.by_attempt[attempt.index()] = io;
                if let Some(mailbox) = self.mailbox(io) {
                    let recall = mailbox.recall.clone();
                    mailbox.order = Some(Order::Go(Go {
                        attempt,
                        id,
                        path,
                        recall,
                    }));
                    deferred.wakers.extend(mailbox.waker.take());
                }
            }
            Action::Recall { attempt } => {
                let io = self.by_attempt[attempt.index()];
                if let Some(mailbox) = self.mailbox(io) {
                    // Replaced here, under the lock: it is used after it, when the request may have
                    // been given to another path already.
                    deferred.recalls.push(mem::take(&mut mailbox.recall));
                }
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
            Action::Fence { path } => self.jobs.push(Job::Fence(path)),
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
