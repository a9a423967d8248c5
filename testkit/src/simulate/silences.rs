//! Paths that are silent, and what devices have told of them and ended.

use std::collections::BTreeMap;

use mpio::core::PathId;

use super::check::delivery::Ended;

/// What a device has told of a path that is silent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// From when on it is suspected, at the earliest; `None` if nothing was told that goes before a silence, or is one.
    pub(super) since: Option<u64>,
    /// It is suspected for its silence, and for nothing that goes before.
    pub(super) is_told: bool,
    /// When its network was called dead.
    pub(super) dead: Option<u64>,
}

impl Silence {
    /// Of a path of which something else is told from now on, which may hide a silence.
    pub(super) const fn hidden(now: u64) -> Self {
        Self {
            since: Some(now),
            is_told: false,
            dead: None,
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
