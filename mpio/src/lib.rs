//! Multipath I/O over iSCSI: one device over many paths.
//!
//! * [`MultipathDevice`] is what a program holds: a [`BlockDevice`](iscsi_client::device::BlockDevice)
//!   that keeps working while cables are pulled. [`MultipathBuilder`] makes one from local ends,
//!   portals and a LUN.
//! * [`inventory`] finds targets, portals and LUNs by itself, and keeps a device for each disk.
//! * [`arrays`] has what single arrays need that others do not.
//! * [`core`] has the decisions (path groups, selection, checkers, suspicion, retries, fencing),
//!   without any I/O.
//! * [`Path`] is what a path has to be able to do;
//!   [`LogicalUnit`](iscsi_client::logical_unit::LogicalUnit) is one.
//!
//! # Serialisation
//!
//! With the feature `serde` all snapshots and events implement `Serialize`, by rules that hold for all of them:
//!
//! * Names are those of the fields. One that ends in `_ns` is a time in nanoseconds, as an integer. There are no
//!   moments: an event has the time since its device or inventory was made (`uptime_ns`), and a
//!   [snapshot](core::Snapshot::uptime) says how long ago that is.
//! * An enum without data is its variant's name in snake_case. An enum of which any variant has data is always an
//!   object with that name as `kind`, beside the data: so a variant that is new to a reader can be read, and passed
//!   over, as any other object. Events are such objects as well, with their number and time in them.
//! * Ids, names, addresses, access states and errors are the text that their `Display` writes; an error with its
//!   causes.
//! * Fields and variants are added in later versions. None changes its meaning.
//!
//! Only a [`Histogram`](core::Histogram) is read back. The others are a view of something that lives in this process:
//! an id means nothing elsewhere. A program that reads them wants shapes of its own, with what it looks at.
//!
//! Vocabulary and settings follow multipath-tools where it has them.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod arrays;
mod backoff;
pub mod core;
mod device;
pub mod inventory;
mod logical_unit;
mod path;
mod reservations;
mod rule;
#[cfg(feature = "serde")]
mod serial;
mod spares;

pub use device::{
    ConnectError, DeviceEvent, EventReader, JoinError, MultipathBuilder, MultipathDevice,
    MultipathDriver, PathFailure, PathLine, PathRegistration, Paths, RegistrationKeys,
    RegistrationOutcome, Registrations, ReserveError, ResizeError, Topology,
};
pub use path::{LocalEnd, Path, PathLink, PathStatus};
pub use spares::Spares;

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
