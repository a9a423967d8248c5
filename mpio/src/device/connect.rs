//! A device from local ends, portals and a LUN.

use std::{error::Error as StdError, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt, join_all};
use iscsi_client::{
    bind::Bind,
    error::{Error, LoginError},
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    logical_unit::{LogicalUnit, LogicalUnitOptions},
};
use iscsi_proto::{name::IscsiName, planted::Bug, portal::Portal, scsi::Lun};

use super::{
    JoinError, MultipathDevice, MultipathDriver,
    job::Job,
    join::{Candidate, Opening},
    places::Place,
};
use crate::{
    arrays::ArrayTable,
    core::{Config, FormerLife, PathAttributes, PathKeys},
    path::Path,
    rule::{FoundUnit, Priorities, Route, Rule},
    spares::Spares,
};

/// Why no device came about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no portal to connect to.
    NoPortal,
    /// Not one path could be opened.
    NoPath(Vec<PathFailure>),
    /// The paths that could be opened are not all to one device.
    Join(JoinError),
}

/// Why one path could not be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathFailure {
    /// The path.
    pub path: Arc<str>,
    /// Why. Its source is a [`LoginError`](iscsi_client::error::LoginError) if the login failed.
    pub error: Error,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPortal => f.write_str("no portal is configured: name at least one"),
            Self::NoPath(failures) => {
                f.write_str("no path could be opened")?;
                let mut separator = ": ";
                for failure in failures {
                    write!(f, "{separator}{failure}")?;
                    separator = "; ";
                }
                Ok(())
            }
            Self::Join(error) => error.fmt(f),
        }
    }
}

/// The causes are in the text already.
impl StdError for ConnectError {}

impl fmt::Display for PathFailure {
    /// Path and cause. A login that failed knows better what to do about it than its error's kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self
            .error
            .source()
            .and_then(|e| e.downcast_ref::<LoginError>());
        match login {
            Some(login) => {
                let advice = login.advice().trim_end_matches('.');
                write!(f, "{}: {login} ({advice})", self.path)
            }
            None => write!(f, "{}: {:#}", self.path, self.error),
        }
    }
}

impl From<JoinError> for ConnectError {
    fn from(error: JoinError) -> Self {
        Self::Join(error)
    }
}

/// The session numbers from here on are those of spares, so that a path has the ISID that it has without them.
const SPARES: u16 = 0x4000;

/// Describes a device: one path, or [several](Self::sessions_per_path), for each pair of a local end
/// and a portal.
///
/// ```no_run
/// # async fn f(initiator: iscsi_client::initiator::Initiator) -> Result<(), Box<dyn std::error::Error>> {
/// use mpio::MultipathBuilder;
///
/// let device = MultipathBuilder::new("iqn.2024-01.com.example:disk".parse()?)
///     .portal("10.0.1.1:3260".parse()?)
///     .portal("10.0.2.1:3260".parse()?)
///     .bind("eth0".parse()?)
///     .bind("eth1".parse()?)
///     .connect_spawned(&initiator)
///     .await?;
/// println!("{}", device.topology());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MultipathBuilder {
    target: IscsiName,
    portals: Vec<Portal>,
    binds: Vec<Bind>,
    lun: Lun,
    config: Config,
    unit: LogicalUnitOptions,
    pairing: Pairing,
    session_number: u16,
    sessions_per_path: u16,
    spares: Spares,
    priorities: Priorities,
    arrays: ArrayTable,
}

#[derive(Clone, Copy, Debug)]
enum Pairing {
    All,
    ByPosition,
}

impl MultipathBuilder {
    /// LUN 0 of `target`, with default settings.
    pub fn new(target: IscsiName) -> Self {
        Self {
            target,
            portals: Vec::new(),
            binds: Vec::new(),
            lun: Lun::default(),
            config: Config::default(),
            unit: LogicalUnitOptions::default(),
            pairing: Pairing::All,
            session_number: 0,
            sessions_per_path: 1,
            spares: Spares::default(),
            priorities: Priorities::default(),
            arrays: ArrayTable::default(),
        }
    }

    /// Adds a portal of the target. Keep the order over restarts: it is part of the ISIDs.
    pub fn portal(mut self, portal: Portal) -> Self {
        self.portals.push(portal);
        self
    }

    /// Adds a local end. Without any the routing table decides. Keep the order over restarts.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Pairs the first local end with the first portal and so on, instead of each with each: for two
    /// separate networks, where each NIC reaches one portal only. Where one list is shorter its
    /// last entry is used again.
    pub const fn paired(mut self) -> Self {
        self.pairing = Pairing::ByPosition;
        self
    }

    /// Another LUN than 0. Devices for several LUNs of one target share their sessions, where portal,
    /// local end, number and options are the same; each closes for itself.
    pub const fn lun(mut self, lun: Lun) -> Self {
        self.lun = lun;
        self
    }

