//! Runtime-agnostic iSCSI sessions.

pub mod bind;
pub mod buf;
pub mod device;
pub mod error;
pub mod runtime;
