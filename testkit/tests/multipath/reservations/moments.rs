//! Others who come at the worst moment.

use super::*;

/// Until the device has lost its registration, and nothing of it is left.
async fn is_fenced_out(story: &Story) {
    story.lost().await;
    story.world.sim.net().heal_all();
    story.world.sim.sleep(5 * SECOND).await;
    assert_eq!(story.keys().await, [THEIRS.0]);
    conflict(story.write().await);
}

/// With one key for all paths, one order takes them all, whatever the device does at that moment.
#[test]
fn who_preempts_while_a_reservation_changes_hands_has_the_last_word() {
    for at in 0..40 {
        let story = Story::new(19);
        story.world.sim.block_on(async {
            story.device.register(OURS).await.unwrap();
            add(&story, 7).await;
            assert!(story.world.all_usable(&story.device).await);
            story.device.reserve(WRITERS).await.unwrap();
            story.other_registers().await;
            story.lose(0).await;
            let fence = async {
                story.world.sim.sleep(at * MS / 10).await;
                fence_out(&story.other).await;
            };
            _ = join(story.device.release(WRITERS), fence).await;
            is_fenced_out(&story).await;
            assert!(!story.device.snapshot().is_suspended);
        });
        story.end();
    }
}

#[test]
fn who_preempts_while_a_path_is_registered_again_has_the_last_word() {
    for at in 0..60 {
        let story = Story::new(20);
        story.world.sim.block_on(async {
            story.device.register(OURS).await.unwrap();
            story.other_registers().await;
            story.world.target.core().forget_registrations(0, Some(1));
            story.world.sim.net().reset(World::link(0));
            story.world.sim.sleep(at * MS / 5).await;
            fence_out(&story.other).await;
            is_fenced_out(&story).await;
        });
        story.end();
    }
}

/// What is registered after the device has looked is taken back when it is seen, or when its path is back.
#[test]
fn who_unregisters_while_a_path_is_registered_again_leaves_nothing_behind() {
    for (seed, keys) in both() {
        for (at, then) in (0..60).flat_map(|at| (0..15).map(move |then| (at, then))) {
            let story = Story::new(seed);
            let net = story.world.sim.net();
            story.world.sim.block_on(async {
                story.device.register(keys).await.unwrap();
                story.world.target.core().forget_registrations(0, Some(1));
                net.reset(World::link(0));
                story.world.sim.sleep(at * MS / 5).await;
                let lose = async {
                    story.world.sim.sleep(then * MS / 5).await;
                    net.reset(World::link(0));
                };
                let (result, ()) = join(story.device.unregister(), lose).await;
                result.unwrap();
                story.world.sim.sleep(5 * SECOND).await;
                assert_eq!(story.keys().await, [], "{at} and {then} fifths of a ms");
                assert!(story.world.all_usable(&story.device).await);
                story.write().await.unwrap();
            });
            story.end();
        }
    }
}
