//! Whether a program lives.

use super::slab::Key;

/// The state of a process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) is_dead: bool,
    pub(super) is_suspended: bool,
    /// Which suspension it is, so that the end of an earlier one does not end it.
    pub(super) suspension: u64,
    /// Tasks that would run.
    pub(super) waiting: Vec<Key>,
}
