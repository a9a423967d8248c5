//! The last events of an inventory.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{
    event::{InventoryEvent, InventoryEventKind},
    shared::Shared,
};

/// Events that are kept: some for each session and unit of a large installation at its start.
const KEPT: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<InventoryEvent>,
    last: u64,
}

impl EventLog {
    pub(super) fn push(&mut self, at: Instant, kind: InventoryEventKind) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.last += 1;
        let number = self.last;
        self.events.push_back(InventoryEvent { number, at, kind });
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The first event after `seen` that is still there.
    fn after(&self, seen: u64) -> Option<InventoryEvent> {
        let first = self.events.front()?.number;
        let index = (seen + 1).saturating_sub(first);
        self.events.get(usize::try_from(index).ok()?).cloned()
    }
}

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
