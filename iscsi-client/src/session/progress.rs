//! How far a login has come, for those who may want another one instead.

use std::sync::atomic::{AtomicBool, Ordering};

/// Of one login. It is written by whoever polls the login and read by the driver, which is the same task.
#[derive(Debug, Default)]
pub(super) struct Progress {
    asked: AtomicBool,
    heard: AtomicBool,
}

impl Progress {
    /// A connection is begun.
    pub(super) fn ask(&self) {
        self.set(true, false);
    }

    /// The other side has said something on it.
    pub(super) fn heard(&self) {
        self.set(true, true);
    }

    /// It is over, and nobody is being asked: the login waits for credentials.
    pub(super) fn rest(&self) {
        self.set(false, false);
    }

    fn set(&self, asked: bool, heard: bool) {
        self.asked.store(asked, Ordering::Relaxed);
        self.heard.store(heard, Ordering::Relaxed);
    }

    /// Somebody was asked and has not said anything. Not so while the login waits for its turn, for a name or
    /// for credentials.
    pub(super) fn is_unanswered(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && !self.is_answered()
    }

    /// Somebody has said something.
    pub(super) fn is_answered(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}
