//! The sessions.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use iscsi_client::{
    error::{Error, LoginError, LoginFailure},
    session::{Session, SessionEventKind, SessionState, SessionStatus},
};
use iscsi_proto::scsi::{AdditionalSenseCode, Lun};

use super::{
    event::{InventoryEventKind as Event, Removal},
    ids::RouteId,
    job::Report,
    keeper::{Keeper, Known, Link, RouteEntry},
    limits::Limit,
    route::{Endpoint, Seat, fits, is_link_local},
};
use crate::{
    backoff::{Backoff, sleep},
    rule::Route,
    spares::Spares,
};

/// Between two lists of one session: a target that says at every command that its list has changed is not
/// asked without end.
const LIST_PAUSE: Duration = Duration::from_secs(1);

/// REPORTED LUNS DATA HAS CHANGED.
const REPORTED_LUNS_CHANGED: AdditionalSenseCode = AdditionalSenseCode(0x3f, 0x0e);

impl Keeper {
    /// Logs in to these portals from every local end, where that is not done yet.
    pub(super) fn open_routes(&mut self, ends: &BTreeSet<Endpoint>) {
        for end in ends {
            let Some(known) = self.known.get(end).filter(|known| !known.rejected) else {
                continue;
            };
            let portal = known.portal.clone();
            let reachable = |at: &usize| self.may_lead(known, *at);
            let binds: Vec<usize> = (0..self.plan.binds.len()).filter(reachable).collect();
            for bind in binds {
                let seat = Seat::at(bind);
                if self.index.contains_key(&(end.clone(), seat)) {
                    continue;
                }
                let local = self.plan.binds[bind].clone();
                let route = Route::new(end.target.clone(), portal.clone(), local);
                if let Err(rejection) = self.plan.filter.route(&route) {
                    if self.filtered.insert((end.clone(), bind)) {
                        self.tell(Event::FilteredOut {
                            route: Arc::new(route),
                            lun: None,
                            rejection,
                        });
                    }
                    continue;
                }
                self.open_route(end, seat, route);
            }
        }
    }

    /// Logs in for the first time, unless there are too many sessions.
    pub(super) fn open_route(&mut self, end: &Endpoint, seat: Seat, route: Route) {
        if self.routes.len() >= self.plan.limits.sessions {
            let limit = Limit::Sessions(self.plan.limits.sessions);
            self.left_out.add(limit, (end, seat));
            return;
        }
        let slot = self.slots.assign(end, &route.bind, route.is_spare);
        let id = self.number();
        let entry = RouteEntry {
            to: self.plan.session_target(&route, slot),
            route: Arc::new(route),
            end: end.clone(),
            seat,
            link: Link::Waiting(None),
            backoff: Backoff::default(),
            pause: 0,
            told: None,
            // Nobody waits for one that is opened at a loss.
            in_scan: !seat.is_spare || self.plan.spares == Spares::Warm,
            listing: false,
            again: false,
            listed_at: None,
            list_error: None,
            units: Default::default(),
            todo: Default::default(),
            active: 0,
            shown: None,
        };
        self.routes.insert(id, entry);
        self.index.insert((end.clone(), seat), id);
        self.log_in(id);
    }

    /// Whether a connection from this local end makes sense. What one of them has learnt is for all, as a
    /// portal that answers on one network may tell of those on the others too; but an address of a link is for
    /// those who learnt of it there.
    fn may_lead(&self, known: &Known, bind: usize) -> bool {
        let local = &self.plan.binds[bind];
        if !fits(local, &known.portal) {
            return false;
        }
        let mut sources = known.listed_by.iter();
        known.fixed
            || !is_link_local(&known.portal)
            || sources.any(|at| self.sources[*at].discovery.bind == *local)
    }

