//! What happens to an inventory.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_client::{
    bind::Bind,
    error::{Error, LoginError},
    session::DownReason,
};
use iscsi_proto::{name::IscsiName, portal::Portal, scsi::Lun};

use super::{filter::Rejection, limits::Limit};
use crate::{core::PathId, device::JoinError, rule::Route};

/// Something that happened, and when.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct InventoryEvent {
    /// Its number, from 1. A gap means that the reader was too slow.
    pub number: u64,
    /// When, by the runtime's clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub at: Instant,
    /// How long after the inventory was made.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "uptime_ns", serialize_with = "crate::serial::nanos")
    )]
    pub uptime: Duration,
    /// What.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: InventoryEventKind,
}

/// Kinds of [`InventoryEvent`]. What is the same as at the last scan is not told again.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum InventoryEventKind {
    /// A portal has told so many targets.
    Discovered {
        /// The portal that was asked.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        portal: Portal,
        /// From where.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        bind: Bind,
        /// How many targets it told.
        targets: usize,
    },
    /// A portal could not be asked; it will be again.
    DiscoveryFailed {
        /// The portal that was asked.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        portal: Portal,
        /// From where.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        bind: Bind,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::causes"))]
        error: LoginError,
    },
    /// A portal of a target became known.
    PortalFound {
        /// The target.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        target: IscsiName,
        /// The portal.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        portal: Portal,
    },
    /// Nobody tells of a portal any more. A session that is up is kept for as long as it stays so.
    PortalGone {
        /// The target.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        target: IscsiName,
        /// The portal.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        portal: Portal,
    },
    /// A session is up, for the first time or again.
    LoggedIn {
        /// Its route.
        route: Arc<Route>,
    },
    /// There is no session; it will be tried again.
    LoginFailed {
        /// Its route.
        route: Arc<Route>,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::causes"))]
        error: LoginError,
    },
    /// A session has lost its connection; it logs in again by itself.
    SessionDown {
        /// Its route.
        route: Arc<Route>,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "why"))]
        reason: DownReason,
    },
    /// The list of logical units could not be had; it will be asked for again.
    ListFailed {
        /// Of which session.
        route: Arc<Route>,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::causes"))]
        error: Error,
    },
    /// Nothing was reached from a local end: no portal has answered, and no session is up.
    BindUnreachable {
        /// The local end.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        bind: Bind,
    },
    /// A filter keeps a portal or a unit out.
    FilteredOut {
        /// The route, or one of the routes.
        route: Arc<Route>,
        /// The unit; `None` for all that is behind the portal.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::serial::text_or_none")
        )]
        lun: Option<Lun>,
        /// Which rule.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        rejection: Rejection,
    },
    /// A unit is no disk, or could not be asked what it is. It is asked again at the next scan.
    UnitUnusable {
        /// Through which route.
        route: Arc<Route>,
        /// Its number there.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        lun: Lun,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::causes"))]
        error: Error,
    },
    /// A unit cannot be a path of its device, for instance since it has no name.
    PathRefused {
        /// Through which route.
        route: Arc<Route>,
        /// Its number there.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        lun: Lun,
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::causes"))]
        error: JoinError,
    },
    /// There is a device that was not there before. Its first path is told after it.
    DeviceFound {
        /// Its world wide identifier.
        wwid: Arc<str>,
    },
    /// A device has a further path.
    PathAdded {
        /// The device.
        wwid: Arc<str>,
        /// Through which route.
        route: Arc<Route>,
        /// The unit's number there.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        lun: Lun,
        /// The path, as the device calls it.
        path: PathId,
    },
    /// A device has a path less.
    PathRemoved {
        /// The device.
        wwid: Arc<str>,
        /// Through which route.
        route: Arc<Route>,
        /// The unit's number there.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        lun: Lun,
        /// Why.
        reason: Removal,
    },
    /// A device has no path any more. It waits for one, and what is asked of it waits as its
    /// [`NoPathRetry`](crate::core::NoPathRetry) says.
    DeviceStranded {
        /// The device.
        wwid: Arc<str>,
    },
    /// A device is not part of the inventory any more, and is closed.
    DeviceLost {
        /// The device.
        wwid: Arc<str>,
        /// Why.
        reason: Loss,
    },
    /// There was more than is taken.
    Limited {
        /// Of what.
        limit: Limit,
        /// About how much more was told.
        left_out: usize,
    },
    /// A scan is over.
    Scanned {
        /// The devices that are there now.
        devices: usize,
    },
}

