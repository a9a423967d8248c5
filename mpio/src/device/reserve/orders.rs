//! What a call does, as a job of the driver.

use std::{sync::Arc, time::Duration};

use iscsi_client::error::{Error, ErrorKind, Outcome};
use iscsi_proto::scsi::{PersistentReserveOut, ReservationKey, ReservationType, ReserveAction};

use super::{
    RegistrationKeys, Registrations, ReserveError,
    ask::{goes_elsewhere, has_key, has_own_key, own_reservation, quietly},
    attend::{TIMEOUT, is_registered, order},
    book::Wish,
    release,
};
use crate::{
    core::PathId,
    device::{attentions::find_attentions, shared::Shared},
    path::Path,
};

/// What an order came to that was not carried out for sure.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(ReserveError),
    /// Nobody knows.
    Unknown(Error),
}

impl From<Failure> for ReserveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            Failure::Unknown(error) => Self::Unit(error),
        }
    }
}

/// Gives an order through a path that is registered, `first` before others; through another one only where it was not
/// executed. With the path.
pub(super) async fn give<P: Path>(
    shared: &Shared<P>,
    first: Option<PathId>,
    timeout: Option<Duration>,
    order: impl Fn(u64) -> PersistentReserveOut,
) -> Result<PathId, Failure> {
    let mut last = ReserveError::Unit(Error::not_executed(ErrorKind::NoPath));
    for one in shared.look(|state| state.registrants(first)) {
        let error = match one.path.reserve_out(&order(one.key), timeout).await {
            Ok(()) => return Ok(one.id),
            Err(error) => error,
        };
        if error.outcome() != Outcome::NotExecuted {
            return Err(Failure::Unknown(error));
        }
        let conflicts = error.kind() == ErrorKind::ReservationConflict;
        let again = match conflicts {
            // It may be this one that is not registered any more.
            true => matches!(is_registered(&*one.path, one.key).await, Ok(false)),
            false => goes_elsewhere(&error),
        };
        if conflicts && again {
            shared.act(|state, now| state.doubt(now, one.id, false));
        }
        last = error.into();
        if !again {
            break;
        }
    }
    Err(Failure::Refused(last))
}

fn keys<P: Path>(shared: &Shared<P>) -> Result<RegistrationKeys, ReserveError> {
    match shared.look(|state| state.reserve.wish) {
        Wish::Keys(keys) => Ok(keys),
        _ => Err(ReserveError::Lost),
    }
}

pub(super) async fn register<P: Path>(
    shared: Arc<Shared<P>>,
    keys: RegistrationKeys,
) -> Result<Registrations, ReserveError> {
    let (before, round) = shared.act(|state, _| {
        let before = state.reserve.wish;
        (before, state.begin_round(Wish::Keys(keys)))
    });
    let result = shared.until(|state| state.end_of_round(round)).await;
    match shared.act(|state, now| state.close_round(now, before, round, &result)) {
        true => Ok(result),
        false => Err(ReserveError::Nowhere(result)),
    }
}

pub(super) async fn unregister<P: Path>(
    shared: Arc<Shared<P>>,
) -> Result<Registrations, ReserveError> {
    // The reservation would end with its holder's registration, and before that keep out the paths that have none.
    if let Some(kind) = shared.look(|state| state.core.reservation()) {
        let released = match release::release(Arc::clone(&shared), kind).await {
            Err(ReserveError::OtherType(kind)) => release::release(Arc::clone(&shared), kind).await,
            result => result,
        };
        // Unless somebody else has ended it meanwhile.
        if shared.look(|state| state.core.reservation().is_some()) {
            released?;
        }
    }
    let round = shared.act(|state, _| state.begin_round(Wish::Gone));
    let result = shared.until(|state| state.end_of_round(round)).await;
    shared.act(|state, now| {
        state.end_registration(now);
        state.forget_if_gone();
    });
    Ok(result)
}

