//! Carries the faults of a plan out.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use iscsi_proto::{Instant, ids::LoginStatus, pdu::AsyncEvent};
use mpio::MultipathDevice;

use super::{
    host,
    job::Job,
    names::{nic_address, portal_address},
    plan::{Answered, Fault, Place, Said, What},
    resizing,
    trace::Note,
    world::{World, carrier, flip},
};
use crate::{
    sim::Link,
    target::{Answer, Crash, LunConfig, Notice, PortState, Redirect, WriteHold},
};

/// Between two attempts to put back a path that was taken out. A program that asks for a new login more often
/// than this, and for several devices, is a storm of its own making.
const RETRY: Duration = Duration::from_secs(1);

/// Begins and ends each fault at its time, and returns when it is calm.
pub(super) async fn storm(world: &Arc<World>) {
    let faults = &world.plan.faults;
    let begins = faults.iter().map(|fault| fault.at);
    let ends = faults.iter().map(|fault| fault.at + fault.lasts);
    let mut agenda: Vec<(Duration, bool, usize)> = begins
        .enumerate()
        .map(|(index, at)| (at, false, index))
        .chain(ends.enumerate().map(|(index, at)| (at, true, index)))
        .collect();
    agenda.sort_unstable();
    for (at, is_over, index) in agenda {
        let now = world.handle.elapsed();
        if at > now {
            world.handle.sleep(at - now).await;
        }
        let fault = &world.plan.faults[index];
        if is_over {
            world.note(Note::Over(index));
            end(world, fault);
        } else {
            world.note(Note::Begins(index));
            world.board.with(|state| {
                *state.tallies.faults.entry(fault.what.kind()).or_default() += 1;
            });
            begin(world, fault);
        }
    }
    let calm = world.plan.calm;
    let left = calm.saturating_sub(world.handle.elapsed());
    world.handle.sleep(left).await;
}

/// The links that a place is made of.
fn links(world: &World, place: Place) -> Vec<Link> {
    match place {
        Place::Portal(portal) => vec![Link::to(portal_address(portal))],
        Place::Nic { host, nic } => (0..)
            .zip(&world.plan.portals)
            .map(|(portal, _)| Link::between(nic_address(host, nic), portal_address(portal)))
            .collect(),
        Place::Path { host, nic, portal } => {
            vec![Link::between(
                nic_address(host, nic),
                portal_address(portal),
            )]
        }
    }
}

/// What the kernel of a host says of a NIC that is cut off, or is not any more, in worlds where it does.
fn tell(world: &World, place: Place, has_carrier: bool) {
    let Place::Nic { host, nic } = place else {
        return;
    };
    let plan = &world.plan;
    if plan.links && host < plan.hosts && nic < plan.nics {
        let feed = world.host(host).feed;
        // Nothing panics under this lock.
        let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
        feed.set(carrier(host, nic, has_carrier));
    }
}

/// Whether there is what a fault is about: a plan that was made simpler has less than the drawn one.
fn fits(world: &World, what: &What) -> bool {
    let plan = &world.plan;
    match *what {
        What::RemovePath { host, unit, .. }
        | What::Reopen { host, unit }
        | What::Rescan { host, unit } => host < plan.hosts && usize::from(unit) < plan.units.len(),
        What::Resize { unit, .. }
        | What::Remap { unit }
        | What::Clear { unit }
        | What::Forget { unit, .. }
        | What::Reserve { unit, .. } => usize::from(unit) < plan.units.len(),
        What::CrashHost { host, .. } => host < plan.hosts,
        _ => true,
    }
}

