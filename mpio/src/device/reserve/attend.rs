//! One path is brought to what the device wants of it: registered or not.
//!
//! A nexus tells by itself whether it is registered with a key: REGISTER from that key to the same one changes
//! nothing, and conflicts where it is not (SPC-4 section 5.12.7).

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::FutureExt;
use iscsi_client::error::{Error, ErrorKind};
use iscsi_proto::scsi::{PersistentReserveOut, ReservationKey, ReserveAction};

use super::{book::Wish, types::RegistrationKeys};
use crate::{core::PathId, path::Path};

/// How long a command may take that does no work.
pub(super) const TIMEOUT: Option<Duration> = Some(Duration::from_secs(5));
/// More of them would prove nothing more.
pub(super) const WITNESSES: usize = 3;

/// What is to be done with a path, and what is known of it.
#[derive(Debug)]
pub(crate) struct Task<P> {
    pub(super) path: Arc<P>,
    pub(super) round: u64,
    pub(super) wish: Wish,
    /// All keys that may be this device's.
    pub(super) known: Vec<RegistrationKeys>,
    /// Those of them by which others know the device.
    pub(super) current: Vec<RegistrationKeys>,
    /// What its nexus is registered with, as far as is known.
    pub(super) key: Option<u64>,
    /// The device's user wants it, whatever others do there.
    pub(super) asked: bool,
    /// The unit has told that somebody has ended registrations of this nexus.
    pub(super) told: bool,
    /// By an event of up to this number.
    pub(super) seen: u64,
}

/// Another path that is registered as far as is known, and with what key.
#[derive(Debug)]
pub(super) struct Witness<P> {
    pub(super) id: PathId,
    pub(super) path: Arc<P>,
    pub(super) key: u64,
}

/// How a path was found, or what it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Registered(u64),
    Unregistered,
    /// Somebody has ended the device's registration, and it is not to be made again.
    Lost,
    /// This path is not registered any more either, so it has to be looked at first.
    Doubt(PathId),
}

pub(super) fn register(old: u64, new: u64) -> PersistentReserveOut {
    order(ReserveAction::Register, old, new)
}

pub(super) const fn order(action: ReserveAction, key: u64, new: u64) -> PersistentReserveOut {
    PersistentReserveOut {
        action,
        kind: None,
        key: ReservationKey(key),
        action_key: ReservationKey(new),
        persist_through_power_loss: false,
    }
}

