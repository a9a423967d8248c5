//! Paths that are silent, and what devices have told of them and ended.

use std::collections::BTreeMap;

use mpio::core::PathId;

use super::check::delivery::Ended;

/// What a device has told of a path that is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// From when on it is suspected, at the earliest.
    pub(super) since: u64,
    /// It is suspected for its silence, and for nothing that goes before.
    pub(super) is_told: bool,
    pub(super) is_dead: bool,
}

impl Silence {
    /// Of a path of which something else is told from now on, which may hide a silence.
    pub(super) const fn hidden(now: u64) -> Self {
        Self {
            since: now,
            is_told: false,
            is_dead: false,
        }
    }
}

/// Of all devices.
#[derive(Default)]
pub(super) struct Silences {
    /// By device, opening and path.
    pub(super) paths: BTreeMap<(usize, u32, PathId), Silence>,
    /// Connections that devices have ended.
    pub(super) ends: Vec<Ended>,
}
