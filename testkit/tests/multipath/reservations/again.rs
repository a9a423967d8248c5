//! Paths that are registered again.

use super::*;

/// It would take what it is not to have for some round trips.
#[test]
fn a_path_in_use_takes_no_io_while_it_is_registered_again() {
    let story = Story::new(21);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.other_registers().await;
        story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
        let core = story.world.target.core();
        core.set_delay(0, 20 * MS);
        core.forget_registrations(0, Some(1));
        // The target has forgotten it, and that is what the first write is told.
        while story.write().await.is_ok() {}
        let is_barred = || down(&story.device, 0) == Some(DownReason::Registering);
        for _ in 0..1000 {
            if is_barred() {
                break;
            }
            story.world.sim.sleep(MS).await;
        }
        assert!(is_barred(), "{}", story.device.topology());
        while !paths(&story.device)[0].is_usable() {
            story.write().await.expect("by the other path");
        }
        story.write().await.expect("by both");
        assert_eq!(story.keys().await.len(), 3);
    });
    story.end();
}

#[test]
fn io_waits_for_the_only_path_while_it_is_registered_again() {
    let story = Story::with(22, config().no_path_retry(NoPathRetry::Fail));
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        let second = story.device.snapshot().paths().nth(1).unwrap().id;
        story.device.remove_path(second).unwrap();
        while story.device.path(second).is_some() {
            story.world.sim.sleep(MS).await;
        }
        let core = story.world.target.core();
        core.set_delay(0, 20 * MS);
        core.forget_registrations(0, Some(1));
        story.other_registers().await;
        story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
        conflict(story.write().await);
        story.other.release(THEIRS, WRITERS, None).await.unwrap();
        while down(&story.device, 0) != Some(DownReason::Registering) {
            assert!(story.world.sim.elapsed() < 30 * SECOND);
            story.world.sim.sleep(MS).await;
        }
        story.write().await.expect("after it, and not NoPath");
        assert_eq!(story.keys().await.len(), 2);
    });
    story.end();
}

/// What the target had forgotten of one path does not tell that somebody has preempted the key since: the other one, whose
/// registration was there to be ended, does.
#[test]
fn a_registration_that_was_made_behind_a_preemption_is_taken_back_before_it_is_used() {
    let hour = 3600 * SECOND;
    let settings = config()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .polling_interval(hour, hour);
    for (seed, keys) in both() {
        let story = Story::with(seed, settings.clone());
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.other_registers().await;
            story.lose(0).await;
            story.world.target.core().forget_registrations(0, Some(1));
            fence_out(&story.other).await;
            story.world.sim.net().heal_all();
            // Whatever comes first: the path is used, or the device knows.
            for _ in 0..60_000 {
                let is_lost = story.device.snapshot().registration == Registration::Lost;
                if is_lost || paths(&story.device)[0].is_usable() {
                    break;
                }
                story.world.sim.sleep(MS).await;
            }
            conflict(story.write().await);
            story.lost().await;
            story.world.sim.sleep(SECOND).await;
            assert_eq!(story.keys().await, [THEIRS.0]);
        });
        story.end();
    }
}

/// The session is the same, so what is taken back for the one is gone for the other.
#[test]
fn a_path_that_is_added_again_before_it_is_gone_keeps_its_key() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.device.reserve(WRITERS).await.unwrap();
            // It is not gone before the last of its writes is over.
            story.world.target.core().set_delay(1, 200 * MS);
            let old = story.device.snapshot().paths().nth(1).unwrap().id;
            let change = async {
                story.world.sim.sleep(50 * MS).await;
                story.device.remove_path(old).unwrap();
                assert_ne!(add(&story, 0).await, old);
            };
            let (written, ()) = join(story.write(), change).await;
            written.unwrap();
            while story.device.path(old).is_some() {
                story.world.sim.sleep(MS).await;
            }
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await.len(), 2);
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// Nothing is wanted of it any more.
#[test]
fn a_path_that_could_not_be_registered_is_used_when_no_registration_is_wanted() {
    let story = Story::new(23);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &REGISTER_AND_IGNORE, Answer::Sense(0x05, 0x55, 0x04), 1);
        story.device.register(OURS).await.unwrap();
        let held = (0..2).find(|&path| down(&story.device, path).is_some());
        let held = held.expect("one takes no I/O");
        let net = story.world.sim.net();
        net.refuse(World::link(held));
        net.reset(World::link(held));
        while down(&story.device, held) == Some(DownReason::Unregistered) {
            story.world.sim.sleep(MS).await;
        }
        story.device.unregister().await.unwrap();
        story.heal().await;
        story.write().await.unwrap();
    });
    story.end();
}