    pub(super) fn log_in(&mut self, id: RouteId) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.link = Link::LoggingIn;
        entry.shown = None;
        self.dirty = true;
        let (initiator, to) = (self.initiator.clone(), entry.to.clone());
        self.jobs.push(Box::pin(async move {
            Report::LoggedIn(id, initiator.session(&to).await)
        }));
    }

    pub(super) fn logged_in(&mut self, id: RouteId, result: Result<Session, LoginError>) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.shown = None;
        self.dirty = true;
        match result {
            Ok(session) => {
                entry.backoff.reset();
                entry.told = None;
                let status = session.status();
                // One that somebody else uses already may be without a connection just now.
                let (seen, up) = (status.generation, matches!(status.state, SessionState::Up));
                entry.in_scan &= up;
                entry.link = Link::Open {
                    session: session.clone(),
                    up,
                };
                let route = Arc::clone(&entry.route);
                self.watch(id, session, seen);
                if up {
                    self.tell(Event::LoggedIn { route });
                    self.list(id);
                }
            }
            Err(error) => self.login_failed(id, error),
        }
    }

    fn login_failed(&mut self, id: RouteId, error: LoginError) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.in_scan = false;
        entry.link = Link::Waiting(Some(error.clone()));
        let text = error.to_string();
        let is_news = entry.told.as_ref() != Some(&text);
        entry.told = Some(text);
        let route = Arc::clone(&entry.route);
        // What is refused for good is tried again by the next scan: somebody may mend the configuration. More
        // often would only fill the target's log, and lock accounts.
        let again = error.is_transient() && !matches!(error.failure(), LoginFailure::Closed);
        if is_news {
            self.tell(Event::LoginFailed { route, error });
        }
        if !self.remove_if_useless(id) && again {
            self.log_in_later(id);
        }
    }

    fn log_in_later(&mut self, id: RouteId) {
        let number = self.number();
        let runtime = self.runtime();
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        let delay = entry.backoff.next_delay(&*runtime);
        entry.pause = number;
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, delay).await;
            Report::LogInAgain(id, number)
        }));
    }

    fn watch(&self, id: RouteId, session: Session, seen: u64) {
        self.jobs.push(Box::pin(async move {
            Report::Session(id, seen, session.changed(seen).await)
        }));
    }

    pub(super) fn session_changed(&mut self, id: RouteId, seen: u64, status: &SessionStatus) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        let Link::Open { session, up } = &mut entry.link else {
            return;
        };
        let events = session.events(seen);
        // Some that are not kept any more may have been about the list.
        let mut list = events.first().is_none_or(|event| event.number != seen + 1);
        let mut news = Vec::new();
        let mut has_to_wait = false;
        for event in &events {
            let route = Arc::clone(&entry.route);
            match &event.kind {
                SessionEventKind::Up { .. } => {
                    list = true;
                    has_to_wait = false;
                    news.push(Event::LoggedIn { route });
                }
                SessionEventKind::Down {
                    reason, time2wait, ..
                } => {
                    has_to_wait = !time2wait.is_zero();
                    let reason = reason.clone();
                    // One for each loss, and not for each login that fails after it.
                    if std::mem::take(up) {
                        news.push(Event::SessionDown { route, reason });
                    }
                }
                SessionEventKind::Async { sense, .. } => {
                    let code = sense.as_ref().map(|sense| sense.code());
                    list |= code == Some(REPORTED_LUNS_CHANGED);
                }
                _ => {}
            }
            *up = matches!(event.kind, SessionEventKind::Up { .. })
                || *up && !matches!(event.kind, SessionEventKind::Down { .. });
        }
        let seen = events
            .last()
            .map_or(status.generation, |event| event.number);
        let session = session.clone();
        let is_up = *up;
        entry.shown = None;
        self.dirty = true;
        news.into_iter().for_each(|event| self.tell(event));
        if matches!(session.state(), SessionState::Closed) {
            self.session_closed(id);
            return;
        }
        self.watch(id, session, seen);
        if list && is_up {
            self.list(id);
        } else if !is_up && !self.remove_if_useless(id) && has_to_wait {
            self.open_spare_on_demand(id);
        }
    }

    /// Nothing brings a closed session back; there will be another one. The route begins anew, so that nothing
    /// of what is still under way is taken for a part of it.
    fn session_closed(&mut self, id: RouteId) {
        self.take_paths(id, Removal::SessionClosed);
        let Some(entry) = self.routes.remove(&id) else {
            return;
        };
        let id = self.number();
        let seat = entry.seat;
        self.index.insert((entry.end.clone(), seat), id);
        let entry = RouteEntry {
            link: Link::Waiting(None),
            in_scan: false,
            listing: false,
            again: false,
            list_error: None,
            units: Default::default(),
            todo: Default::default(),
            active: 0,
            shown: None,
            ..entry
        };
        self.routes.insert(id, entry);
        if !self.remove_if_useless(id) {
            self.log_in_later(id);
            self.go_on_looking_after(id, seat);
        }
    }

    /// The part of a scan that is about one route.
    pub(super) fn scan_route(&mut self, id: RouteId) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.in_scan = true;
        match entry.link {
            Link::LoggingIn => {}
            Link::Waiting(_) => self.log_in(id),
            Link::Open { up: true, .. } => self.list(id),
            Link::Open { up: false, .. } => self.settle(id),
        }
    }

    /// Asks for the list of logical units, or once more if that is being done.
    pub(super) fn list(&mut self, id: RouteId) {
        let (now, runtime) = (self.now(), self.runtime());
        let timeout = self.plan.unit.open_timeout;
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        if entry.listing {
            entry.again = true;
            return;
        }
        let Link::Open { session, .. } = &entry.link else {
            return;
        };
        let session = session.clone();
        entry.listing = true;
        let due = entry.listed_at.map(|at| at + LIST_PAUSE);
        let pause = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, pause).await;
            Report::Listed(id, session.report_luns(Some(timeout)).await)
        }));
    }

    pub(super) fn listed(&mut self, id: RouteId, result: Result<Vec<Lun>, Error>) {
        let now = self.now();
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.listing = false;
        entry.listed_at = Some(now);
        entry.shown = None;
        let again = std::mem::take(&mut entry.again);
        match result {
            Ok(luns) => {
                entry.list_error = None;
                self.take_list(id, luns);
                self.open_warm_spare(id);
            }
            Err(error) => {
                let before = entry.list_error.replace(error.clone());
                let is_news = before.is_none_or(|before| before.to_string() != error.to_string());
                let route = Arc::clone(&entry.route);
                if is_news {
                    self.tell(Event::ListFailed { route, error });
                }
            }
        }
        if again {
            self.list(id);
        }
        self.settle(id);
    }

    /// What the scan waits for of a route may be done.
    pub(super) fn settle(&mut self, id: RouteId) {
        if let Some(entry) = self.routes.get_mut(&id) {
            let idle = !entry.listing && entry.todo.is_empty() && entry.active == 0;
            entry.in_scan &= !idle || matches!(entry.link, Link::LoggingIn);
        }
    }

    /// Removes a route that nobody tells of and that has no connection. A session that works is never ended
    /// because of a list: some targets do not name a portal while it is moved, and I/O may still go there.
    pub(super) fn remove_if_useless(&mut self, id: RouteId) -> bool {
        let Some(entry) = self.routes.get(&id) else {
            return true;
        };
        let is_gone = self.known.get(&entry.end).is_none_or(Known::is_gone);
        if !is_gone || matches!(entry.link, Link::Open { up: true, .. } | Link::LoggingIn) {
            return false;
        }
        self.take_paths(id, Removal::PortalGone);
        self.remove_route(id);
        true
    }

    /// Removes a route without paths. Its session logs out, unless somebody else uses it: to drop it would leave it to
    /// whoever watches it.
    pub(super) fn remove_route(&mut self, id: RouteId) {
        let Some(entry) = self.routes.remove(&id) else {
            return;
        };
        if let Link::Open { session, .. } = &entry.link {
            let session = session.clone();
            self.jobs.push(Box::pin(async move {
                session.close().await;
                Report::Closed
            }));
        }
        self.index.remove(&(entry.end.clone(), entry.seat));
        self.slots
            .release(&entry.end, &entry.route.bind, entry.route.is_spare);
        self.forget(&entry.end);
    }
}

impl RouteEntry {
    /// What is remembered of a unit by, whatever becomes of the route.
    pub(super) fn key(&self, lun: Lun) -> (Endpoint, Seat, Lun) {
        (self.end.clone(), self.seat, lun)
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.link, Link::Waiting(_))
    }
}
