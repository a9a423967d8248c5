//! What the device keeps: of itself, and of each path.

use std::time::Instant;

use iscsi_proto::scsi::{ReservationKey, ReservationType};

use super::types::{PathRegistration, RegistrationKeys};
use crate::core::PathId;

/// What paths are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nobody has ever asked.
    #[default]
    Nothing,
    /// Registered.
    Keys(RegistrationKeys),
    /// Not registered any more.
    Gone,
}

/// Of the device.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    pub(super) wish: Wish,
    /// With what paths were to be registered so far, the last one last. A path that was away has an older key still, and
    /// so has the nexus of one that was removed.
    known: Vec<RegistrationKeys>,
    /// What was wanted last when any path could be registered.
    pub(super) standing: Option<RegistrationKeys>,
    /// Counts wishes.
    pub(super) round: u64,
    /// A call is being carried out.
    pub(super) busy: bool,
    /// Registrations are ended by an order of our own: nothing is to be concluded from that.
    pub(super) moving: bool,
    /// The path that is being registered again.
    pub(super) restoring: Option<PathId>,
    /// Who holds the reservation, if it is known to be this device's.
    pub(super) holder: Option<PathId>,
}

/// A program that changes its keys for ever is not remembered for ever.
const MOST_KNOWN: usize = 8;

impl Reserve {
    /// A path is being registered with one of these. `in_use`: keys that paths are registered with.
    pub(super) fn note_keys(&mut self, keys: RegistrationKeys, in_use: &[ReservationKey]) {
        self.known.retain(|known| *known != keys);
        if self.known.len() == MOST_KNOWN {
            let is_unused = |known: &RegistrationKeys| !in_use.iter().any(|&key| known.owns(key));
            let oldest = self.known.iter().position(is_unused);
            self.known.remove(oldest.unwrap_or(0));
        }
        self.known.push(keys);
    }

    /// Of a path that joins: nobody waits for an answer that it is not asked for.
    pub(crate) fn book_of_new(&self, is_up: bool) -> Book {
        let outcome = match (self.wish, is_up) {
            (Wish::Keys(_), true) => None,
            (Wish::Keys(_), false) => Some(PathRegistration::NotConnected),
            (Wish::Nothing | Wish::Gone, _) => Some(PathRegistration::Unregistered),
        };
        Book {
            round: outcome.as_ref().map_or(0, |_| self.round),
            outcome,
            ..Book::default()
        }
    }

    /// Nobody is registered any more.
    pub(super) fn forget_keys(&mut self) {
        self.known.clear();
        self.standing = None;
    }

    /// Whether a key may be this device's.
    pub(super) fn knows(&self, key: ReservationKey) -> bool {
        self.known.iter().any(|keys| keys.owns(key))
    }

    /// By what others know the device: what it is registered with, and what it is to be registered with.
    pub(super) fn current(&self) -> Vec<RegistrationKeys> {
        let wanted = match self.wish {
            Wish::Keys(keys) => Some(keys),
            Wish::Nothing | Wish::Gone => None,
        };
        self.standing.into_iter().chain(wanted).collect()
    }

    /// All keys that may be this device's.
    pub(super) fn known(&self) -> Vec<RegistrationKeys> {
        self.known.clone()
    }
}

/// Of a path.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Of the last outcome.
    pub(super) round: u64,
    pub(super) outcome: Option<PathRegistration>,
    pub(super) asked: bool,
    /// The unit has told that somebody has ended registrations of this nexus: not looked at yet.
    pub(super) told: bool,
    /// The number of the last event of that kind.
    pub(super) seen: u64,
    /// It is being attended to.
    pub(super) busy: bool,
    pub(super) failures: u32,
    pub(super) doubted: Option<Instant>,
}

/// Whether a reservation of this type lets one nexus alone do I/O.
pub(crate) const fn is_of_one_nexus(kind: ReservationType) -> bool {
    !matches!(
        kind,
        ReservationType::WriteExclusiveRegistrantsOnly
            | ReservationType::ExclusiveAccessRegistrantsOnly
            | ReservationType::WriteExclusiveAllRegistrants
            | ReservationType::ExclusiveAccessAllRegistrants
    )
}