/// True if it was done, false if it is a conflict.
async fn changed<P: Path>(path: &P, old: u64, new: u64) -> Result<bool, Error> {
    match path.reserve_out(&register(old, new), TIMEOUT).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ReservationConflict => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether its nexus is registered with the key.
pub(super) async fn is_registered<P: Path>(path: &P, key: u64) -> Result<bool, Error> {
    changed(path, key, key).await
}

pub(super) async fn overwrite<P: Path>(path: &P, key: u64) -> Result<(), Error> {
    let action = ReserveAction::RegisterAndIgnoreExistingKey;
    path.reserve_out(&order(action, 0, key), TIMEOUT).await
}

/// Takes back what should not have been made, as far as that is possible.
pub(super) async fn take_back<P: Path>(path: &P, key: u64) {
    _ = changed(path, key, 0).await;
}

/// Carries a task out. `turn` keeps I/O from the path that is found without a registration, until that is made again, and
/// waits until no other path is registered again meanwhile: what each found would be what the other is about to change.
/// It comes to nothing if something else is wanted by then.
pub(super) async fn attend<P: Path>(
    task: &Task<P>,
    turn: impl Future<Output = Option<Vec<Witness<P>>>>,
) -> Result<Found, Error> {
    let path = &*task.path;
    let keys = match task.wish {
        Wish::Keys(keys) => keys,
        Wish::Nothing => return Ok(Found::Unregistered),
        Wish::Gone => {
            unregister(task).await?;
            return Ok(Found::Unregistered);
        }
    };
    let key = keys.of(path);
    if changed(path, task.key.unwrap_or(key), key).await? {
        return Ok(Found::Registered(key));
    }
    if task.asked {
        overwrite(path, key).await?;
        return Ok(Found::Registered(key));
    }
    // The order itself may have found the attention.
    if was_told(task) {
        return Ok(Found::Lost);
    }
    match turn.await {
        Some(witnesses) => restore(task, keys, key, &witnesses).await,
        None => Err(Error::not_executed(ErrorKind::Closed)),
    }
}

/// Whether the unit has told that somebody has ended a registration that the path had.
fn was_told<P: Path>(task: &Task<P>) -> bool {
    let told = || task.path.registrations_ended(task.seen).now_or_never();
    task.key.is_some() && (task.told || matches!(told(), Some(Some(_))))
}

/// By whatever key its nexus may have: what was ordered and not answered may have been carried out. A conflict says that
/// it does not have that one.
async fn unregister<P: Path>(task: &Task<P>) -> Result<(), Error> {
    for key in task.key.into_iter().chain(task.former(task.key)) {
        if changed(&*task.path, key, 0).await? {
            break;
        }
    }
    Ok(())
}

impl<P: Path> Task<P> {
    /// What its nexus may be registered with besides `than`, the last one first.
    fn former(&self, than: Option<u64>) -> Vec<u64> {
        let known = self.known.iter().rev();
        let mut former: Vec<u64> = known.map(|keys| keys.of(&*self.path)).collect();
        former.retain(|former| Some(*former) != than);
        former.dedup();
        former
    }
}

/// Registers a path whose nexus is not, if nobody has wanted it so.
async fn restore<P: Path>(
    task: &Task<P>,
    keys: RegistrationKeys,
    key: u64,
    witnesses: &[Witness<P>],
) -> Result<Found, Error> {
    let path = &*task.path;
    let mut before = look(task).await?;
    let had = task.key.is_some();
    if is_lost(&before, keys, had) || was_told(task) {
        return Ok(Found::Lost);
    }
    // While it was away the others may have been given another key.
    let mut has_key = false;
    for former in task.former(Some(task.key.unwrap_or(key))) {
        has_key = changed(path, former, key).await?;
        if has_key {
            let was_counted = task
                .current
                .iter()
                .any(|keys| keys.owns(ReservationKey(former)));
            before.ours -= usize::from(was_counted).min(before.ours);
            break;
        }
    }
    if !has_key {
        overwrite(path, key).await?;
    }
    // Somebody may have ended the others' registrations between the look and the order. Then this one was made
    // behind that one's back, and nothing was written yet.
    for witness in witnesses {
        match is_registered(&*witness.path, witness.key).await {
            Ok(true) => return Ok(Found::Registered(key)),
            Ok(false) => {
                take_back(path, key).await;
                return Ok(Found::Doubt(witness.id));
            }
            Err(_) => {}
        }
    }
    let mut after = match look(task).await {
        Ok(after) => after,
        Err(error) => {
            take_back(path, key).await;
            return Err(error);
        }
    };
    after.ours = after.ours.saturating_sub(1);
    if after.ours < before.ours || is_lost(&after, keys, had) || was_told(task) {
        take_back(path, key).await;
        return Ok(Found::Lost);
    }
    Ok(Found::Registered(key))
}

/// Who uses the unit.
#[derive(Clone, Copy, Debug)]
struct Users {
    /// Registrations with the key of this device: what is left of one of before stays where nobody wants this device.
    ours: usize,
    /// Somebody else holds a reservation.
    reserved: bool,
}

async fn look<P: Path>(task: &Task<P>) -> Result<Users, Error> {
    let found = task.path.reservation_keys(TIMEOUT).await?;
    let held = task.path.reservation(TIMEOUT).await?.held;
    let is_in = |of: &[RegistrationKeys], key| of.iter().any(|keys| keys.owns(key));
    let ours = found.keys.iter();
    let ours = ours.filter(|&&key| is_in(&task.current, key)).count();
    let reserved = held.is_some_and(|(key, _)| match key {
        // All registrants hold it: we too, if we are one.
        ReservationKey::NONE => ours == 0,
        key => !is_in(&task.known, key),
    });
    Ok(Users { ours, reserved })
}

/// Whether a nexus of a registered device that is not registered is to stay so. `had`: it was.
///
/// A reservation that others hold keeps out whoever is not registered, so not to be registered may be what they want.
/// With one key for all paths they cannot want it of one path alone: a PREEMPT takes all. With a key per path they
/// take one after the other.
const fn is_lost(users: &Users, keys: RegistrationKeys, had: bool) -> bool {
    let one_by_one = had && matches!(keys, RegistrationKeys::PerPath(_));
    users.reserved && (users.ours == 0 || one_by_one)
}