pub(super) async fn reserve<P: Path>(
    shared: Arc<Shared<P>>,
    kind: ReservationType,
) -> Result<(), ReserveError> {
    keys(&shared)?;
    let reserve = |key| PersistentReserveOut {
        kind: Some(kind),
        ..order(ReserveAction::Reserve, key, 0)
    };
    let holder = shared.look(|state| state.reserve.holder);
    let failure = match give(&shared, holder, TIMEOUT, reserve).await {
        Ok(path) => {
            shared.act(|state, now| state.holds(now, Some(path), kind));
            return Ok(());
        }
        Err(failure) => failure,
    };
    // Another path of this device may hold it, or the answer was lost.
    match own_reservation(&shared).await {
        Ok(Some((_, held))) if held == kind => {
            shared.act(|state, now| state.holds(now, None, kind));
            Ok(())
        }
        Ok(Some((_, held))) => {
            shared.act(|state, now| state.holds(now, None, held));
            Err(ReserveError::OtherType(held))
        }
        _ => Err(failure.into()),
    }
}

pub(super) async fn preempt<P: Path>(
    shared: Arc<Shared<P>>,
    victim: ReservationKey,
    kind: ReservationType,
    aborts: bool,
) -> Result<(), ReserveError> {
    let keys = keys(&shared)?;
    if victim == ReservationKey::NONE {
        return Err(ReserveError::NoKey);
    }
    if keys.owns(victim) {
        return Err(ReserveError::OwnKey(victim));
    }
    // What it aborts may have to be waited for, so it has the time of any other command.
    let (action, timeout) = match aborts {
        true => (ReserveAction::PreemptAndAbort, None),
        false => (ReserveAction::Preempt, TIMEOUT),
    };
    let preempt = |key| PersistentReserveOut {
        kind: Some(kind),
        ..order(action, key, victim.0)
    };
    match give(&shared, None, timeout, preempt).await {
        Ok(path) => {
            note_holder(&shared, Some(path)).await;
            // istgt ends the order in GOOD, and unregisters somebody else. (Who has registered again already is
            // taken for one that was not preempted.)
            if let Ok(true) = has_key(&shared, |key| key == victim).await {
                return Err(ReserveError::NotPreempted(victim));
            }
        }
        Err(Failure::Unknown(error)) => {
            let is_gone = matches!(has_key(&shared, |key| key == victim).await, Ok(false));
            note_holder(&shared, None).await;
            if !is_gone || aborts {
                return Err(error.into());
            }
        }
        Err(Failure::Refused(error)) => return Err(error),
    }
    Ok(())
}

/// The holder may be another one by now; with all registrants the reservation does not say who.
async fn note_holder<P: Path>(shared: &Shared<P>, path: Option<PathId>) {
    if let Ok(held) = own_reservation(shared).await {
        shared.act(|state, now| match held {
            Some((_, kind)) => {
                // Who held it before holds it still, unless this order has made it another one.
                let known = state.core.reservation() == Some(kind);
                let holder = if known { state.reserve.holder } else { path };
                state.holds(now, holder, kind);
            }
            None => state.holds_nothing(now),
        });
    }
}

pub(super) async fn clear<P: Path>(shared: Arc<Shared<P>>) -> Result<(), ReserveError> {
    keys(&shared)?;
    let shared = &*shared;
    quietly(shared, async {
        match give(shared, None, TIMEOUT, |key| {
            order(ReserveAction::Clear, key, 0)
        })
        .await
        {
            Ok(_) => {}
            Err(Failure::Unknown(error)) => {
                if !matches!(has_own_key(shared).await, Ok(false)) {
                    return Err(error.into());
                }
            }
            Err(Failure::Refused(error)) => return Err(error),
        }
        shared.act(|state, now| state.forget_registrations(now));
        // Each other nexus of ours has an attention now, which a write would take for somebody else's doing.
        let paths = shared.look(|state| state.connected());
        find_attentions(paths.into_iter().map(|(_, path)| path)).await;
        Ok(())
    })
    .await
}
