//! What an inventory cannot do.

use std::sync::Arc;

/// Why there is no inventory, or no device of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// It would never find anything.
    #[error("nowhere to look: name a portal to discover, or a target")]
    NothingToAsk,
    /// No unit of this name was found by the scan.
    #[error(
        "no device {wwid} was found: the inventory's snapshot says what was, and what was left out"
    )]
    NotFound {
        /// The world wide identifier that was asked for.
        wwid: Arc<str>,
    },
    /// The inventory is closed.
    #[error("the inventory is closed")]
    Closed,
}
