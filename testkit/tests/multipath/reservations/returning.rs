//! Paths that come and go.

use super::*;

/// opensvc#30: a path that joins unregistered gets conflicts, and the file system dies.
#[test]
fn a_path_that_is_back_is_registered_before_its_first_write() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.lose(0).await;
            let result = story.device.register(keys).await.unwrap();
            assert_eq!(result.registered(), 1);
            let outcome = |path: usize| &result.paths[path].outcome;
            assert!(matches!(outcome(0), PathRegistration::NotConnected));
            assert!(matches!(outcome(1), PathRegistration::Registered(_)));
            // With this type even MODE SENSE conflicts, which a login is followed by.
            let kind = ReservationType::ExclusiveAccessRegistrantsOnly;
            story.device.reserve(kind).await.unwrap();
            story.world.sim.net().heal_all();
            // Every write at any moment of it passes.
            while !paths(&story.device)[0].is_usable() {
                story.write().await.expect("no path is used unregistered");
            }
            for _ in 0..4 {
                story.write().await.expect("nor when it is back");
            }
            assert_eq!(story.keys().await.len(), 2);
        });
        story.end();
    }
}

/// A plain type is taken while there is one path. What joins later must not have conflicts for its part of the I/O.
#[test]
fn a_path_that_joins_a_reservation_for_one_nexus_takes_no_io_until_it_is_released() {
    let kind = ReservationType::WriteExclusive;
    let story = Story::new(9);
    story.world.sim.block_on(async {
        let second = paths(&story.device)[1].id;
        story.device.remove_path(second).unwrap();
        while story.device.path(second).is_some() {
            story.world.sim.sleep(MS).await;
        }
        story.device.register(OURS).await.unwrap();
        story.device.reserve(kind).await.unwrap();
        let id = add(&story, 7).await;
        let reserved = Some(DownReason::Reserved);
        while story.device.snapshot().path(id).unwrap().down != reserved {
            story.write().await.unwrap();
        }
        for _ in 0..32 {
            story.write().await.expect("the holder writes");
        }
        assert_eq!(story.device.snapshot().path(id).unwrap().counters.ios, 0);
        story.device.release(kind).await.unwrap();
        while story.device.snapshot().path(id).unwrap().counters.ios == 0 {
            story.write().await.unwrap();
        }
    });
    story.end();
}

#[test]
fn a_path_that_is_added_is_registered_and_one_that_is_removed_is_not_any_more() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.device.reserve(WRITERS).await.unwrap();
            let holder = story.device.snapshot();
            let id = add(&story, 7).await;
            while !paths(&story.device).iter().all(|path| path.is_usable()) {
                story.write().await.unwrap();
            }
            story.write().await.unwrap();
            assert_eq!(story.keys().await.len(), 3);
            story.device.remove_path(id).unwrap();
            while story.device.path(id).is_some() {
                story.world.sim.sleep(MS).await;
            }
            assert_eq!(story.keys().await.len(), 2, "its key is taken back");
            // That of the holder stays: it would end the reservation.
            for path in holder.paths().take(1) {
                story.device.remove_path(path.id).unwrap();
                while story.device.path(path.id).is_some() {
                    story.world.sim.sleep(MS).await;
                }
            }
            assert!(story.held().await.is_some());
            story.write().await.unwrap();
        });
        story.end();
    }
}

#[test]
fn a_path_that_cannot_be_registered_takes_no_io_and_is_tried_again() {
    let mut story = Story::new(9);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        // No room for another registration: for the first of the two that asks.
        core.answer(0, &REGISTER_AND_IGNORE, Answer::Sense(0x05, 0x55, 0x04), 1);
        let result = story.device.register(OURS).await.unwrap();
        assert_eq!(result.registered(), 1, "{result}");
        assert!(!result.is_complete());
        let held = (0..2).find(|&path| down(&story.device, path).is_some());
        let held = held.expect("one takes no I/O");
        assert_eq!(down(&story.device, held), Some(DownReason::Unregistered));
        let text = story.device.topology().to_string();
        assert!(text.contains("its key is not registered"), "{text}");
        story.device.reserve(WRITERS).await.unwrap();
        story.write().await.expect("by the other one");
        assert!(story.world.all_usable(&story.device).await);
        assert_eq!(story.keys().await.len(), 2);
        story.write().await.unwrap();
    });
    let events = story.events();
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    assert_eq!(count(|e| matches!(e, Event::PathNotRegistered { .. })), 1);
    assert_eq!(count(|e| matches!(e, Event::PathRegistered { .. })), 2);
    story.end();
}

