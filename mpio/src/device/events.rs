//! What happened to the device, for anybody who wants to know.

use std::sync::Arc;

use super::{log::DeviceEvent, shared::Shared};
use crate::path::Path;

/// Reads the events of a device, from the reader's making on. Each reader sees all of them, as far as they
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
