//! Hosts: programs with an identity, which die, and start again with the same one.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    check::Row,
    client::Client,
    job::Job,
    locking, orders,
    plan::{Death, Plan},
    tally::Life,
    world::{self, World},
};
use crate::sim::Rng;

/// A program that has requests to make. It is done when this is dropped, as a [`Job`] is over.
struct Busy(Arc<World>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.board.change(|state| state.clients -= 1);
    }
}

fn run(world: &Arc<World>, client: Client) {
    world.board.with(|state| state.clients += 1);
    let busy = Busy(Arc::clone(world));
    let task = Arc::clone(world);
    world.spawn_on(world.host_of(client.device), async move {
        client.run(task).await;
        drop(busy);
    });
}

/// Starts all programs.
pub(super) fn begin(world: &Arc<World>) {
    let plan = &world.plan;
    let devices = world.board.with(|state| state.devices.len());
    let count = devices * usize::from(plan.work.clients);
    let mut rng = Rng::new(plan.seed.rotate_left(17) ^ 0xc11e_9700);
    let each = plan
        .work
        .requests
        .div_ceil(u32::try_from(count).unwrap_or(1).max(1));
    world.board.with(|state| state.left = vec![each; count]);
    let clients: Vec<_> = (0..count)
        .map(|at| Client {
            id: u16::try_from(at).unwrap_or(u16::MAX - 1),
            device: at % devices,
            requests: each,
            since: 0,
            rng: Rng::new(rng.next_u64()),
        })
        .collect();
    clients.into_iter().for_each(|client| run(world, client));
    (0..plan.hosts).for_each(|host| orders::program::begin(world, host, 1));
}

/// The programs of a host, by their numbers.
fn programs(world: &World, host: u8) -> impl Iterator<Item = usize> {
    let plan = &world.plan;
    let (units, devices) = (plan.units.len(), usize::from(plan.hosts) * plan.units.len());
    let own = usize::from(host) * units..(usize::from(host) + 1) * units;
    let count = devices * usize::from(plan.work.clients);
    (0..count).filter(move |id| own.contains(&(id % devices)))
}

fn devices(plan: &Plan, host: u8) -> std::ops::Range<usize> {
    let units = plan.units.len();
    usize::from(host) * units..(usize::from(host) + 1) * units
}

/// A host dies, with everything that it had under way. One that is dead already stays so.
pub(super) fn crash(world: &Arc<World>, host: u8, death: Death) {
    let now = world.now();
    let own = devices(&world.plan, host);
    let dying = world.board.with(|state| {
        let entry = &mut state.hosts[usize::from(host)];
        if !std::mem::replace(&mut entry.is_up, false) {
            return None;
        }
        let process = entry.process.clone();
        // Until it is there again.
        state.jobs += 1;
        let phase = match () {
            () if own.clone().any(|index| state.devices[index].is_none()) => Life::DiedStarting,
            () if own.clone().any(|index| state.fencing[index]) => Life::DiedFencing,
            () => Life::DiedRunning,
        };
        state.tallies.live(phase);
        let devices = own.clone().map(|index| {
            state.pathless[index] = None;
            state.fencing[index] = false;
            state.book.ends(now, index);
            state.devices[index].take()
        });
        Some((process, devices.collect::<Vec<_>>()))
    });
    let Some((process, devices)) = dying else {
        return;
    };
    match death {
        Death::Reset => process.kill_with_reset(),
        Death::Finish => process.kill(),
        Death::Power => process.lose_power(),
    }
    // Not before: the handles of a dead program do nothing when they go.
    drop(devices);
    for id in programs(world, host) {
        let id = u16::try_from(id).unwrap_or(u16::MAX - 1);
        world.board.with(|state| state.history.crash(now, id));
    }
}

/// A program of a host that was started again at `since`.
fn reborn(world: &World, id: usize, life: u32, since: u64) -> Client {
    let own = (u64::from(life) << 32) | id as u64;
    Client {
        id: u16::try_from(id).unwrap_or(u16::MAX - 1),
        device: id % (usize::from(world.plan.hosts) * world.plan.units.len()),
        requests: world.board.with(|state| state.left[id]),
        since,
        rng: Rng::new(world.plan.seed.rotate_left(29) ^ own),
    }
}

/// Gives back the locks of the former life, once nothing of it can land under them.
fn settle_locks(world: &Arc<World>, host: u8, life: u32) {
    let own = devices(&world.plan, host);
    let left = world.board.with(|state| state.locks.left_by(&own));
    for lock in left {
        let job = Job::new(world);
        let client = reborn(world, lock.device, life, world.now());
        let take_over = locking::take_over(Arc::clone(world), client, lock);
        world.spawn_on(host, async move {
            take_over.await;
            drop(job);
        });
    }
}

/// A host that is dead starts again, with the same names.
pub(super) fn restart(world: &Arc<World>, host: u8) {
    let entry = world.host(host);
    if entry.is_up {
        return;
    }
    let life = entry.life + 1;
    let now = world.now();
    let started = match world::start(&world.plan, host, &world.handle, life) {
        Ok(started) => started,
        Err(error) => {
            let account = format!("host {host} cannot be started again: {error}");
            world.board.with(|state| state.violate(Row::L2, account));
            return;
        }
    };
    world.board.with(|state| {
        state.hosts[usize::from(host)] = started;
        state.restarts.push(now);
        state.tallies.live(Life::Restarted);
    });
    // When it died.
    let job = Job::already_counted(world);
    settle_locks(world, host, life);
    for id in programs(world, host) {
        let client = reborn(world, id, life, now);
        run(world, client);
    }
    orders::program::begin(world, host, life);
    let opening = Arc::clone(world);
    world.spawn_on(host, async move {
        let indices = devices(&opening.plan, host);
        join_all(indices.map(|index| opening.reopen(index))).await;
        drop(job);
    });
}
