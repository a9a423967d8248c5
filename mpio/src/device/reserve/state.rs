//! What the device wants of its paths, and how far they are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_client::error::{Error, ErrorKind};
use iscsi_proto::{
    planted::Bug,
    scsi::{ReservationKey, ReservationType},
};

use super::{
    PathRegistration, RegistrationOutcome, Registrations,
    attend::{self, Found, Task, WITNESSES, Witness},
    book::{Book, Wish},
    is_of_one_nexus,
};
use crate::{
    core::{Event, IdentityCheck, PathId, PathKeys, Registration},
    device::{
        job::Job,
        shared::{Shared, State},
    },
    path::Path,
};

/// Between two looks at a path whose writes conflict.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);
/// Before a registration that has failed is tried again: the first time, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What came of a path.
#[derive(Debug)]
pub(crate) struct Attended {
    round: u64,
    /// What the unit has told was known.
    told: bool,
    found: Result<Found, Error>,
}

/// A path that is registered.
#[derive(Debug)]
pub(super) struct Registrant<P> {
    pub(super) id: PathId,
    pub(super) path: Arc<P>,
    pub(super) key: u64,
}

enum Turn<T> {
    Wait,
    Never,
    Now(T),
}

/// Brings a path whose identity is known to what is wanted of it. After it [`State::attended`] has to be told.
pub(crate) async fn attend<P: Path>(
    shared: &Shared<P>,
    id: PathId,
    number: u64,
) -> Option<Attended> {
    let task = loop {
        match shared.look(|state| state.begin_attending(id, number)) {
            Turn::Now(task) => break task,
            Turn::Never => return None,
            Turn::Wait => {
                shared
                    .until(|state| (!state.is_attended_to(id)).then_some(()))
                    .await
            }
        }
    };
    let found = attend::attend(&task, turn(shared, id, number, task.round)).await;
    Some(Attended {
        round: task.round,
        told: task.told,
        found,
    })
}

/// Until the path is the only one that is registered again; who else is registered then.
async fn turn<P: Path>(
    shared: &Shared<P>,
    id: PathId,
    number: u64,
    round: u64,
) -> Option<Vec<Witness<P>>> {
    shared.act(|state, now| state.core.await_key(now, id));
    loop {
        match shared.look(|state| state.take_turn(id, number, round)) {
            Turn::Now(witnesses) => return Some(witnesses),
            Turn::Never => return None,
            Turn::Wait => {
                let is_free = |state: &State<P>| state.reserve.restoring.is_none().then_some(());
                shared.until(is_free).await;
            }
        }
    }
}

impl<P: Path> State<P> {
    /// Whether a path is to be registered before it is used.
    pub(crate) const fn wants_keys(&self) -> bool {
        matches!(self.reserve.wish, Wish::Keys(_))
    }

    /// Whether an attention that tells of the end of registrations is nothing to callers: it was the device's own
    /// doing. Where a reservation stands, the repetition is told.
    pub(crate) const fn ended_registrations(&self) -> bool {
        matches!(self.reserve.wish, Wish::Gone)
    }

    /// Whether a path has no key, or is not known to have one, while the device is registered.
    pub(crate) fn is_without_key(&self, id: PathId) -> bool {
        let registered = self.core.registration() == Registration::Registered;
        registered && self.wants_keys() && self.core.awaits_key(id)
    }

    /// Whether any path is being attended to.
    pub(super) fn attends(&self) -> bool {
        self.members.iter().flatten().any(|member| member.book.busy)
    }

    fn is_attended_to(&self, id: PathId) -> bool {
        self.reserve.moving || self.member(id).is_some_and(|member| member.book.busy)
    }

