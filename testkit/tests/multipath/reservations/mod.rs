//! Persistent reservations of the device's user: every path registered, and what others do about it.

mod again;
mod busy;
mod callers;
mod calls;
mod holders;
mod hosts;
mod leaving;
mod moments;
mod others;
mod returning;

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, join, select};
use iscsi_client::{
    device::BlockDeviceExt,
    error::{Error, ErrorKind, Outcome},
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    logical_unit::LogicalUnit,
};
use iscsi_proto::scsi::{Lun, ReservationKey, ReservationType};
use iscsi_testkit::target::{AluaConfig, Answer, Crash, PortState, Redirect, TargetConfig};
use mpio::{
    EventReader, MultipathDevice, PathRegistration, RegistrationKeys, ReserveError,
    core::{
        Config, ConfigBuilder, DownReason, Event, NoPathRetry, PathAttributes, PathGroupingPolicy,
        PathKeys, PreemptAndAbort, Registration,
    },
};

use crate::support::{TARGET, World, paths, portal, read, stamp, target_config};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const OURS: ReservationKey = ReservationKey(0xa1);
const THEIRS: ReservationKey = ReservationKey(0xb2);
const NONE: ReservationKey = ReservationKey::NONE;
const WRITERS: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const ALL: ReservationType = ReservationType::WriteExclusiveAllRegistrants;

/// PERSISTENT RESERVE OUT.
const REGISTER: [u8; 2] = [0x5f, 0x00];
const RESERVE: [u8; 2] = [0x5f, 0x01];
const RELEASE: [u8; 2] = [0x5f, 0x02];
const PREEMPT: [u8; 2] = [0x5f, 0x04];
const REGISTER_AND_IGNORE: [u8; 2] = [0x5f, 0x06];

fn config() -> ConfigBuilder {
    Config::builder().path_grouping_policy(PathGroupingPolicy::Multibus)
}

fn per_path() -> PathKeys {
    PathKeys::new(0x4d50, 1).unwrap()
}

/// Both ways of keys, with a seed each.
fn both() -> [(u64, RegistrationKeys); 2] {
    [(1, OURS.into()), (2, per_path().into())]
}

struct Story {
    world: World,
    /// Another host, by a portal of its own.
    other: LogicalUnit,
    device: MultipathDevice,
    reader: EventReader<LogicalUnit>,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    fn with(seed: u64, config: ConfigBuilder) -> Self {
        Self::against(seed, config, target_config())
    }

    fn against(seed: u64, config: ConfigBuilder, target: TargetConfig) -> Self {
        let world = World::with_target(seed, target.with_portal(elsewhere(), 3));
        let other = world.sim.block_on(open_other(&world));
        let device = world.open_ready(config.build().unwrap());
        Self {
            reader: device.events(),
            world,
            other,
            device,
        }
    }

    /// Writes once through each path, at least.
    async fn write(&self) -> Result<(), Error> {
        for worker in 0..8 {
            let block = Bytes::from(stamp(worker, 1));
            self.device.write_bytes(worker * 4096, block).await?;
        }
        Ok(())
    }

    async fn keys(&self) -> Vec<u64> {
        let keys = self.other.reservation_keys(None).await.unwrap().keys;
        let mut keys: Vec<_> = keys.into_iter().map(|key| key.0).collect();
        keys.sort_unstable();
        keys
    }

    async fn held(&self) -> Option<(ReservationKey, ReservationType)> {
        self.other.reservation(None).await.unwrap().held
    }

    async fn lose(&self, path: usize) {
        let net = self.world.sim.net();
        net.refuse(World::link(path));
        net.reset(World::link(path));
        while paths(&self.device)[path].is_usable() {
            self.world.sim.sleep(MS).await;
        }
    }

    async fn heal(&self) {
        self.world.sim.net().heal_all();
        assert!(self.world.all_usable(&self.device).await);
    }

    /// Until the device knows that somebody has ended its registration.
    async fn lost(&self) {
        for _ in 0..60_000 {
            if self.device.snapshot().registration == Registration::Lost {
                return;
            }
            self.world.sim.sleep(MS).await;
        }
        panic!("it does not notice: {:?}", self.device.snapshot());
    }

    async fn other_registers(&self) {
        self.other.register(NONE, THEIRS, None).await.unwrap();
    }

    fn events(&mut self) -> Vec<Event> {
        let reader = &mut self.reader;
        std::iter::from_fn(|| reader.try_next())
            .map(|event| event.event)
            .collect()
    }

    fn end(self) {
        self.world.end(self.device);
    }
}

fn elsewhere() -> SocketAddr {
    "10.0.2.1:3260".parse().unwrap()
}

async fn open_other(world: &World) -> LogicalUnit {
    let name = "iqn.2026-01.example:other".parse().unwrap();
    let host = Initiator::builder(name, Arc::new(world.sim.handle())).build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), elsewhere().into());
    let session = host.connect_spawned(&to).await.unwrap();
    LogicalUnit::open(session, Lun::ZERO).await.unwrap()
}

#[track_caller]
fn conflict(result: Result<(), Error>) {
    let error = result.expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::ReservationConflict, "{error:#}");
    assert_eq!(error.outcome(), Outcome::NotExecuted);
}

fn down(device: &MultipathDevice, path: usize) -> Option<DownReason> {
    paths(device)[path].down
}

async fn write_other(unit: &LogicalUnit) -> Result<(), Error> {
    unit.write_bytes(1 << 20, Bytes::from(stamp(99, 1))).await
}

async fn add(story: &Story, number: u16) -> mpio::core::PathId {
    let to = SessionTarget::new(TARGET.parse().unwrap(), portal(1).into())
        .with_bind("eth1".parse().unwrap())
        .with_slot(SessionSlot {
            bind: 1,
            portal: 1,
            number,
        });
    let session = story.world.initiator.session(&to).await.unwrap();
    let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
    let attributes = PathAttributes::new(format!("path {number}"));
    story.device.add_path(attributes, unit).unwrap()
}

/// Preempts all keys but its own, as a fencing host does.
async fn fence_out(other: &LogicalUnit) {
    let keys = other.reservation_keys(None).await.unwrap().keys;
    let mut keys: Vec<_> = keys.into_iter().filter(|key| *key != THEIRS).collect();
    keys.dedup();
    for key in keys {
        let order = other.preempt_and_abort(THEIRS, key, WRITERS, None);
        order.await.unwrap();
    }
}