/// Why a path was taken away from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Removal {
    /// There is no such logical unit any more.
    NoSuchUnit,
    /// Another unit has its number now.
    OtherUnit,
    /// Its session is closed.
    SessionClosed,
    /// Nobody tells of its portal any more, and its session is down.
    PortalGone,
    /// It is a [spare](crate::Spares::OnDemand), and the path that it is for takes I/O again.
    SpareNotNeeded,
    /// The program removed it; it stays out until the program asks for a [rescan](super::Inventory::rescan), or another
    /// unit has its number.
    ByProgram,
}

/// Why a device is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Loss {
    /// It was without a path for too long.
    NoPath,
    /// The program closed it.
    Closed,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchUnit => "the unit is gone",
            Self::OtherUnit => "it leads to another unit now",
            Self::SessionClosed => "the session is closed",
            Self::PortalGone => "the portal is gone",
            Self::SpareNotNeeded => "its path is back",
            Self::ByProgram => "the program removed it",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPath => "no path came back",
            Self::Closed => "the program closed it",
        })
    }
}

/// One line.
impl fmt::Display for InventoryEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovered {
                portal,
                bind,
                targets,
            } => {
                write!(f, "{bind} -> {portal}: {targets} targets")
            }
            Self::DiscoveryFailed {
                portal,
                bind,
                error,
            } => {
                write!(f, "{bind} -> {portal}: no discovery: {error}")
            }
            Self::PortalFound { target, portal } => write!(f, "{target}: portal {portal}"),
            Self::PortalGone { target, portal } => {
                write!(f, "{target}: portal {portal} is not told of any more")
            }
            Self::LoggedIn { route } => write!(f, "{route}: logged in"),
            Self::LoginFailed { route, error } => write!(f, "{route}: no login: {error}"),
            Self::SessionDown { route, reason } => write!(f, "{route}: down: {}", Why(reason)),
            Self::ListFailed { route, error } => {
                write!(f, "{route}: no list of logical units: {error:#}")
            }
            Self::BindUnreachable { bind } => {
                write!(
                    f,
                    "{bind}: nothing can be reached from there: check the cable and the routes"
                )
            }
            Self::FilteredOut {
                route,
                lun: None,
                rejection,
            } => write!(f, "{route}: {rejection}"),
            Self::FilteredOut {
                route,
                lun: Some(lun),
                rejection,
            } => {
                write!(f, "{route}: LUN {lun}: {rejection}")
            }
            Self::UnitUnusable { route, lun, error } => write!(f, "{route}: LUN {lun}: {error:#}"),
            Self::PathRefused { route, lun, error } => write!(f, "{route}: LUN {lun}: {error}"),
            Self::DeviceFound { wwid } => write!(f, "{wwid}: found"),
            Self::PathAdded {
                wwid, route, lun, ..
            } => {
                write!(f, "{wwid}: path added: {route}, LUN {lun}")
            }
            Self::PathRemoved {
                wwid,
                route,
                lun,
                reason,
            } => {
                write!(f, "{wwid}: path removed: {route}, LUN {lun}: {reason}")
            }
            Self::DeviceStranded { wwid } => write!(f, "{wwid}: no path is left"),
            Self::DeviceLost { wwid, reason } => write!(f, "{wwid}: lost: {reason}"),
            Self::Limited { limit, left_out } => {
                write!(f, "{left_out} more than the limit of {limit}: left out")
            }
            Self::Scanned { devices } => write!(f, "scan over: {devices} devices"),
        }
    }
}

#[cfg(feature = "serde")]
fn why<S: serde::Serializer>(reason: &DownReason, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Why(reason))
}

/// A reason in words.
struct Why<'a>(&'a DownReason);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DownReason::Lost(error) => write!(f, "connection lost: {error:#}"),
            DownReason::Login(error) => write!(f, "login failed: {error}"),
            DownReason::NexusTaken => f.write_str("another initiator uses this name"),
            DownReason::LogoutRequested => f.write_str("the target asked for a logout"),
            DownReason::Requested => f.write_str("a new connection was asked for"),
            other => write!(f, "{other:?}"),
        }
    }
}