    fn begin_attending(&mut self, id: PathId, number: u64) -> Turn<Task<P>> {
        let Some(member) = self.member(id).filter(|m| m.verification == number) else {
            return Turn::Never;
        };
        let wish = self.reserve.wish;
        let key = self.core.registered_key(id);
        // One that was to be registered is barred still.
        let is_idle = key.is_none() && !member.book.asked && !self.core.awaits_key(id);
        if wish == Wish::Nothing || wish == Wish::Gone && is_idle {
            return Turn::Never;
        }
        if self.is_attended_to(id) {
            return Turn::Wait;
        }
        let planted = self.core.config().planted;
        let asked = member.book.asked;
        let is_by_itself = !asked && self.wants_keys();
        if is_by_itself && planted.has(Bug::UsedBeforeRegistered) {
            return Turn::Never;
        }
        let wish = match key {
            Some(key) if is_by_itself && planted.has(Bug::OldKeyKept) => {
                Wish::Keys(ReservationKey(key).into())
            }
            _ => wish,
        };
        let path = Arc::clone(&member.path);
        let (told, seen) = (member.book.told, member.book.seen);
        if let Wish::Keys(keys) = wish {
            let members = self.members.iter().flatten();
            let in_use = members.filter_map(|member| self.core.registered_key(member.id));
            let in_use: Vec<_> = in_use.map(ReservationKey).collect();
            self.reserve.note_keys(keys, &in_use);
        }
        let task = Task {
            path,
            round: self.reserve.round,
            wish,
            known: self.reserve.known(),
            current: self.reserve.current(),
            key,
            asked: asked || planted.has(Bug::PreemptedComesBack),
            told,
            seen,
        };
        if let Some(member) = self.member_mut(id) {
            member.book.busy = true;
        }
        Turn::Now(task)
    }

    /// A path that is found without its registration waits for this itself, and proves nothing of others.
    fn take_turn(&mut self, id: PathId, number: u64, round: u64) -> Turn<Vec<Witness<P>>> {
        let member = self.member(id).filter(|m| m.verification == number && m.up);
        if self.reserve.round != round || member.is_none() || self.core.is_leaving(id) {
            return Turn::Never;
        }
        if self.reserve.restoring.is_some() {
            return Turn::Wait;
        }
        self.reserve.restoring = Some(id);
        let others = self.registrants(None).into_iter();
        let others = others.filter(|other| other.id != id && !self.core.awaits_key(other.id));
        let witnesses = others.take(WITNESSES).map(|other| Witness {
            id: other.id,
            path: other.path,
            key: other.key,
        });
        Turn::Now(witnesses.collect())
    }

    /// It is not being attended to any more.
    pub(crate) fn end_attending(&mut self, now: Instant, id: PathId, attended: &Attended) {
        // It was registered while that was being undone: whatever else becomes of this, that is taken back.
        if let (Wish::Gone, Ok(Found::Registered(key))) = (self.reserve.wish, &attended.found) {
            self.core.set_key(now, id, Some(*key));
        }
        if let Some(member) = self.member_mut(id) {
            member.book.busy = false;
        }
        if self.reserve.restoring == Some(id) {
            self.reserve.restoring = None;
        }
        self.news = true;
    }

    /// Draws the consequences. With a time, it is to be attended to again after that.
    pub(crate) fn attended(
        &mut self,
        now: Instant,
        id: PathId,
        attended: Attended,
    ) -> Option<Duration> {
        if attended.round != self.reserve.round {
            // Something else is wanted by now. Until that is done it is not to be used.
            if self.wants_keys() && !self.core.is_connected(id) {
                self.core.hold_without_key(now, id);
            }
            return Some(Duration::ZERO);
        }
        if let Some(member) = self.member_mut(id).filter(|_| attended.told) {
            member.book.told = false;
        }
        match attended.found {
            Ok(Found::Registered(key)) => {
                let had = self.core.registered_key(id) == Some(key);
                self.core.set_key(now, id, Some(key));
                let key = ReservationKey(key);
                let failed = self.settle_book(id, PathRegistration::Registered(key));
                if !had || failed {
                    self.tell(now, Event::PathRegistered { path: id });
                }
                None
            }
            Ok(Found::Unregistered) => {
                self.core.set_key(now, id, None);
                self.settle_book(id, PathRegistration::Unregistered);
                self.forget_if_gone();
                None
            }
            Ok(Found::Lost) if self.core.registration() == Registration::Registered => {
                self.lose(now, id);
                None
            }
            Ok(Found::Lost) => {
                let error = Error::not_executed(ErrorKind::ReservationConflict);
                Some(self.not_registered(now, id, error))
            }
            Ok(Found::Doubt(witness)) => {
                self.doubt(now, witness, false);
                let error = Error::not_executed(ErrorKind::ReservationConflict);
                Some(self.not_registered(now, id, error))
            }
            Err(error) => Some(self.not_registered(now, id, error)),
        }
    }

