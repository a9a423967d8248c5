//! Runtime-agnostic iSCSI sessions.

pub mod bind;
pub mod runtime;
