//! What the handles are shown of it all.

use std::sync::Arc;

use super::{
    keeper::{Keeper, Link, RouteEntry},
    snapshot::{InventorySnapshot, RouteSnapshot, RouteState, SourceSnapshot},
};

impl Keeper {
    /// The present, without the devices, which are asked when somebody looks.
    pub(super) fn snapshot(&mut self, scans: u64) -> Arc<InventorySnapshot> {
        let sources = self.sources.iter().map(|source| SourceSnapshot {
            portal: source.discovery.portal.clone(),
            bind: source.discovery.bind.clone(),
            targets: source.targets,
            error: source.error.clone(),
        });
        let name = self.initiator.name();
        let mut routes = Vec::with_capacity(self.index.len());
        for id in self.index.values() {
            if let Some(entry) = self.routes.get_mut(id) {
                let shown = entry.shown.take().unwrap_or_else(|| {
                    Arc::new(RouteSnapshot {
                        route: Arc::clone(&entry.route),
                        slot: entry.to.slot,
                        isid: entry.to.slot.isid(name),
                        state: entry.state(),
                        list_error: entry.list_error.clone(),
                        units: entry
                            .units
                            .iter()
                            .map(|(lun, unit)| (*lun, unit.state.clone()))
                            .collect(),
                    })
                });
                entry.shown = Some(Arc::clone(&shown));
                routes.push(shown);
            }
        }
        Arc::new(InventorySnapshot {
            sources: sources.collect(),
            routes,
            devices: Vec::new(),
            scans,
        })
    }
}

impl RouteEntry {
    fn state(&self) -> RouteState {
        match &self.link {
            Link::LoggingIn => RouteState::LoggingIn,
            Link::Open { up: true, .. } => RouteState::Up,
            Link::Open { up: false, .. } => RouteState::Down,
            Link::Waiting(Some(error)) => RouteState::Failed(error.clone()),
            Link::Waiting(None) => RouteState::Closed,
        }
    }
}