    /// True if it had failed before.
    fn settle_book(&mut self, id: PathId, outcome: PathRegistration) -> bool {
        let round = self.reserve.round;
        let Some(member) = self.member_mut(id) else {
            return false;
        };
        let book = &mut member.book;
        let failed = book.failures > 0;
        *book = Book {
            round,
            outcome: Some(outcome),
            told: book.told,
            seen: book.seen,
            doubted: book.doubted,
            ..Book::default()
        };
        self.news = true;
        failed
    }

    fn not_registered(&mut self, now: Instant, id: PathId, error: Error) -> Duration {
        let (wanted, round) = (self.wants_keys(), self.reserve.round);
        // Its port group takes no I/O either, and both may change together.
        let no_access = error.sense().is_some_and(|s| s.code().is_without_access());
        let first = self.core.registered_key(id).is_none() || !self.core.is_connected(id);
        let first = first || self.core.awaits_key(id);
        // What it was registered with before the device lost that or gave it up proves nothing.
        let first = first || self.core.registration() != Registration::Registered;
        let Some(member) = self.member_mut(id) else {
            return RETRY;
        };
        let book = &mut member.book;
        book.round = round;
        book.outcome = Some(PathRegistration::Failed(error));
        book.asked = false;
        book.failures = book.failures.saturating_add(1);
        let failures = book.failures;
        self.news = true;
        if wanted && first {
            self.core.hold_without_key(now, id);
            if failures == 1 {
                self.tell(now, Event::PathNotRegistered { path: id });
            }
        } else if wanted && no_access {
            // I/O waits for the state to change anyway; by then its registration may be another one.
            self.core.await_key(now, id);
        }
        // Else it is in use and registered, as far as is known, and goes on.
        if no_access {
            return RETRY;
        }
        let factor = 1_u32 << (failures - 1).min(5);
        RETRY.saturating_mul(factor).min(RETRY_MAX)
    }

    /// Its identity could not be read, or it is another unit: nothing comes of it for now.
    pub(crate) fn not_attended(
        &mut self,
        now: Instant,
        id: PathId,
        identity: Result<IdentityCheck, Error>,
    ) {
        let round = self.reserve.round;
        let Some(member) = self.member_mut(id).filter(|m| m.book.round != round) else {
            return;
        };
        match identity {
            Ok(IdentityCheck::Verified) => {}
            Ok(_) => {
                let error = Error::not_executed(ErrorKind::WrongUnit);
                member.book.round = round;
                member.book.outcome = Some(PathRegistration::Failed(error));
                self.news = true;
            }
            // It may be in use, and would have conflicts as soon as another path reserves the unit.
            Err(error) => _ = self.not_registered(now, id, error),
        }
    }

    /// The path has no connection: whoever waits for it waits no longer.
    pub(crate) fn lost_connection(&mut self, id: PathId) {
        let round = self.reserve.round;
        if let Some(member) = self.member_mut(id) {
            member.book.asked = false;
            member.book.failures = 0;
            if member.book.round != round {
                member.book.round = round;
                member.book.outcome = Some(PathRegistration::NotConnected);
                self.news = true;
            }
        }
    }

    /// The unit has told that somebody has ended registrations of this nexus, by event number `seen`.
    pub(crate) fn registrations_ended(&mut self, now: Instant, id: PathId, seen: u64) {
        if let Some(member) = self.member_mut(id) {
            member.book.seen = seen;
        }
        self.doubt(now, id, true);
    }

    /// A write of this path conflicts, or the unit has told (`told`) that somebody has ended registrations.
    pub(crate) fn doubt(&mut self, now: Instant, id: PathId, told: bool) {
        if !self.wants_keys() {
            return;
        }
        let Some(member) = self.member_mut(id).filter(|member| member.up) else {
            return;
        };
        let verifying = member.verifying;
        let book = &mut member.book;
        book.told |= told;
        let recent = book.doubted.is_some_and(|at| now < at + DOUBT_PAUSE);
        if told || !(recent || verifying) {
            book.doubted = Some(now);
            self.jobs.push(Job::Register(id));
        }
    }

