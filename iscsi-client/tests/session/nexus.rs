//! Two initiators of one name and ISID, as after a virtual machine was cloned; and what only looks so.

use std::time::Duration;

use crate::support::{World, address, assert_pattern, config, read, to};
use iscsi_client::{
    error::{Error, LoginError, LoginFailure},
    runtime::Runtime,
    session::{DownReason, Session, SessionEventKind, SessionState},
};
use iscsi_testkit::{sim::Link, target::SimTarget};

const SECOND: Duration = Duration::from_secs(1);

fn is_taken(session: &Session) -> bool {
    matches!(
        session.state(),
        SessionState::Down {
            reason: DownReason::NexusTaken,
            ..
        }
    )
}

fn logins(world: &World) -> u64 {
    world.target.core().counters(0).logins
}

/// Two programs; each has an initiator of its own, and thinks that the name is its own.
async fn two(world: &World) -> [Session; 2] {
    let one = world.builder().build().session(&to()).await.unwrap();
    let two = world.builder().build().session(&to()).await.unwrap();
    assert_eq!(one.isid(), two.isid());
    [one, two]
}

async fn one_is_taken(world: &World, sessions: &[Session; 2]) -> usize {
    for _ in 0..60_000 {
        if let Some(at) = sessions.iter().position(is_taken) {
            return at;
        }
        world.sim.sleep(Duration::from_millis(1)).await;
    }
    panic!("two fight for one nexus and neither notices");
}

#[test]
fn a_nexus_that_another_one_takes_again_and_again_is_typed_and_left_alone() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.sim.block_on(async {
            let sessions = two(&world).await;
            let loser = one_is_taken(&world, &sessions).await;
            assert!(logins(&world) < 12, "{} logins", logins(&world));
            let (loser, winner) = (&sessions[loser], &sessions[1 - loser]);
            // The other one has the target for itself now.
            let SessionState::Down {
                next_attempt: Some(next),
                ..
            } = loser.state()
            else {
                panic!("{:?}", loser.state())
            };
            let wait = next.saturating_duration_since(world.sim.now());
            assert!((29..=60).contains(&wait.as_secs()), "{wait:?}");
            winner.wait_up().await.unwrap();
            world.sim.sleep(20 * SECOND).await;
            assert_pattern(winner.execute(read(0, 4)).await, 0);
            // Commands say why, and what to do.
            let error = loser.execute(read(0, 1)).await.result.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap();
            let cause = cause.downcast_ref::<LoginError>().unwrap();
            assert!(matches!(cause.failure(), LoginFailure::NexusTaken));
            assert!(cause.advice().contains("name"));
            let event = loser.events(0).into_iter().rev().find_map(|event| {
                let SessionEventKind::Down {
                    reason, retry_in, ..
                } = event.kind
                else {
                    return None;
                };
                matches!(reason, DownReason::NexusTaken).then_some(retry_in)
            });
            assert!(event.unwrap() >= 30 * SECOND);
            assert_eq!(loser.stats().nexus_taken, 1);
        });
        world.assert_clean();
    }
}

#[test]
fn two_who_fight_for_an_hour_make_no_storm() {
    for seed in 0..3 {
        let world = World::new(seed);
        world.sim.block_on(async {
            let sessions = two(&world).await;
            one_is_taken(&world, &sessions).await;
            let before = logins(&world);
            world.sim.sleep(3600 * SECOND).await;
            // Each may log in every 30 s, and take the other one down, which is back at once.
            let made = logins(&world) - before;
            assert!(made < 4 * 120, "{made} logins in an hour");
            assert!(made > 60, "both keep trying");
            // Neither is told to log in sooner by whoever asks.
            let loser = one_is_taken(&world, &sessions).await;
            let before = logins(&world);
            for _ in 0..100 {
                sessions[loser].reconnect();
                world.sim.sleep(Duration::from_millis(10)).await;
            }
            assert!(logins(&world) - before <= 4);
        });
    }
}

#[test]
fn when_the_other_one_goes_the_session_is_back_within_a_minute_for_good() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.sim.block_on(async {
            let sessions = two(&world).await;
            let loser = one_is_taken(&world, &sessions).await;
            sessions[1 - loser].close().await;
            let begin = world.sim.elapsed();
            sessions[loser].wait_up().await.unwrap();
            assert!(world.sim.elapsed() - begin <= 61 * SECOND);
            world.sim.sleep(120 * SECOND).await;
            assert!(sessions[loser].state().is_up());
            assert_pattern(sessions[loser].execute(read(0, 4)).await, 0);
            // Forgotten: a loss is replaced at once, as ever.
            let begin = world.sim.elapsed();
            let seen = sessions[loser].status().generation;
            world.sim.net().reset(Link::to(address()));
            sessions[loser].changed(seen).await;
            sessions[loser].wait_up().await.unwrap();
            assert!(world.sim.elapsed() - begin < SECOND);
        });
    }
}

/// A target that restarts again and again, with the connection refused for a moment each time.
#[test]
fn a_target_that_restarts_every_second_is_not_another_initiator() {
    let world = World::new(1);
    let session = world.connect(iscsi_client::session::SessionOptions::default());
    let link = Link::to(address());
    let World { sim, target } = world;
    let mut target = Some(target);
    sim.block_on(async {
        for _ in 0..20 {
            // FIN to whoever is connected, then nobody listens.
            drop(target.take());
            sim.sleep(SECOND / 10).await;
            let again = SimTarget::start(&sim.handle(), config());
            target = Some(again.unwrap());
            session.wait_up().await.unwrap();
            sim.sleep(SECOND).await;
            assert_eq!(session.stats().nexus_taken, 0);
        }
        // A network that resets connections.
        for _ in 0..20 {
            sim.net().reset(link);
            sim.sleep(SECOND / 2).await;
            session.wait_up().await.unwrap();
            assert_eq!(session.stats().nexus_taken, 0);
        }
        // One that falls silent.
        for _ in 0..5 {
            sim.net().cut(link);
            sim.sleep(11 * SECOND).await;
            sim.net().heal(link);
            session.wait_up().await.unwrap();
            assert_eq!(session.stats().nexus_taken, 0);
        }
        // One that we drop ourselves.
        for _ in 0..20 {
            session.reconnect();
            session.wait_up().await.unwrap();
            assert_eq!(session.stats().nexus_taken, 0);
        }
    });
}

/// Nor is one takeover: a program that was restarted while its old life still hung on.
#[test]
fn a_successor_that_takes_over_once_is_not_a_fight() {
    let world = World::new(2);
    world.sim.block_on(async {
        let old = world.builder().build().session(&to()).await.unwrap();
        world.sim.sleep(60 * SECOND).await;
        let new = world.builder().build().session(&to()).await.unwrap();
        world.sim.sleep(SECOND / 1000).await;
        drop(old);
        world.sim.sleep(60 * SECOND).await;
        assert!(new.state().is_up());
        assert_eq!(new.stats().nexus_taken, 0);
    });
}

#[test]
fn the_error_of_a_taken_nexus_is_one_line() {
    let error = LoginError::new(address().into(), LoginFailure::NexusTaken);
    assert_eq!(error.to_string().lines().count(), 1);
    assert_eq!(
        Error::from(error).outcome(),
        iscsi_client::error::Outcome::NotExecuted
    );
}