    /// Sets the sessions of this device apart from those of another one with the same target, so that
    /// the two do not share queues and connections. It also has to be another one where the other
    /// device, or a session of the initiator's, has other portals, local ends or options in the same
    /// places ([`SlotDiffers`](iscsi_client::error::LoginFailure::SlotDiffers)).
    /// Keep it over restarts; it is part of the ISIDs.
    /// Default 0. With [`sessions_per_path`](Self::sessions_per_path) it is the first of so many
    /// numbers. From 4000h on numbers are those of [spares](Self::spares), from 8000h on those of
    /// [inventories](crate::inventory::Inventory).
    pub const fn session_number(mut self, number: u16) -> Self {
        self.session_number = number;
        self
    }

    /// Opens so many sessions for each pair of a local end and a portal, and uses each as a path:
    /// more TCP connections, each with a window and a CPU of its own, where one cannot fill a link.
    /// Default 1, and so is 0. From 2 on the paths are called `eth0 -> 10.0.1.1:3260 #1` and so on.
    ///
    /// They fail one by one, as any other paths do: what ends one session says nothing of the next
    /// one, which notices for itself if it was the cable.
    pub const fn sessions_per_path(mut self, sessions: u16) -> Self {
        self.sessions_per_path = sessions;
        self
    }

    /// Which paths have a [spare](Spares), and from when on: a second session, called `eth0 -> 10.0.1.1:3260 spare`, that
    /// takes I/O only while its path does not. Default [`Spares::OnDemand`].
    ///
    /// Its number in the ISID is that of its path and 0x4000. Numbers from there on leave no room for that: they are
    /// refused for [warm](Spares::Warm) spares, and none are opened on demand. Keep this setting over restarts.
    ///
    /// How it is paired with its path is said at [`PathAttributes::spare_for`](crate::core::PathAttributes::spare_for).
    pub const fn spares(mut self, spares: Spares) -> Self {
        self.spares = spares;
        self
    }

    /// The priority of paths that a rule is about, instead of 1 (`prio weightedpath`): see
    /// [`InventoryBuilder::priority_by`](crate::inventory::InventoryBuilder::priority_by).
    pub fn priority_by(mut self, rule: Rule, priority: u32) -> Self {
        self.priorities.push(rule, priority);
        self
    }

    /// What single arrays need where [`config`](Self::config) leaves it unset. Default: the
    /// [built-in table](crate::arrays); [`ArrayTable::none`] for nothing.
    pub fn arrays(mut self, table: ArrayTable) -> Self {
        self.arrays = table;
        self
    }

    /// Other settings than the default ones.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How each path uses its logical unit. [`fail_fast`](LogicalUnitOptions::fail_fast) and
    /// [`open_without_access`](LogicalUnitOptions::open_without_access) are set in any case.
    pub fn unit_options(mut self, options: LogicalUnitOptions) -> Self {
        self.unit = options;
        self
    }

    /// Opens all paths at the same time and joins them. The drivers of the sessions are spawned on
    /// the initiator's runtime; the device's own is returned. A path that cannot be opened now is
    /// tried again in the background and joins later ([`Topology::missing`](super::Topology)), as
    /// long as one can.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: not one path, or paths to different logical units. Sessions of another device
    /// that are logging out just now are waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the logins, unless others wait for them too; sessions that are
    /// open already log out if nobody else uses them.
    pub async fn connect(
        &self,
        initiator: &Initiator,
    ) -> Result<(MultipathDevice, MultipathDriver), ConnectError> {
        let mut openings = self.openings(initiator, false);
        if openings.is_empty() {
            return Err(ConnectError::NoPortal);
        }
        // The spares last: a device is known by its paths.
        if self.opens_spares_first() {
            openings.extend(self.openings(initiator, true));
        }
        let results = join_all(openings.iter().map(Opening::open)).await;
        let (mut candidates, mut failed) = (Vec::new(), Vec::new());
        for (opening, result) in openings.into_iter().zip(results) {
            match result {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => failed.push((opening, error)),
            }
        }
        if candidates.is_empty() {
            let failures = failed.into_iter().map(|(opening, error)| PathFailure {
                path: opening.name,
                error,
            });
            return Err(ConnectError::NoPath(failures.collect()));
        }
        let runtime = Arc::clone(initiator.runtime());
        let (device, driver) =
            MultipathDevice::assemble(runtime, self.config.clone(), &self.arrays, candidates)?;
        let places = self.places(initiator);
        device.shared().act(|state, now| {
            state.make_places(places);
            for (opening, error) in failed {
                let name = Arc::clone(&opening.name);
                state.missing.push((name, format!("{error:#}")));
                state.jobs.push(Job::Open(opening));
            }
            state.notice_all_open(now);
        });
        Ok((device, driver))
    }

    /// As [`connect`](Self::connect), and the device's driver is spawned as well.
    ///
    /// # Errors
    ///
    /// As `connect`.
    pub async fn connect_spawned(
        &self,
        initiator: &Initiator,
    ) -> Result<MultipathDevice, ConnectError> {
        let (device, driver) = self.connect(initiator).await?;
        initiator.runtime().spawn(Box::pin(driver));
        Ok(device)
    }

