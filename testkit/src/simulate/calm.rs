//! After the storm: everything comes to its end and works again, and then the disk is looked at.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, join_all, select};
use iscsi_client::{buf::ReadBuf, device::ReadOptions};
use mpio::{
    MultipathDevice, Spares,
    core::{Failback, GroupStatus, PathSnapshot},
};

use super::{
    check::{Kind, Op, Row, invariants, stamp::BLOCK},
    client::{decode_buf, finish},
    finding::Finding,
    plan::{Fault, What},
    spare,
    trace::Note,
    world::World,
};

/// The client number of the final look.
const AUDITOR: u16 = u16::MAX;

/// Blocks of one read of the final look.
const PIECE: u64 = 64;

/// How often the paths are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Everything that was asked for comes to an end.
pub(super) async fn requests_end(world: &Arc<World>) {
    let bound = world.plan.patience() * 3;
    let done = world
        .board
        .until(|state| (state.clients == 0 && state.jobs == 0).then_some(()));
    let patience = world.handle.sleep(bound);
    if let Either::Right(_) = select(pin!(done), pin!(patience)).await {
        world.board.with(|state| {
            let open = state.history.open();
            let (clients, jobs) = (state.clients, state.jobs);
            let account = format!(
                "{bound:?} after the last fault {clients} programs and {jobs} openings are not done, {open} requests are open"
            );
            state.violate(Row::L1, account);
        });
    }
}

/// Every path is usable again.
pub(super) async fn paths_return(world: &Arc<World>) {
    let spares_stay = match world.plan.device.spares {
        Spares::OnDemand => spare::STAY * 2,
        _ => Duration::ZERO,
    };
    let calm = world.handle.elapsed().max(world.plan.calm);
    let until = calm + world.plan.patience() + spares_stay;
    let expected = world.plan.sessions_at_rest();
    for (index, device) in devices(world).into_iter().enumerate() {
        loop {
            let snapshot = device.snapshot();
            let tied = spare::tied(&world.plan, &snapshot);
            let paths = snapshot.paths().filter(|path| !tied.contains(&path.id));
            let usable: Vec<bool> = paths.map(PathSnapshot::is_usable).collect();
            if usable == vec![true; expected] {
                break;
            }
            if world.handle.elapsed() > until {
                let account = format!("device {index} after {until:?}:\n{}", device.topology());
                world.board.with(|state| state.violate(Row::L2, account));
                break;
            }
            world.handle.sleep(LOOK).await;
        }
    }
}

/// The preferred group of each device is in use again, if the configuration wants that.
pub(super) async fn preferred_returns(world: &Arc<World>) {
    let delay = match world.plan.device.failback {
        Failback::Immediate => Duration::ZERO,
        Failback::After(delay) => delay,
        _ => return,
    };
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (calm, bound) = (nanos(world.plan.calm), world.plan.bound());
    // From when all was well; programs may have been busy until long after that.
    let healed = calm.max(world.now().saturating_sub(bound.total_ns()));
    for (index, device) in devices(world).into_iter().enumerate() {
        loop {
            let snapshot = device.snapshot();
            let best = snapshot.groups.first().map(|group| group.status);
            let regained = (best == Some(GroupStatus::Active)).then(|| world.now());
            let due = healed + bound.total_ns() + nanos(delay);
            if regained.is_some() || world.now() > due {
                let group = format!("the first group of device {index}");
                let judged = invariants::preferred_is_regained(
                    &group,
                    healed,
                    regained,
                    nanos(delay),
                    &bound,
                );
                if let Err(violation) = judged {
                    world
                        .board
                        .with(|state| state.find(Finding::Rule(violation)));
                }
                break;
            }
            world.handle.sleep(LOOK).await;
        }
    }
}

/// Nothing is under way any more, nor may it still land.
pub(super) async fn quiet_comes(world: &Arc<World>) {
    let until = world.handle.elapsed() + world.plan.patience();
    for (index, device) in devices(world).into_iter().enumerate() {
        loop {
            let snapshot = device.snapshot();
            let (unfinished, ghosts) = (snapshot.unfinished, snapshot.ghosts);
            if (unfinished, ghosts) == (0, 0) {
                break;
            }
            if unfinished == 0 && may_stay_haunted(world) && world.handle.elapsed() > until {
                break;
            }
            if world.handle.elapsed() > until {
                let account =
                    format!("device {index}: {unfinished} requests, {ghosts} ghosts at rest");
                world.board.with(|state| state.violate(Row::I4, account));
                break;
            }
            world.handle.sleep(LOOK).await;
        }
    }
}

/// Reads all blocks over every path.
pub(super) async fn audit(world: &Arc<World>) {
    world.note(Note::Text("final look at the disk"));
    for index in 0..world.board.with(|state| state.devices.len()) {
        world.observe(index);
    }
    let units = world.plan.units.len();
    let devices = devices(world).into_iter().enumerate();
    let audits = devices.map(|(index, device)| async move {
        let paths: Vec<_> = device.snapshot().paths().map(|path| path.id).collect();
        for path in paths.into_iter().filter_map(|id| device.path(id)) {
            let mut first = 0;
            while first < world.plan.work.span {
                let last = (first + PIECE).min(world.plan.work.span);
                let op = Op {
                    client: AUDITOR,
                    device: AUDITOR,
                    unit: u16::try_from(index % units).unwrap_or(u16::MAX),
                    kind: Kind::Read,
                    blocks: first..last,
                };
                let now = world.now();
                let id = world.board.with(|state| state.invoke(now, op));
                let len = usize::try_from(last - first).unwrap_or_default() * BLOCK;
                let buf = ReadBuf::zeroed(len);
                let options = ReadOptions::default();
                let read = path.read(first * BLOCK as u64, buf, options).await;
                let end = read
                    .result
                    .map(|()| decode_buf(index % units, first, &read.buf));
                if let Err(error) = &end {
                    let account = format!("{id} of the final look fails: {error:#}");
                    world.board.with(|state| state.violate(Row::L2, account));
                }
                finish(world, id, end);
                first = last;
            }
        }
    });
    join_all(audits).await;
}

/// Closes everything, in good order.
pub(super) async fn close(world: &Arc<World>) {
    let (devices, hosts) = world
        .board
        .with(|state| (std::mem::take(&mut state.devices), state.hosts.clone()));
    let closes = devices.iter().flatten().map(MultipathDevice::close);
    let close = async {
        join_all(closes).await;
        join_all(hosts.iter().map(|host| host.initiator.close())).await;
    };
    let patience = world.handle.sleep(world.plan.patience());
    if let Either::Right(_) = select(pin!(close), pin!(patience)).await {
        let account = "a device or an initiator cannot be closed".into();
        world.board.with(|state| state.violate(Row::L1, account));
    }
}

pub(super) fn devices(world: &World) -> Vec<MultipathDevice> {
    world
        .board
        .with(|state| state.devices.iter().flatten().cloned().collect())
}

/// Where only a reinstatement proves anything, a ghost stays whose path was taken out (the path that is put
/// back is another one to the device), or was sent to another portal group in between. Its range stays
/// closed, which costs I/O and no data.
fn may_stay_haunted(world: &World) -> bool {
    let moves =
        |fault: &Fault| matches!(fault.what, What::RemovePath { .. } | What::Redirect { .. });
    world.plan.device.fence.quiesce.is_none() && world.plan.faults.iter().any(moves)
}
