//! What an inventory works with, and its scans. The steps are in the files beside this one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::FuturesUnordered;
use iscsi_client::{
    discovery::Discovery,
    error::{Error, LoginError},
    initiator::{Initiator, SessionTarget},
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::Session,
};
use iscsi_proto::{name::IscsiName, portal::Portal, scsi::Lun};

use super::{
    event::InventoryEventKind,
    ids::{RouteId, SourceId},
    job::{Job, Report},
    left_out::LeftOut,
    limits::Limit,
    plan::Plan,
    route::{Endpoint, Seat},
    shared::Shared,
    slots::Slots,
    snapshot::{RouteSnapshot, UnitState},
};
use crate::{
    backoff::{Backoff, sleep},
    core::PathId,
    device::MultipathDevice,
    rule::Route,
};

/// The longest pause between two scans while a device has no path.
const LONGEST_STRANDED: Duration = Duration::from_secs(10);

/// Works on reports and owns everything; driven by [`InventoryDriver`](super::InventoryDriver).
pub(super) struct Keeper {
    pub(super) plan: Plan,
    pub(super) initiator: Initiator,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: FuturesUnordered<Job>,
    pub(super) sources: Vec<Source>,
    pub(super) known: BTreeMap<Endpoint, Known>,
    pub(super) routes: BTreeMap<RouteId, RouteEntry>,
    /// By portal and local end.
    pub(super) index: BTreeMap<(Endpoint, Seat), RouteId>,
    /// Local ends from which a portal is not used, as was told.
    pub(super) filtered: BTreeSet<(Endpoint, usize)>,
    pub(super) slots: Slots,
    pub(super) disks: BTreeMap<Arc<str>, Disk>,
    /// Paths that the program has removed, by portal, local end and number: a route may begin anew meanwhile. With the
    /// name of the device: another unit of that number is another path.
    pub(super) removed: BTreeMap<(Endpoint, Seat, Lun), Arc<str>>,
    /// Devices that the program has closed.
    pub(super) closed: BTreeSet<Arc<str>>,
    /// For routes, devices and pauses.
    pub(super) last_number: u64,
    /// What has happened and is not yet told.
    pub(super) news: Vec<(Instant, InventoryEventKind)>,
    /// Something that the handles see has changed.
    pub(super) dirty: bool,
    /// The scan under way.
    scan: Option<u64>,
    /// The program has asked for it.
    pub(super) reopens: bool,
    scans: u64,
    /// When the next one is due.
    pub(super) next_scan: Option<Instant>,
    /// A clock runs for this scan, or still for one before it.
    is_timed: bool,
    /// Between scans while there is a device without a path.
    stranded_scans: Backoff,
    /// Devices that were closed while writes of theirs might land.
    pub(super) haunted: BTreeSet<Arc<str>>,
    /// What was left out since the last scan began, and how many were told of after it.
    pub(super) left_out: LeftOut,
    told_left_out: BTreeMap<Limit, usize>,
    /// Local ends from which nothing is reached, as was told.
    unreachable: BTreeSet<usize>,
}

/// A portal that is asked for targets.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) discovery: Discovery,
    pub(super) asking: bool,
    /// It is to be asked once more, since the question under way may be too old.
    pub(super) again: bool,
    /// The scan waits for it.
    pub(super) in_scan: bool,
    pub(super) backoff: Backoff,
    /// The number of the pause that it is in.
    pub(super) pause: u64,
    pub(super) targets: Option<usize>,
    pub(super) error: Option<LoginError>,
    /// What it told last.
    pub(super) listed: BTreeSet<Endpoint>,
}

/// A portal of a target that somebody told of, or the configuration.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) portal: Portal,
    pub(super) listed_by: BTreeSet<SourceId>,
    /// It is in the configuration.
    pub(super) fixed: bool,
    /// A filter keeps it out.
    pub(super) rejected: bool,
}

impl Known {
    pub(super) fn is_gone(&self) -> bool {
        !self.fixed && self.listed_by.is_empty()
    }
}

/// Where the session of a route stands.
#[derive(Debug)]
pub(super) enum Link {
    LoggingIn,
    /// Until the next login; why the last one failed, if there was one.
    Waiting(Option<LoginError>),
    Open {
        session: Session,
        up: bool,
    },
}

/// A route, its session and the units behind it.
#[derive(Debug)]
pub(super) struct RouteEntry {
    pub(super) route: Arc<Route>,
    pub(super) end: Endpoint,
    pub(super) seat: Seat,
    pub(super) to: SessionTarget,
    pub(super) link: Link,
    pub(super) backoff: Backoff,
    pub(super) pause: u64,
    /// The failure that was told last, so that it is not told at each attempt.
    pub(super) told: Option<String>,
    pub(super) in_scan: bool,
    pub(super) listing: bool,
    /// The list is to be asked for once more.
    pub(super) again: bool,
    pub(super) listed_at: Option<Instant>,
    pub(super) list_error: Option<Error>,
    pub(super) units: BTreeMap<Lun, Unit>,
    /// Units to be looked at.
    pub(super) todo: VecDeque<Lun>,
    pub(super) active: usize,
    /// As the handles see it, if nothing has changed since.
    pub(super) shown: Option<Arc<RouteSnapshot>>,
}

