//! Others who end the registration.

use super::*;

#[test]
fn a_registration_that_is_preempted_is_not_made_again_until_the_user_says_so() {
    for (seed, keys) in both() {
        let mut story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
            story.write().await.unwrap();
            fence_out(&story.other).await;
            conflict(story.write().await);
            story.lost().await;
            // Neither a login nor time changes that.
            for path in 0..2 {
                story.world.sim.net().reset(World::link(path));
            }
            story.world.sim.sleep(30 * SECOND).await;
            assert_eq!(story.keys().await, [THEIRS.0]);
            conflict(story.write().await);
            read(&story.device, 0).await.expect("anybody reads");
            let error = story.device.reserve(WRITERS).await.unwrap_err();
            assert!(matches!(error, ReserveError::Lost), "{error}");
            story.device.register(keys).await.unwrap();
            story.write().await.unwrap();
            assert_eq!(story.keys().await.len(), 3);
        });
        let events = story.events();
        let lost = |event: &&Event| matches!(event, Event::RegistrationLost { .. });
        assert_eq!(events.iter().filter(lost).count(), 1, "{events:?}");
        story.end();
    }
}

/// The target would let the writes pass, but whoever preempts means it.
#[test]
fn a_preemption_without_a_reservation_keeps_the_device_out_by_itself() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            fence_out(&story.other).await;
            // Nothing is written: a read, or a check of the path, finds it.
            read(&story.device, 0).await.unwrap();
            story.lost().await;
            conflict(story.write().await);
            assert_eq!(story.keys().await, [THEIRS.0]);
            story.device.unregister().await.unwrap();
            story.write().await.expect("its user has seen it");
        });
        story.end();
    }
}

/// All registrants hold it, and the device is none of them any more.
#[test]
fn a_reservation_of_all_registrants_is_not_that_of_a_device_that_was_preempted() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.other.reserve(THEIRS, ALL, None).await.unwrap();
            story.device.reserve(ALL).await.expect("it is one of them");
            fence_out(&story.other).await;
            let error = story.device.reserve(ALL).await.unwrap_err();
            let is_conflict = |error: &Error| error.kind() == ErrorKind::ReservationConflict;
            assert!(error.unit().is_some_and(is_conflict), "{error}");
            story.lost().await;
            assert_eq!(story.held().await, Some((NONE, ALL)));
        });
        story.end();
    }
}

#[test]
fn an_idle_device_that_is_preempted_finds_out_by_its_checks() {
    let story = Story::new(12);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.other_registers().await;
        fence_out(&story.other).await;
        story.lost().await;
    });
    story.end();
}

/// What waits is not to land when the cable is back.
#[test]
fn writes_that_wait_for_a_path_fail_if_the_device_was_preempted_meanwhile() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
            for path in 0..2 {
                story.lose(path).await;
            }
            let before = {
                let mut block = vec![0; 4096];
                story.other.read_at(0, &mut block).await.unwrap();
                block
            };
            let there = async {
                story.world.sim.sleep(SECOND).await;
                fence_out(&story.other).await;
                story.world.sim.net().heal_all();
            };
            let (waited, ()) = join(story.write(), there).await;
            conflict(waited);
            story.lost().await;
            assert_eq!(story.keys().await, [THEIRS.0]);
            let mut after = vec![0; 4096];
            story.other.read_at(0, &mut after).await.unwrap();
            assert!(before == after);
        });
        story.end();
    }
}

#[test]
fn a_clear_by_somebody_else_ends_the_registration() {
    let story = Story::new(13);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.other_registers().await;
        story.other.clear_reservations(THEIRS, None).await.unwrap();
        _ = story.write().await;
        story.lost().await;
        assert_eq!(story.keys().await, []);
    });
    story.end();
}

/// A conflict is the unit's answer, and none of the path's.
#[test]
fn a_conflict_fails_no_path() {
    let story = Story::new(14);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.other_registers().await;
        let kind = ReservationType::ExclusiveAccess;
        story.other.reserve(THEIRS, kind, None).await.unwrap();
        for _ in 0..10 {
            conflict(story.write().await);
            conflict(read(&story.device, 0).await.map(drop));
            story.world.sim.sleep(SECOND).await;
        }
        let snapshot = story.device.snapshot();
        assert!(snapshot.paths().all(|path| path.is_usable()));
        assert!(snapshot.paths().all(|path| path.counters.downs == 0));
        assert_eq!(snapshot.registration, Registration::Registered, "it is");
        story.other.release(THEIRS, kind, None).await.unwrap();
        story.write().await.unwrap();
    });
    story.end();
}

/// A path that was away has the key of before still. That is nobody's registration who was preempted by that of now.
#[test]
fn what_is_left_of_a_key_of_before_brings_nobody_back_who_was_preempted() {
    let new = ReservationKey(0xa2);
    let story = Story::new(41);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.lose(1).await;
        story.device.register(new).await.unwrap();
        story.lose(0).await;
        story.other_registers().await;
        story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
        story
            .other
            .preempt(THEIRS, new, WRITERS, None)
            .await
            .unwrap();
        assert_eq!(story.keys().await, [OURS.0, THEIRS.0]);
        story.world.sim.net().heal(World::link(0));
        story.lost().await;
        conflict(story.write().await);
        assert_eq!(story.keys().await, [OURS.0, THEIRS.0]);
        // What is left is taken back once it is found.
        story.heal().await;
        story.world.sim.sleep(SECOND).await;
        assert_eq!(story.keys().await, [THEIRS.0]);
    });
    story.end();
}
