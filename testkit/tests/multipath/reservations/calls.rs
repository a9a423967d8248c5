//! What the calls do.

use super::*;

#[test]
fn every_path_is_registered_and_may_write_where_others_may_not() {
    for (seed, keys) in both() {
        let mut story = Story::new(seed);
        story.world.sim.block_on(async {
            let result = story.device.register(keys).await.unwrap();
            assert!(result.is_complete() && result.registered() == 2, "{result}");
            let found = story.keys().await;
            assert_eq!(found.len(), 2);
            assert_eq!(found[0] == found[1], seed == 1, "one key, or one each");
            story.device.reserve(WRITERS).await.unwrap();
            story
                .device
                .reserve(WRITERS)
                .await
                .expect("again is no error");
            conflict(write_other(&story.other).await);
            story.write().await.unwrap();
            let snapshot = story.device.snapshot();
            assert_eq!(snapshot.registration, Registration::Registered);
            assert_eq!(snapshot.reservation, Some(WRITERS));
            assert!(snapshot.paths().all(|path| path.key.is_some()));
            story.device.release(WRITERS).await.unwrap();
            assert_eq!(story.held().await, None);
            write_other(&story.other).await.unwrap();
            let result = story.device.unregister().await.unwrap();
            assert!(result.is_complete() && result.registered() == 0, "{result}");
            assert_eq!(story.keys().await, []);
            story.write().await.unwrap();
            let snapshot = story.device.snapshot();
            assert_eq!(snapshot.registration, Registration::None);
            assert!(snapshot.paths().all(|path| path.key.is_none()));
        });
        let events = story.events();
        let has = |event: &Event| events.contains(event);
        assert!(has(&Event::Reserved { kind: WRITERS }), "{events:?}");
        assert!(has(&Event::Released) && has(&Event::Unregistered));
        story.end();
    }
}

#[test]
fn questions_are_asked_through_whatever_path_works() {
    let story = Story::new(3);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.device.reserve(WRITERS).await.unwrap();
        for path in 0..2 {
            story.lose(path).await;
            let keys = story.device.reservation_keys().await.unwrap().keys;
            assert_eq!(keys, [OURS, OURS]);
            let held = story.device.reservation().await.unwrap().held;
            assert_eq!(held, Some((OURS, WRITERS)));
            assert_eq!(
                story
                    .device
                    .registrations()
                    .await
                    .unwrap()
                    .registrations
                    .len(),
                2
            );
            let types = story.device.reservation_capabilities().await.unwrap().types;
            assert!(types.is_some());
            story.heal().await;
        }
    });
    story.end();
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one() {
    let story = Story::new(4);
    story.world.sim.block_on(async {
        story.device.register(OURS).await.unwrap();
        story.device.reserve(WRITERS).await.unwrap();
        let new = ReservationKey(0xa2);
        story.device.register(new).await.unwrap();
        assert_eq!(story.keys().await, [new.0, new.0]);
        assert_eq!(story.held().await, Some((new, WRITERS)), "still held");
        story.device.register(per_path()).await.unwrap();
        let keys = story.keys().await;
        assert!(keys[0] != keys[1] && !keys.contains(&new.0));
        story.write().await.unwrap();
        story.device.release(WRITERS).await.unwrap();
        assert_eq!(story.held().await, None);
    });
    story.end();
}

