//! Why an order was not carried out.

use iscsi_client::error::Error;
use iscsi_proto::scsi::{ReservationKey, ReservationType};

use super::Registrations;

/// Why an order about persistent reservations was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The device's fence registers keys of its own.
    #[error(
        "the fence of this device registers keys of its own: leave `preempt_and_abort` out of its configuration"
    )]
    FenceHasKeys,
    /// Key 0 is the absence of a key.
    #[error("key 0 stands for no key: choose another one")]
    NoKey,
    /// The key to be preempted is the device's own.
    #[error("{0} is a key of this device: name another host's")]
    OwnKey(ReservationKey),
    /// With this type only one nexus could do I/O.
    #[error(
        "{0} would let one path do I/O only: use a type for registrants, as Write Exclusive - Registrants Only"
    )]
    OnePathOnly(ReservationType),
    /// The device is not registered.
    #[error("the device is not registered: register it first")]
    NotRegistered,
    /// Somebody has ended the device's registration.
    #[error(
        "somebody has ended the registration of this device: register it again if it may write"
    )]
    Lost,
    /// The device holds a reservation of another type.
    #[error("the device holds a reservation of type {0}: release that")]
    OtherType(ReservationType),
    /// The unit has called the order complete, and the key is still registered.
    #[error("the target says that {0} is preempted, and it is still registered: do not rely on it")]
    NotPreempted(ReservationKey),
    /// Not one path could be registered.
    #[error("no path could be registered: {0}")]
    Nowhere(Registrations),
    /// I/O that was in flight did not end in time, so nothing was done.
    #[error("I/O in flight did not end in time: try again")]
    NotQuiet,
    /// The unit, or the path to it, said no. Where the [`outcome`](Error::outcome) is unknown, the order may have been
    /// carried out: ask for keys and reservation.
    #[error("{0:#}")]
    Unit(#[source] Error),
}

impl ReserveError {
    /// The error of the path, if it is one.
    #[must_use]
    pub const fn unit(&self) -> Option<&Error> {
        match self {
            Self::Unit(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for ReserveError {
    fn from(error: Error) -> Self {
        Self::Unit(error)
    }
}
