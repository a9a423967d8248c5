//! A device's events as lines, with the names of paths instead of their ids.

use std::sync::Arc;

use iscsi_client::logical_unit::LogicalUnit;
use mpio::{EventReader, MultipathDevice, core::PathId};

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
        Self {
            events: device.events(),
            names: Vec::new(),
        }
    }

    /// What has happened since the last call.
    pub fn lines(&mut self, device: &MultipathDevice) -> impl Iterator<Item = String> + use<> {
        let mut lines = Vec::new();
        while let Some(event) = self.events.try_next() {
            if lines.is_empty() {
                self.learn(device);
            }
            lines.push(self.rename(event.event.to_string()));
        }
        lines.into_iter()
    }

    fn learn(&mut self, device: &MultipathDevice) {
        for path in device.snapshot().paths() {
            if !self.names.iter().any(|(id, _)| *id == path.id) {
                self.names.push((path.id, Arc::clone(&path.name)));
            }
        }
        // Longer ids first, lest "path 1" be found in "path 12".
        self.names
            .sort_by_key(|(id, _)| std::cmp::Reverse(id.to_string().len()));
    }

    fn rename(&self, line: String) -> String {
        self.names
            .iter()
            .fold(line, |line, (id, name)| line.replace(&id.to_string(), name))
    }
}
