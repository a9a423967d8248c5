//! What happened to the device, for anybody who wants to know.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::shared::Shared;
use crate::{core::Event, path::Path};

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

/// Reads the events of a device, from its making on. Each reader sees all of them, as far as they
/// are kept (the last 1024). It does not keep the device open.
#[derive(Debug)]
pub struct EventReader<P: Path> {
    shared: Arc<Shared<P>>,
    seen: u64,
}

impl<P: Path> EventReader<P> {
    pub(super) const fn new(shared: Arc<Shared<P>>, seen: u64) -> Self {
        Self { shared, seen }
    }

    /// The next event; `None` once the device is closed and all events are read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        let seen = self.seen;
        let next = self
            .shared
            .until(|state| match state.log.after(seen) {
                Some(event) => Some(Some(event)),
                None => state.ended.then_some(None),
            })
            .await;
        self.seen = next.map_or(seen, |event| event.number);
        next
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<DeviceEvent> {
        let next = self.shared.look(|state| state.log.after(self.seen))?;
        self.seen = next.number;
        Some(next)
    }
}
