//! Multipath I/O over iSCSI: one device over many paths.
//!
//! * [`core`]: the decisions (path groups, selection, checkers, suspicion, retries, fencing), without
//!   any I/O.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod core;
