//! The logical units behind the sessions, and the devices that they become.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use iscsi_client::{error::Error, session::SessionState};
use iscsi_proto::scsi::Lun;

use super::{
    event::{InventoryEventKind as Event, Loss, Removal},
    filter::Rejection,
    ids::RouteId,
    job::{self, Report, Standing},
    keeper::{Disk, Keeper, Link, Unit},
    limits::Limit,
    snapshot::UnitState,
    spares::removal,
};
use crate::{
    backoff::sleep,
    core::PathId,
    device::{Found, JoinError},
    rule::FoundUnit,
};

/// Units of one session that are looked at together: enough that one which does not answer does not hold up the
/// others, and few enough for a small array.
const AT_A_TIME: usize = 8;
/// The least time for which a device without a path is kept.
const SHORTEST_KEEP: Duration = Duration::from_millis(100);

impl Keeper {
    /// Looks at each unit of a list.
    pub(super) fn take_list(&mut self, id: RouteId, luns: Vec<Lun>) {
        let most = self.plan.limits.units;
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        for unit in entry.units.values_mut() {
            unit.listed = false;
        }
        // What an earlier list has begun, and is not in this one, is not looked at; but paths are kept as long as they
        // answer, and count.
        let listed: BTreeSet<Lun> = luns.iter().copied().collect();
        let units = &mut entry.units;
        entry.todo.retain(|lun| {
            let Some(unit) = units.get_mut(lun) else {
                return false;
            };
            unit.queued = listed.contains(lun) || unit.path().is_some();
            unit.queued
        });
        let kept = |(lun, unit): &(&Lun, &Unit)| {
            !listed.contains(lun) && (unit.queued || unit.path().is_some())
        };
        let mut taken = units.iter().filter(kept).count();
        let (mut left_out, mut rejected, mut filtered) = (0, Vec::new(), 0);
        for lun in luns {
            let rejection = self.plan.filter.lun(&entry.route, lun).err();
            if rejection.is_none() && taken >= most {
                left_out += 1;
                continue;
            }
            taken += usize::from(rejection.is_none());
            filtered += usize::from(rejection.is_some());
            if rejection.is_some() && filtered > most {
                // There is nothing to be done about them, and enough are shown.
                continue;
            }
            let key = entry.key(lun);
            let is_removed = removal(&self.removed, self.plan.spares, &key).is_some();
            let unit = entry.units.entry(lun).or_insert_with(|| Unit {
                state: match is_removed {
                    true => UnitState::LeftOut,
                    false => UnitState::Examining,
                },
                handle: None,
                listed: true,
                queued: false,
                removed: is_removed,
            });
            unit.listed = true;
            match rejection {
                Some(rejection) if !matches!(unit.state, UnitState::FilteredOut(_)) => {
                    unit.state = UnitState::FilteredOut(rejection.clone());
                    rejected.push((lun, rejection));
                }
                Some(_) => {}
                None if unit.queued => {}
                None => {
                    // What the program has removed is looked at too: another unit may have its number by now.
                    if self.reopens && std::mem::take(&mut unit.removed) {
                        self.removed.remove(&key);
                    }
                    unit.queued = true;
                    entry.todo.push_back(lun);
                }
            }
        }
        // A path that works is not taken away before it says so itself.
        for (lun, unit) in &mut entry.units {
            if !unit.listed && unit.path().is_some() && !unit.queued {
                unit.queued = true;
                entry.todo.push_back(*lun);
            }
        }
        entry
            .units
            .retain(|_, unit| unit.listed || unit.queued || unit.path().is_some());
        let route = Arc::clone(&entry.route);
        let whose = (entry.end.clone(), entry.seat);
        self.dirty = true;
        for (lun, rejection) in rejected {
            self.tell(Event::FilteredOut {
                route: Arc::clone(&route),
                lun: Some(lun),
                rejection,
            });
        }
        self.left_out.set(Limit::Units(most), whose, left_out);
        self.pump(id);
    }

    /// Begins with as many units as may be looked at together.
    fn pump(&mut self, id: RouteId) {
        let timeout = self.plan.unit.open_timeout;
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        while entry.active < AT_A_TIME {
            let Some(lun) = entry.todo.pop_front() else {
                break;
            };
            let Some(unit) = entry.units.get(&lun) else {
                continue;
            };
            entry.active += 1;
            if let Some(handle) = unit.handle.clone() {
                self.jobs.push(Box::pin(async move {
                    Report::Checked(id, lun, job::check(handle, timeout).await)
                }));
                continue;
            }
            let (initiator, to) = (self.initiator.clone(), entry.to.clone());
            let mut options = self.plan.unit.clone().fail_fast();
            options.open_without_access = true;
            let name = entry.route.path_name();
            self.jobs.push(Box::pin(async move {
                let found = Found::open(initiator, to, lun, options, name).await;
                Report::Examined(id, lun, found)
            }));
        }
        self.settle(id);
    }

