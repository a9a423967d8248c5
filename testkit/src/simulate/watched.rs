//! One path as it is watched: the unit attentions that it has passed on, and the losses of its session.

use std::sync::Weak;

use iscsi_client::{
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::{DownReason, SessionEventKind},
};
use iscsi_proto::ids::Isid;
use mpio::core::PathId;

use super::check::{attention::Code, pace::Loss};
use crate::sim::SimHandle;

/// A path of a device, from the moment at which somebody looks at it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) device: usize,
    pub(super) opening: u32,
    pub(super) path: PathId,
    pub(super) name: String,
    pub(super) unit: Weak<LogicalUnit>,
    pub(super) isid: Isid,
    pub(super) since: u64,
    /// Whether it was part of its device when that was last looked at.
    pub(super) is_member: bool,
    /// When it was last looked at as such.
    pub(super) until: u64,
    pub(super) seen: u64,
    pub(super) attentions: Vec<(u64, Code)>,
    pub(super) session_seen: u64,
    pub(super) losses: Vec<Loss>,
    /// The most that its session was seen to hold.
    pub(super) held_bytes: u64,
}

impl Watched {
    /// From when to when it was looked at, if that was to the end.
    pub(super) fn listened(&self) -> Option<(u64, u64)> {
        self.is_member.then_some((self.since, self.until))
    }

    pub(super) fn look(&mut self, handle: &SimHandle, now: u64) {
        let Some(unit) = self.unit.upgrade() else {
            return;
        };
        let clock = handle.now();
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
        let held = unit.session().stats().held_bytes;
        self.held_bytes = self.held_bytes.max(held);
        if self.is_member {
            self.until = now;
        }
    }
}
