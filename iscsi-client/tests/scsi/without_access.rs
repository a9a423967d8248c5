//! A unit that is opened through a port that grants no access to its medium.

use std::sync::Arc;

use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDevice, FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::{
    sim::Link,
    target::{AluaConfig, LunConfig, PortState},
};

use crate::support::{PORTALS, SIZE, World};

/// In blocks of 4096 bytes, so that nothing of the usual 512 is taken for granted.
fn world(state: PortState) -> World {
    let mut alua = AluaConfig::default();
    alua.states = vec![(1, state)];
    World::new(|config| {
        let lun = LunConfig::new(0, SIZE).with_block_size(4096);
        config.with_lun(lun).with_alua(alua)
    })
}

async fn open(world: &World, open_without_access: bool) -> Result<LogicalUnit, Error> {
    let mut options = LogicalUnitOptions::default().fail_fast();
    options.open_without_access = open_without_access;
    let session = world.session(0).await;
    LogicalUnit::open_with(session, Lun::ZERO, options).await
}

const NO_ACCESS: [PortState; 4] = [
    PortState::Standby,
    PortState::Unavailable,
    PortState::Offline,
    PortState::Transitioning,
];

#[test]
fn it_is_an_error_unless_that_is_asked_for() {
    for state in NO_ACCESS {
        let world = world(state);
        world.run(async {
            let error = open(&world, false).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotReady, "{state:?}");
            let unit = open(&world, true).await.unwrap();
            assert_eq!(unit.info().size, 0);
            let there = world.session(1).await;
            let there = LogicalUnit::open(there, Lun::ZERO).await.unwrap();
            assert_eq!(unit.identity(), there.identity());
            let (ours, theirs) = (unit.info(), there.info());
            assert_eq!(ours.identity, theirs.identity);
            unit.verify_identity(None).await.unwrap();
        });
    }
}

#[test]
fn requests_are_refused_until_there_is_access_and_then_it_is_as_large_as_it_is() {
    for state in NO_ACCESS {
        let world = world(state);
        world.run(async {
            let unit = open(&world, true).await.unwrap();
            let seen = unit.info().generation;
            for _ in 0..2 {
                let (buf, options) = (ReadBuf::zeroed(4096), ReadOptions::default());
                let read = unit.read(SIZE - 4096, buf, options).await.result;
                let (buf, options) = (WriteBuf::from(vec![7; 4096]), WriteOptions::default());
                let written = unit.write(SIZE - 4096, buf, options).await.result;
                let flushed = unit.flush(FlushOptions::default()).await;
                for result in [read, written, flushed] {
                    let error = result.unwrap_err();
                    let found = (error.kind(), error.outcome());
                    assert_eq!(
                        found,
                        (ErrorKind::NotReady, Outcome::NotExecuted),
                        "{state:?}"
                    );
                    assert!(error.sense().is_some(), "{error:#}");
                }
                assert!(unit.check(None).await.is_err());
            }
            world.core().set_port_state(1, PortState::NonOptimized);
            let (buf, options) = (WriteBuf::from(vec![7; 4096]), WriteOptions::default());
            let written = unit.write(SIZE - 4096, buf, options).await.result;
            written.unwrap();
            let device: &dyn BlockDevice = &unit;
            let told = device.info_changed(seen).await.unwrap();
            let there = world.session(1).await;
            let there = LogicalUnit::open(there, Lun::ZERO).await.unwrap();
            let mut same = (*told).clone();
            same.generation = there.info().generation;
            assert_eq!(same, *there.info(), "nothing of it differs");
        });
    }
}

/// A path that stands by logs in again: it has to be known whose it is, and how large can wait.
#[test]
fn after_a_login_the_identity_is_verified_all_the_same() {
    let world = world(PortState::Optimized);
    world.run(async {
        let unit = open(&world, true).await.unwrap();
        let info = unit.info();
        world.core().set_port_state(1, PortState::Standby);
        let logins = unit.session().logins();
        world.sim.net().reset(Link::to(PORTALS[0].parse().unwrap()));
        while unit.session().logins() == logins {
            world.sim.sleep(std::time::Duration::from_millis(10)).await;
        }
        unit.verify_identity(None).await.unwrap();
        assert!(Arc::ptr_eq(&unit.info(), &info), "its size is what it was");
        let error = unit.refresh(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady);
    });
}