/// It had been in use before the device was registered, and what goes through it would conflict with the device's own
/// reservation from then on.
#[test]
fn a_path_in_use_that_does_not_say_who_it_is_and_so_is_not_registered_takes_no_io() {
    let story = Story::new(14);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        // INQUIRY: of the first of the two that asks.
        core.answer(0, &[0x12], Answer::Nothing, 1);
        let result = story.device.register(OURS).await.unwrap();
        assert_eq!(result.registered(), 1, "{result}");
        let out = (0..2).find(|&path| down(&story.device, path).is_some());
        let out = out.expect("one takes no I/O");
        assert_eq!(down(&story.device, out), Some(DownReason::Unregistered));
        story.device.reserve(WRITERS).await.unwrap();
        story.write().await.expect("by the other one");
        assert!(story.world.all_usable(&story.device).await);
        assert_eq!(story.keys().await.len(), 2);
    });
    story.end();
}

/// It is not a wait without an end: a path that cannot be registered is none.
#[test]
fn where_the_only_path_left_cannot_be_registered_io_fails_as_the_policy_says() {
    let policy = NoPathRetry::QueueFor(3 * SECOND);
    let story = Story::with(10, config().no_path_retry(policy));
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.lose(0).await;
        let core = story.world.target.core();
        core.forget_registrations(0, None);
        core.answer(0, &REGISTER, Answer::Sense(0x05, 0x55, 0x04), u32::MAX);
        story.world.sim.net().reset(World::link(1));
        story.world.sim.sleep(SECOND).await;
        let begin = story.world.sim.elapsed();
        let error = story.write().await.expect_err("no path");
        assert_eq!(error.kind(), ErrorKind::NoPath, "{error:#}");
        assert!(story.world.sim.elapsed() - begin < 5 * SECOND);
        core.answer(0, &REGISTER, Answer::Sense(0x05, 0x55, 0x04), 0);
    });
    story.end();
}

#[test]
fn a_unit_without_persistent_reservations_is_told_and_used_as_before() {
    let story = Story::new(11);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &REGISTER, Answer::Sense(0x05, 0x20, 0x00), u32::MAX);
        core.answer(
            0,
            &REGISTER_AND_IGNORE,
            Answer::Sense(0x05, 0x20, 0x00),
            u32::MAX,
        );
        let error = story.device.register(OURS).await.unwrap_err();
        let ReserveError::Nowhere(result) = &error else {
            panic!("{error}");
        };
        for path in &result.paths {
            let PathRegistration::Failed(error) = &path.outcome else {
                panic!("{result}");
            };
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        assert_eq!(story.device.snapshot().registration, Registration::None);
        assert!(story.world.all_usable(&story.device).await);
        story.write().await.unwrap();
    });
    story.end();
}

#[test]
fn another_portal_group_is_another_nexus_and_is_registered_too() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.device.reserve(WRITERS).await.unwrap();
            let (to, permanent) = (portal(1).to_string(), false);
            let core = story.world.target.core();
            core.redirect_logins(0, Some(Redirect { to, permanent }));
            story.world.sim.net().reset(World::link(0));
            story.world.sim.sleep(SECOND).await;
            assert!(story.world.all_usable(&story.device).await);
            story.write().await.unwrap();
            assert_eq!(story.keys().await.len(), 3, "the old nexus has its own");
            core.redirect_logins(0, None);
        });
        story.end();
    }
}

#[test]
fn a_target_that_has_forgotten_its_registrations_gets_them_again() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            let before = story.keys().await;
            story.world.target.core().crash(Crash::default());
            story.other.session().wait_up().await.unwrap();
            story.world.sim.sleep(SECOND).await;
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await, before);
            story.write().await.unwrap();
            assert_eq!(
                story.device.snapshot().registration,
                Registration::Registered
            );
        });
        story.end();
    }
}

/// The other host has reserved it since, and takes the absence of a key for the absence of this one.
#[test]
fn where_others_have_reserved_a_target_that_has_forgotten_all_the_registration_is_lost() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            for path in 0..2 {
                story.lose(path).await;
            }
            story.world.target.core().forget_registrations(0, None);
            story.other_registers().await;
            story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
            story.heal().await;
            story.lost().await;
            assert_eq!(story.keys().await, [THEIRS.0]);
            conflict(story.write().await);
        });
        story.end();
    }
}

/// One portal group has forgotten all, as a controller that was replaced.
#[test]
fn a_path_that_has_lost_its_registration_alone_is_registered_again() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.world.target.core().forget_registrations(0, Some(1));
            assert_eq!(story.keys().await.len(), 2);
            story.world.sim.net().reset(World::link(0));
            story.world.sim.sleep(SECOND).await;
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await.len(), 3);
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// Of one key for all a preemption would have taken all. Of a key per path it may be the first of several.
#[test]
fn where_others_have_reserved_it_depends_on_the_keys() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
            story.world.target.core().forget_registrations(0, Some(1));
            story.world.sim.net().reset(World::link(0));
            story.world.sim.sleep(SECOND).await;
            assert!(story.world.all_usable(&story.device).await);
            if seed == 1 {
                assert_eq!(story.keys().await.len(), 3);
                story.write().await.unwrap();
            } else {
                story.lost().await;
                conflict(story.write().await);
                story.world.sim.sleep(SECOND).await;
                assert_eq!(story.keys().await, [THEIRS.0], "what is left is taken back");
            }
        });
        story.end();
    }
}
