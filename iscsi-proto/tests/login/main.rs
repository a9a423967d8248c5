//! Logins against a scripted target. The rows that the tests name (C, H, K) are those of the
//! project's list of conformance, hostile-peer and security cases.

mod hostile;
mod mutual;
mod parameters;
mod refused_keys;
mod success;
mod support;
