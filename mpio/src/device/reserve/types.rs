//! Keys, and what became of them per path.

use std::{fmt, sync::Arc};

use iscsi_client::error::Error;
use iscsi_proto::scsi::ReservationKey;

use crate::{
    core::{PathId, PathKeys},
    path::Path,
};

/// What the paths of a device are registered with.
///
/// One key for all paths is what `mpathpersist` does, and what cluster managers expect: a single PREEMPT with that key
/// takes the whole host out. With a key per path it takes one order for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationKeys {
    /// The same key for every path.
    One(ReservationKey),
    /// A key for each nexus.
    PerPath(PathKeys),
}

impl From<ReservationKey> for RegistrationKeys {
    fn from(key: ReservationKey) -> Self {
        Self::One(key)
    }
}

impl From<PathKeys> for RegistrationKeys {
    fn from(keys: PathKeys) -> Self {
        Self::PerPath(keys)
    }
}

impl RegistrationKeys {
    pub(super) fn of<P: Path>(self, path: &P) -> u64 {
        match self {
            Self::One(key) => key.0,
            Self::PerPath(keys) => path.nexus_key(keys),
        }
    }

    /// Whether a key is one of these: with [`PerPath`](Self::PerPath) that of any path of the host.
    #[must_use]
    pub fn owns(self, key: ReservationKey) -> bool {
        match self {
            Self::One(own) => own == key,
            Self::PerPath(keys) => keys.is_of_host(key.0),
        }
    }
}

/// What became of one path.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PathRegistration {
    /// It is registered with this key.
    Registered(ReservationKey),
    /// It is not registered.
    Unregistered,
    /// It has no connection. What was ordered is done when it has one, before it takes I/O.
    NotConnected,
    /// That failed, and is tried again. Where its [`outcome`](Error::outcome) is unknown it may have been done.
    Failed(Error),
}

impl fmt::Display for PathRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(key) => write!(f, "registered with {key}"),
            Self::Unregistered => f.write_str("not registered"),
            Self::NotConnected => f.write_str("not connected"),
            Self::Failed(error) => write!(f, "failed: {error:#}"),
        }
    }
}

/// A path, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationOutcome {
    /// Which.
    pub path: PathId,
    /// What it is called.
    pub name: Arc<str>,
    /// What became of it.
    pub outcome: PathRegistration,
}

/// What became of each path when all were to be registered, or unregistered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registrations {
    /// All paths of the device at that time.
    pub paths: Vec<RegistrationOutcome>,
}

impl Registrations {
    /// Paths that are registered now.
    #[must_use]
    pub fn registered(&self) -> usize {
        let is =
            |path: &&RegistrationOutcome| matches!(path.outcome, PathRegistration::Registered(_));
        self.paths.iter().filter(is).count()
    }

    /// Whether it was done everywhere.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.paths.iter().all(|path| {
            let outcome = &path.outcome;
            matches!(
                outcome,
                PathRegistration::Registered(_) | PathRegistration::Unregistered
            )
        })
    }
}

impl fmt::Display for Registrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, path) in self.paths.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", path.name, path.outcome)?;
        }
        Ok(())
    }
}
