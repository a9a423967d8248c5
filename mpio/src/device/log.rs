//! The last events of a device.

use std::{collections::VecDeque, time::Instant};

use crate::core::Event;

/// Something that happened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceEvent {
    /// Its number, from 1. A gap means that the reader was too slow.
    pub number: u64,
    /// When, by the runtime's clock.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// Events that are kept. A failover makes about ten; who sleeps through a hundred of them sees it by
/// the numbers.
const KEPT: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<DeviceEvent>,
    last: u64,
}

impl EventLog {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(DeviceEvent {
            number: self.last,
            at,
            event,
        });
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The first event after `seen` that is still there.
    pub(super) fn after(&self, seen: u64) -> Option<DeviceEvent> {
        let first = self.events.front()?.number;
        let index = (seen + 1).saturating_sub(first);
        self.events.get(usize::try_from(index).ok()?).copied()
    }
}
