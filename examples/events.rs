//! A device's events as lines, with the names of paths instead of their ids.

use std::sync::Arc;

use iscsi_client::logical_unit::LogicalUnit;
use mpio::{DeviceEvent, EventReader, MultipathDevice, core::PathId};

/// Turns events into lines.
#[derive(Debug)]
pub struct Narrator {
    events: EventReader<LogicalUnit>,
    /// Paths that were ever there: an event may tell of one that is gone.
    names: Vec<(PathId, Arc<str>)>,
}

impl Narrator {
    /// Tells what happens to `device` from now on.
    #[must_use]
    pub fn new(device: &MultipathDevice) -> Self {
        let mut narrator = Self {
            events: device.events(),
            names: Vec::new(),
        };
        narrator.learn(device);
        narrator
    }

    /// What has happened since the last call, and when.
    pub fn events(&mut self, device: &MultipathDevice) -> Vec<DeviceEvent> {
        let events: Vec<_> = std::iter::from_fn(|| self.events.try_next()).collect();
        if !events.is_empty() {
            self.learn(device);
        }
        events
    }

    /// An event as a line.
    #[must_use]
    pub fn line(&self, event: &DeviceEvent) -> String {
        event.event.named(|path| self.name(path)).to_string()
    }

    /// What has happened since the last call, as lines.
    pub fn lines(&mut self, device: &MultipathDevice) -> impl Iterator<Item = String> + use<> {
        let events = self.events(device);
        let lines: Vec<_> = events.iter().map(|event| self.line(event)).collect();
        lines.into_iter()
    }

    fn learn(&mut self, device: &MultipathDevice) {
        for path in device.snapshot().paths() {
            if !self.names.iter().any(|(id, _)| *id == path.id) {
                self.names.push((path.id, Arc::clone(&path.name)));
            }
        }
    }

    fn name(&self, path: PathId) -> Option<&str> {
        let known = self.names.iter().find(|(id, _)| *id == path);
        known.map(|(_, name)| &**name)
    }
}
