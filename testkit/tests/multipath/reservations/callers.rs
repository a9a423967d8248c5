//! Callers who go away.

use super::*;

/// Polls a future so often, and drops it.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[test]
fn a_call_that_is_dropped_at_any_moment_leaves_a_device_that_works() {
    for (seed, keys) in both() {
        for call in 0..7 {
            let mut ended = false;
            for times in 0..40 {
                let story = Story::new(seed);
                ended = story
                    .world
                    .sim
                    .block_on(cancelled(&story, keys, call, times));
                story.end();
                if ended {
                    break;
                }
            }
            assert!(ended, "call {call} goes on for ever");
        }
    }
}

/// Whether the call came to its end before it was dropped.
async fn cancelled(story: &Story, keys: RegistrationKeys, call: usize, times: usize) -> bool {
    let device = &story.device;
    if call > 0 {
        device.register(keys).await.unwrap();
    }
    if matches!(call, 1 | 3 | 4) {
        device.reserve(WRITERS).await.unwrap();
    }
    story.other_registers().await;
    if call == 3 {
        story.lose(0).await;
    }
    let ended = match call {
        0 => polled(times, device.register(keys)).await.is_some(),
        1 => polled(times, device.unregister()).await.is_some(),
        2 => polled(times, device.reserve(WRITERS)).await.is_some(),
        // Where the holder is gone, and where it is not.
        3 | 4 => polled(times, device.release(WRITERS)).await.is_some(),
        5 => polled(times, device.clear_reservations()).await.is_some(),
        _ => polled(times, device.preempt_and_abort(THEIRS, WRITERS))
            .await
            .is_some(),
    };
    story.world.sim.net().heal_all();
    story.world.sim.sleep(2 * SECOND).await;
    assert!(story.world.all_usable(device).await);
    assert!(!device.snapshot().is_suspended);
    story.write().await.unwrap();
    // The next call has its turn, and all is as it says.
    let result = device.register(keys).await.unwrap();
    assert!(result.is_complete(), "{result}");
    device.reserve(WRITERS).await.unwrap();
    story.write().await.unwrap();
    device.release(WRITERS).await.unwrap();
    device.unregister().await.unwrap();
    let keys = story.keys().await;
    assert!(keys.iter().all(|key| *key == THEIRS.0), "{keys:x?}");
    ended
}

#[test]
fn a_device_that_is_closed_leaves_its_registrations_and_ends_its_calls() {
    let story = Story::new(17);
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
        let error = device.reserve(WRITERS).await.unwrap_err();
        assert_eq!(error.unit().map(Error::kind), Some(ErrorKind::Closed));
        let held = other.reservation(None).await.unwrap().held;
        assert_eq!(held, Some((OURS, WRITERS)), "a restart is no release");
    });
}
