//! What an inventory knows at a moment.

use std::{fmt, sync::Arc};

use iscsi_client::{
    bind::Bind,
    device::DeviceInfo,
    error::{Error, LoginError},
    isid::SessionSlot,
};
use iscsi_proto::{Isid, portal::Portal, scsi::Lun};

use super::filter::Rejection;
use crate::{core::PathId, device::JoinError, rule::Route};

/// All that an inventory knows. `Display` is a tree for people.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct InventorySnapshot {
    /// Whom it asks for targets: each portal from each local end.
    pub sources: Vec<SourceSnapshot>,
    /// Its sessions, by target and portal.
    pub routes: Vec<Arc<RouteSnapshot>>,
    /// Its devices, by world wide identifier.
    pub devices: Vec<DeviceSnapshot>,
    /// Scans that are over.
    pub scans: u64,
}

/// A portal that is asked for targets.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SourceSnapshot {
    /// The portal.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
    pub portal: Portal,
    /// From where it is asked.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
    pub bind: Bind,
    /// How many targets it told last; `None` before it ever did.
    pub targets: Option<usize>,
    /// Why it did not tell the last time, if so.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub error: Option<LoginError>,
}

/// A session, or one that there should be.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// From where to where.
    pub route: Arc<Route>,
    /// Its slot: the same after a restart.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::slot"))]
    pub slot: SessionSlot,
    /// The session identifier of that slot.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub isid: Option<Isid>,
    /// Where it stands.
    pub state: RouteState,
    /// Why the list of units could not be had the last time, if so.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::causes_or_none")
    )]
    pub list_error: Option<Error>,
    /// The units behind it.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::units"))]
    pub units: Vec<(Lun, UnitState)>,
}

/// Where a session stands.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", content = "error", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum RouteState {
    /// Its first login is under way.
    LoggingIn,
    /// It takes commands.
    Up,
    /// It has lost its connection, and logs in again.
    Down,
    /// It could not log in so far.
    Failed(
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))] LoginError,
    ),
    /// It was closed, and will be opened again.
    Closed,
}

/// What became of a unit.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum UnitState {
    /// It is being asked what it is.
    Examining,
    /// It is a path of this device.
    Path {
        /// The device.
        wwid: Arc<str>,
        /// The path, as the device calls it.
        path: PathId,
    },
    /// A filter keeps it out.
    FilteredOut(
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::rejection"))]
        Rejection,
    ),
    /// It is no disk, or could not be asked.
    Unusable(#[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::error"))] Error),
    /// It cannot be a path of its device. One without a name can still be used by itself, as a
    /// [`LogicalUnit`](iscsi_client::logical_unit::LogicalUnit) over one session.
    Refused {
        /// Why.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        error: JoinError,
        /// What the unit says of itself.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::serial::device_info")
        )]
        info: Arc<DeviceInfo>,
    },
    /// It belongs to a device that the program has closed, or there are too many.
    LeftOut,
}

/// A device.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeviceSnapshot {
    /// Its world wide identifier.
    pub wwid: Arc<str>,
    /// Size, limits and identity.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::device_info")
    )]
    pub info: Arc<DeviceInfo>,
    /// How many paths it has.
    pub paths: usize,
}

impl fmt::Display for InventorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            writeln!(f, "{source}")?;
        }
        for route in &self.routes {
            writeln!(f, "{route}")?;
        }
        for device in &self.devices {
            let DeviceSnapshot { wwid, info, paths } = device;
            let identity = &info.identity;
            let (vendor, product) = (&identity.vendor, &identity.product);
            writeln!(
                f,
                "{wwid} {vendor},{product}: {} bytes, {paths} paths",
                info.size
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "discovery {} -> {}: ", self.bind, self.portal)?;
        match (&self.error, self.targets) {
            (Some(error), _) => error.fmt(f),
            (None, Some(targets)) => write!(f, "{targets} targets"),
            (None, None) => f.write_str("not asked yet"),
        }
    }
}

impl fmt::Display for RouteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}: {}", self.route, self.state)?;
        if let Some(error) = &self.list_error {
            write!(f, ", no list of logical units: {error:#}")?;
        }
        for (lun, unit) in &self.units {
            write!(f, "\n  LUN {lun}: {unit}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggingIn => f.write_str("logging in"),
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Failed(error) => error.fmt(f),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Examining => f.write_str("being asked what it is"),
            Self::Path { wwid, .. } => f.write_str(wwid),
            Self::FilteredOut(rejection) => rejection.fmt(f),
            Self::Unusable(error) => write!(f, "{error:#}"),
            Self::Refused { error, .. } => error.fmt(f),
            Self::LeftOut => f.write_str("left out"),
        }
    }
}