    /// Somebody has ended the registration, and that is how it is to stay. What is left of it is taken back.
    pub(super) fn lose(&mut self, now: Instant, id: PathId) {
        self.reserve.wish = Wish::Gone;
        self.reserve.round += 1;
        self.tell(now, Event::RegistrationLost { path: id });
        self.core.set_registration(now, Registration::Lost);
        self.holds_nothing(now);
        self.core.set_key(now, id, None);
        // The keys stay known until all is taken back: a path that was away may still be registered by one of them.
        self.let_go(now);
    }

    /// Nothing stands in the way of a path's I/O any more; keys that are left are taken back.
    fn let_go(&mut self, now: Instant) {
        let members = self.members.iter().flatten();
        let members: Vec<_> = members.map(|member| (member.id, member.up)).collect();
        for (id, up) in members {
            let key = self.core.registered_key(id);
            self.core.set_key(now, id, key);
            if up && key.is_some() {
                self.jobs.push(Job::Register(id));
            }
        }
        self.news = true;
    }

    /// From now on something else is wanted of all paths.
    pub(super) fn begin_round(&mut self, wish: Wish) -> u64 {
        self.reserve.wish = wish;
        self.reserve.round += 1;
        let round = self.reserve.round;
        for member in self.members.iter_mut().flatten() {
            member.book.told = false;
            member.book.failures = 0;
            member.book.asked = member.up;
            if member.up {
                self.jobs.push(Job::Register(member.id));
            } else {
                member.book.round = round;
                member.book.outcome = Some(PathRegistration::NotConnected);
            }
        }
        round
    }

    /// What became of each path, once all are done.
    pub(super) fn end_of_round(&self, round: u64) -> Option<Registrations> {
        let is_over = self.reserve.round != round;
        let members = self.members.iter().flatten();
        let paths = members.map(|member| {
            let outcome = member.book.outcome.clone();
            let outcome = outcome.filter(|_| is_over || member.book.round == round);
            let outcome = match (outcome, is_over) {
                (Some(outcome), _) => outcome,
                (None, true) => PathRegistration::Unregistered,
                (None, false) => return None,
            };
            Some(RegistrationOutcome {
                path: member.id,
                name: member.path.name(),
                outcome,
            })
        });
        Some(Registrations {
            paths: paths.collect::<Option<_>>()?,
        })
    }

    /// All paths could be asked, and this is what became of them.
    pub(super) fn close_round(
        &mut self,
        now: Instant,
        before: Wish,
        round: u64,
        result: &Registrations,
    ) -> bool {
        if self.reserve.round != round {
            // It is lost by now.
            return false;
        }
        let any = result.registered() > 0;
        if let (true, Wish::Keys(keys)) = (any, self.reserve.wish) {
            self.reserve.standing = Some(keys);
        }
        if any {
            self.core.set_registration(now, Registration::Registered);
        } else if !matches!(before, Wish::Keys(_)) {
            // As before: not registered. Orders that were lost may have been carried out all the same.
            self.reserve.wish = Wish::Gone;
            self.reserve.round += 1;
            self.let_go(now);
        }
        any
    }

    /// Nobody of this device is registered any more.
    pub(super) fn forget_registrations(&mut self, now: Instant) {
        let members = self.members.iter().flatten();
        for id in members.map(|member| member.id).collect::<Vec<_>>() {
            self.core.set_key(now, id, None);
        }
        self.reserve.wish = Wish::Gone;
        self.reserve.round += 1;
        self.reserve.forget_keys();
        self.end_registration(now);
    }

    /// Once nothing of this device is registered, and nothing is to be: whoever has such a key from then on is somebody
    /// else. (What a path that was removed could not give back is left to whoever preempts it.)
    pub(super) fn forget_if_gone(&mut self) {
        let is_over = |id| self.core.registered_key(id).is_none();
        let mut members = self.members.iter().flatten();
        let is_over =
            members.all(|member| is_over(member.id) && !member.book.asked && !member.book.busy);
        if self.reserve.wish == Wish::Gone && is_over {
            self.reserve.forget_keys();
        }
    }

    /// Our own order has ended the registrations of all other paths: what the unit tells them of that is no news.
    pub(super) fn only_registered(&mut self, now: Instant, via: Option<PathId>) {
        let members = self.members.iter().flatten().map(|member| member.id);
        for id in members.filter(|&id| Some(id) != via).collect::<Vec<_>>() {
            self.core.set_key(now, id, None);
        }
    }