/// A unit behind a route.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) state: UnitState,
    /// Of a path.
    pub(super) handle: Option<LogicalUnit>,
    /// It was in the last list.
    pub(super) listed: bool,
    /// It is among those to be looked at, or is being looked at.
    pub(super) queued: bool,
    /// It was a path, and the program has removed that.
    pub(super) removed: bool,
}

impl Unit {
    pub(super) fn path(&self) -> Option<(Arc<str>, PathId)> {
        match &self.state {
            UnitState::Path { wwid, path } => Some((Arc::clone(wwid), *path)),
            _ => None,
        }
    }
}

/// A device.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) device: MultipathDevice,
    /// Tells it from a later one of its name.
    pub(super) number: u64,
    pub(super) paths: usize,
    /// That of its first path.
    pub(super) target: IscsiName,
    /// The number of the time for which it has been without a path.
    pub(super) stranding: u64,
}

impl Keeper {
    pub(super) fn new(plan: Plan, initiator: Initiator, shared: Arc<Shared>) -> Self {
        let sources = plan.sources().into_iter().map(|discovery| Source {
            discovery,
            asking: false,
            again: false,
            in_scan: false,
            backoff: Backoff::default(),
            pause: 0,
            targets: None,
            error: None,
            listed: BTreeSet::new(),
        });
        Self {
            sources: sources.collect(),
            plan,
            initiator,
            shared,
            jobs: FuturesUnordered::new(),
            known: BTreeMap::new(),
            routes: BTreeMap::new(),
            index: BTreeMap::new(),
            filtered: BTreeSet::new(),
            slots: Slots::default(),
            disks: BTreeMap::new(),
            removed: BTreeMap::new(),
            closed: BTreeSet::new(),
            last_number: 0,
            news: Vec::new(),
            dirty: true,
            scan: None,
            reopens: false,
            scans: 0,
            next_scan: None,
            is_timed: false,
            stranded_scans: Backoff::default(),
            haunted: BTreeSet::new(),
            left_out: LeftOut::default(),
            told_left_out: BTreeMap::new(),
            unreachable: BTreeSet::new(),
        }
    }

