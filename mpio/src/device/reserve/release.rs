//! Giving a reservation up, also where the path that holds it is gone.

use std::sync::Arc;

use futures_util::future::join_all;
use iscsi_client::error::{Error, ErrorKind, Outcome};
use iscsi_proto::scsi::{PersistentReserveOut, ReservationKey, ReservationType, ReserveAction};

use super::{
    RegistrationKeys, ReserveError,
    ask::{own_reservation, quietly, reservation_to_release},
    attend::{TIMEOUT, is_registered, order, overwrite, take_back},
    book::Wish,
    state::Registrant,
};
use crate::{device::shared::Shared, path::Path};

type Held = Option<(ReservationKey, ReservationType)>;

pub(super) async fn release<P: Path>(
    shared: Arc<Shared<P>>,
    kind: ReservationType,
) -> Result<(), ReserveError> {
    let shared = &*shared;
    let Wish::Keys(keys) = shared.look(|state| state.reserve.wish) else {
        return Err(ReserveError::Lost);
    };
    let held = reservation_to_release(shared).await?;
    let left = match held {
        Some((_, other)) if other != kind => return Err(ReserveError::OtherType(other)),
        None => None,
        Some(_) => through_holder(shared, kind).await?,
    };
    if let Some((key, _)) = left {
        take_over(shared, keys, key, kind).await?;
    }
    shared.act(|state, now| state.holds_nothing(now));
    Ok(())
}

fn releasing(key: u64, kind: ReservationType) -> PersistentReserveOut {
    PersistentReserveOut {
        kind: Some(kind),
        ..order(ReserveAction::Release, key, 0)
    }
}

/// Through each path: only the holder's has an effect, and which one that is need not be known. With what is held after
/// that.
async fn through_holder<P: Path>(
    shared: &Shared<P>,
    kind: ReservationType,
) -> Result<Held, ReserveError> {
    let paths = shared.look(|state| state.registrants(state.reserve.holder));
    let mut error = Error::not_executed(ErrorKind::NoPath);
    let mut given = false;
    for one in paths {
        match one
            .path
            .reserve_out(&releasing(one.key, kind), TIMEOUT)
            .await
        {
            Ok(()) => {}
            Err(failed) => {
                // Nobody knows; but a reservation that is taken over is none that this order could still end.
                given |= failed.outcome() != Outcome::NotExecuted;
                error = failed;
                continue;
            }
        }
        given = true;
        match own_reservation(shared).await? {
            Some((_, held)) if held == kind => {}
            _ => return Ok(None),
        }
    }
    if !given {
        return Err(error.into());
    }
    let left = own_reservation(shared).await?;
    match left.filter(|&(_, held)| held == kind) {
        // Any registrant's order would have ended it, so none was carried out. To preempt nobody's key, as if the holder
        // were gone, would end the registrations of other hosts as well.
        Some((ReservationKey::NONE, _)) => Err(error.into()),
        left => Ok(left),
    }
}

/// The holder's nexus is gone: another one of ours preempts it, which makes that one the holder.
async fn take_over<P: Path>(
    shared: &Shared<P>,
    keys: RegistrationKeys,
    victim: ReservationKey,
    kind: ReservationType,
) -> Result<(), ReserveError> {
    match keys {
        RegistrationKeys::One(key) if key == victim => {
            quietly(shared, take_over_with_one_key(shared, keys, kind)).await
        }
        // That of a path, or one that was the device's before: no other nexus loses its own by that.
        _ => {
            let via = preempt(shared, victim, kind).await?;
            shared.act(|state, now| state.was_preempted_by_us(now, victim));
            let order = releasing(via.key, kind);
            Ok(via.path.reserve_out(&order, TIMEOUT).await?)
        }
    }
}

/// Through which path the holder with the key `victim` was preempted.
async fn preempt<P: Path>(
    shared: &Shared<P>,
    victim: ReservationKey,
    kind: ReservationType,
) -> Result<Registrant<P>, Error> {
    let holder = shared.look(|state| state.reserve.holder);
    let mut paths = shared.look(|state| state.registrants(None));
    // Last, if at all: it has answered nothing.
    paths.sort_by_key(|one| Some(one.id) == holder);
    let mut error = Error::not_executed(ErrorKind::NoPath);
    for one in paths {
        let order = PersistentReserveOut {
            kind: Some(kind),
            ..order(ReserveAction::Preempt, one.key, victim.0)
        };
        match one.path.reserve_out(&order, TIMEOUT).await {
            Ok(()) => return Ok(one),
            Err(failed) if failed.outcome() == Outcome::NotExecuted => error = failed,
            Err(failed) => return Err(failed),
        }
    }
    Err(error)
}

/// The order unregisters all other nexuses of ours, since they have the key too. They are registered again before any I/O
/// goes on.
async fn take_over_with_one_key<P: Path>(
    shared: &Shared<P>,
    keys: RegistrationKeys,
    kind: ReservationType,
) -> Result<(), ReserveError> {
    let RegistrationKeys::One(key) = keys else {
        return Err(ReserveError::NotRegistered);
    };
    let result = match preempt(shared, key, kind).await {
        Ok(via) => {
            let order = releasing(via.key, kind);
            let released = via.path.reserve_out(&order, TIMEOUT).await;
            register_others(shared, Some(&via), key.0).await;
            released
        }
        Err(error) if error.outcome() == Outcome::NotExecuted => return Err(error.into()),
        Err(error) => {
            // Who is left, nobody knows.
            register_others(shared, None, key.0).await;
            Err(error)
        }
    };
    match result {
        Err(error) => match own_reservation(shared).await? {
            Some(_) => Err(error.into()),
            None => Ok(()),
        },
        Ok(()) => Ok(()),
    }
}

/// Registers the paths again that our own order has unregistered, unless somebody else has preempted the key meanwhile:
/// then the path that gave the order, and was registered all the time, has lost its registration.
async fn register_others<P: Path>(shared: &Shared<P>, via: Option<&Registrant<P>>, key: u64) {
    let via_id = via.map(|via| via.id);
    let others = shared.look(|state| state.registrants(None));
    let others = others.into_iter().filter(|one| Some(one.id) != via_id);
    shared.act(|state, now| state.only_registered(now, via_id));
    let orders = others.map(|one| async move {
        let result = overwrite(&*one.path, key).await;
        (one, result)
    });
    let results = join_all(orders).await;
    let stands = match via {
        Some(via) => !matches!(is_registered(&*via.path, key).await, Ok(false)),
        None => true,
    };
    if let (false, Some(via)) = (stands, via_id) {
        join_all(results.iter().map(|(one, _)| take_back(&*one.path, key))).await;
        shared.act(|state, now| state.lose(now, via));
        return;
    }
    shared.act(|state, now| {
        for (one, result) in &results {
            match result {
                Ok(()) => state.core.set_key(now, one.id, Some(key)),
                Err(_) => state.attend_again(now, one.id),
            }
        }
    });
}
