//! Who reads the events of an inventory.

use std::sync::Arc;

use super::{event::InventoryEvent, shared::Shared};

/// Reads the events of an inventory. Each reader sees all of them, as far as they are kept (the last 8192). It
/// does not keep the inventory open.
#[derive(Debug)]
pub struct InventoryEvents {
    pub(super) shared: Arc<Shared>,
    pub(super) seen: u64,
}

impl InventoryEvents {
    /// The next event; `None` once the inventory is closed and all events are read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<InventoryEvent> {
        let seen = self.seen;
        let next = self.shared.until(|board| match board.log.after(seen) {
            Some(event) => Some(Some(event)),
            None => board.ended.then_some(None),
        });
        let next = next.await;
        self.seen = next.as_ref().map_or(seen, |event| event.number);
        next
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<InventoryEvent> {
        let next = self.shared.look(|board| board.log.after(self.seen))?;
        self.seen = next.number;
        Some(next)
    }
}
