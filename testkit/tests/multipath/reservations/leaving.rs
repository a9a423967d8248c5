//! The end of a registration while paths come and go, and keys of before.

use super::*;

/// It was not asked, so nobody waits for its answer.
#[test]
fn a_path_that_joins_while_registrations_are_taken_back_is_not_waited_for() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.world.target.core().set_delay(0, 200 * MS);
            let ends = async {
                let result = story.device.unregister();
                let limit = story.world.sim.sleep(60 * SECOND);
                match select(pin!(result), pin!(limit)).await {
                    Either::Left((result, _)) => result.unwrap(),
                    Either::Right(_) => panic!("it does not end"),
                }
            };
            let (result, id) = join(ends, add(&story, 7)).await;
            let joined = result.paths.iter().find(|path| path.path == id);
            let joined = joined.expect("it has joined before the end");
            assert!(matches!(joined.outcome, PathRegistration::Unregistered));
            assert!(result.is_complete(), "{result}");
            assert_eq!(story.keys().await, []);
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// Whichever path came back first would be unregistered, and kept out by the reservation of the other one.
#[test]
fn without_a_path_to_release_by_the_device_stays_registered() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.device.register(keys).await.unwrap();
            story.device.reserve(WRITERS).await.unwrap();
            story.lose(0).await;
            story.lose(1).await;
            let error = story.device.unregister().await.unwrap_err();
            let kind = error.unit().map(Error::kind);
            assert_eq!(kind, Some(ErrorKind::NoPath), "{error}");
            let registration = story.device.snapshot().registration;
            assert_eq!(registration, Registration::Registered);
            let net = story.world.sim.net();
            for path in [1, 0] {
                net.heal(World::link(path));
                while !paths(&story.device)[path].is_usable() {
                    story.world.sim.sleep(MS).await;
                }
                story.write().await.unwrap();
            }
            story.device.unregister().await.unwrap();
            assert_eq!((story.held().await, story.keys().await), (None, vec![]));
            story.write().await.unwrap();
        });
        story.end();
    }
}

/// The holder was away, or had left, when the key was changed.
#[test]
fn a_reservation_by_a_key_of_before_is_the_devices_and_is_released() {
    let new = ReservationKey(0xa2);
    for is_removed in [false, true] {
        let story = Story::new(24);
        story.world.sim.block_on(async {
            story.device.register(OURS).await.unwrap();
            story.device.reserve(WRITERS).await.unwrap();
            story.other_registers().await;
            story.lose(0).await;
            if is_removed {
                let id = paths(&story.device)[0].id;
                story.device.remove_path(id).unwrap();
                while story.device.path(id).is_some() {
                    story.world.sim.sleep(MS).await;
                }
            }
            story.device.register(new).await.unwrap();
            assert_eq!(story.held().await, Some((OURS, WRITERS)));
            let again = story.device.reserve(WRITERS).await;
            again.expect("it is this device's");
            story.device.release(WRITERS).await.unwrap();
            assert_eq!(story.held().await, None);
            assert_eq!(story.keys().await, [new.0, THEIRS.0]);
            story.write().await.unwrap();
            if !is_removed {
                story.heal().await;
                assert_eq!(story.keys().await, [new.0, new.0, THEIRS.0]);
            }
        });
        story.end();
    }
}

/// Another host takes the key that was ours, and reserves; this device, with a new one, leaves that alone.
async fn is_somebody_elses(story: &Story, new: ReservationKey) {
    story.other.register(NONE, OURS, None).await.unwrap();
    story.other.reserve(OURS, WRITERS, None).await.unwrap();
    story.device.register(new).await.unwrap();
    let error = story.device.reserve(WRITERS).await.unwrap_err();
    let kind = error.unit().map(Error::kind);
    assert_eq!(kind, Some(ErrorKind::ReservationConflict), "{error}");
    story.device.release(WRITERS).await.unwrap();
    assert_eq!(story.held().await, Some((OURS, WRITERS)));
}

/// A key goes with what it stands for: a virtual machine that has moved takes its own along.
#[test]
fn a_key_that_was_given_up_is_whose_it_is_now() {
    let new = ReservationKey(0xa2);
    let story = Story::new(31);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        let result = story.device.unregister().await.unwrap();
        assert!(result.is_complete(), "{result}");
        is_somebody_elses(&story, new).await;
    });
    story.end();
}

/// The order was carried out, and nobody knows.
#[test]
fn a_registration_that_nobody_knows_of_is_taken_back_too() {
    let story = Story::new(32);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &REGISTER_AND_IGNORE, Answer::Unanswered, 1);
        let result = story.device.register(OURS).await.unwrap();
        assert_eq!(result.registered(), 1, "{result}");
        assert_eq!(story.keys().await, [OURS.0, OURS.0]);
        let result = story.device.unregister().await.unwrap();
        assert!(result.is_complete(), "{result}");
        assert_eq!(story.keys().await, []);
    });
    story.end();
}

/// What could not be taken back at once is given up when it is.
#[test]
fn a_key_is_given_up_when_the_last_path_that_has_it_is_back() {
    let new = ReservationKey(0xa2);
    let story = Story::new(33);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.lose(1).await;
        let result = story.device.unregister().await.unwrap();
        assert!(!result.is_complete(), "{result}");
        story.heal().await;
        story.world.sim.sleep(SECOND).await;
        assert_eq!(story.keys().await, []);
        is_somebody_elses(&story, new).await;
        assert_eq!(story.keys().await, [OURS.0, new.0, new.0]);
    });
    story.end();
}
