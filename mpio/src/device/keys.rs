//! Reservation keys of paths, as the driver deals with them.

use iscsi_client::error::{Error, ErrorKind};
use iscsi_proto::planted::{Bug, Planted};

use super::shared::State;
use crate::{
    core::{IdentityCheck, PathKeys, Preempted, Registered},
    path::Path,
};

impl<P> State<P> {
    /// What paths are registered with, if they are.
    pub(super) fn keys(&self) -> Option<PathKeys> {
        let preempt = self.core.config().fence().preempt;
        preempt.map(|preempt| preempt.keys)
    }
}

/// Whose unit the present connection leads to; if it is the right one, it is registered.
pub(super) async fn verify<P: Path>(
    path: &P,
    keys: Option<PathKeys>,
    planted: Planted,
) -> Result<(IdentityCheck, Option<Registered>), Error> {
    let identity = path.verify().await?;
    let keys = keys.filter(|_| !planted.has(Bug::WritesBeforeRegistered));
    let registered = match keys {
        Some(keys) if identity == IdentityCheck::Verified => Some(path.register(keys).await?),
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
        Ok(preempted) => *preempted,
        Err(error)
            if planted.has(Bug::ConflictIsProof)
                && error.kind() == ErrorKind::ReservationConflict =>
        {
            Preempted::Done
        }
        Err(_) => Preempted::Failed,
    }
}
