//! What befalls a connection after so many bytes.

use super::{
    conn::{ConnId, Side},
    world::World,
};

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

impl World {
    pub(super) fn spring(&mut self, id: ConnId, then: Sprung) {
        match then {
            Sprung::Reset => self.reset(id),
            Sprung::Finish => self.end(id),
            Sprung::Cut => self.lose(id, [true; 2]),
        }
    }
}
