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