    pub(super) fn examined(&mut self, id: RouteId, lun: Lun, result: Result<Found, Error>) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.active -= 1;
        entry.shown = None;
        self.dirty = true;
        let key = entry.key(lun);
        let removed = removal(&self.removed, self.plan.spares, &key).filter(|_| !self.reopens);
        let stays_out = removed.is_some_and(|removed| match &result {
            // Without a name it may be the same one.
            Ok(found) => {
                let wwid = found.unit().info().identity.wwid.clone();
                wwid.is_none_or(|wwid| wwid == *removed)
            }
            Err(_) => true,
        });
        // Not there any more if the session was closed meanwhile.
        if let Some(unit) = entry.units.get_mut(&lun) {
            unit.queued = false;
            if unit.path().is_some() {
                // It has become one already, by an examination that was asked for twice.
            } else if unit.removed && stays_out {
                // The program wants it out, or does since.
            } else if unit.listed {
                if std::mem::take(&mut unit.removed) {
                    self.removed.remove(&key);
                }
                let state = match result {
                    Ok(found) => self.sort(id, lun, found),
                    Err(error) => UnitState::Unusable(error),
                };
                self.set_state(id, lun, state);
            } else {
                entry.units.remove(&lun);
            }
        }
        self.pump(id);
    }

    /// Sets what became of a unit, and tells it if it is another thing than before.
    fn set_state(&mut self, id: RouteId, lun: Lun, state: UnitState) {
        let entry = self.routes.get_mut(&id);
        let Some((unit, route)) = entry.and_then(|entry| {
            let route = Arc::clone(&entry.route);
            Some((entry.units.get_mut(&lun)?, route))
        }) else {
            return;
        };
        let is_news = unit.state.to_string() != state.to_string();
        unit.state = state.clone();
        if !is_news {
            return;
        }
        match state {
            UnitState::FilteredOut(rejection) => self.tell(Event::FilteredOut {
                route,
                lun: Some(lun),
                rejection,
            }),
            UnitState::Unusable(error) => self.tell(Event::UnitUnusable { route, lun, error }),
            UnitState::Refused { error, .. } => self.tell(Event::PathRefused { route, lun, error }),
            UnitState::Path { wwid, path } => self.tell(Event::PathAdded {
                wwid,
                route,
                lun,
                path,
            }),
            UnitState::Examining | UnitState::LeftOut => {}
        }
    }

    /// Where a unit belongs: to a device that is there, to a new one, or to none.
    fn sort(&mut self, id: RouteId, lun: Lun, mut found: Found) -> UnitState {
        let Some(entry) = self.routes.get_mut(&id) else {
            return UnitState::LeftOut;
        };
        let key = entry.key(lun);
        let unit = FoundUnit {
            route: Arc::clone(&entry.route),
            lun,
            info: found.unit().info(),
            inquiry: *found.unit().inquiry(),
        };
        if let Err(rejection) = self.plan.filter.unit(&unit) {
            return UnitState::FilteredOut(rejection);
        }
        let identity = &unit.info.identity;
        let array = self.plan.arrays.find(&identity.vendor, &identity.product);
        let array = array.filter(|array| array.settings().is_no_disk);
        if let Some(array) = array.filter(|_| !self.plan.filter.excepts_device(&unit)) {
            return UnitState::FilteredOut(Rejection::NoDisk(array.name().into()));
        }
        let Some(wwid) = unit.info.identity.wwid.clone() else {
            let path = entry.route.path_name();
            return UnitState::Refused {
                error: JoinError::NoIdentity { path },
                info: unit.info,
            };
        };
        if self.closed.contains(&wwid) {
            return UnitState::LeftOut;
        }
        found.describe(|usual| self.plan.settings.attributes(&unit, usual));
        let handle = found.unit().clone();
        let across = self.plan.across_targets;
        let elsewhere = |disk: &&Disk| !across && disk.target != unit.route.target;
        if let Some(disk) = self.disks.get(&wwid).filter(elsewhere) {
            let error = JoinError::OtherTarget {
                path: unit.route.path_name(),
                expected: disk.target.clone(),
                found: unit.route.target.clone(),
            };
            return UnitState::Refused {
                error,
                info: unit.info,
            };
        }
        let most = self.plan.limits.paths;
        if self.disks.get(&wwid).is_some_and(|disk| disk.paths >= most) {
            self.left_out.add(Limit::Paths(most), key);
            return UnitState::LeftOut;
        }
        let is_full = self.disks.len() >= self.plan.limits.devices;
        let joined = match self.disks.get_mut(&wwid) {
            Some(disk) => found.join(&disk.device).inspect(|_| disk.paths += 1),
            None if is_full => {
                let limit = Limit::Devices(self.plan.limits.devices);
                self.left_out.add(limit, &wwid);
                return UnitState::LeftOut;
            }
            None => self.found_device(&wwid, &unit, found),
        };
        match joined {
            Ok(path) => {
                if let Some(entry) = self.routes.get_mut(&id) {
                    if let Some(unit) = entry.units.get_mut(&lun) {
                        unit.handle = Some(handle.clone());
                    }
                }
                // What came while it was opened is among what it has said.
                self.jobs.push(Box::pin(async move {
                    Report::Attention(id, lun, job::attention(handle, 0).await)
                }));
                UnitState::Path { wwid, path }
            }
            // The program has closed it, which its driver tells in a moment.
            Err(JoinError::Closed) => UnitState::LeftOut,
            Err(error) => UnitState::Refused {
                error,
                info: unit.info,
            },
        }
    }

    fn found_device(
        &mut self,
        wwid: &Arc<str>,
        unit: &FoundUnit,
        found: Found,
    ) -> Result<PathId, JoinError> {
        let config = self.plan.settings.of(unit);
        // The program has closed it while writes of it might land: they are those of a former life now.
        let config = match self.haunted.remove(wwid) {
            true => config.fencing_a_former_life(),
            false => config,
        };
        let runtime = self.runtime();
        let (device, driver, path) =
            found.into_device(Arc::clone(&runtime), config, &self.plan.arrays)?;
        let number = self.number();
        let (shared, name) = (Arc::clone(&self.shared), Arc::clone(wwid));
        runtime.spawn(Box::pin(async move {
            driver.await;
            shared.ask(|board| board.ended_devices.push((name, number)));
        }));
        let disk = Disk {
            device,
            number,
            paths: 1,
            target: unit.route.target.clone(),
            stranding: 0,
        };
        self.disks.insert(Arc::clone(wwid), disk);
        self.call_those_without_access(wwid);
        let wwid = Arc::clone(wwid);
        self.tell(Event::DeviceFound { wwid });
        Ok(path)
    }

    /// Paths to a device that could not be its first one can join it now.
    fn call_those_without_access(&mut self, wwid: &Arc<str>) {
        let waits = |unit: &Unit| match &unit.state {
            UnitState::Refused {
                error: JoinError::NoAccess,
                info,
            } => info.identity.wwid.as_ref() == Some(wwid),
            _ => false,
        };
        let mut waiting = Vec::new();
        for (id, entry) in &self.routes {
            let luns = entry.units.iter().filter(|(_, unit)| waits(unit));
            waiting.extend(luns.map(|(lun, unit)| (*id, *lun, unit.listed)));
        }
        for (id, lun, listed) in waiting {
            self.look_again(id, lun, listed);
            self.pump(id);
        }
    }

    pub(super) fn checked(&mut self, id: RouteId, lun: Lun, standing: Standing) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        entry.active -= 1;
        if let Some(unit) = entry.units.get_mut(&lun) {
            unit.queued = false;
            let listed = unit.listed;
            let reason = match standing {
                Standing::Same => None,
                Standing::Gone => Some(Removal::NoSuchUnit),
                Standing::Other => Some(Removal::OtherUnit),
            };
            if let Some(reason) = reason {
                self.take_path(id, lun, reason);
                self.look_again(id, lun, listed);
            }
        }
        self.pump(id);
    }

    /// What was a path is looked at as if it were new, if it is still in the list.
    fn look_again(&mut self, id: RouteId, lun: Lun, listed: bool) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        if !listed {
            entry.units.remove(&lun);
        } else if let Some(unit) = entry.units.get_mut(&lun).filter(|unit| !unit.removed) {
            unit.state = UnitState::Examining;
            if !std::mem::replace(&mut unit.queued, true) {
                entry.todo.push_back(lun);
            }
        }
    }

    /// A unit has said something. `seen` is `None` once it is closed.
    pub(super) fn attention(&mut self, id: RouteId, lun: Lun, seen: Option<u64>) {
        let Some(seen) = seen else {
            self.unit_closed(id, lun);
            return;
        };
        let entry = self.routes.get(&id);
        let unit = entry.and_then(|entry| entry.units.get(&lun)?.handle.clone());
        if let Some(unit) = unit {
            self.jobs.push(Box::pin(async move {
                Report::Attention(id, lun, job::attention(unit, seen).await)
            }));
        }
        self.list(id);
    }

    /// A unit is closed. If it still is a path of a device, and its session goes on, the program has removed the path.
    fn unit_closed(&mut self, id: RouteId, lun: Lun) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        // Its own handle is closed in any case.
        let is_open = match &entry.link {
            Link::Open { session, .. } => !matches!(session.state(), SessionState::Closed),
            Link::LoggingIn | Link::Waiting(_) => false,
        };
        let key = entry.key(lun);
        let Some(unit) = entry.units.get_mut(&lun) else {
            return;
        };
        let Some((wwid, path)) = unit.path() else {
            return;
        };
        // Else it is closed with its device or its session, which are told of by themselves.
        let disk = self.disks.get(&wwid);
        if is_open && disk.is_some_and(|disk| disk.device.has_removed(path)) {
            unit.removed = true;
            self.removed.insert(key, wwid);
            // It may be among those to be looked at, and would be opened anew.
            let waiting = entry.todo.len();
            entry.todo.retain(|other| *other != lun);
            unit.queued &= entry.todo.len() == waiting;
            self.take_path(id, lun, Removal::ByProgram);
        }
    }

    /// Takes all paths of a route away.
    pub(super) fn take_paths(&mut self, id: RouteId, reason: Removal) {
        let entry = self.routes.get(&id);
        let luns = entry.map(|entry| entry.units.keys().copied().collect::<Vec<_>>());
        for lun in luns.unwrap_or_default() {
            self.take_path(id, lun, reason);
        }
    }

    /// Takes a path away from its device, if the unit is one.
    fn take_path(&mut self, id: RouteId, lun: Lun, reason: Removal) {
        let Some(entry) = self.routes.get_mut(&id) else {
            return;
        };
        let route = Arc::clone(&entry.route);
        let Some(unit) = entry.units.get_mut(&lun) else {
            return;
        };
        let Some((wwid, path)) = unit.path() else {
            return;
        };
        // The device closes it, once nothing is in flight there.
        unit.handle = None;
        unit.state = UnitState::LeftOut;
        entry.shown = None;
        self.tell(Event::PathRemoved {
            wwid: Arc::clone(&wwid),
            route,
            lun,
            reason,
        });
        let number = self.number();
        let Some(disk) = self.disks.get_mut(&wwid) else {
            return;
        };
        // It may be gone already.
        _ = disk.device.remove_path(path);
        disk.paths -= 1;
        if disk.paths > 0 {
            return;
        }
        disk.stranding = number;
        self.keep_stranded(Arc::clone(&wwid), number);
        self.scan_soon();
        self.tell(Event::DeviceStranded { wwid });
    }

    fn keep_stranded(&self, wwid: Arc<str>, stranding: u64) {
        // Not at once, since it is done again for as long as writes may land.
        let keep = self.plan.keep.max(SHORTEST_KEEP);
        let runtime = self.runtime();
        self.jobs.push(Box::pin(async move {
            sleep(&*runtime, keep).await;
            Report::StrandedLong(wwid, stranding)
        }));
    }

    /// No path has come back to a device in time, if this is still the same time.
    pub(super) fn stranded_long(&mut self, wwid: &Arc<str>, stranding: u64) {
        let disk = self.disks.get(wwid);
        let Some(disk) = disk.filter(|disk| disk.paths == 0 && disk.stranding == stranding) else {
            return;
        };
        if disk.device.snapshot().ghosts > 0 {
            // Another device of this name would not know which of its writes may still land.
            self.keep_stranded(Arc::clone(wwid), stranding);
            return;
        }
        if let Some(disk) = self.disks.remove(wwid) {
            self.jobs.push(Box::pin(async move {
                disk.device.close().await;
                Report::Closed
            }));
        }
        self.tell(Event::DeviceLost {
            wwid: Arc::clone(wwid),
            reason: Loss::NoPath,
        });
    }

    /// The driver of a device has ended: the program has closed the device, unless that was done here.
    pub(super) fn device_ended(&mut self, wwid: &Arc<str>, number: u64) {
        let disk = self.disks.get(wwid);
        if disk.is_none_or(|disk| disk.number != number) {
            return;
        }
        let ended = self.disks.remove(wwid);
        if ended.is_some_and(|disk| disk.device.snapshot().ghosts > 0) {
            self.haunted.insert(Arc::clone(wwid));
        }
        let mut routes = Vec::new();
        for (id, entry) in &mut self.routes {
            for unit in entry.units.values_mut() {
                if unit.path().is_some_and(|(other, _)| other == *wwid) {
                    unit.handle = None;
                    unit.state = UnitState::LeftOut;
                    entry.shown = None;
                    routes.push(*id);
                }
            }
        }
        self.tell(Event::DeviceLost {
            wwid: Arc::clone(wwid),
            reason: Loss::Closed,
        });
        if self.reopens {
            // The scan was asked for after the close, but has begun before this was told.
            routes.into_iter().for_each(|id| self.list(id));
        } else {
            self.closed.insert(Arc::clone(wwid));
        }
    }
}
