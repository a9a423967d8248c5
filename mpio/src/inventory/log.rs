//! The last events of an inventory.

use std::{collections::VecDeque, time::Instant};

use super::event::{InventoryEvent, InventoryEventKind};

/// Events that are kept: some for each session and unit of a large installation at its start.
const KEPT: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct EventLog {
    made: Option<Instant>,
    events: VecDeque<InventoryEvent>,
    last: u64,
}

impl EventLog {
    pub(super) const fn new(made: Instant) -> Self {
        Self {
            made: Some(made),
            events: VecDeque::new(),
            last: 0,
        }
    }

    pub(super) fn push(&mut self, at: Instant, kind: InventoryEventKind) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(InventoryEvent {
            number: self.last,
            at,
            uptime: at.saturating_duration_since(self.made.unwrap_or(at)),
            kind,
        });
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The first event after `seen` that is still there.
    pub(super) fn after(&self, seen: u64) -> Option<InventoryEvent> {
        let first = self.events.front()?.number;
        let index = (seen + 1).saturating_sub(first);
        self.events.get(usize::try_from(index).ok()?).cloned()
    }
}
