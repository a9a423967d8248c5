//! Paths that are silent, and what devices have told of them and ended.

use std::collections::BTreeMap;

use mpio::core::PathId;

use super::check::delivery::Ended;

/// What a device has told of a path that is silent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// Since when it is suspected for that, and for nothing else.
    pub(super) since: Option<u64>,
    pub(super) is_dead: bool,
}

/// Of all devices.
#[derive(Default)]
pub(super) struct Silences {
    /// By device, opening and path.
    pub(super) paths: BTreeMap<(usize, u32, PathId), Silence>,
    /// Connections that devices have ended.
    pub(super) ends: Vec<Ended>,
}