/// What it was registered with ended with the registration of before, perhaps.
#[test]
fn a_path_that_cannot_be_asked_is_not_registered_by_what_was_before() {
    let mut alua = AluaConfig::default();
    alua.states = vec![(1, PortState::Optimized), (2, PortState::Optimized)];
    let story = Story::against(24, config(), target_config().with_alua(alua));
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        story.device.register(OURS).await.unwrap();
        core.set_port_state(2, PortState::Unavailable);
        while paths(&story.device).iter().all(|path| path.is_usable()) {
            story.world.sim.sleep(MS).await;
        }
        story.other_registers().await;
        story.other.reserve(THEIRS, ALL, None).await.unwrap();
        story.other.preempt(THEIRS, OURS, ALL, None).await.unwrap();
        conflict(story.write().await);
        story.lost().await;
        let result = story.device.register(OURS).await.unwrap();
        assert_eq!(result.registered(), 1, "{result}");
        core.set_port_state(2, PortState::Optimized);
        while !paths(&story.device).iter().all(|path| path.is_usable()) {
            story.write().await.unwrap();
        }
        story.write().await.unwrap();
        assert_eq!(story.keys().await, [OURS.0, OURS.0, THEIRS.0]);
    });
    story.end();
}

/// Where the new key could not be made known, it is no sign of somebody else that nobody has it.
#[test]
fn a_path_that_is_back_knows_the_key_of_before_as_the_devices() {
    let new = ReservationKey(0xa2);
    let story = Story::new(25);
    story.world.sim.block_on(async {
        story.lose(1).await;
        story.device.register(OURS).await.unwrap();
        story.device.reserve(ALL).await.unwrap();
        let core = story.world.target.core();
        core.answer(0, &REGISTER, Answer::Sense(0x05, 0x55, 0x04), 1);
        let error = story.device.register(new).await.unwrap_err();
        assert!(matches!(error, ReserveError::Nowhere(_)), "{error}");
        story.heal().await;
        story.write().await.unwrap();
        let snapshot = story.device.snapshot();
        assert_eq!(snapshot.registration, Registration::Registered);
        assert_eq!(story.held().await, Some((NONE, ALL)));
    });
    story.end();
}

/// However often it has not been heard.
#[test]
fn keys_that_no_path_was_told_push_out_none_that_one_has() {
    let story = Story::new(26);
    story.world.sim.block_on(async {
        story.lose(1).await;
        story.device.register(OURS).await.unwrap();
        story.device.reserve(ALL).await.unwrap();
        story.lose(0).await;
        for key in 0xc1..0xcc {
            let error = story.device.register(ReservationKey(key)).await;
            assert!(matches!(error, Err(ReserveError::Nowhere(_))), "{error:?}");
        }
        story.world.sim.net().heal(World::link(1));
        while !paths(&story.device)[1].is_usable() {
            story.world.sim.sleep(MS).await;
        }
        story.write().await.unwrap();
        let snapshot = story.device.snapshot();
        assert_eq!(snapshot.registration, Registration::Registered);
        story.heal().await;
        assert_eq!(story.keys().await, [0xcb, 0xcb]);
    });
    story.end();
}

/// Each is a witness of what the others have lost, and none of them may wait for another one for ever.
#[test]
fn paths_that_all_find_out_at_once_are_all_registered_again() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            let before = story.keys().await;
            story.world.target.core().forget_registrations(0, None);
            // Through one path after the other, until none is left.
            story.device.reserve(WRITERS).await.unwrap_err();
            story.world.sim.sleep(5 * SECOND).await;
            assert!(story.world.all_usable(&story.device).await);
            assert_eq!(story.keys().await, before);
            story.device.reserve(WRITERS).await.unwrap();
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// While it was away the others were given another key, and its own place in the device was given up.
#[test]
fn a_nexus_that_has_a_key_of_before_is_given_the_new_one() {
    let new = ReservationKey(0xa2);
    let story = Story::new(27);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.lose(1).await;
        story.device.register(new).await.unwrap();
        let old = story.device.snapshot().paths().nth(1).unwrap().id;
        story.device.remove_path(old).unwrap();
        while story.device.path(old).is_some() {
            story.world.sim.sleep(MS).await;
        }
        assert_eq!(story.keys().await, [OURS.0, new.0]);
        story.lose(0).await;
        story.world.sim.net().heal(World::link(1));
        add(&story, 0).await;
        story.write().await.unwrap();
        story.heal().await;
        assert_eq!(story.keys().await, [new.0, new.0]);
        let snapshot = story.device.snapshot();
        assert_eq!(snapshot.registration, Registration::Registered);
        story.write().await.unwrap();
    });
    story.end();
}

/// It held the reservation when it was removed, so it has kept its key; nobody has taken it since.
#[test]
fn a_nexus_that_has_kept_the_key_of_the_device_is_given_the_new_one() {
    let new = ReservationKey(0xa2);
    let story = Story::new(28);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.device.reserve(WRITERS).await.unwrap();
        for path in 0..2 {
            story.lose(path).await;
        }
        let error = story.device.register(new).await.unwrap_err();
        assert!(matches!(error, ReserveError::Nowhere(_)), "{error}");
        let old = story.device.snapshot().paths().nth(1).unwrap().id;
        story.device.remove_path(old).unwrap();
        while story.device.path(old).is_some() {
            story.world.sim.sleep(MS).await;
        }
        story.world.sim.net().heal(World::link(1));
        add(&story, 0).await;
        story.write().await.unwrap();
        assert_eq!(story.keys().await, [OURS.0, new.0]);
        let snapshot = story.device.snapshot();
        assert_eq!(snapshot.registration, Registration::Registered);
    });
    story.end();
}
