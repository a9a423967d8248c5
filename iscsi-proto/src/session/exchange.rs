//! What a session keeps of a text exchange while it is under way.

use alloc::vec::Vec;

/// A text exchange that is under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) gathered: Vec<u8>,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// The caller reads the answer.
    Caller,
    /// Negotiation of segment lengths.
    Lengths(Lengths),
}

#[derive(Debug)]
pub(super) struct Lengths {
    /// What we declared, until the target refuses it.
    pub(super) ours: Option<u32>,
    /// What the target declared.
    pub(super) theirs: Option<u32>,
    /// How much of the text has been acted on.
    pub(super) read: usize,
    /// Whether a caller waits for the result.
    pub(super) wanted: bool,
}
