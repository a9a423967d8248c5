//! Multipath I/O over iSCSI: one device over many paths.
//!
//! * [`MultipathDevice`] is what a program holds: a [`BlockDevice`](iscsi_client::device::BlockDevice)
//!   that keeps working while cables are pulled. [`MultipathBuilder`] makes one from local ends,
//!   portals and a LUN.
//! * [`inventory`] finds targets, portals and LUNs by itself, and keeps a device for each disk.
//! * [`core`] has the decisions (path groups, selection, checkers, suspicion, retries, fencing),
//!   without any I/O.
//! * [`Path`] is what a path has to be able to do;
//!   [`LogicalUnit`](iscsi_client::logical_unit::LogicalUnit) is one.
//!
//! Vocabulary and settings follow multipath-tools where it has them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
pub mod core;
mod device;
pub mod inventory;
mod logical_unit;
mod path;
mod reservations;

pub use device::{
    ConnectError, DeviceEvent, EventReader, JoinError, MultipathBuilder, MultipathDevice,
    MultipathDriver, PathFailure, PathLine, PathRegistration, Paths, RegistrationKeys,
    RegistrationOutcome, Registrations, ReserveError, Topology,
};
pub use path::{LocalEnd, Path, PathLink, PathStatus};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
