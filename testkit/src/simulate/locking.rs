//! What hosts do that share a disk: they write under a lock, and give it back when the write is over for
//! good.

use std::{sync::Arc, time::Duration};

use futures_util::future::{Either, select};

use super::{
    client::{Client, Intent, Settled},
    locks::Lock,
    world::World,
};

/// A program asks for something else when what it wants stays locked so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two attempts to write what is not known to be over.
const PAUSE: Duration = Duration::from_millis(200);

impl Client {
    /// Writes under a lock; reads, if it does not get one.
    pub(super) async fn write_locked(&mut self, world: &World, device: &mpio::MultipathDevice) {
        let intent = self.intent(world, 0..world.plan.work.span);
        let (index, unit) = (self.device, self.device % world.plan.units.len());
        let blocks = intent.blocks.clone();
        let lock = world
            .board
            .until(|state| state.locks.take(index, unit, blocks.clone()));
        let patience = world.handle.sleep(PATIENCE);
        let lock = match select(std::pin::pin!(lock), std::pin::pin!(patience)).await {
            Either::Left((lock, _)) => lock,
            Either::Right(_) => {
                self.read(world, device, intent).await;
                return;
            }
        };
        let mut intent = intent;
        intent.begun = world.now();
        match self.write(world, device, intent).await {
            Settled::Acknowledged | Settled::Over => world.unlock(&lock),
            Settled::MayLand => self.settle(world, lock).await,
        }
    }

    /// Gives back a lock under which a write may still land. The device lets no later write to the place
    /// go before that is dead; so it is when such a write is acknowledged.
    pub(super) async fn settle(&self, world: &World, lock: Lock) {
        loop {
            let device = world
                .board
                .until(|state| state.devices.get(lock.device)?.clone());
            let device = device.await;
            let intent = Intent::plain(lock.blocks.clone(), world.now());
            if self.write(world, &device, intent).await == Settled::Acknowledged {
                break;
            }
            world.handle.sleep(PAUSE).await;
        }
        world.unlock(&lock);
    }
}

impl World {
    fn unlock(&self, lock: &Lock) {
        self.board.change(|state| state.locks.release(lock));
    }
}

/// A host that starts again settles what its former life had locked.
pub(super) async fn take_over(world: Arc<World>, client: Client, lock: Lock) {
    client.settle(&world, lock).await;
}
