//! A path whose commands do not come through for a while: the target's window has room for one, and that one takes long.

use iscsi_testkit::target::{Limits, WriteHold};

use super::*;

/// I/O goes to the first path.
fn narrow(seed: u64) -> Story {
    let mut limits = Limits::default();
    limits.queue_depth = 1;
    let config = Config::builder().path_grouping_policy(PathGroupingPolicy::Failover);
    Story::against(seed, config, target_config().with_limits(limits))
}

/// What waits there for longer than a registration is waited for is refused then. Another path has a key, and takes it.
#[test]
fn a_path_that_cannot_be_asked_for_long_takes_no_io_and_its_conflicts_are_no_ones() {
    let mut story = narrow(40);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.hold_writes(WriteHold::new(1000, 7 * SECOND, 7 * SECOND));
        let write = |at: u64| {
            let block = Bytes::from(stamp(at, 1));
            story.device.write_bytes(at * 4096, block)
        };
        let order = async {
            story.world.sim.sleep(SECOND).await;
            core.hold_writes(WriteHold::default());
            let result = story.device.register(OURS).await.unwrap();
            assert_eq!(result.registered(), 1, "{result}");
            let kind = ReservationType::ExclusiveAccessRegistrantsOnly;
            story.device.reserve(kind).await.unwrap();
            assert_eq!(down(&story.device, 0), Some(DownReason::Unregistered));
            story.write().await.expect("by the other one");
        };
        let writes = join(write(20), write(21));
        let ((first, second), ()) = join(writes, order).await;
        first.expect("it was there before the reservation");
        second.expect("the device has a key and the reservation");
        assert!(story.world.all_usable(&story.device).await);
        assert_eq!(story.keys().await.len(), 2);
    });
    let events = story.events();
    let held = |e: &&Event| matches!(e, Event::PathNotRegistered { .. });
    assert_eq!(events.iter().filter(held).count(), 1);
    story.end();
}
