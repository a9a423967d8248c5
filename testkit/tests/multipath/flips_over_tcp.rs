//! Port groups that flip under load, over real connections: no error, no old block, and nothing sent to a group that
//! takes no I/O by an initiator that had heard so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join, join_all};
use iscsi_client::{
    device::BlockDeviceExt, initiator::Initiator, logical_unit::LogicalUnit, runtime::TokioRuntime,
};
use iscsi_testkit::target::{
    AluaConfig, LunConfig, PortState, TargetConfig, TcpTarget, Telling, Told,
};
use mpio::{
    EventReader, MultipathBuilder, MultipathDevice,
    core::{Config, Event, NoPathRetry},
};

use crate::support::{LUN_SIZE, TARGET, paths, stamp};

const FLIPS: u32 = 6;
const INTERVAL: Duration = Duration::from_secs(2);
const WORKERS: u64 = 8;
/// Longer than all flips: what never comes must not hang the test.
const PATIENCE: Duration = Duration::from_secs(120);

/// Four portals, two in each of two groups; the second group rests.
fn target(resting: PortState, implicit: bool) -> TcpTarget {
    let mut alua = AluaConfig::default();
    alua.states = vec![(1, PortState::Optimized), (2, resting)];
    alua.implicit = implicit;
    let mut config = TargetConfig::new(TARGET).with_alua(alua);
    for group in [1, 1, 2, 2] {
        config = config.with_portal("127.0.0.1:0".parse().unwrap(), group);
    }
    let target = TcpTarget::start(config.with_lun(LunConfig::new(0, LUN_SIZE))).unwrap();
    target.core().keep_ledger();
    target
}

async fn open(target: &TcpTarget) -> MultipathDevice {
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let initiator = Initiator::builder(name, runtime).build();
    // The hardest one: where there is no path for a moment, I/O fails.
    let config = Config::builder().no_path_retry(NoPathRetry::Fail);
    let mut builder =
        MultipathBuilder::new(TARGET.parse().unwrap()).config(config.build().unwrap());
    for portal in 0..4 {
        builder = builder.portal(target.portal(portal).into());
    }
    builder.connect_spawned(&initiator).await.unwrap()
}

