//! Questions to whatever path answers, and quiet for an order.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use iscsi_client::error::{Error, ErrorKind, Retry};
use iscsi_proto::{
    planted::Bug,
    scsi::{CurrentReservation, ReservationKey, ReservationType},
};

use super::{ReserveError, attend::TIMEOUT};
use crate::{backoff::sleep, device::shared::Shared, path::Path};

/// How long I/O in flight may take to end.
const QUIET: Duration = Duration::from_secs(30);

/// Whether another path may know better.
pub(super) fn goes_elsewhere(error: &Error) -> bool {
    let of_path = matches!(
        error.kind(),
        ErrorKind::Transport
            | ErrorKind::Closed
            | ErrorKind::Auth
            | ErrorKind::Protocol
            | ErrorKind::NoSuchUnit
            | ErrorKind::WrongUnit
            | ErrorKind::NotReady
            | ErrorKind::Timeout
            | ErrorKind::Busy
    );
    of_path || error.retry() == Retry::OtherPath
}

/// Asks one path after the other, until one answers.
pub(super) async fn ask<P: Path, T, F>(
    shared: &Shared<P>,
    question: impl Fn(Arc<P>) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut last = Error::not_executed(ErrorKind::NoPath);
    for (_, path) in shared.look(|state| state.connected()) {
        match question(path).await {
            Err(error) if goes_elsewhere(&error) => last = error,
            answer => return answer,
        }
    }
    Err(last)
}

async fn reservation<P: Path>(shared: &Shared<P>) -> Result<CurrentReservation, Error> {
    let question = |path: Arc<P>| async move { path.reservation(TIMEOUT).await };
    ask(shared, question).await
}

/// Whether somebody is registered with a key.
pub(super) async fn has_key<P: Path>(
    shared: &Shared<P>,
    is: impl Fn(ReservationKey) -> bool,
) -> Result<bool, Error> {
    let question = |path: Arc<P>| async move { path.reservation_keys(TIMEOUT).await };
    let found = ask(shared, question).await?;
    Ok(found.truncated || found.keys.iter().any(|&key| is(key)))
}

/// Whether this device is, by the key by which others know it.
pub(super) async fn has_own_key<P: Path>(shared: &Shared<P>) -> Result<bool, Error> {
    let current = shared.look(|state| state.reserve.current());
    has_key(shared, |key| current.iter().any(|keys| keys.owns(key))).await
}

/// The reservation, if it is this device's, by whatever key of now or before: the holder's key, which is none where all
/// registrants hold it, and the type.
pub(super) async fn own_reservation<P: Path>(
    shared: &Shared<P>,
) -> Result<Option<(ReservationKey, ReservationType)>, Error> {
    let held = reservation(shared).await?.held;
    let is_ours = match held {
        // All registrants hold it: this device too, if it still is one.
        Some((ReservationKey::NONE, _)) => has_own_key(shared).await?,
        Some((key, _)) => shared.look(|state| state.reserve.knows(key)),
        None => false,
    };
    Ok(held.filter(|_| is_ours))
}

/// The same for an order that gives it up: where all registrants hold it, so does a nexus that has kept a key of before,
/// though others do not take that for the device.
pub(super) async fn reservation_to_release<P: Path>(
    shared: &Shared<P>,
) -> Result<Option<(ReservationKey, ReservationType)>, Error> {
    let held = reservation(shared).await?.held;
    let knows = |key| shared.look(|state| state.reserve.knows(key));
    let is_ours = match held {
        Some((ReservationKey::NONE, _)) => has_key(shared, knows).await?,
        Some((key, _)) => knows(key),
        None => false,
    };
    Ok(held.filter(|_| is_ours))
}

/// Does something that no I/O is to notice: what is in flight ends before, what comes waits. Nothing is concluded from
/// what is found of registrations meanwhile.
pub(super) async fn quietly<P: Path, T>(
    shared: &Shared<P>,
    work: impl Future<Output = Result<T, ReserveError>>,
) -> Result<T, ReserveError> {
    if shared.planted.has(Bug::NotHeldMeanwhile) {
        return work.await;
    }
    shared.act(|state, now| state.core.pause(now));
    let quiet = pin!(shared.until(|state| state.core.is_quiesced().then_some(())));
    let limit = pin!(sleep(&*shared.runtime, QUIET));
    let result = match select(quiet, limit).await {
        Either::Left(_) => {
            shared.act(|state, _| state.reserve.moving = true);
            // Paths that are being registered just now would be taken for registered.
            shared.until(|state| (!state.attends()).then_some(())).await;
            work.await
        }
        Either::Right(_) => Err(ReserveError::NotQuiet),
    };
    shared.act(|state, now| {
        state.reserve.moving = false;
        state.core.unpause(now);
        state.news = true;
    });
    result
}
