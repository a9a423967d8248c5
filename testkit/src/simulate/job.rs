//! What a run waits for, beside its programs.

use std::sync::Arc;

use super::world::World;

/// Something that is to be over before the end. It is over when this is dropped, be it by the death of its
/// host.
pub(super) struct Job(Arc<World>);

impl Job {
    pub(super) fn new(world: &Arc<World>) -> Self {
        world.board.with(|state| state.jobs += 1);
        Self::already_counted(world)
    }

    /// One that the board has among its jobs.
    pub(super) fn already_counted(world: &Arc<World>) -> Self {
        Self(Arc::clone(world))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.board.change(|state| state.jobs -= 1);
    }
}
