//! How soon a path that was gone is used again.

use std::time::Duration;

use crate::support::{INITIATOR, World, address, assert_pattern, config, read, to};
use iscsi_client::{
    error::LoginFailure,
    initiator::{Initiator, LoginRate},
    session::{DownReason, Session, SessionEventKind, SessionOptions, SessionState},
};
use iscsi_proto::LoginStatus;
use iscsi_testkit::{
    sim::{Link, SimConfig, SimRuntime},
    target::SimTarget,
};
use std::sync::Arc;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn link() -> Link {
    Link::to(address())
}

/// Not too long for an outage to be drawn out, and never the same.
fn outages() -> impl Iterator<Item = (u64, Duration)> {
    (0..40).map(|seed| (seed, 2 * SECOND + 311 * MS * u32::try_from(seed).unwrap()))
}

async fn healed(world: &World, session: &Session) -> Duration {
    world.sim.net().heal(link());
    let since = world.sim.elapsed();
    session.wait_up().await.unwrap();
    assert_pattern(session.execute(read(0, 1)).await, 0);
    world.sim.elapsed() - since
}

#[test]
fn a_portal_that_was_silent_is_used_within_the_interval() {
    for (seed, outage) in outages() {
        let world = World::new(seed);
        let session = world.connect(SessionOptions::default());
        world.sim.block_on(async {
            world.sim.net().cut(link());
            session.reconnect();
            world.sim.sleep(outage).await;
            let took = healed(&world, &session).await;
            assert!(took < 510 * MS, "{took:?} after {outage:?}");
        });
        assert_eq!(world.target.core().login_attempts().len(), 2);
        world.assert_clean();
    }
}

#[test]
fn a_portal_that_refused_is_used_within_the_interval() {
    for (seed, outage) in outages() {
        let world = World::new(seed);
        let mut options = SessionOptions::default();
        options.reconnect_interval = 300 * MS;
        let session = world.connect(options);
        world.sim.block_on(async {
            world.sim.net().refuse(link());
            session.reconnect();
            world.sim.sleep(outage).await;
            let took = healed(&world, &session).await;
            assert!(took < 310 * MS, "{took:?} after {outage:?}");
        });
        let failures = u128::from(session.stats().login_failures);
        let (least, most) = (outage.as_millis() / 301, outage.as_millis() / 225);
        assert!(
            (least..=most + 1).contains(&failures),
            "{failures} in {outage:?}"
        );
    }
}

/// 1.6 s to and fro: no connection that is begun every half second comes about before the next one is.
#[test]
fn a_portal_that_is_far_away_is_connected_to_all_the_same() {
    let mut far = SimConfig::new(1);
    far.latency = 800 * MS..801 * MS;
    let sim = SimRuntime::with_config(far);
    let target = SimTarget::start(&sim.handle(), config()).unwrap();
    let world = World { sim, target };
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        session.reconnect();
        let since = world.sim.elapsed();
        session.wait_up().await.unwrap();
        let took = world.sim.elapsed() - since;
        assert!(took < 5 * SECOND, "{took:?}");
    });
    assert_eq!(session.stats().login_failures, 0);
    // Of the two that were under way, the other one is gone.
    world.sim.block_on(world.sim.sleep(10 * SECOND));
    assert_eq!(world.sim.net().connections(), 1);
}

#[test]
fn a_target_that_answers_is_left_alone_for_longer_and_longer() {
    let world = World::new(1);
    let session = world.connect(SessionOptions::default());
    let rejected = LoginStatus {
        class: 3,
        detail: 1,
    };
    world.target.core().refuse_logins(0, Some(rejected));
    world.sim.block_on(async {
        session.reconnect();
        world.sim.sleep(60 * SECOND).await;
    });
    let failures = session.stats().login_failures;
    assert!((8..=22).contains(&failures), "{failures}");
    let SessionState::Down {
        reason: DownReason::Login(error),
        ..
    } = session.state()
    else {
        panic!("it is down")
    };
    assert!(matches!(error.failure(), LoginFailure::Protocol(_)));
}

/// Silence in between does not begin the back-off anew, and does not lengthen it.
#[test]
fn what_nobody_answered_counts_for_nothing() {
    let world = World::new(1);
    let session = world.connect(SessionOptions::default());
    let rejected = LoginStatus {
        class: 3,
        detail: 1,
    };
    world.sim.block_on(async {
        world.sim.net().refuse(link());
        session.reconnect();
        world.sim.sleep(20 * SECOND).await;
        world.target.core().refuse_logins(0, Some(rejected));
        world.sim.net().heal(link());
        world.sim.sleep(SECOND).await;
        world.target.core().refuse_logins(0, None);
        let since = world.sim.elapsed();
        session.wait_up().await.unwrap();
        let took = world.sim.elapsed() - since;
        assert!(took < SECOND, "{took:?}");
    });
}

/// So many that their intervals ask for ten times the rate.
#[test]
fn sessions_without_an_answer_keep_to_the_rate_and_hold_up_nobody() {
    let world = World::new(3);
    let rate = LoginRate::default().with_per_second(20);
    let initiator = Initiator::builder(INITIATOR.parse().unwrap(), Arc::new(world.handle()))
        .login_rate(rate)
        .build();
    let open = |slot| {
        let to = to().with_slot(iscsi_client::isid::SessionSlot {
            portal: slot,
            ..Default::default()
        });
        world.sim.block_on(initiator.connect_spawned(&to)).unwrap()
    };
    let sessions: Vec<_> = (0..100).map(open).collect();
    world.sim.block_on(async {
        world.sim.sleep(20 * SECOND).await;
        world.sim.net().refuse(link());
        world.sim.net().reset(link());
        world.sim.sleep(10 * SECOND).await;
        let before = world.sim.net().counts().refused;
        world.sim.sleep(20 * SECOND).await;
        let refused = world.sim.net().counts().refused - before;
        assert!((300..=440).contains(&refused), "{refused} in 20 s");
        world.sim.net().heal(link());
        world.sim.sleep(10 * SECOND).await;
    });
    let downs = |session: &Session| {
        let events = session.events(0).into_iter();
        events
            .filter(|event| matches!(event.kind, SessionEventKind::Down { .. }))
            .count()
    };
    for session in &sessions {
        assert!(session.state().is_up(), "everybody has had a turn");
        assert!(downs(session) > 1);
    }
}
