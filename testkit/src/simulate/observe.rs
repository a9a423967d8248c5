//! What hosts report by themselves, gathered as it comes: unit attentions, and losses of sessions.
//!
//! Nothing waits here, and no task is woken for it: paths are looked at when a device has reported
//! something, now and then when a request has ended, and at the end. Each keeps its last reports for
//! that long.

use std::sync::Arc;

use mpio::MultipathDevice;

use super::{
    board::State,
    check::{Row, hedging, pace},
    finding::Finding,
    marginal,
    watched::Watched,
    world::World,
};

/// Requests between two looks.
const EVERY: usize = 32;

impl State {
    /// A device has a port group made active.
    pub(super) fn note_activation(&mut self, index: usize, now: u64) {
        let opening = self.openings[index];
        let last = self.activated.insert(index, (opening, now));
        let last = last.filter(|(of, _)| *of == opening).map(|(_, at)| at);
        if let Err(violation) = pace::activates_with_pauses(index, last, now) {
            self.find(Finding::Rule(violation));
        }
    }
}

impl World {
    /// Looks at all paths of a device, at those that are new above all.
    pub(super) fn observe(&self, index: usize) {
        let now = self.now();
        self.board.with(|state| {
            // After the last look nothing counts any more.
            let Some(device) = state.devices.get(index).cloned() else {
                return;
            };
            let opening = state.openings[index];
            let snapshot = device.as_ref().map(MultipathDevice::snapshot);
            let held = snapshot.as_ref().map_or(0, |snapshot| snapshot.held_bytes);
            state.held_bytes = state.held_bytes.max(held);
            if let Some(snapshot) = &snapshot {
                let (who, counters) = (format!("device {index}"), &snapshot.counters);
                let judged = hedging::is_within_its_budget(&who, counters, self.plan.device.hedge);
                if let (Err(violation), None) = (judged, &state.overspent) {
                    state.overspent = Some(violation);
                }
            }
            if let Some(path) = snapshot.as_ref().and_then(marginal::misused) {
                let account = format!("device {index} uses {path} though another path is sound");
                state.violate(Row::L5, account);
            }
            let spares = &mut state.spares;
            let misused = snapshot
                .as_ref()
                .and_then(|snapshot| spares.misused((index, opening), snapshot));
            if let Some(what) = misused {
                state.violate(Row::L5, format!("device {index} has {what}"));
            }
            let is_there = |watched: &Watched| {
                let mut paths = snapshot.iter().flat_map(|snapshot| snapshot.paths());
                watched.opening == opening && paths.any(|path| path.id == watched.path)
            };
            let watched = state.watched.iter_mut();
            for known in watched.filter(|watched| watched.device == index) {
                known.is_member &= is_there(known);
                known.look(&self.handle, now);
            }
            let paths = snapshot.iter().flat_map(|snapshot| snapshot.paths());
            for path in paths {
                let is_it = |watched: &Watched| {
                    (watched.device, watched.opening, watched.path) == (index, opening, path.id)
                };
                if state.watched.iter().any(is_it) {
                    continue;
                }
                let unit = device.as_ref().and_then(|device| device.path(path.id));
                let Some(unit) = unit else {
                    continue;
                };
                let mut new = Watched {
                    device: index,
                    opening,
                    path: path.id,
                    name: format!("device {index}, {}", path.name),
                    unit: Arc::downgrade(&unit),
                    isid: unit.session().isid(),
                    since: now,
                    is_member: true,
                    until: now,
                    seen: 0,
                    attentions: Vec::new(),
                    session_seen: 0,
                    losses: Vec::new(),
                    held_bytes: 0,
                };
                new.look(&self.handle, now);
                state.watched.push(new);
            }
        });
    }

    /// Looks at the paths that are known, if it is time.
    pub(super) fn observe_now_and_then(&self, device: usize) {
        let now = self.now();
        self.board.with(|state| {
            state.since_observed += 1;
            if state.since_observed < EVERY {
                return;
            }
            state.since_observed = 0;
            for known in state.watched.iter_mut() {
                if known.device == device {
                    known.look(&self.handle, now);
                }
            }
        });
    }
}
