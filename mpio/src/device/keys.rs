//! Reservation keys of paths, as the driver deals with them.

use iscsi_client::error::{Error, ErrorKind};
use iscsi_proto::{
    planted::{Bug, Planted},
    scsi::{AdditionalSenseCode, SenseData, SenseKey},
};

use super::shared::State;
use crate::{
    core::{IdentityCheck, KeyRefusal, PathKeys, Preempted, Registered},
    path::Path,
};

impl<P> State<P> {
    /// What paths are registered with, if they are.
    pub(super) fn keys(&self) -> Option<PathKeys> {
        let preempt = self.core.config().fence().preempt;
        preempt.map(|preempt| preempt.keys)
    }
}

impl<P: Path> State<P> {
    /// Whether an attention that tells of the end of registrations is nothing to callers.
    pub(super) fn forgives_attention(&self) -> bool {
        self.keys().is_some() || self.ended_registrations()
    }
}

/// How often a registration is tried before the path is used without one.
const TRIES: u32 = 3;

/// Whose unit a connection leads to; and, where keys are configured and it is the right one, what became of
/// the registration. That the one is known does not depend on the other.
pub(super) type Verified = (IdentityCheck, Option<Result<Registered, Error>>);

/// What a registration came to that was tried `failures` times before; `None`: it is to be tried again. An answer
/// that cannot be understood will be none the next time either.
pub(super) fn registered(
    result: Result<Registered, Error>,
    failures: &mut u32,
) -> Option<Registered> {
    let error = match result {
        Ok(registered) => {
            *failures = 0;
            return Some(registered);
        }
        Err(error) => error,
    };
    let sense = error.sense();
    if sense.is_some_and(|sense| sense.code().is_without_access()) {
        // Its port group takes none of these commands, and no I/O either. Both may change together.
        return None;
    }
    *failures += 1;
    let is_final = *failures >= TRIES || error.kind() == ErrorKind::Protocol;
    is_final.then_some(Registered::Not(KeyRefusal::Unknown))
}

/// Whether an error says that somebody has ended registrations of this nexus (REGISTRATIONS PREEMPTED and
/// RESERVATIONS PREEMPTED). The command was not executed.
pub(super) fn is_loss(error: &Error) -> bool {
    let codes = [
        AdditionalSenseCode(0x2a, 0x03),
        AdditionalSenseCode(0x2a, 0x05),
    ];
    let attention =
        |sense: &SenseData| sense.key() == SenseKey::UnitAttention && codes.contains(&sense.code());
    error.kind() == ErrorKind::ReservationConflict && error.sense().is_some_and(attention)
}

/// Whose unit the present connection leads to; if it is the right one, it is registered.
pub(super) async fn verify<P: Path>(
    path: &P,
    keys: Option<PathKeys>,
    planted: Planted,
) -> Result<Verified, Error> {
    let identity = path.verify().await?;
    let keys = keys.filter(|_| !planted.has(Bug::WritesBeforeRegistered));
    let registered = match keys {
        Some(keys) if identity == IdentityCheck::Verified => Some(path.register(keys).await),
        _ => None,
    };
    Ok((identity, registered))
}

/// Takes a key back that a path has, as far as that is possible: nobody waits for it, and a registration
/// that stays is found and replaced by the next process.
pub(super) async fn unregister<P: Path>(path: &P, key: Option<u64>) {
    if let Some(key) = key {
        _ = path.unregister(key).await;
    }
}

/// What an order came to. A conflict says that nobody has the key: nothing was aborted.
pub(super) fn preempted(planted: Planted, result: &Result<Preempted, Error>) -> Preempted {
    match result {
        Ok(Preempted::Unregistered) if planted.has(Bug::ConflictIsProof) => Preempted::Done,
        Ok(preempted) => *preempted,
        Err(_) => Preempted::Failed,
    }
}
