//! The task of a device: what happens on no request's behalf.

mod carriers;
mod spares;

use std::{
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use iscsi_client::{
    device::{DeviceInfo, Generation},
    error::Error,
    logical_unit::LogicalUnit,
    runtime::AsyncTimer,
};
use iscsi_proto::scsi::TargetPortGroups;

use super::{
    info::{self, Size},
    job::{Job, Preempt},
    join::{Candidate, Opening},
    keys::{self, Verified},
    outcome::outcome_with_keys,
    reserve::{self, Attended},
    shared::{Member, Shared, State},
};
use crate::{
    backoff::sleep,
    core::{
        AttemptId, DownReason, FenceStepId, IdentityCheck, Outcome, PathId, PathKeys, Preempted,
        ProbeKind, ProbeReport, ProbeResult,
    },
    path::{Path, PathLink, PathStatus},
};

/// How a job ended.
enum Report<P> {
    Probed(PathId, ProbeReport),
    ProbedGroups(PathId, Result<TargetPortGroups, ProbeReport>),
    PortGroups(PathId, Option<TargetPortGroups>),
    /// Whether the target has accepted it.
    Activated(PathId, bool),
    /// With the number of the event that told it; `None` at the end.
    AccessChanged(PathId, Option<u64>),
    /// And whether registrations were found to be lost.
    Ended(AttemptId, Outcome, bool),
    Status(PathId, PathStatus),
    /// With the number of the verification.
    /// And what came of it with the keys of the device's user.
    Verified(PathId, u64, Result<Verified, Error>, Option<Attended>),
    /// The unit has told that registrations were ended, with the number of that event; `None` at the end.
    RegistrationsEnded(PathId, Option<u64>),
    Called,
    Info(PathId, Result<Arc<DeviceInfo>, Error>),
    /// Whether a rung of the fencing ladder did what it is for.
    /// With the path whose nexus it was about, if it was about one.
    Fenced(FenceStepId, Option<PathId>, bool),
    Preempted(Preempt, Preempted),
    Closed(PathId),
    Opened(Opening<P>, Result<Candidate<P>, Error>),
    /// Of a place for a spare.
    SpareOpened(usize, Opening<P>, Instant, Result<Candidate<P>, Error>),
    /// It has been there for a while.
    SpareStayed(usize, PathId),
}

/// Before the identity is asked for again when it could not be read though the connection is up.
const VERIFY_PAUSE: Duration = Duration::from_secs(1);
/// Before it is asked for again when it was another one: somebody may be correcting the mapping.
const MISMATCH_PAUSE: Duration = Duration::from_secs(10);
/// Rounds of a poll after which others get their turn.
const MAX_ROUNDS: u32 = 64;

/// The task that makes a [`MultipathDevice`](super::MultipathDevice) react: a plain future, to be
/// spawned or polled wherever the caller likes. It is ready once the device is closed.
///
/// Requests do not pass through it. It asks paths for signs of life, notices their losses and
/// returns, keeps the timers, and sees abandoned writes to their end. It should be polled promptly
/// all the same: a path that fell silent is found out here.
///
/// # Dropping it
///
/// Dropping the driver closes the device: what waits ends as closed, what is in flight may end, and
/// the paths are let go (a path whose session nobody else holds logs out). Writes that were left to
/// the driver are dropped, which aborts them at the target.
#[must_use = "a multipath device does not react unless its driver is polled"]
pub struct MultipathDriver<P: Path = LogicalUnit> {
    shared: Arc<Shared<P>>,
    jobs: FuturesUnordered<BoxFuture<'static, Report<P>>>,
    timer: Pin<Box<dyn AsyncTimer>>,
    /// When the timer will fire.
    armed: Option<Instant>,
}

impl<P: Path> MultipathDriver<P> {
    pub(super) fn new(shared: Arc<Shared<P>>) -> Self {
        let now = shared.runtime.now();
        Self {
            timer: shared.runtime.new_timer(now),
            armed: Some(now),
            jobs: FuturesUnordered::new(),
            shared,
        }
    }

    fn start(&mut self, job: Job<P>) {
        match job {
            Job::Probe(id, kind) => {
                let Some(path) = self.path(id) else { return };
                let timeout = self.checker_timeout();
                self.jobs.push(Box::pin(async move {
                    if kind == ProbeKind::Rtpg {
                        return Report::ProbedGroups(id, path.probe_port_groups(timeout).await);
                    }
                    let result = path.probe(kind, timeout).await;
                    Report::Probed(id, ProbeReport { kind, result })
                }));
            }
            Job::AskProgress(id) => {
                // Not under the lock: it may be a system call.
                let progress = self.path(id).and_then(|path| path.network_progress());
                self.act(|state, now| state.core.handle_progress(now, id, progress));
            }
            Job::ReportPortGroups(id) => {
                let path = self.path(id);
                let timeout = self.checker_timeout();
                self.jobs.push(Box::pin(async move {
                    let groups = match path {
                        Some(path) => path.port_groups(timeout).await.ok(),
                        None => None,
                    };
                    Report::PortGroups(id, groups)
                }));
            }
            Job::Activate(id, group) => {
                let path = self.path(id);
                let timeout = self.checker_timeout();
                self.jobs.push(Box::pin(async move {
                    let accepted = match path {
                        Some(path) => path.activate(group, timeout).await.is_ok(),
                        None => false,
                    };
                    Report::Activated(id, accepted)
                }));
            }
            Job::Fence(id) => {
                // What comes of it is told by the path's status.
                if let Some(path) = self.path(id) {
                    path.fence();
                }
            }
            Job::Reinstate(step, dead, via) => {
                let (id, paths) = (dead, (self.path(dead), self.path(via)));
                self.jobs.push(Box::pin(async move {
                    let (Some(dead), Some(via)) = paths else {
                        return Report::Fenced(step, Some(id), false);
                    };
                    Report::Fenced(step, Some(id), reinstate(&*dead, &*via).await)
                }));
            }
            Job::Register(id) => self.verify(id, Duration::ZERO),
            Job::Preempt(order) => {
                let via = self.path(order.via);
                let (keys, planted) = (self.keys(), self.shared.planted);
                self.jobs.push(Box::pin(async move {
                    let (Some(via), Some(keys)) = (via, keys) else {
                        return Report::Preempted(order, Preempted::Failed);
                    };
                    let result = via.preempt_and_abort(keys, order.own, order.victim).await;
                    Report::Preempted(order, keys::preempted(planted, &result))
                }));
            }
            Job::ResetUnit(step, via) => {
                let via = self.path(via);
                self.jobs.push(Box::pin(async move {
                    let Some(via) = via else {
                        return Report::Fenced(step, None, false);
                    };
                    Report::Fenced(step, None, via.reset_unit().await.is_ok())
                }));
            }
            Job::Close(id) => {
                let path = self.path(id);
                let key = self.shared.look(|state| {
                    let key = state.core.registered_key(id);
                    key.filter(|_| state.gives_key_back(id))
                });
                self.jobs.push(Box::pin(async move {
                    if let Some(path) = path {
                        keys::unregister(&*path, key).await;
                        path.close().await;
                    }
                    Report::Closed(id)
                }));
            }
            Job::Call(call) => self.jobs.push(Box::pin(async move {
                call.await;
                Report::Called
            })),
            Job::Finish(attempt, mut write) => {
                let keyed = self.shared.look(|state| state.forgives_attention());
                self.jobs.push(Box::pin(async move {
                    let result = poll_fn(|cx| write.poll(cx)).await;
                    let (outcome, lost) = match &result {
                        Ok(()) => (Outcome::Success, false),
                        Err(error) => outcome_with_keys(error, keyed),
                    };
                    Report::Ended(attempt, outcome, lost)
                }));
            }
            Job::Watch(id) => {
                let seen = self.shared.look(|s| s.member(id).map(|m| m.generation));
                if let (Some(path), Some(seen)) = (self.path(id), seen) {
                    let info = path.info().generation;
                    self.watch(id, Arc::clone(&path), seen);
                    self.watch_info(id, Arc::clone(&path), info);
                    self.watch_access(id, Arc::clone(&path), 0);
                    self.watch_registrations(id, path, 0);
                }
            }
            Job::Verify(id) => {
                // Every request that finds another unit asks for it.
                let under_way = |s: &mut State<P>| s.member(id).is_some_and(|m| m.verifying);
                if !self.shared.look(under_way) {
                    self.verify(id, Duration::ZERO);
                }
            }
            Job::Open(opening) => {
                let runtime = Arc::clone(&self.shared.runtime);
                self.jobs.push(Box::pin(async move {
                    let mut opening = opening;
                    let delay = opening.next_delay(&*runtime);
                    sleep(&*runtime, delay).await;
                    let opened = opening.open().await;
                    Report::Opened(opening, opened)
                }));
            }
            Job::OpenSpare(at, opening, until) => self.open_spare(at, opening, until),
            Job::WatchSpare(at, id) => self.watch_spare(at, id),
        }
    }

    fn path(&self, id: PathId) -> Option<Arc<P>> {
        self.shared
            .look(|state| state.member(id).map(|member| Arc::clone(&member.path)))
    }

    fn paths(&self) -> Vec<(PathId, Arc<P>)> {
        self.shared.look(|state| {
            let members = state.members.iter().flatten();
            members.map(|m| (m.id, Arc::clone(&m.path))).collect()
        })
    }

    fn checker_timeout(&self) -> Duration {
        let config = |state: &mut State<P>| state.core.config().checker_timeout;
        self.shared.look(config)
    }

    /// What paths are registered with.
    fn keys(&self) -> Option<PathKeys> {
        self.shared.look(|state| state.keys())
    }

    fn watch(&self, id: PathId, path: Arc<P>, seen: u64) {
        self.jobs.push(Box::pin(async move {
            Report::Status(id, path.changed(seen).await)
        }));
    }

    fn watch_info(&self, id: PathId, path: Arc<P>, seen: Generation) {
        self.jobs.push(Box::pin(async move {
            Report::Info(id, path.info_changed(seen).await)
        }));
    }

    fn watch_access(&self, id: PathId, path: Arc<P>, seen: u64) {
        self.jobs.push(Box::pin(async move {
            Report::AccessChanged(id, path.access_changed(seen).await)
        }));
    }

    fn watch_registrations(&self, id: PathId, path: Arc<P>, seen: u64) {
        self.jobs.push(Box::pin(async move {
            Report::RegistrationsEnded(id, path.registrations_ended(seen).await)
        }));
    }

    /// Begins a verification, after which an earlier one does not count any more.
    fn verify(&self, id: PathId, delay: Duration) {
        let begun = self.shared.look(|state| {
            let member = state.member_mut(id)?;
            member.verifying = true;
            member.verification += 1;
            Some((Arc::clone(&member.path), member.verification))
        });
        let Some((path, number)) = begun else { return };
        let shared = Arc::clone(&self.shared);
        let (keys, planted) = (self.keys(), self.shared.planted);
        self.jobs.push(Box::pin(async move {
            sleep(&*shared.runtime, delay).await;
            let result = keys::verify(&*path, keys, planted).await;
            let attended = match result {
                Ok((IdentityCheck::Verified, _)) => reserve::attend(&shared, id, number).await,
                _ => None,
            };
            Report::Verified(id, number, result, attended)
        }));
    }

    fn apply(&mut self, report: Report<P>) {
        match report {
            Report::Probed(path, report) => {
                self.act(|s, now| s.core.handle_probe(now, path, report))
            }
            Report::ProbedGroups(path, told) => self.act(|s, now| {
                let (kind, result) = (ProbeKind::Rtpg, ProbeResult::Ready);
                s.core.handle_port_groups(now, path, told.as_ref().ok());
                let report = told.err().unwrap_or(ProbeReport { kind, result });
                s.core.handle_probe(now, path, report);
                info::update(s, now, Size::ByItself);
            }),
            Report::PortGroups(path, groups) => self.act(|s, now| {
                s.core.handle_port_groups(now, path, groups.as_ref());
                info::update(s, now, Size::ByItself);
            }),
            Report::Activated(path, accepted) => {
                self.act(|s, now| s.core.handle_activated(now, path, accepted));
            }
            Report::AccessChanged(id, Some(seen)) => {
                self.act(|s, now| s.core.handle_access_changed(now, id));
                if let Some(path) = self.path(id) {
                    self.watch_access(id, path, seen);
                }
            }
            Report::AccessChanged(_, None) => {}
            Report::Ended(attempt, outcome, lost) => self.act(|s, now| {
                s.core.handle_outcome(now, attempt, outcome);
                if lost {
                    s.core.handle_registrations_lost();
                }
            }),
            Report::Fenced(step, dead, done) => {
                self.act(|state, now| {
                    dead.into_iter().for_each(|dead| state.tell_nexus(dead));
                    state.core.handle_fence_step(now, step, done);
                });
            }
            Report::Preempted(order, result) => self.act(|state, now| {
                state.tell_nexus(order.dead);
                state.core.handle_preempted(now, order.step, result);
            }),
            Report::Status(path, status) => self.status(path, status),
            Report::Verified(path, number, result, attended) => {
                if let Some(attended) = &attended {
                    self.act(|state, now| state.end_attending(now, path, attended));
                }
                self.verified(path, number, result, attended);
            }
            Report::RegistrationsEnded(id, Some(seen)) => {
                self.act(|state, now| state.registrations_ended(now, id, seen));
                if let Some(path) = self.path(id) {
                    self.watch_registrations(id, path, seen);
                }
            }
            Report::RegistrationsEnded(_, None) | Report::Called => {}
            Report::Info(id, result) => {
                let path = self.path(id);
                if let (Some(path), Ok(info)) = (path, result) {
                    self.act(|state, now| info::update(state, now, Size::ByItself));
                    self.watch_info(id, path, info.generation);
                }
            }
            Report::Closed(path) => drop(self.act(|state, now| {
                state.core.handle_path_down(now, path, DownReason::Removed);
                state.forget(now, path)
            })),
            Report::Opened(opening, Ok(candidate)) => {
                let name = Arc::clone(&opening.name);
                let joined = self.act(|state, now| {
                    let joined = state.join(now, candidate);
                    joined.map(|id| state.note_spare(id))
                });
                if let Err(error) = joined {
                    self.missing(&name, Some(error.to_string()));
                    self.start(Job::Open(opening));
                } else {
                    self.missing(&name, None);
                    self.act(|state, now| state.notice_all_open(now));
                }
            }
            Report::Opened(opening, Err(error)) => {
                self.missing(&opening.name, Some(format!("{error:#}")));
                self.start(Job::Open(opening));
            }
            Report::SpareOpened(at, opening, until, opened) => {
                self.spare_opened(at, (opening, until), opened);
            }
            Report::SpareStayed(at, id) => self.spare_stayed(at, id),
        }
    }

    fn act<T>(&self, act: impl FnOnce(&mut State<P>, Instant) -> T) -> T {
        self.shared.act(act)
    }

    fn missing(&self, name: &Arc<str>, reason: Option<String>) {
        self.shared.look(|state| {
            state.missing.retain(|(other, _)| other != name);
            state
                .missing
                .extend(reason.map(|reason| (Arc::clone(name), reason)));
        });
    }

    fn status(&mut self, id: PathId, status: PathStatus) {
        let verify = self.act(|state, now| {
            let member = state.member_mut(id)?;
            member.generation = status.generation;
            let path = Arc::clone(&member.path);
            let up = status.link == PathLink::Up;
            let newly_up = up && (!member.up || status.was_lost);
            let lost = member.up && status.was_lost && up;
            member.up = up;
            if newly_up || !up {
                member.verified = false;
                member.verifying = false;
                member.verification += 1;
                member.key_failures = 0;
            }
            // Other events than a loss leave a verification as it is, unless it was ended by one
            // that had not been told here.
            let verify = up && !member.verified && !member.verifying;
            if !up {
                state.lost_connection(id);
            }
            match status.link {
                PathLink::Up if lost => {
                    state
                        .core
                        .handle_path_down(now, id, DownReason::ConnectionLost);
                }
                PathLink::Up => {}
                PathLink::Down(reason) => state.core.handle_path_down(now, id, reason),
                PathLink::Closed => {
                    state.core.handle_path_down(now, id, DownReason::Removed);
                    return None;
                }
            }
            Some((path, verify))
        });
        self.carriers(id, status);
        self.spare_of(id, &status);
        if let Some((path, verify)) = verify {
            self.watch(id, path, status.generation);
            if verify {
                self.verify(id, Duration::ZERO);
            }
        }
    }

    fn verified(
        &mut self,
        id: PathId,
        number: u64,
        result: Result<Verified, Error>,
        attended: Option<Attended>,
    ) {
        let again = self.act(|state, now| {
            // One that was overtaken by a loss was about another connection.
            let member = state.member_mut(id).filter(|m| m.verification == number)?;
            member.verifying = false;
            if member.path.status().generation != member.generation {
                // Something has happened that was not told here yet, perhaps a loss. Its status is on
                // the way, and begins a verification if there still has to be one.
                member.verified = false;
                return None;
            }
            let (identity, registered) = match result {
                Ok(verified) => verified,
                Err(error) => {
                    state.not_attended(now, id, Err(error));
                    return Some(VERIFY_PAUSE);
                }
            };
            member.verified = identity == IdentityCheck::Verified;
            let mut again = (!member.verified).then_some(MISMATCH_PAUSE);
            let failures = &mut member.key_failures;
            let registered = registered.map(|result| keys::registered(result, failures));
            state.tell_nexus(id);
            match registered {
                Some(Some(registered)) => state.core.handle_registered(now, id, registered),
                Some(None) => {
                    state.core.handle_unregistered(id);
                    again = Some(VERIFY_PAUSE);
                }
                None => {}
            }
            state.not_attended(now, id, Ok(identity));
            if let Some(attended) = attended {
                again = state.attended(now, id, attended).or(again);
            }
            state.core.handle_path_up(now, id, identity);
            info::update(state, now, Size::ByItself);
            again
        });
        if let Some(pause) = again {
            self.verify(id, pause);
        }
    }

    /// Tells the core how late it is, if it wants to know.
    fn tick(&self) {
        let now = self.shared.runtime.now();
        let due = self
            .shared
            .look(|state| state.core.poll_timeout().is_some_and(|due| due <= now));
        if !due {
            return;
        }
        // Outside the lock: each asks its session, which has a lock of its own.
        let heard: Vec<_> = self
            .paths()
            .into_iter()
            .map(|(id, path)| (id, path.last_receive()))
            .collect();
        self.act(|state, now| {
            for (id, at) in heard {
                state.core.handle_activity(now, id, at.min(now));
            }
            state.core.handle_timeout(now);
        });
    }

    /// Takes the new jobs, or leaves the waker. Ready at the end.
    fn take_jobs(&mut self, cx: &Context<'_>) -> Option<Vec<Job<P>>> {
        self.shared.look(|state| {
            let jobs = mem::take(&mut state.jobs);
            if jobs.is_empty() {
                state.driver = Some(cx.waker().clone());
                state.armed = state.core.poll_timeout();
                if state.is_finished() {
                    return None;
                }
            }
            Some(jobs)
        })
    }

    /// Whether the time for `due` has come; otherwise the task is woken then.
    fn poll_timer(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> bool {
        let Some(due) = due else { return false };
        if due <= self.shared.runtime.now() {
            return true;
        }
        if self.armed != Some(due) {
            self.timer.as_mut().reset(due);
            self.armed = Some(due);
        }
        let fired = self.timer.as_mut().poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }

    fn end(&mut self) {
        // Dropped without the lock, as in `forget`.
        let let_go = self.act(|state, now| {
            state.core.close(now);
            state.missing.clear();
            state.ended = true;
            state.news = true;
            (mem::take(&mut state.members), mem::take(&mut state.jobs))
        });
        drop(let_go);
    }
}

impl<P: Path> Future for MultipathDriver<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..MAX_ROUNDS {
            while let Poll::Ready(Some(report)) = this.jobs.poll_next_unpin(cx) {
                this.apply(report);
            }
            this.tick();
            let Some(jobs) = this.take_jobs(cx) else {
                this.end();
                return Poll::Ready(());
            };
            if !jobs.is_empty() {
                jobs.into_iter().for_each(|job| this.start(job));
                continue;
            }
            let due = this.shared.look(|state| state.armed);
            if !this.poll_timer(cx, due) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<P: Path> Drop for MultipathDriver<P> {
    fn drop(&mut self) {
        if !self.shared.look(|state| state.ended) {
            self.end();
        }
    }
}

impl<P: Path> fmt::Debug for MultipathDriver<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultipathDriver({} jobs)", self.jobs.len())
    }
}

impl<P: Path> State<P> {
    /// Closed, and nothing is left to be done.
    fn is_finished(&self) -> bool {
        self.core.is_closing()
            && self.core.unfinished() == 0
            && self.members.iter().all(Option::is_none)
    }

    /// The path is gone from the core as well.
    #[must_use = "to be dropped without the lock: dropping a session wakes its driver"]
    fn forget(&mut self, now: Instant, path: PathId) -> Option<Member<P>> {
        let slot = self.members.get_mut(path.index())?;
        let member = slot.take_if(|member| member.id == path);
        info::update(self, now, Size::ByItself);
        member
    }

    pub(super) fn insert(&mut self, member: Member<P>) {
        let index = member.id.index();
        if index >= self.members.len() {
            self.members.resize_with(index + 1, || None);
        }
        self.members[index] = Some(member);
    }
}

/// Reinstates the nexus of a lost path through another one, unless the lost one gets there first: then its
/// own login has done it, and another one would end its session.
async fn reinstate<P: Path>(dead: &P, via: &P) -> bool {
    let back = pin!(async {
        let mut status = dead.status();
        while matches!(status.link, PathLink::Down(_)) {
            status = dead.changed(status.generation).await;
        }
    });
    // Looked at first, so that nothing is begun for a path that is back already.
    match select(back, pin!(via.reinstate(dead))).await {
        Either::Left(_) => false,
        Either::Right((result, _)) => result.is_ok(),
    }
}
