//! Worlds whose programs order persistent reservations through their devices, while I/O and faults go on: they
//! register, reserve, release, clear, and preempt each other where hosts share a unit.
//!
//! * `program`: who gives the orders, and what becomes of each.
//! * `book`: what was ordered and when, and from when to when a registration stands by that.
//! * `calm`: what is there when all faults are over.
//! * `judge`: the list of the target against that book.
//!
//! [`check::reserved`](super::check::reserved) judges it.

pub(super) mod book;
pub(super) mod calm;
pub(super) mod judge;
pub(super) mod program;

use std::time::Duration;

use iscsi_proto::scsi::{ReservationKey, ReservationType};
use mpio::{RegistrationKeys, core::PathKeys};

use super::{
    dice::{pick, time},
    plan::{Fault, Plan, What},
};
use crate::sim::Rng;

const MS: Duration = Duration::from_millis(1);

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

/// Decides whether a world has orders: where no fence has keys, and nobody from outside reserves anything. From numbers of
/// its own, so that all else in a world is as it was without this.
pub(super) fn draw(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x0bde_55e5_e27e_d00d);
    let has_others =
        |fault: &Fault| matches!(fault.what, What::Reserve { .. } | What::Clear { .. });
    let is_taken = plan.device.fence.preempt.is_some() || plan.faults.iter().any(has_others);
    if rng.below(5) != 0 || is_taken {
        return;
    }
    let kinds = [
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];
    let longest = pick(rng, &[200, 2000, 8000]);
    plan.orders = Some(Orders {
        per_path: rng.chance(400),
        kind: pick(rng, &kinds),
        pause: time(rng, MS, 50, longest),
        rivals: rng.chance(700),
        ends: rng.chance(500),
    });
    // A controller that is replaced knows no registrations. What comes through it may be refused for that.
    if rng.chance(300) {
        let latest = plan.calm.saturating_sub(Duration::from_secs(5)).as_millis();
        let latest = u64::try_from(latest).unwrap_or(1);
        for _ in 0..1 + rng.below(4) {
            let what = What::Forget {
                unit: u16::try_from(rng.below(plan.units.len() as u64)).unwrap_or_default(),
                group: pick(rng, &plan.portals),
            };
            let at = time(rng, MS, 500, latest);
            plan.faults.push(Fault {
                at,
                lasts: MS,
                what,
            });
        }
        plan.faults.sort_by_key(|fault| fault.at);
    }
}
