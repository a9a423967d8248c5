//! What jobs and their reports are about.

/// A portal that is asked from one local end: its place in the list of them.
pub(super) type SourceId = usize;
/// A route, for as long as it is there; never used again.
pub(super) type RouteId = u64;
