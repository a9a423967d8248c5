//! A block that cannot be read is the disk's fault and no path's.

use std::{sync::Arc, time::Duration};

use iscsi_client::{
    device::BlockDeviceExt,
    error::ErrorKind,
    initiator::Initiator,
    quirks::{Effects, Quirk, QuirkTable},
    session::SessionOptions,
};
use iscsi_testkit::target::Answer;
use mpio::core::{Config, PathSnapshot};

use crate::support::{World, paths};

/// The health check of a LIO target reads the first block.
#[test]
fn a_health_check_that_finds_a_bad_block_takes_no_path_away() {
    let mut world = World::new(1);
    let mut effects = Effects::default();
    effects.readiness_is_no_proof = true;
    let mut options = SessionOptions::default();
    options.quirks = Arc::new(QuirkTable::none().with(Quirk::new("reads", effects)));
    let name = "iqn.2026-01.example:host".parse().unwrap();
    world.initiator = Initiator::builder(name, Arc::new(world.sim.handle()))
        .options(options)
        .build();
    let device = world.open(Config::default());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let unreadable = Answer::Sense(0x03, 0x11, 0x00);
        world.target.core().answer(0, &[0x28], unreadable, u32::MAX);
        // Several rounds of the checker.
        for _ in 0..60 {
            world.sim.sleep(Duration::from_secs(1)).await;
            assert!(paths(&device).iter().all(PathSnapshot::is_usable));
        }
        let error = device.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Medium);
    });
    world.end(device);
}
