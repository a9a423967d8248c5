//! What a timer is waiting for.

use std::task::Waker;

use super::ids::ProcessId;

/// A timer's state.
///
/// A deadline that moves away leaves its event on the agenda, which then looks at the timer again:
/// most deadlines are moved before they come.
pub(super) struct Timer {
    pub(super) process: ProcessId,
    pub(super) at: u64,
    pub(super) is_armed: bool,
    pub(super) waker: Option<Waker>,
    /// The event on the agenda, and when it is; 0 is none.
    pub(super) event: (u64, u64),
}
