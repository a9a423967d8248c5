//! How bytes move between the stream and their homes without the core owning any payload.
//!
//! * [`DataRef`] names payload: task, offset, length.
//! * [`DataStore`] is the caller's side of it: it knows where the named bytes are.

mod data_ref;

pub use data_ref::{DataRef, DataStore};