    /// Whether spares log in with their paths.
    fn opens_spares_first(&self) -> bool {
        match self.spares {
            Spares::None => false,
            Spares::Warm => true,
            Spares::OnDemand => {
                let is_forgotten = self.config.planted.has(Bug::FormerSparesForgotten);
                let fences = self.config.fence().former_life == FormerLife::Fence;
                fences && self.has_room_for_spares() && !is_forgotten
            }
        }
    }

    fn has_room_for_spares(&self) -> bool {
        let end = self
            .session_number
            .checked_add(self.sessions_per_path.max(1));
        end.is_some_and(|end| end <= SPARES)
    }

    /// For spares that are opened when they are needed.
    fn places(&self, initiator: &Initiator) -> Vec<Place<LogicalUnit>> {
        if self.spares != Spares::OnDemand || !self.has_room_for_spares() {
            return Vec::new();
        }
        let is_former = self.opens_spares_first();
        let paths = self.openings(initiator, false).into_iter();
        let both = paths.zip(self.openings(initiator, true));
        both.map(|(path, spare)| Place::new(path.name, spare, is_former))
            .collect()
    }

    /// The paths or their spares, by position in the configuration.
    fn openings(&self, initiator: &Initiator, is_spare: bool) -> Vec<Opening<LogicalUnit>> {
        let anywhere = [Bind::Any];
        let binds = if self.binds.is_empty() {
            &anywhere[..]
        } else {
            &self.binds
        };
        let Some(last_portal) = self.portals.len().checked_sub(1) else {
            return Vec::new();
        };
        let pairs: Vec<(usize, usize)> = match self.pairing {
            Pairing::All => (0..binds.len())
                .flat_map(|bind| (0..=last_portal).map(move |portal| (bind, portal)))
                .collect(),
            Pairing::ByPosition => (0..binds.len().max(last_portal + 1))
                .map(|at| (at.min(binds.len() - 1), at.min(last_portal)))
                .collect(),
        };
        let sessions = self.sessions_per_path.max(1);
        let paths = pairs
            .into_iter()
            .flat_map(|pair| (0..sessions).map(move |at| (pair, at)));
        paths
            .map(|((bind, portal), at)| {
                // Out of range for an ISID only where nobody has so many; the login refuses it then.
                let position = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
                let number = self.session_number.checked_add(at);
                let number = match is_spare {
                    true => number
                        .filter(|&number| number < SPARES)
                        .map(|number| SPARES | number),
                    false => number,
                };
                let slot = SessionSlot {
                    bind: number.map_or(u16::MAX, |_| position(bind)),
                    portal: position(portal),
                    number: number.unwrap_or(u16::MAX),
                };
                let to = SessionTarget::new(self.target.clone(), self.portals[portal].clone())
                    .with_bind(binds[bind].clone())
                    .with_slot(slot);
                let mut name = format!("{} -> {}", binds[bind], self.portals[portal]);
                if sessions > 1 {
                    name = format!("{name} #{}", at + 1);
                }
                let attributes = match is_spare {
                    true => PathAttributes::new(format!("{name} spare")).with_spare_for(name),
                    false => PathAttributes::new(name),
                };
                let name = Arc::clone(&attributes.name);
                let (initiator, lun) = (initiator.clone(), self.lun);
                let mut unit = self.unit.clone().fail_fast();
                unit.open_without_access = true;
                let keys = self.config.fence().preempt.map(|preempt| preempt.keys);
                let keys = keys.filter(|_| !self.config.planted.has(Bug::WritesBeforeRegistered));
                // One that comes too late would leave its registration behind: the device registers it when it has joined.
                let keys = keys.filter(|_| !is_spare || self.spares == Spares::Warm);
                let priorities = self.priorities.clone();
                Opening::new(name, move || {
                    let (attributes, priorities) = (attributes.clone(), priorities.clone());
                    let opened = open(
                        initiator.clone(),
                        to.clone(),
                        (lun, keys),
                        unit.clone(),
                        attributes,
                    );
                    let to = to.clone();
                    async move {
                        let mut candidate = opened.await?;
                        let unit = FoundUnit {
                            route: Arc::new(Route::new(to.target, to.portal, to.bind)),
                            lun,
                            info: candidate.path.info(),
                            inquiry: *candidate.path.inquiry(),
                        };
                        if let Some(priority) = priorities.of(&unit) {
                            candidate.attributes.priority = priority;
                        }
                        Ok(candidate)
                    }
                    .boxed()
                })
            })
            .collect()
    }
}

pub(super) fn open(
    initiator: Initiator,
    to: SessionTarget,
    (lun, keys): (Lun, Option<PathKeys>),
    options: LogicalUnitOptions,
    attributes: PathAttributes,
) -> BoxFuture<'static, Result<Candidate<LogicalUnit>, Error>> {
    async move {
        let session = initiator.session(&to).await?;
        let generation = session.status().generation;
        let path = LogicalUnit::open_with(session, lun, options).await?;
        let mut status = path.status();
        status.generation = generation;
        // What cannot be found out now is tried again by the device, which does not use the path before.
        let registered = match keys {
            Some(keys) => Path::register(&path, keys).await.ok(),
            None => None,
        };
        Ok(Candidate {
            registered,
            local_end: path.local_end(),
            attributes,
            path,
            status,
        })
    }
    .boxed()
}
