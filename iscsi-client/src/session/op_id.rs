//! The name of an operation between a session's handles and its driver.

/// Names an operation. The generation makes a stale name harmless once the slot is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl OpId {
    /// Position in the table, for tables of the driver's own.
    pub(super) const fn index(self) -> usize {
        self.index as usize
    }
}
