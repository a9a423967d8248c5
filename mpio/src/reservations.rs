//! What a path over iSCSI does with its reservation key.

use std::time::Duration;

use iscsi_client::{
    error::{Error, ErrorKind},
    logical_unit::LogicalUnit,
    session::SessionState,
};
use iscsi_proto::scsi::{ReservationKey, ReservationKeys, ReservationType};

use crate::core::{KeyRefusal, PathKeys, Preempted, Registered};

/// How long a command may take that does no work.
const TIMEOUT: Duration = Duration::from_secs(5);
/// TYPE of the order that preempts. It means nothing unless the victim holds the reservation, and none of our
/// keys ever does; but it has to be one that there is.
const TYPE: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// How often READ KEYS is asked after an order that ended in GOOD, if the first is not answered.
const LOOKS: u32 = 3;

/// The key of the unit's present nexus.
pub(crate) fn key_of(unit: &LogicalUnit, keys: PathKeys) -> ReservationKey {
    let session = unit.session();
    let group = session.login().portal_group().map_or(0, |tag| tag.0);
    // Portal groups are numbered from 1 by every target.
    let target = session.target_name().map_or("", |name| name.as_str());
    let nexus = PathKeys::digest([
        session.initiator_name().as_str().as_bytes(),
        &session.isid().0[..],
        target.as_bytes(),
        &group.to_be_bytes(),
    ]);
    ReservationKey(keys.key(nexus))
}

/// Without a connection a command would wait for one.
pub(crate) fn needs_connection(unit: &LogicalUnit) -> Result<(), Error> {
    match unit.session().state() {
        SessionState::Up => Ok(()),
        _ => Err(Error::not_executed(ErrorKind::Transport)),
    }
}

/// Who uses persistent reservations there.
struct Found {
    keys: ReservationKeys,
    /// Why it is to be left alone, if it is.
    others: Option<KeyRefusal>,
}

impl Found {
    fn count(&self, key: ReservationKey) -> usize {
        self.keys.keys.iter().filter(|&&other| other == key).count()
    }
}

async fn look(unit: &LogicalUnit, keys: PathKeys) -> Result<Found, Error> {
    let found = unit.reservation_keys(Some(TIMEOUT)).await?;
    let ours = |key: &ReservationKey| keys.is_of_family(key.0);
    // A list that is too long to be read whole is not all ours either.
    let others = if found.truncated || !found.keys.iter().all(ours) {
        Some(KeyRefusal::OthersRegistered)
    } else {
        let reservation = unit.reservation(Some(TIMEOUT)).await?;
        reservation.held.map(|_| KeyRefusal::Reserved)
    };
    Ok(Found {
        keys: found,
        others,
    })
}

/// See [`Path::register`](crate::path::Path::register).
pub(crate) async fn register(unit: &LogicalUnit, keys: PathKeys) -> Result<Registered, Error> {
    let key = key_of(unit, keys);
    let order = async {
        let found = look(unit, keys).await?;
        if let Some(why) = found.others {
            if found.count(key) > 0 {
                // Of a login before the others came. It would let our writes past a reservation that is to
                // keep them out.
                take_back(unit, key).await?;
            }
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

/// Takes a key back. If another nexus has it, that is a conflict, and that one's affair.
async fn take_back(unit: &LogicalUnit, key: ReservationKey) -> Result<(), Error> {
    match unit
        .register(key, ReservationKey::NONE, Some(TIMEOUT))
        .await
    {
        Err(error) if error.kind() == ErrorKind::ReservationConflict => Ok(()),
        result => result,
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
    let found = look(unit, keys).await?;
    if let Some(why) = found.others {
        return Ok(Preempted::Others(why));
    }
    let (own, victim) = (ReservationKey(own), ReservationKey(victim));
    // The commands of a nexus that is not registered are not aborted, whatever the target says of an order
    // against nobody.
    if found.count(victim) == 0 || found.count(own) == 0 {
        return Ok(Preempted::Unregistered);
    }
    // The commands of another nexus are not ours to abort.
    if found.count(victim) > 1 {
        return Ok(Preempted::Failed);
    }
    // What it aborts may have to be waited for, so it has the time of any other command.
    match unit.preempt_and_abort(own, victim, TYPE, None).await {
        Err(error) if error.kind() == ErrorKind::ReservationConflict => {
            return Ok(Preempted::Unregistered);
        }
        result => result?,
    }
    // istgt ends the order in GOOD, and unregisters somebody else. (A victim that has registered again already is
    // taken for one that was not preempted; then the order is given again, or time passes.)
    let left = keys_left(unit).await?;
    Ok(if left.truncated || left.keys.contains(&victim) {
        Preempted::Failed
    } else {
        Preempted::Done
    })
}

/// The order is done and cannot be repeated, so a question about it that is lost is asked again.
async fn keys_left(unit: &LogicalUnit) -> Result<ReservationKeys, Error> {
    let mut looks = 1;
    loop {
        match unit.reservation_keys(Some(TIMEOUT)).await {
            Err(error) if looks < LOOKS && error.kind() != ErrorKind::Protocol => looks += 1,
            result => return result,
        }
    }
}
