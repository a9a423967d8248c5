//! What befalls a connection after so many bytes.

use super::ids::Side;

/// What befalls a connection, in the middle of what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sprung {
    /// Both ends see a reset.
    Reset,
    /// Both ends see the end of the stream.
    Finish,
    /// It falls silent, in both directions.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    pub(super) side: Side,
    /// Bytes that `side` still sends.
    pub(super) left: u64,
    pub(super) then: Sprung,
}