    /// A path whose registration our own order has ended, and could not be made again.
    pub(super) fn attend_again(&mut self, now: Instant, id: PathId) {
        self.core.hold_without_key(now, id);
        self.tell(now, Event::PathNotRegistered { path: id });
        if let Some(member) = self.member_mut(id) {
            member.book.failures = 1;
        }
        self.jobs.push(Job::Register(id));
    }

    /// The paths with this key are not registered any more, and nobody else has wanted it so.
    pub(super) fn was_preempted_by_us(&mut self, now: Instant, key: ReservationKey) {
        let members = self.members.iter().flatten();
        let ids = members.map(|member| member.id);
        let preempted = ids.filter(|&id| self.core.registered_key(id) == Some(key.0));
        for id in preempted.collect::<Vec<_>>() {
            self.core.set_key(now, id, None);
            if self.core.is_connected(id) {
                self.core.hold_without_key(now, id);
                self.jobs.push(Job::Register(id));
            }
        }
    }

    pub(super) fn holds(&mut self, now: Instant, holder: Option<PathId>, kind: ReservationType) {
        let is_known = self.core.reservation() == Some(kind);
        let before = self.reserve.holder.filter(|_| is_known);
        self.reserve.holder = holder;
        self.core.set_reservation(Some(kind));
        // One of this kind is taken while there is one path, so it is that one's.
        let mut members = self.members.iter().flatten().map(|member| member.id);
        let first = members.next().filter(|_| members.next().is_none());
        let sole = holder.or(before).or(first);
        let sole = sole.filter(|_| is_of_one_nexus(kind));
        self.core.set_sole_nexus(now, sole);
    }

    pub(super) fn holds_nothing(&mut self, now: Instant) {
        self.reserve.holder = None;
        self.core.set_reservation(None);
        self.core.set_sole_nexus(now, None);
    }

    pub(super) fn end_registration(&mut self, now: Instant) {
        self.holds_nothing(now);
        self.core.set_registration(now, Registration::None);
        self.tell(now, Event::Unregistered);
    }

    /// Paths through which orders can be given, `first` first, then those that take I/O.
    pub(super) fn registrants(&self, first: Option<PathId>) -> Vec<Registrant<P>> {
        let members = self.members.iter().flatten().filter_map(|member| {
            let key = self.core.registered_key(member.id)?;
            self.core.is_connected(member.id).then(|| Registrant {
                id: member.id,
                path: Arc::clone(&member.path),
                key,
            })
        });
        let mut found: Vec<_> = members.collect();
        found.sort_by_key(|one| (Some(one.id) != first, !self.core.is_usable(one.id)));
        found
    }

    /// Paths through which questions can be asked, those that take I/O first.
    pub(super) fn connected(&self) -> Vec<(PathId, Arc<P>)> {
        let members = self.members.iter().flatten();
        let members = members.filter(|member| self.core.is_connected(member.id));
        let mut found: Vec<_> = members.map(|m| (m.id, Arc::clone(&m.path))).collect();
        found.sort_by_key(|(id, _)| !self.core.is_usable(*id));
        found
    }

    /// Whether the key of a path that is closed is to be taken back. With the device's own keys it stays when the
    /// device is closed, and where it may hold the reservation.
    pub(crate) fn gives_key_back(&self, id: PathId) -> bool {
        let is_ours = self.wants_keys();
        let stays = is_ours && (self.core.is_closing() || self.holds_reservation(id));
        !stays && !self.shares_nexus(id)
    }

    /// Whether the device has a reservation, and it may be this path that holds it.
    pub(crate) fn holds_reservation(&self, id: PathId) -> bool {
        let reserved = self.core.reservation().is_some();
        reserved && self.reserve.holder.is_none_or(|holder| holder == id)
    }

    /// Whether another path has the same nexus: one that was added in the place of this one before it was gone.
    fn shares_nexus(&self, id: PathId) -> bool {
        // Of whatever family: the keys are equal if the nexuses are.
        let (Some(keys), Some(member)) = (PathKeys::new(1, 0), self.member(id)) else {
            return false;
        };
        let nexus = member.path.nexus_key(keys);
        let mut others = self.members.iter().flatten().filter(|one| one.id != id);
        others.any(|other| other.path.nexus_key(keys) == nexus)
    }

    pub(super) fn tell(&mut self, now: Instant, event: Event) {
        self.log.push(now, event);
        self.news = true;
    }
}
