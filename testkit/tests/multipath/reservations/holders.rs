//! Holders that are gone, and answers that are lost.

use super::*;

#[test]
fn a_reservation_whose_path_is_gone_is_released_and_no_io_hears_of_it() {
    for kind in [WRITERS, ALL] {
        for (seed, keys) in both() {
            let story = Story::new(seed);
            story.world.sim.block_on(async {
                story.device.register(keys).await.unwrap();
                // A third path is a sibling that the order unregisters too.
                add(&story, 7).await;
                assert!(story.world.all_usable(&story.device).await);
                story.device.reserve(kind).await.unwrap();
                story.other_registers().await;
                story.lose(0).await;
                let release = story.device.release(kind);
                let io = async {
                    for _ in 0..20 {
                        story.write().await.unwrap();
                        read(&story.device, 0).await.unwrap();
                    }
                };
                let (released, ()) = join(release, io).await;
                released.unwrap();
                assert_eq!(story.held().await, None);
                assert!(!story.device.snapshot().is_suspended);
                story.write().await.unwrap();
                story.heal().await;
                story.world.sim.sleep(SECOND).await;
                assert_eq!(story.keys().await.len(), 4, "all are registered");
                // And a reservation lets all of them write.
                story.device.reserve(kind).await.unwrap();
                story.write().await.unwrap();
                story.device.release(kind).await.unwrap();
            });
            story.end();
        }
    }
}

#[test]
fn a_reservation_of_a_former_life_is_released() {
    let story = Story::new(15);
    let Story {
        world,
        other,
        device,
        ..
    } = story;
    world.sim.block_on(async {
        device.register(OURS).await.unwrap();
        device.reserve(WRITERS).await.unwrap();
        device.close().await;
        drop(device);
        assert_eq!(other.reservation_keys(None).await.unwrap().keys, [OURS; 2]);
    });
    let device = world.open(config().build().unwrap());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        device.register(OURS).await.unwrap();
        device.reserve(WRITERS).await.expect("it is this device's");
        device.release(WRITERS).await.unwrap();
        assert_eq!(other.reservation(None).await.unwrap().held, None);
    });
    world.end(device);
}

/// All registrants hold it, and one of them is a path that was away when the key was changed. The one with the new key was
/// preempted, and does not know it yet.
#[test]
fn what_only_a_path_that_is_away_could_give_up_is_not_called_released() {
    let story = Story::new(41);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.other_registers().await;
        story.lose(0).await;
        let new = ReservationKey(0xa3);
        story.device.register(new).await.unwrap();
        story.other.reserve(THEIRS, ALL, None).await.unwrap();
        story.other.preempt(THEIRS, new, ALL, None).await.unwrap();
        assert_eq!(story.keys().await, [OURS.0, THEIRS.0]);
        match story.device.release(ALL).await {
            Err(ReserveError::Unit(error)) => conflict(Err(error)),
            other => panic!("it is held: {other:?}"),
        }
        story.lost().await;
        story.heal().await;
        while story.keys().await != [THEIRS.0] {
            story.world.sim.sleep(MS).await;
        }
        let rest = story.device.release(ALL).await;
        assert!(matches!(rest, Err(ReserveError::Lost)), "{rest:?}");
    });
    story.end();
}

/// The order was carried out, and its answer is lost with its path; or it was not, and nobody knows.
#[test]
fn after_an_unknown_outcome_the_unit_is_asked_and_no_order_is_given_twice() {
    let story = Story::new(16);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        story.device.register(OURS).await.unwrap();
        core.answer(0, &RESERVE, Answer::Nothing, 1);
        let reset = async {
            story.world.sim.sleep(100 * MS).await;
            story.world.sim.net().reset(World::link(0));
        };
        let (reserved, ()) = join(story.device.reserve(WRITERS), reset).await;
        let error = reserved.expect_err("it was not carried out");
        let outcome = error.unit().map(Error::outcome);
        assert_eq!(outcome, Some(Outcome::Unknown), "{error}");
        assert!(story.world.all_usable(&story.device).await);
        story.device.reserve(WRITERS).await.unwrap();
        // A release that is lost goes on by way of another path.
        core.answer(0, &RELEASE, Answer::Nothing, 1);
        let reset = async {
            story.world.sim.sleep(100 * MS).await;
            story.world.sim.net().reset(World::link(0));
        };
        let (released, ()) = join(story.device.release(WRITERS), reset).await;
        released.unwrap();
        assert_eq!(story.held().await, None);
        assert!(story.world.all_usable(&story.device).await);
        story.write().await.unwrap();
        // And a preemption is done if the key is gone.
        story.other_registers().await;
        core.answer(0, &PREEMPT, Answer::Nothing, 1);
        let reset = async {
            story.world.sim.sleep(100 * MS).await;
            story.other.register(THEIRS, NONE, None).await.unwrap();
            story.world.sim.net().reset(World::link(0));
        };
        let (preempted, ()) = join(story.device.preempt(THEIRS, WRITERS), reset).await;
        preempted.expect("the key is gone");
    });
    story.end();
}

/// It was carried out, so it is not given again.
#[test]
fn an_order_whose_answer_alone_is_lost_is_done() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            let core = story.world.target.core();
            story.device.register(keys).await.unwrap();
            let reset = async || {
                story.world.sim.sleep(100 * MS).await;
                story.world.sim.net().reset(World::link(0));
            };
            core.answer(0, &RESERVE, Answer::Unanswered, 1);
            let (reserved, ()) = join(story.device.reserve(WRITERS), reset()).await;
            reserved.expect("the unit says that it is");
            assert!(story.world.all_usable(&story.device).await);
            core.answer(0, &RELEASE, Answer::Unanswered, 1);
            let (released, ()) = join(story.device.release(WRITERS), reset()).await;
            released.expect("the unit says that it is");
            assert_eq!(story.held().await, None);
            assert!(story.world.all_usable(&story.device).await);
            story.other_registers().await;
            core.answer(0, &PREEMPT, Answer::Unanswered, 1);
            let (preempted, ()) = join(story.device.preempt(THEIRS, WRITERS), reset()).await;
            preempted.expect("the key is gone");
            assert!(story.world.all_usable(&story.device).await);
            story.write().await.unwrap();
            assert_eq!(story.keys().await.len(), 2);
        });
        story.end();
    }
}

#[test]
fn a_path_that_is_lost_while_it_is_registered_is_registered_when_it_is_back() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            let core = story.world.target.core();
            core.answer(0, &REGISTER, Answer::Nothing, 1);
            let reset = async {
                story.world.sim.sleep(100 * MS).await;
                story.world.sim.net().reset(World::link(0));
                story.world.sim.net().reset(World::link(1));
            };
            let (result, ()) = join(story.device.register(keys), reset).await;
            let result = result.expect("one was quick enough");
            assert!(result.registered() >= 1, "{result}");
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await.len(), 2);
            story.device.reserve(WRITERS).await.unwrap();
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// All registrants hold it, so there is no holder whose place could be taken; and nobody's key is everybody's.
#[test]
fn a_release_that_was_not_carried_out_ends_no_registration_of_others() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.device.reserve(ALL).await.unwrap();
            story.other_registers().await;
            let before = story.keys().await;
            let core = story.world.target.core();
            core.answer(0, &RELEASE, Answer::Nothing, 2);
            let error = story.device.release(ALL).await.unwrap_err();
            let outcome = error.unit().map(Error::outcome);
            assert_eq!(outcome, Some(Outcome::Unknown), "{error}");
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await, before);
            story.device.release(ALL).await.unwrap();
            assert_eq!(story.held().await, None);
        });
        story.end();
    }
}
