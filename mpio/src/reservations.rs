//! What a path over iSCSI does with its reservation key.

use std::time::Duration;

use iscsi_client::{
    error::{Error, ErrorKind},
    logical_unit::LogicalUnit,
};
use iscsi_proto::scsi::{ReservationKey, ReservationType};

use crate::core::{KeyRefusal, PathKeys, Preempted, Registered};

/// How long a command may take that does no work.
const TIMEOUT: Duration = Duration::from_secs(5);
/// TYPE of the order that preempts. It means nothing unless the victim holds the reservation, and none of our
/// keys ever does; but it has to be one that there is.
const TYPE: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// The key of the unit's present nexus.
fn key_of(unit: &LogicalUnit, keys: PathKeys) -> ReservationKey {
    let session = unit.session();
    let group = session.login().portal_group().map_or(0, |tag| tag.0);
    let nexus = PathKeys::digest([
        session.initiator_name().as_str().as_bytes(),
        &session.isid().0[..],
        &group.to_be_bytes(),
    ]);
    ReservationKey(keys.key(nexus))
}

/// Whether others use persistent reservations there.
async fn others(unit: &LogicalUnit, keys: PathKeys) -> Result<Option<KeyRefusal>, Error> {
    let found = unit.reservation_keys(Some(TIMEOUT)).await?;
    let ours = |key: &ReservationKey| keys.is_of_family(key.0);
    // A list that is too long to be read whole is not all ours either.
    if found.truncated || !found.keys.iter().all(ours) {
        return Ok(Some(KeyRefusal::OthersRegistered));
    }
    let reservation = unit.reservation(Some(TIMEOUT)).await?;
    Ok(reservation.held.map(|_| KeyRefusal::Reserved))
}

/// See [`Path::register`](crate::path::Path::register).
pub(crate) async fn register(unit: &LogicalUnit, keys: PathKeys) -> Result<Registered, Error> {
    let key = key_of(unit, keys);
    let order = async {
        if let Some(why) = others(unit, keys).await? {
            return Ok(Registered::Not(why));
        }
        // An old key of the nexus, of a session before this one, is of our family as well.
        let order = unit.register_and_ignore_existing_key(key, Some(TIMEOUT));
        order.await.map(|()| Registered::With(key.0))
    };
    match order.await {
        Err(error) => match error.kind() {
            ErrorKind::Unsupported | ErrorKind::Refused => {
                Ok(Registered::Not(KeyRefusal::Unsupported))
            }
            ErrorKind::ReservationConflict => Ok(Registered::Not(KeyRefusal::Reserved)),
            _ => Err(error),
        },
        registered => registered,
    }
}

/// See [`Path::unregister`](crate::path::Path::unregister).
pub(crate) async fn unregister(unit: &LogicalUnit, key: u64) -> Result<(), Error> {
    let none = ReservationKey::NONE;
    unit.register(ReservationKey(key), none, Some(TIMEOUT))
        .await
}

/// See [`Path::preempt_and_abort`](crate::path::Path::preempt_and_abort).
pub(crate) async fn preempt_and_abort(
    unit: &LogicalUnit,
    keys: PathKeys,
    own: u64,
    victim: u64,
) -> Result<Preempted, Error> {
    if let Some(why) = others(unit, keys).await? {
        return Ok(Preempted::Others(why));
    }
    let (own, victim) = (ReservationKey(own), ReservationKey(victim));
    // What it aborts may have to be waited for, so it has the time of any other command.
    unit.preempt_and_abort(own, victim, TYPE, None).await?;
    // istgt ends the order in GOOD, and unregisters somebody else. (A victim that has registered again already is
    // taken for one that was not preempted; then the order is given again, or time passes.)
    let left = unit.reservation_keys(Some(TIMEOUT)).await?;
    Ok(if left.keys.contains(&victim) {
        Preempted::Failed
    } else {
        Preempted::Done
    })
}