    pub(super) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(self.initiator.runtime())
    }

    pub(super) fn now(&self) -> Instant {
        self.initiator.runtime().now()
    }

    pub(super) const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn tell(&mut self, kind: InventoryEventKind) {
        let now = self.now();
        self.news.push((now, kind));
        self.dirty = true;
    }

    pub(super) fn apply(&mut self, report: Report) {
        match report {
            Report::Discovered(source, result) => self.discovered(source, result),
            Report::AskAgain(source, pause) => {
                if self.sources[source].pause == pause && !self.sources[source].asking {
                    self.ask(source);
                }
            }
            Report::LoggedIn(route, result) => self.logged_in(route, result),
            Report::LogInAgain(route, pause) => {
                let entry = self.routes.get(&route);
                if entry.is_some_and(|entry| entry.pause == pause && entry.is_waiting()) {
                    self.log_in(route);
                }
            }
            Report::SpareStayed(route) => self.look_after_spare(route),
            Report::Session(route, seen, status) => self.session_changed(route, seen, &status),
            Report::Listed(route, result) => self.listed(route, result),
            Report::Examined(route, lun, result) => self.examined(route, lun, result),
            Report::Checked(route, lun, standing) => self.checked(route, lun, standing),
            Report::Attention(route, lun, seen) => self.attention(route, lun, seen),
            Report::ScanTooLong(number) => self.scan_too_long(number),
            Report::StrandedLong(wwid, stranding) => self.stranded_long(&wwid, stranding),
            Report::Closed => {}
        }
        self.end_scan();
    }

    /// Asks everybody for everything. `by_program`: the program wants it, so that what it has closed is opened
    /// again.
    pub(super) fn begin_scan(&mut self, number: u64, by_program: bool) {
        if by_program {
            self.closed.clear();
            self.removed.clear();
            self.reopens = true;
        }
        self.scan = Some(number);
        self.next_scan = None;
        self.left_out.clear();
        self.time_scan(number);
        if self.scans == 0 {
            let fixed = self.plan.targets.clone();
            let ends = fixed
                .iter()
                .filter_map(|(target, portal)| self.note(target, portal, None));
            // The list ends here, since each step needs all of `self`.
            let ends: BTreeSet<Endpoint> = ends.collect();
            self.open_routes(&ends);
        } else {
            let ends = self.known.keys().cloned().collect();
            self.open_routes(&ends);
        }
        for source in 0..self.sources.len() {
            self.sources[source].in_scan = true;
            match self.sources[source].asking {
                true => self.sources[source].again = true,
                false => self.ask(source),
            }
        }
        let routes: Vec<RouteId> = self.routes.keys().copied().collect();
        for id in routes {
            self.scan_route(id);
        }
        self.end_scan();
    }

    /// One clock at a time, however often scans are asked for.
    fn time_scan(&mut self, number: u64) {
        if std::mem::replace(&mut self.is_timed, true) {
            return;
        }
        let (runtime, time) = (self.runtime(), self.plan.scan_timeout);
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, time).await;
            Report::ScanTooLong(number)
        }));
    }

    /// A target that changes without end, or swallows its commands, must not keep the others from being asked
    /// again, nor those who wait for this scan. What is under way goes on.
    fn scan_too_long(&mut self, number: u64) {
        self.is_timed = false;
        let Some(current) = self.scan else { return };
        if current != number {
            // Somebody has asked for another one meanwhile.
            self.publish(Some(number));
            self.time_scan(current);
            return;
        }
        for source in &mut self.sources {
            source.in_scan = false;
        }
        for entry in self.routes.values_mut() {
            entry.in_scan = false;
        }
    }

    /// When to look again: as configured, and sooner as long as there are devices without a path.
    fn plan_next_scan(&mut self) {
        let Some(interval) = self.plan.rescan else {
            return;
        };
        let is_stranded = self.disks.values().any(|disk| disk.paths == 0);
        let pause = match is_stranded {
            true => {
                let pause = self.stranded_scans.next_delay(&*self.runtime());
                pause.min(LONGEST_STRANDED).min(interval)
            }
            false => {
                self.stranded_scans.reset();
                interval
            }
        };
        self.next_scan = Some(self.now() + pause);
    }

    /// A device has lost its last path: what has brought it back may be seen before it is given up.
    pub(super) fn scan_soon(&mut self) {
        if self.scan.is_none() {
            self.plan_next_scan();
        }
    }

    /// If nothing of the scan is left to be done, it is over.
    fn end_scan(&mut self) {
        let Some(number) = self.scan else { return };
        let sources = self.sources.iter().any(|source| source.in_scan);
        if sources || self.routes.values().any(|entry| entry.in_scan) {
            return;
        }
        self.scan = None;
        self.reopens = false;
        self.scans += 1;
        self.plan_next_scan();
        self.tell_unreachable();
        let limited = self.left_out.counts();
        if limited != self.told_left_out {
            for (limit, left_out) in &limited {
                self.tell(InventoryEventKind::Limited {
                    limit: *limit,
                    left_out: *left_out,
                });
            }
            self.told_left_out = limited;
        }
        let devices = self.disks.len();
        self.tell(InventoryEventKind::Scanned { devices });
        self.publish(Some(number));
    }

    fn tell_unreachable(&mut self) {
        for at in 0..self.plan.binds.len() {
            let bind = self.plan.binds[at].clone();
            let mut sources = self.sources.iter().filter(|s| s.discovery.bind == bind);
            let mut routes = self.routes.values().filter(|entry| entry.seat.bind == at);
            let reached = sources.any(|source| source.error.is_none())
                || routes.any(|entry| matches!(entry.link, Link::Open { up: true, .. }));
            if reached {
                self.unreachable.remove(&at);
            } else if self.unreachable.insert(at) {
                self.tell(InventoryEventKind::BindUnreachable { bind });
            }
        }
    }

    /// Shows the handles what has changed, and that a scan is over.
    pub(super) fn publish(&mut self, scan: Option<u64>) {
        if !std::mem::take(&mut self.dirty) && scan.is_none() {
            return;
        }
        let snapshot = self.snapshot(self.scans);
        let devices = self.disks.iter();
        let devices = devices.map(|(wwid, disk)| (Arc::clone(wwid), disk.device.clone()));
        let devices: BTreeMap<_, _> = devices.collect();
        let news = std::mem::take(&mut self.news);
        let old = self.shared.tell(|board| {
            for (at, kind) in news {
                board.log.push(at, kind);
            }
            board.done = scan.unwrap_or(board.done).max(board.done);
            let old = std::mem::replace(&mut board.devices, devices);
            (old, std::mem::replace(&mut board.snapshot, snapshot))
        });
        // Without the lock: a device may be closed by this.
        drop(old);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("sources", &self.sources.len())
            .field("routes", &self.routes.len())
            .field("disks", &self.disks.len())
            .finish_non_exhaustive()
    }
}
