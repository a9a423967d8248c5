//! The last events of a device.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::core::Event;

/// Something that happened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeviceEvent {
    /// Its number, from 1. A gap means that the reader was too slow.
    pub number: u64,
    /// When, by the runtime's clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub at: Instant,
    /// How long after the device was made, as [`Snapshot::uptime`](crate::core::Snapshot::uptime).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "uptime_ns", serialize_with = "crate::serial::nanos")
    )]
    pub uptime: Duration,
    /// What.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub event: Event,
}

/// Events that are kept. A failover makes about ten; who sleeps through a hundred of them sees it by
/// the numbers.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(super) struct EventLog {
    made: Instant,
    events: VecDeque<DeviceEvent>,
    last: u64,
}

impl EventLog {
    pub(super) const fn new(made: Instant) -> Self {
        Self {
            made,
            events: VecDeque::new(),
            last: 0,
        }
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(DeviceEvent {
            number: self.last,
            at,
            uptime: at.saturating_duration_since(self.made),
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
