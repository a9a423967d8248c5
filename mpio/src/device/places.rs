//! Places for spares that are opened when they are needed, and who is there.

use std::{sync::Arc, time::Instant};

use super::join::Opening;
use crate::core::PathId;

/// A place for a spare.
#[derive(Debug)]
pub(super) struct Place<P> {
    /// The path that it is for, by name.
    pub(super) of: Arc<str>,
    /// The name of the spare.
    pub(super) name: Arc<str>,
    /// `None` while it is logging in.
    pub(super) opening: Option<Opening<P>>,
    pub(super) occupant: Occupant,
    /// Why there was none when it was wanted last.
    pub(super) refused: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    Nobody,
    /// A former process may have written through it: it is opened as paths are, whatever becomes of its path, and among
    /// those that are missing until then.
    Former,
    /// One that is logging in, of use until then.
    Coming(Instant),
    /// A path of the device.
    Here(PathId),
}

impl<P> Place<P> {
    /// `is_former`: it is opened with the paths.
    pub(super) fn new(of: Arc<str>, opening: Opening<P>, is_former: bool) -> Self {
        let occupant = match is_former {
            true => Occupant::Former,
            false => Occupant::Nobody,
        };
        Self {
            of,
            name: Arc::clone(&opening.name),
            opening: Some(opening),
            occupant,
            refused: None,
        }
    }
}
