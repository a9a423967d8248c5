//! What hosts report by themselves, gathered as it comes: unit attentions, and losses of sessions.
//!
//! Nothing waits here, and no task is woken for it: paths are looked at when a device has reported
//! something, now and then when a request has ended, and at the end. Each keeps its last reports for
//! that long.

use std::sync::{Arc, Weak};

use iscsi_client::{
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::{DownReason, SessionEventKind},
};
use iscsi_proto::ids::Isid;
use mpio::core::PathId;

use super::{
    check::{attention::Code, pace::Loss},
    world::World,
};

/// Requests between two looks.
const EVERY: usize = 32;

/// A path of a device, from the moment at which somebody looks at it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) device: usize,
    opening: u32,
    path: PathId,
    pub(super) name: String,
    unit: Weak<LogicalUnit>,
    pub(super) isid: Isid,
    pub(super) since: u64,
    /// Whether it was part of its device when that was last looked at.
    is_member: bool,
    /// When it was last looked at as such.
    pub(super) until: u64,
    seen: u64,
    pub(super) attentions: Vec<(u64, Code)>,
    session_seen: u64,
    pub(super) losses: Vec<Loss>,
}

impl Watched {
    /// From when to when it was looked at, if that was to the end.
    pub(super) fn listened(&self) -> Option<(u64, u64)> {
        self.is_member.then_some((self.since, self.until))
    }

    fn look(&mut self, world: &World, now: u64) {
        let Some(unit) = self.unit.upgrade() else {
            return;
        };
        let clock = world.handle.now();
        let ago = |at| {
            let passed = clock.saturating_duration_since(at).as_nanos();
            now.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX))
        };
        for event in unit.events(self.seen) {
            self.seen = event.number;
            let code = event.sense.code();
            self.attentions.push((ago(event.at), (code.0, code.1)));
        }
        for event in unit.session().events(self.session_seen) {
            let at = ago(event.at);
            // What came in between of which nothing is known any more may have been anything.
            let next = (event.number == self.session_seen + 1).then_some(at);
            if let Some(open) = self.losses.last_mut().filter(|loss| loss.to_ns.is_none()) {
                open.to_ns = Some(next.unwrap_or(open.from_ns));
            }
            self.session_seen = event.number;
            let lost = |reason: &DownReason| matches!(reason, DownReason::Lost(_));
            if matches!(&event.kind, SessionEventKind::Down { reason, .. } if lost(reason)) {
                self.losses.push(Loss {
                    path: self.name.clone(),
                    from_ns: at,
                    to_ns: None,
                });
            }
        }
        if self.is_member {
            self.until = now;
        }
    }
}

impl World {
    /// Looks at all paths of a device, at those that are new above all.
    pub(super) fn observe(&self, index: usize) {
        let now = self.now();
        self.board.with(|state| {
            // After the last look nothing counts any more.
            let Some(device) = state.devices.get(index).map(Option::as_ref) else {
                return;
            };
            let opening = state.openings[index];
            let snapshot = device.map(|device| device.snapshot());
            let is_there = |watched: &Watched| {
                let mut paths = snapshot.iter().flat_map(|snapshot| snapshot.paths());
                watched.opening == opening && paths.any(|path| path.id == watched.path)
            };
            let watched = state.watched.iter_mut();
            for known in watched.filter(|watched| watched.device == index) {
                known.is_member &= is_there(known);
                known.look(self, now);
            }
            let paths = snapshot.iter().flat_map(|snapshot| snapshot.paths());
            for path in paths {
                let is_it = |watched: &Watched| {
                    (watched.device, watched.opening, watched.path) == (index, opening, path.id)
                };
                if state.watched.iter().any(is_it) {
                    continue;
                }
                let Some(unit) = device.and_then(|device| device.path(path.id)) else {
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
                };
                new.look(self, now);
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
                    known.look(self, now);
                }
            }
        });
    }
}
