//! A target that is busy may say how long it wants to be left alone.

use std::time::Duration;

use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Retry},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    runtime::Runtime,
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::target::{Answer, LunConfig};

use crate::support::{SIZE, World};

const BUSY: u8 = 0x08;
const TASK_SET_FULL: u8 = 0x28;
const READ_10: u8 = 0x28;

fn world() -> World {
    World::new(|mut config| {
        config.limits.protocol_level = 2;
        config.with_lun(LunConfig::new(0, SIZE))
    })
}

fn wants_to_be_left_alone(world: &World, status: u8, tenths: u16) {
    let answer = Answer::Qualified(status, tenths);
    world.core().answer(0, &[READ_10], answer, 1);
}

/// A unit whose user has other paths to it.
async fn one_path_of_several(world: &World) -> LogicalUnit {
    let session = world.session(0).await;
    let options = LogicalUnitOptions::default().fail_fast();
    let unit = LogicalUnit::open_with(session, Lun::ZERO, options);
    unit.await.unwrap()
}

#[test]
fn a_request_comes_back_no_sooner_than_the_target_asked() {
    let world = world();
    world.run(async {
        let unit = world.open().await;
        let runtime = world.sim.handle();
        for status in [BUSY, TASK_SET_FULL] {
            wants_to_be_left_alone(&world, status, 30);
            let begin = runtime.now();
            unit.read_bytes(0, 512).await.unwrap();
            let waited = runtime.now() - begin;
            assert!(waited >= Duration::from_secs(3), "{waited:?}");
            assert!(waited < Duration::from_secs(4), "{waited:?}");
        }
    });
}

#[test]
fn who_has_other_paths_is_told_when_to_come_back() {
    let world = world();
    world.run(async {
        let unit = one_path_of_several(&world).await;
        wants_to_be_left_alone(&world, BUSY, 7);
        let error = unit.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert_eq!(error.retry(), Retry::After(Duration::from_millis(700)));
    });
}

#[test]
fn no_target_asks_for_minutes() {
    let world = world();
    world.run(async {
        let unit = one_path_of_several(&world).await;
        wants_to_be_left_alone(&world, BUSY, 0x3fef);
        let error = unit.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(30)));
    });
}
