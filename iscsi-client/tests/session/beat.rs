//! Idle sessions wake up together where their runtime has a beat.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{World, config, to};
use iscsi_client::{isid::SessionSlot, runtime::Runtime};
use iscsi_testkit::{
    sim::{SimConfig, SimRuntime},
    target::SimTarget,
};

const MS: Duration = Duration::from_millis(1);

/// How far into a second the target was heard from, of three sessions that were opened at different times and are
/// idle for a minute; in milliseconds.
fn heard(has_beat: bool) -> BTreeSet<u128> {
    let mut sim = SimConfig::new(7);
    sim.beat = has_beat;
    let sim = SimRuntime::with_config(sim);
    let target = SimTarget::start(&sim.handle(), config()).unwrap();
    let world = World { sim, target };
    let begin = world.handle().now() - world.sim.elapsed();
    let mut sessions = Vec::new();
    let initiator = world.builder().build();
    for (number, pause) in [(0, 300), (1, 150), (2, 470)] {
        world.sim.block_on(world.sim.sleep(pause * MS));
        let slot = SessionSlot {
            number,
            ..SessionSlot::default()
        };
        let to = to().with_slot(slot);
        let session = world.sim.block_on(initiator.connect_spawned(&to));
        sessions.push(session.unwrap());
    }
    let mut heard = BTreeSet::new();
    world.sim.block_on(async {
        // The login is no ping.
        world.sim.sleep(8000 * MS).await;
        for _ in 0..600 {
            world.sim.sleep(100 * MS).await;
            let at = sessions
                .iter()
                .map(|session| session.last_receive() - begin);
            heard.extend(at.map(|at| at.as_millis()));
        }
    });
    world.assert_clean();
    assert!(heard.len() >= 10, "each five seconds: {heard:?}");
    heard.into_iter().map(|at| at % 1000).collect()
}

#[test]
fn pings_of_sessions_that_were_opened_at_different_times_leave_together() {
    let heard = heard(true);
    assert!(heard.iter().all(|&at| at < 3), "{heard:?}");
}

#[test]
fn without_a_beat_each_session_has_times_of_its_own() {
    let heard = heard(false);
    assert!(heard.iter().any(|&at| at > 200), "{heard:?}");
    assert!(heard.len() >= 3, "{heard:?}");
}
