//! How much of what targets tell is believed.

use std::fmt;

/// Bounds on what an inventory takes from the network. What is beyond them is left out, and told by
/// [`InventoryEventKind::Limited`](super::InventoryEventKind::Limited): first come, first served, and what is
/// there stays. Each thing is counted once, whoever told of it.
///
/// An answer to SendTargets has bounds of its own, of 4096 targets and 64 portals each
/// ([`send_targets`](iscsi_proto::text::send_targets)), and so has a list of logical units, of 16384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Portals of one target. Default 32.
    pub portals: usize,
    /// Sessions: every portal of every target, from every local end, spares included. Default 1024, which takes some 64 MiB if
    /// all of them are.
    pub sessions: usize,
    /// Logical units behind one session. Default 1024.
    pub units: usize,
    /// Paths of one device, spares included. Default 64.
    pub paths: usize,
    /// Devices. Default 4096.
    pub devices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            portals: 32,
            sessions: 1024,
            units: 1024,
            paths: 64,
            devices: 4096,
        }
    }
}

impl Limits {
    /// Another number of portals of one target.
    #[must_use]
    pub const fn with_portals(mut self, portals: usize) -> Self {
        self.portals = portals;
        self
    }

    /// Another number of sessions.
    #[must_use]
    pub const fn with_sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Another number of logical units behind one session.
    #[must_use]
    pub const fn with_units(mut self, units: usize) -> Self {
        self.units = units;
        self
    }

    /// Another number of paths of one device.
    #[must_use]
    pub const fn with_paths(mut self, paths: usize) -> Self {
        self.paths = paths;
        self
    }

    /// Another number of devices.
    #[must_use]
    pub const fn with_devices(mut self, devices: usize) -> Self {
        self.devices = devices;
        self
    }
}

/// A bound that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", content = "most", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Limit {
    /// That of one answer to SendTargets, which is fixed.
    Targets(usize),
    /// [`Limits::portals`].
    Portals(usize),
    /// [`Limits::sessions`].
    Sessions(usize),
    /// [`Limits::units`].
    Units(usize),
    /// [`Limits::paths`].
    Paths(usize),
    /// [`Limits::devices`].
    Devices(usize),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Targets(most) => write!(f, "{most} targets of an answer"),
            Self::Portals(most) => write!(f, "{most} portals of a target"),
            Self::Sessions(most) => write!(f, "{most} sessions"),
            Self::Units(most) => write!(f, "{most} logical units behind a session"),
            Self::Paths(most) => write!(f, "{most} paths of a device"),
            Self::Devices(most) => write!(f, "{most} devices"),
        }
    }
}
