//! What the device keeps: of itself, and of each path.

use std::time::Instant;

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
    /// Counts wishes.
    pub(super) round: u64,
    /// A call is being carried out.
    pub(super) busy: bool,
    /// Registrations are ended by an order of our own: nothing is to be concluded from that.
    pub(super) moving: bool,
    /// Who holds the reservation, if it is known to be this device's.
    pub(super) holder: Option<PathId>,
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