/// Each worker writes its block and reads it back, until they are told to stop; how often that went well.
async fn load(device: &MultipathDevice, stop: &AtomicBool) -> u64 {
    let done = AtomicU64::new(0);
    let worker = |number: u64| {
        let done = &done;
        async move {
            let mut generation = 0;
            while !stop.load(Ordering::Relaxed) {
                let block = stamp(number, generation);
                let written = device.write_at(number * 4096, &block).await;
                written.unwrap_or_else(|error| panic!("{error:#}: {}", device.paths()));
                let read = device.read_bytes(number * 4096, 4096).await;
                let read = read.unwrap_or_else(|error| panic!("{error:#}: {}", device.paths()));
                assert!(*read == *block, "an old block");
                generation += 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    join_all((0..WORKERS).map(worker)).await;
    done.into_inner()
}

/// The group that a path leads to, by the order of the portals.
fn group_of(target: &TcpTarget, name: &str) -> u16 {
    let portal = (0..4).find(|index| name.ends_with(&target.portal(*index).to_string()));
    if portal.unwrap() < 2 { 1 } else { 2 }
}

/// Attempts of I/O that the paths of a group have come to an end with, and those that are under way.
fn attempts(target: &TcpTarget, device: &MultipathDevice, group: u16) -> (u64, u32) {
    let of_group = paths(device)
        .into_iter()
        .filter(|path| group_of(target, &path.name) == group);
    of_group.fold((0, 0), |(done, under_way), path| {
        let counters = path.counters;
        (
            done + counters.ios + counters.errors,
            under_way + path.in_flight,
        )
    })
}

/// Accesses to the medium that the target has refused so far because of the state of the port.
fn refused(target: &TcpTarget) -> usize {
    let tellings = target.core().notes().tellings;
    let is_refusal = |telling: &&Telling| {
        let for_state = matches!(telling.told, Told::NotReady(0x04, 0x0a..=0x0c));
        for_state && telling.extent.is_some()
    };
    tellings.iter().filter(is_refusal).count()
}

/// Until the device knows that the paths of `active` are the ones to use, and those of the other group are not.
async fn known(target: &TcpTarget, device: &MultipathDevice, events: &mut Events, active: u16) {
    let is_known = || {
        paths(device).iter().all(|path| {
            let takes_io = path.access.is_some_and(|state| state.is_active());
            takes_io == (group_of(target, &path.name) == active)
        })
    };
    while !is_known() {
        events.next().await;
    }
    // What was on its way before that is not to be counted as sent after it. There is no event for its end.
    while attempts(target, device, 3 - active).1 > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The events of the device, of which those are counted that ask for a group.
struct Events {
    reader: EventReader<LogicalUnit>,
    activations: u32,
}

impl Events {
    async fn next(&mut self) {
        let event = self.reader.next().await.expect("the device is open");
        self.activations += u32::from(matches!(event.event, Event::Activating { .. }));
    }
}

/// An array moves by itself.
async fn move_to(target: &TcpTarget, new: u16, resting: PortState) {
    let (core, old) = (target.core(), 3 - new);
    // Both are on their way for a while, then one has arrived before the other.
    core.set_port_state(old, PortState::Transitioning);
    core.set_port_state(new, PortState::Transitioning);
    tokio::time::sleep(Duration::from_millis(20)).await;
    core.set_port_state(old, resting);
    core.set_port_state(new, PortState::Optimized);
}

/// All groups rest, until the device asks for one.
async fn rest(target: &TcpTarget, events: &mut Events, active: u16, resting: PortState) -> u16 {
    target.core().set_port_state(active, resting);
    let is_active = |group: &u16| target.core().port_state(*group) == Some(PortState::Optimized);
    loop {
        if let Some(group) = [1, 2].into_iter().find(is_active) {
            return group;
        }
        events.next().await;
    }
}

fn flip(resting: PortState, implicit: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let all = async {
        let target = target(resting, implicit);
        let device = open(&target).await;
        let mut events = Events {
            reader: device.events(),
            activations: 0,
        };
        let stop = AtomicBool::new(false);
        let flipping = async {
            let mut active = 1;
            for _ in 0..FLIPS {
                known(&target, &device, &mut events, active).await;
                let sent = |group| attempts(&target, &device, group).0;
                let before = (sent(3 - active), refused(&target));
                let carried = sent(active);
                tokio::time::sleep(INTERVAL).await;
                assert!(sent(active) > carried + 20, "the group in use carries I/O");
                let after = (sent(3 - active), refused(&target));
                assert_eq!(
                    after, before,
                    "sent to, and refused by, the group that rests"
                );
                active = if implicit {
                    move_to(&target, 3 - active, resting).await;
                    3 - active
                } else {
                    rest(&target, &mut events, active, resting).await
                };
            }
            known(&target, &device, &mut events, active).await;
            stop.store(true, Ordering::Relaxed);
        };
        let (done, ()) = join(load(&device, &stop), flipping).await;
        device.close().await;
        // At each flip what was under way: an I/O of each worker, at each of the two ports of the group, and as much
        // again while both groups are between two states.
        let most = FLIPS as usize * WORKERS as usize * 4;
        let in_flips = refused(&target);
        assert!(
            in_flips <= most,
            "{in_flips} refused, {most} are expected at most"
        );
        // What was given to a session before the device had the answer may be what acknowledges it.
        let grace = Duration::from_millis(10);
        let mut deaf = target.core().notes().deaf.clone();
        deaf.retain(|access| access.at > access.heard + grace);
        assert_eq!(deaf, []);
        assert_eq!(target.core().violations(), []);
        assert_eq!(events.activations, if implicit { 0 } else { FLIPS });
        println!("{resting:?}, implicit: {implicit}: {done} writes read back, {in_flips} refused");
    };
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, all)
            .await
            .expect("it never ends")
    });
}

#[test]
fn an_array_that_moves_its_units_every_two_seconds_costs_no_error() {
    flip(PortState::Standby, true);
}

#[test]
fn so_with_groups_that_take_hardly_a_command() {
    flip(PortState::Unavailable, true);
}

#[test]
fn groups_that_rest_are_asked_for_and_take_over() {
    flip(PortState::Standby, false);
}
