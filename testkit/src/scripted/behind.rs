//! What stands behind a relayed connection.

use std::{pin::Pin, time::Instant};

use iscsi_client::runtime::AsyncTimer;

use crate::target::TargetConnection;

/// The strict target, and what is on its way from it.
pub(super) struct Behind {
    pub(super) target: TargetConnection,
    /// What the target has said and nobody has looked at.
    pub(super) said: Vec<u8>,
    /// How many statuses the test has put in between, or taken out: what the target's StatSN is behind.
    pub(super) inserted: u32,
    pub(super) epoch: Instant,
    pub(super) timer: Pin<Box<dyn AsyncTimer>>,
}

impl Behind {
    pub(super) const fn inserted(&mut self, count: u32) {
        self.inserted = self.inserted.wrapping_add(count);
    }
}