#[test]
fn what_cannot_be_meant_is_an_error_that_says_so() {
    let story = Story::new(5);
    story.world.sim.block_on(async {
        let device = &story.device;
        let error = device.reserve(WRITERS).await.unwrap_err();
        assert!(matches!(error, ReserveError::NotRegistered), "{error}");
        let error = device.register(NONE).await.unwrap_err();
        assert!(matches!(error, ReserveError::NoKey), "{error}");
        device.register(OURS).await.unwrap();
        for kind in [
            ReservationType::WriteExclusive,
            ReservationType::ExclusiveAccess,
        ] {
            let error = device.reserve(kind).await.unwrap_err();
            assert!(matches!(error, ReserveError::OnePathOnly(_)), "{error}");
        }
        let error = device.preempt(OURS, WRITERS).await.unwrap_err();
        assert!(matches!(error, ReserveError::OwnKey(OURS)), "{error}");
        let error = device.preempt(NONE, WRITERS).await.unwrap_err();
        assert!(matches!(error, ReserveError::NoKey), "{error}");
        let error = device.preempt(THEIRS, WRITERS).await.unwrap_err();
        let kind = error.unit().map(Error::kind);
        assert_eq!(kind, Some(ErrorKind::ReservationConflict), "nobody has it");
        device.register(per_path()).await.unwrap();
        let own = ReservationKey(story.keys().await[0]);
        let error = device.preempt_and_abort(own, WRITERS).await.unwrap_err();
        assert!(matches!(error, ReserveError::OwnKey(_)), "{error}");
        device.reserve(WRITERS).await.unwrap();
        let error = device.reserve(ALL).await.unwrap_err();
        assert!(matches!(error, ReserveError::OtherType(WRITERS)), "{error}");
        let error = device.release(ALL).await.unwrap_err();
        assert!(matches!(error, ReserveError::OtherType(WRITERS)), "{error}");
        story.write().await.unwrap();
    });
    story.end();
}

#[test]
fn a_device_with_one_path_may_hold_what_one_nexus_holds() {
    let story = Story::new(6);
    story.world.sim.block_on(async {
        let path = paths(&story.device)[1].id;
        story.device.remove_path(path).unwrap();
        while story.device.path(path).is_some() {
            story.world.sim.sleep(MS).await;
        }
        story.device.register(OURS).await.unwrap();
        let kind = ReservationType::ExclusiveAccess;
        story.device.reserve(kind).await.unwrap();
        story.write().await.unwrap();
        conflict(write_other(&story.other).await);
        story.device.release(kind).await.unwrap();
    });
    story.end();
}

#[test]
fn a_device_whose_fence_has_keys_takes_none_from_its_user() {
    let keys = PreemptAndAbort {
        keys: per_path(),
        drain: SECOND,
    };
    let story = Story::with(7, config().preempt_and_abort(Some(keys)));
    story.world.sim.block_on(async {
        let error = story.device.register(OURS).await.unwrap_err();
        assert!(matches!(error, ReserveError::FenceHasKeys), "{error}");
        let error = story.device.unregister().await.unwrap_err();
        assert!(matches!(error, ReserveError::FenceHasKeys), "{error}");
        let error = story.device.clear_reservations().await.unwrap_err();
        assert!(matches!(error, ReserveError::FenceHasKeys), "{error}");
        let keys = story.device.reservation_keys().await.unwrap().keys;
        assert_eq!(keys.len(), 2, "to ask is allowed");
    });
    story.end();
}

#[test]
fn a_clear_ends_everything_and_no_write_hears_of_it() {
    let story = Story::new(8);
    story.world.sim.block_on(async {
        story.other_registers().await;
        story.device.register(OURS).await.unwrap();
        story.device.reserve(WRITERS).await.unwrap();
        let clear = story.device.clear_reservations();
        let writes = async {
            for _ in 0..20 {
                story.write().await.unwrap();
            }
        };
        let (cleared, ()) = join(clear, writes).await;
        cleared.unwrap();
        assert_eq!(story.keys().await, []);
        assert_eq!(story.held().await, None);
        story.write().await.unwrap();
        assert_eq!(story.device.snapshot().registration, Registration::None);
    });
    story.end();
}

#[test]
fn another_host_is_preempted_and_its_reservation_taken() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        story.world.sim.block_on(async {
            story.other_registers().await;
            story.other.reserve(THEIRS, WRITERS, None).await.unwrap();
            conflict(story.write().await);
            story.device.register(keys).await.unwrap();
            story.write().await.expect("registrants write");
            story
                .device
                .preempt_and_abort(THEIRS, WRITERS)
                .await
                .unwrap();
            assert!(!story.keys().await.contains(&THEIRS.0));
            assert_eq!(story.device.snapshot().reservation, Some(WRITERS));
            conflict(write_other(&story.other).await);
            story.write().await.unwrap();
            story.device.release(WRITERS).await.unwrap();
        });
        story.end();
    }
}