fn begin(world: &Arc<World>, fault: &Fault) {
    if !fits(world, &fault.what) {
        return;
    }
    let net = world.handle.net();
    let core = world.target.core();
    core.tell_time(Instant::ZERO.saturating_add(world.handle.elapsed()));
    let each = |place, act: &dyn Fn(Link)| links(world, place).into_iter().for_each(act);
    match fault.what {
        What::Cut(place) => {
            each(place, &|link| net.cut(link));
            tell(world, place, false);
        }
        What::Stall(place) => each(place, &|link| net.stall(link)),
        What::Refuse(place) => each(place, &|link| net.refuse(link)),
        What::Reset(place) => each(place, &|link| net.reset(link)),
        What::Wire(place, wire) => each(place, &|link| wire.begin(&net, link)),
        What::Limit(place, rate) => each(place, &|link| net.limit(link, Some(rate))),
        What::Delay { portal, by } => {
            core.set_delay(portal.into(), world.plan.session.service_time + by);
        }
        What::Answer {
            unit,
            opcode,
            answer,
            times,
        } => {
            let answer = match answer {
                Answered::Status(status) => Answer::Status(status),
                Answered::Sense(key, asc, ascq) => Answer::Sense(key, asc, ascq),
                Answered::Short(bytes) => Answer::Data(vec![0x5a; bytes.into()]),
                Answered::Truncated(bytes) => Answer::Truncated(vec![0x5a; bytes.into()]),
                Answered::Nothing => Answer::Nothing,
                Answered::Unanswered => Answer::Unanswered,
            };
            core.answer(unit, &[opcode], answer, times.into());
        }
        What::Clear { unit } => core.clear_registrations(unit),
        What::Forget { unit, group } => core.forget_registrations(unit, Some(group)),
        What::Attention { unit, code } => core.raise_attention(unit, code.0, code.1),
        What::PortState { group, state } => core.set_port_state(group, state),
        What::RefuseLogins { portal, status } => {
            let (class, detail) = status;
            core.refuse_logins(portal.into(), Some(LoginStatus { class, detail }));
        }
        What::Redirect { portal, to } => {
            let to = portal_address(to).to_string();
            let permanent = false;
            core.redirect_logins(portal.into(), Some(Redirect { to, permanent }));
        }
        What::Notice { portal, said } => {
            let (event, parameters) = match said {
                Said::Logout(within) => (AsyncEvent::LogoutRequested, [0, 0, within]),
                Said::Drop(wait) => (AsyncEvent::ConnectionDrop, [0, wait, 0]),
                Said::DropAll(wait) => (AsyncEvent::SessionDrop, [0, wait, 0]),
                Said::Negotiate(within) => (AsyncEvent::NegotiationRequested, [0, 0, within]),
            };
            core.announce(portal.into(), Notice::new(event, parameters));
        }
        What::RemovePath { host, unit, path } => remove_path(world, host, unit, path),
        What::Reopen { host, unit } => reopen(world, world.device_index(host, unit)),
        What::CrashTarget {
            keeps_back_end,
            loses_power,
        } => crash_target(world, keeps_back_end, loses_power),
        What::Pause => world.target.pause(),
        What::Flip {
            portal,
            per_million,
        } => flip(&net, portal, per_million),
        What::Hold { per_mille, most } => {
            core.hold_writes(WriteHold::new(per_mille, Duration::ZERO, most));
        }
        What::Impersonate { skips } => core.impersonate(Some(skips)),
        What::Reserve { unit, exclusive } => {
            // Two at a time are one.
            core.reserve_elsewhere(unit, exclusive);
        }
        What::Rescan { host, unit } => {
            resizing::rescan(world, world.device_index(host, unit));
        }
        What::Resize { unit, blocks } => core.resize(unit, blocks * 512),
        What::Remap { unit } => {
            let now = world.now();
            world
                .board
                .with(|state| state.remapped[usize::from(unit)] = Some(now));
            core.remap(unit, OTHER_NAA, "another unit");
        }
        What::BreakNames => net.break_resolver(Some(io::ErrorKind::NotFound)),
        What::CrashHost { host, death } => host::crash(world, host, death),
    }
}

/// The identity of a unit that is none of the plan's.
const OTHER_NAA: [u8; 16] = [0x60; 16];

/// Its network side is away until the fault is over.
fn crash_target(world: &World, keeps_back_end: bool, loses_power: bool) {
    for portal in 0..world.plan.portals.len() {
        world
            .handle
            .net()
            .refuse(Link::to(world.target.portal(portal)));
    }
    world.target.core().crash(Crash {
        keeps_back_end,
        loses_power,
    });
    if loses_power {
        let now = world.now();
        world.board.with(|state| {
            for (unit, _) in (0..).zip(&world.plan.units) {
                state.history.power_loss(now, unit);
            }
        });
    }
}

