//! Worlds whose programs order persistent reservations through their devices, while I/O and faults go on: they
//! register, reserve, release, clear, and preempt each other where hosts share a unit.
//!
//! * `draw`: which worlds have orders, and which ones.
//! * `program`: who gives the orders, and what becomes of each.
//! * `book`: what was ordered and when, and from when to when a registration stands by that.
//! * `calm`: what is there when all faults are over.
//! * `judge`: the list of the target against that book.
//!
//! [`check::reserved`](super::check::reserved) judges it.

pub(super) mod book;
pub(super) mod calm;
pub(super) mod draw;
pub(super) mod judge;
pub(super) mod program;

use std::time::Duration;

use iscsi_proto::scsi::{ReservationKey, ReservationType};
use mpio::{RegistrationKeys, core::PathKeys};

/// Of all keys here.
const FAMILY: u16 = 0x4f52;

/// What the programs order; see [`MultipathDevice::register`](mpio::MultipathDevice::register).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orders {
    /// Each path has a key of its own; else a host has one for all.
    pub per_path: bool,
    /// TYPE of the reservations.
    pub kind: ReservationType,
    /// Time between two orders of one device, at most.
    pub pause: Duration,
    /// Hosts that share a unit preempt each other.
    pub rivals: bool,
    /// At the end the registrations are taken back.
    pub ends: bool,
}

impl Orders {
    /// What a host registers, the `number`th time.
    pub(super) fn keys(&self, host: u8, number: u32) -> RegistrationKeys {
        let host = u16::from(host) + 1;
        let keys = PathKeys::new(FAMILY, host).expect("a family");
        match self.per_path {
            true => keys.into(),
            false => ReservationKey(keys.key(number)).into(),
        }
    }
}

/// Whether a key is one of this host's.
pub(super) fn is_of(host: u8, key: u64) -> bool {
    let keys = PathKeys::new(FAMILY, u16::from(host) + 1);
    keys.is_some_and(|keys| keys.is_of_host(key))
}
