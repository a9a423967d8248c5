//! A request that ends for the sake of another one is sent again, where that can do no harm.

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    session::{Payload, ScsiRequest, Session, SessionOptions},
};
use iscsi_proto::{
    pdu::{RejectReason, opcode},
    scsi::{Cdb, Lun},
};

use crate::support::World;

const LONG: Duration = Duration::from_secs(60);
const PORTAL: usize = 0;

fn options(reset: bool) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.replacement_timeout = Some(Duration::from_secs(20));
    options.core.ladder.logical_unit_reset = reset.then_some(Duration::from_secs(5));
    options
}

/// From now on commands take too long, and an abort is refused.
fn stalls(world: &World) {
    let core = world.core();
    core.set_delay(PORTAL, LONG);
    let reason = RejectReason::CommandNotSupported;
    core.reject(PORTAL, opcode::TASK_MANAGEMENT_REQUEST, reason, 1);
}

/// Somebody else's command, which is late; then the target is well again.
async fn is_late(world: &World, session: &Session) {
    let ready = ScsiRequest::new(Lun::ZERO, Cdb::test_unit_ready(), Payload::None);
    let ready = ready.with_timeout(Some(Duration::from_millis(300)));
    let error = session.execute(ready).await.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    world.core().set_delay(PORTAL, Duration::ZERO);
}

async fn unit(session: &Session, options: LogicalUnitOptions) -> LogicalUnit {
    let unit = LogicalUnit::open_with(session.clone(), Lun::ZERO, options);
    unit.await.unwrap()
}

#[test]
fn a_read_outlives_the_connection_that_a_late_command_of_others_costs() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(PORTAL, options(false)).await;
        let unit = unit(&session, LogicalUnitOptions::default()).await;
        let expected = unit.read_bytes(0, 4096).await.unwrap();
        stalls(&world);
        let read = unit.read_bytes(0, 4096);
        let (read, ()) = join(read, is_late(&world, &session)).await;
        assert_eq!(read.unwrap(), expected);
        assert_eq!(session.stats().logins, 2);
    });
}

#[test]
fn a_write_that_a_reset_for_others_ended_is_dead_and_sent_again() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(PORTAL, options(true)).await;
        let unit = unit(&session, LogicalUnitOptions::default()).await;
        stalls(&world);
        let write = unit.write_bytes(0, vec![0xa5; 4096].into());
        let (written, ()) = join(write, is_late(&world, &session)).await;
        written.unwrap();
        assert_eq!(unit.read_bytes(0, 4096).await.unwrap(), vec![0xa5; 4096]);
        let stats = session.stats();
        assert_eq!((stats.logins, stats.resets_sent), (1, 1));
    });
}

#[test]
fn a_write_that_may_still_land_is_not_sent_again() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(PORTAL, options(false)).await;
        let unit = unit(&session, LogicalUnitOptions::default()).await;
        stalls(&world);
        let write = unit.write_bytes(0, vec![0xa5; 4096].into());
        let (written, ()) = join(write, is_late(&world, &session)).await;
        let error = written.unwrap_err();
        assert_eq!(
            (error.outcome(), error.is_dead()),
            (Outcome::Unknown, false)
        );
    });
}

#[test]
fn who_has_other_paths_is_told_at_once() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session_with(PORTAL, options(false)).await;
        let unit = unit(&session, LogicalUnitOptions::default().fail_fast()).await;
        stalls(&world);
        let read = unit.read_bytes(0, 4096);
        let (read, ()) = join(read, is_late(&world, &session)).await;
        assert!(read.is_err());
    });
}
