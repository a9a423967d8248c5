//! What is known of one spare: whose it is, and whether that one's place is vacant.

use std::{sync::Arc, time::Instant};

use super::PathId;

/// What a spare is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum SpareState {
    /// The path that it is for takes I/O, or it has not shown yet that it works itself: it takes no new I/O.
    StandsBy,
    /// It takes I/O like any other path, as far as it is usable: the path that it is for does not, or is not part of the
    /// device.
    InUse,
}

/// What makes a path a spare.
#[derive(Debug)]
pub(crate) struct Spare {
    /// The name of the path that it is for.
    pub(super) of: Arc<str>,
    /// That path, if it is there.
    pub(super) principal: Option<PathId>,
    /// Selectors leave it out.
    pub(super) rests: bool,
    /// That path takes no I/O.
    pub(super) vacancy: Option<Vacancy>,
    /// It was told that it is in use.
    pub(super) told: bool,
    /// An operator has taken this path out of use, and so it is out of use with it; not if it was that by itself.
    pub(super) failed_with: Option<PathId>,
}

/// The place of a path that takes no I/O.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacancy {
    /// It has to be heard of from then on.
    pub(super) since: Instant,
    /// The network may be gone.
    pub(super) is_silent: bool,
}

impl Spare {
    pub(super) const fn new(of: Arc<str>) -> Self {
        Self {
            of,
            principal: None,
            rests: false,
            vacancy: None,
            told: false,
            failed_with: None,
        }
    }

    pub(super) const fn state(&self) -> SpareState {
        match self.rests {
            true => SpareState::StandsBy,
            false => SpareState::InUse,
        }
    }
}
