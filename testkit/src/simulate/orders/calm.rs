//! After the storm: what is registered is what was wanted.

use std::{sync::Arc, time::Duration};

use mpio::{
    MultipathDevice, Path, RegistrationKeys,
    core::{PathChecker, Registration},
};

use super::judge::in_words;
use crate::simulate::{
    calm::LOOK,
    check::Row,
    plan::{Fault, What},
    world::World,
};
use crate::target::{Registrant, Telling, Told};

/// Every path of a device that is registered has the key that was last ordered; and is not registered any more when that
/// is ordered.
pub(in crate::simulate) async fn keys_are_right(world: &Arc<World>) {
    let Some(orders) = world.plan.orders else {
        return;
    };
    let count = world.board.with(|state| state.devices.len());
    for index in 0..count {
        let (device, keys) = world.board.with(|state| {
            let keys = state.keys.get(&index).copied().flatten();
            let keys = keys.filter(|(opening, _)| *opening == state.openings[index]);
            (state.devices[index].clone(), keys)
        });
        let (Some(device), Some((_, keys))) = (device, keys) else {
            continue;
        };
        comes(world, index, &device, Some(keys)).await;
        let is_over =
            |device: &MultipathDevice| device.snapshot().registration != Registration::Registered;
        if !orders.ends || is_over(&device) {
            continue;
        }
        let limit = world.plan.patience();
        let begun = world.handle.elapsed();
        let result = device.unregister().await;
        let took = world.handle.elapsed() - begun;
        if let Err(error) = result {
            let account = format!("device {index} cannot be unregistered: {error}");
            world.board.with(|state| state.violate(Row::L2, account));
        }
        if took > limit {
            let account = format!("device {index}: it took {took:?} to be unregistered");
            world.board.with(|state| state.violate(Row::L1, account));
        }
        comes(world, index, &device, None).await;
    }
}

/// Until the target has what is wanted, for so long as things may take; not where a rival has had the last word.
async fn comes(
    world: &Arc<World>,
    index: usize,
    device: &MultipathDevice,
    keys: Option<RegistrationKeys>,
) {
    let until = world.handle.elapsed() + world.plan.patience();
    loop {
        if device.snapshot().registration == Registration::Lost {
            return;
        }
        let wrong = wrong(world, index, device, keys);
        if wrong.is_empty() {
            return;
        }
        if world.handle.elapsed() > until {
            let lun = u16::try_from(index % world.plan.units.len()).unwrap_or_default();
            let mut account = format!("device {index}, wanted {keys:?}: {}", wrong.join(", "));
            let registry = world.target.core().notes().registry;
            for one in registry.iter().filter(|one| one.lun == lun) {
                account += &format!("\n    {:?} {}", one.at, in_words(one));
            }
            world.board.with(|state| state.violate(Row::I17, account));
            return;
        }
        world
            .handle
            .sleep(LOOK.max(Duration::from_millis(500)))
            .await;
    }
}

/// What is registered otherwise than wanted.
fn wrong(
    world: &World,
    index: usize,
    device: &MultipathDevice,
    keys: Option<RegistrationKeys>,
) -> Vec<String> {
    let lun = u16::try_from(index % world.plan.units.len()).unwrap_or_default();
    let registry = world.target.core().notes().registry;
    let now = registry.iter().rev().find(|one| one.lun == lun);
    let registrants = now.map_or(&[][..], |one| &one.registrants[..]);
    let host = crate::simulate::names::host_name(world.host_of(index));
    let is_blind = world.plan.device.checker == PathChecker::Nop;
    let paths = device.snapshot();
    let paths = paths.paths().filter_map(|path| device.path(path.id));
    let wrong = paths.filter_map(|path| {
        let wanted = keys.map(|keys| match keys {
            RegistrationKeys::One(key) => key.0,
            RegistrationKeys::PerPath(keys) => path.nexus_key(keys),
            _ => 0,
        });
        let isid = path.session().isid();
        let tpgt = path.portal_group().map(|group| group.tag);
        let is_it = |one: &&Registrant| {
            one.port.initiator == host
                && one.port.isid == isid
                && tpgt.is_none_or(|tpgt| tpgt == one.tpgt)
        };
        let found = registrants.iter().find(is_it).map(|one| one.key);
        // A NOP does not find out what the unit would tell: an idle path has been preempted, and nobody knows.
        let of_unit = || registry.iter().rev().filter(|one| one.lun == lun);
        let mut changes = std::iter::zip(of_unit(), of_unit().skip(1));
        let end = changes.find(|(_, before)| before.registrants.iter().any(|one| is_it(&one)));
        let by = end.as_ref().and_then(|(after, _)| after.by.as_deref());
        let by_rival = by.is_some_and(|by| by != &*host);
        if found.is_none() && is_blind && by_rival {
            return None;
        }
        // Nor does anything but a write, or a login, find out what a controller has forgotten.
        let is_forgotten = || {
            let (after, before) = end.as_ref()?;
            let had = before.registrants.iter().find(is_it)?;
            Some(after.by.is_none() && is_found_out_by_nobody(world, after.at, had))
        };
        if found.is_none() && is_forgotten() == Some(true) {
            return None;
        }
        (found != wanted).then(|| format!("ISID {isid} has {found:x?}, not {wanted:x?}"))
    });
    wrong.collect()
}

/// A unit has forgotten a registration at `at`, since a fault made it so; and through that nexus nobody has logged in, or
/// been told of a conflict, since.
fn is_found_out_by_nobody(world: &World, at: Duration, had: &Registrant) -> bool {
    let (lun, tpgt) = (had.port.lun, had.tpgt);
    let forgets = |fault: &Fault| match fault.what {
        What::Forget { unit, group } => (unit, group) == (lun, tpgt) && fault.at == at,
        _ => false,
    };
    if !world.plan.faults.iter().any(forgets) {
        return false;
    }
    let core = world.target.core();
    let since = core.session_since(&had.port.initiator, had.port.isid, tpgt);
    let is_told = |telling: &Telling| {
        telling.to == had.port
            && telling.at > at
            && telling.heard.is_some()
            && matches!(telling.told, Told::Conflict(_))
    };
    since.is_none_or(|since| since <= at) && !core.notes().tellings.iter().any(is_told)
}
