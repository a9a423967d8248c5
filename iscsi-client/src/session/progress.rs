//! How far a login has come, for those who may want another one instead.

use std::sync::atomic::{AtomicBool, Ordering};

/// Of one login. It is written by whoever polls the login and read by the driver, which is the same task.
#[derive(Debug, Default)]
pub(super) struct Progress {
    unanswered: AtomicBool,
}

impl Progress {
    /// A connection is begun.
    pub(super) fn ask(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
    }

    /// The other side has said something on it; or it is over, and nobody is being asked.
    pub(super) fn heard(&self) {
        self.unanswered.store(false, Ordering::Relaxed);
    }

    /// Somebody was asked and has not said anything. Not so while the login waits for its turn, for a name or
    /// for credentials.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }
}