fn end(world: &Arc<World>, fault: &Fault) {
    if !fits(world, &fault.what) {
        return;
    }
    let net = world.handle.net();
    let core = world.target.core();
    match fault.what {
        What::Cut(place) | What::Stall(place) | What::Refuse(place) => {
            links(world, place)
                .into_iter()
                .for_each(|link| net.heal(link));
            tell(world, place, true);
        }
        What::Wire(place, wire) => {
            let links = links(world, place).into_iter();
            links.for_each(|link| wire.end(&net, link));
        }
        What::Limit(place, _) => {
            let links = links(world, place).into_iter();
            links.for_each(|link| net.limit(link, None));
        }
        What::Delay { portal, .. } => {
            core.set_delay(portal.into(), world.plan.session.service_time);
        }
        What::Answer { unit, opcode, .. } => {
            core.answer(unit, &[opcode], Answer::Status(0), 0);
        }
        What::PortState { group, .. } => core.set_port_state(group, PortState::Optimized),
        What::RefuseLogins { portal, .. } => core.refuse_logins(portal.into(), None),
        What::Redirect { portal, .. } => core.redirect_logins(portal.into(), None),
        What::RemovePath { host, unit, path } => put_back(world, host, unit, path),
        What::CrashTarget { .. } => {
            for portal in 0..world.plan.portals.len() {
                net.heal(Link::to(world.target.portal(portal)));
            }
        }
        What::Pause => world.target.resume(),
        What::Flip { portal, .. } => flip(&net, portal, 0),
        What::Hold { .. } => core.hold_writes(world.plan.target.hold.clone()),
        What::Impersonate { .. } => core.impersonate(None),
        What::Reserve { unit, .. } => core.release_elsewhere(unit),
        What::Resize { unit, .. } => {
            core.resize(unit, world.plan.units[usize::from(unit)] * 512);
        }
        What::Remap { unit } => {
            world
                .board
                .with(|state| state.remapped[usize::from(unit)] = None);
            let own = LunConfig::new(unit, 512);
            core.remap(unit, own.naa, &own.serial);
        }
        What::Clear { .. } | What::Forget { .. } => {}
        What::BreakNames => net.break_resolver(None),
        What::CrashHost { host, .. } => host::restart(world, host),
        What::Reset(_)
        | What::Attention { .. }
        | What::Notice { .. }
        | What::Rescan { .. }
        | What::Reopen { .. } => {}
    }
}

/// Ends every fault, whatever began it.
pub(super) fn heal(world: &Arc<World>) {
    world.note(Note::Text("calm"));
    world.handle.net().heal_all();
    for fault in &world.plan.faults {
        if !matches!(fault.what, What::RemovePath { .. }) {
            end(world, fault);
        }
    }
    world.target.core().hold_writes(WriteHold::default());
}

fn remove_path(world: &World, host: u8, unit: u16, path: u8) {
    let index = world.device_index(host, unit);
    let device = world.board.with(|state| state.devices[index].clone());
    let Some(device) = device else { return };
    world.observe(index);
    let name = world.path_name(host, path);
    let snapshot = device.snapshot();
    let found = snapshot.paths().find(|path| *path.name == *name);
    if let Some(found) = found {
        _ = device.remove_path(found.id);
        world.board.with(|state| {
            let opening = state.openings[index];
            state.removed.insert((index, opening, path))
        });
    }
}

/// Opens a path that was removed and adds it, unless the device was opened anew meanwhile, with all its
/// paths.
fn put_back(world: &Arc<World>, host: u8, unit: u16, path: u8) {
    let index = world.device_index(host, unit);
    let opening = world.board.with(|state| {
        let opening = state.openings[index];
        let is_missing = state.removed.remove(&(index, opening, path));
        is_missing.then_some(opening)
    });
    let Some(opening) = opening else { return };
    let name = world.path_name(host, path);
    let job = Job::new(world);
    let task = Arc::clone(world);
    world.spawn_on(host, async move {
        let world = task;
        loop {
            if world.missing_from(index, opening, &name).is_none() {
                break;
            }
            if let Ok((attributes, unit)) = world.open_path(host, unit, path).await {
                let device = world.missing_from(index, opening, &name);
                if device.is_none_or(|device| device.add_path(attributes, unit).is_ok()) {
                    break;
                }
            }
            world.handle.sleep(RETRY).await;
        }
        drop(job);
    });
}

impl World {
    /// The device, if it is still the one of that opening and has no path of this name.
    fn missing_from(&self, index: usize, opening: u32, name: &str) -> Option<MultipathDevice> {
        let device = self.board.with(|state| {
            let device = state.devices[index].clone();
            device.filter(|_| state.openings[index] == opening)
        })?;
        let snapshot = device.snapshot();
        let is_there = snapshot.paths().any(|path| *path.name == *name);
        (!is_there).then_some(device)
    }
}

/// Closes a device and opens it again, while its programs wait, or see it closed.
fn reopen(world: &Arc<World>, index: usize) {
    world.observe(index);
    let now = world.now();
    let device = world.board.with(|state| {
        state.book.ends(now, index);
        state.devices[index].take()
    });
    let Some(device) = device else { return };
    let job = Job::new(world);
    let task = Arc::clone(world);
    world.spawn_on(world.host_of(index), async move {
        device.close().await;
        drop(device);
        task.reopen(index).await;
        drop(job);
    });
}
