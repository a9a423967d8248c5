//! Runtime-agnostic iSCSI sessions.

pub mod bind;
pub mod blocking;
pub mod buf;
pub mod device;
pub mod discovery;
pub mod error;
pub mod initiator;
pub mod isid;
pub mod logical_unit;
pub mod runtime;
pub mod session;
pub mod url;
