//! Which ISID each route has.
//!
//! RFC 7143 section 4.4.3: two sessions of one initiator with one target portal group have different
//! ISIDs; and a session that comes back has the one it had, so that it is a reinstatement. The positions of
//! portals are no use for that, as a target may list them in another order tomorrow. So the slot is a hash
//! of the two ends themselves. It has 39 bits: two of a hundred routes of one target are the same with a
//! probability of one in a hundred million, and then the second one is hashed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use iscsi_client::{bind::Bind, isid::SessionSlot};
use iscsi_proto::{name::IscsiName, portal::Portal};

use super::route::Endpoint;
use crate::rule::Address;

/// The numbers from here on are the inventory's, those below a program's own: their positions are small.
const FIRST_NUMBER: u16 = 0x8000;

type Hash = fn(&[u8]) -> u64;

/// The slots that are in use.
pub(super) struct Slots {
    by_route: BTreeMap<(Endpoint, String, bool), SessionSlot>,
    used: BTreeSet<(IscsiName, SessionSlot)>,
    hash: Hash,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            by_route: BTreeMap::new(),
            used: BTreeSet::new(),
            hash: mixed,
        }
    }
}

impl Slots {
    /// The slot of a route: the one that it has, or one that no other route to this target has.
    ///
    /// Routes that become known together are to be given in a fixed order, so that of two that meet in one
    /// slot it is the same one each time that moves.
    pub(super) fn assign(&mut self, end: &Endpoint, bind: &Bind, is_spare: bool) -> SessionSlot {
        let key = (end.clone(), bind.to_string(), is_spare);
        if let Some(slot) = self.by_route.get(&key) {
            return *slot;
        }
        let portal = Portal {
            port: end.port,
            ..Portal::new(end.host.clone())
        };
        let kind = if is_spare { " spare" } else { "" };
        let text = format!("{bind} {}{kind}", Address(&portal));
        let mut rounds = 0_u32;
        let slot = loop {
            let mut bytes = text.clone().into_bytes();
            if rounds > 0 {
                bytes.extend(rounds.to_be_bytes());
            }
            let slot = slot((self.hash)(&bytes));
            if self.used.insert((end.target.clone(), slot)) {
                break slot;
            }
            rounds += 1;
        };
        self.by_route.insert(key, slot);
        slot
    }

    /// The route is gone.
    pub(super) fn release(&mut self, end: &Endpoint, bind: &Bind, is_spare: bool) {
        let key = (end.clone(), bind.to_string(), is_spare);
        let slot = self.by_route.remove(&key);
        if let Some(slot) = slot {
            self.used.remove(&(end.target.clone(), slot));
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slots({} in use)", self.by_route.len())
    }
}

/// 12 bits each for the two ends, and 15 for the number.
const fn slot(hash: u64) -> SessionSlot {
    SessionSlot {
        bind: (hash >> 52) as u16 & (SessionSlot::MAX_BIND - 1),
        portal: (hash >> 40) as u16 & (SessionSlot::MAX_PORTAL - 1),
        number: FIRST_NUMBER | hash as u16,
    }
}

/// FNV-1a and the finaliser of MurmurHash3, since short texts leave the upper bits of the former nearly as
/// they were. Not `std`'s hasher: it must stay the same for as long as sessions are to be reinstated.
fn mixed(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn end(target: &str, portal: &str) -> Endpoint {
        Endpoint::new(&target.parse().unwrap(), &portal.parse().unwrap())
    }

    fn bind(name: &str) -> Bind {
        name.parse().unwrap()
    }

    #[test]
    fn the_slot_of_a_route_never_changes() {
        let slot = Slots::default().assign(
            &end("iqn.2026-01.example:a", "10.0.0.1"),
            &bind("eth0"),
            false,
        );
        let expected = SessionSlot {
            bind: 1536,
            portal: 3227,
            number: 43471,
        };
        assert_eq!(slot, expected);
    }

    #[test]
    fn it_depends_on_neither_the_order_nor_the_other_routes_nor_the_portal_group() {
        let name = "iqn.2026-01.example:a";
        let routes = [
            (end(name, "10.0.0.1:3260,1"), bind("eth0")),
            (end(name, "10.0.0.2:3260,2"), bind("eth0")),
            (end(name, "[fe80::1%eth1]:3260,3"), bind("eth1")),
        ];
        let (mut one, mut two) = (Slots::default(), Slots::default());
        let forth: Vec<_> = routes
            .iter()
            .map(|(e, b)| one.assign(e, b, false))
            .collect();
        let back = routes.iter().rev().map(|(e, b)| two.assign(e, b, false));
        let mut back: Vec<_> = back.collect();
        back.reverse();
        assert_eq!(forth, back);
        let regrouped = end(name, "10.0.0.1:3260,9");
        assert_eq!(
            Slots::default().assign(&regrouped, &bind("eth0"), false),
            forth[0]
        );
    }

    #[test]
    fn a_spare_has_a_slot_of_its_own_which_is_the_same_without_its_principal() {
        let (end, eth0) = (end("iqn.2026-01.example:a", "10.0.0.1"), bind("eth0"));
        let mut slots = Slots::default();
        let alone = slots.assign(&end, &eth0, true);
        let principal = slots.assign(&end, &eth0, false);
        assert_ne!(alone, principal);
        assert_eq!(principal, Slots::default().assign(&end, &eth0, false));
        slots.release(&end, &eth0, false);
        assert_eq!(slots.assign(&end, &eth0, true), alone);
    }

    #[test]
    fn routes_that_meet_in_one_slot_are_told_apart_and_only_within_a_target() {
        let mut slots = Slots {
            // Three values for everything.
            hash: |bytes| (mixed(bytes) % 3) << 40,
            ..Slots::default()
        };
        for target in ["iqn.2026-01.example:a", "iqn.2026-01.example:b"] {
            let mut seen = BTreeSet::new();
            for portal in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
                let slot = slots.assign(&end(target, portal), &bind("eth0"), false);
                assert!(seen.insert(slot), "{target} {portal}");
                assert_eq!(
                    slots.assign(&end(target, portal), &bind("eth0"), false),
                    slot
                );
            }
        }
    }

    #[test]
    fn a_route_that_is_gone_gives_its_slot_back() {
        let mut slots = Slots {
            hash: |bytes| (mixed(bytes) % 2) << 40,
            ..Slots::default()
        };
        let ends: Vec<_> = (1..4)
            .map(|host| end("iqn.2026-01.example:a", &format!("10.0.0.{host}")))
            .collect();
        slots.assign(&ends[0], &bind("eth0"), false);
        slots.assign(&ends[1], &bind("eth0"), false);
        slots.release(&ends[0], &bind("eth0"), false);
        // It would look for a third one without end.
        slots.assign(&ends[2], &bind("eth0"), false);
    }

    #[test]
    fn all_slots_are_within_the_range_of_an_isid() {
        let name = "iqn.2026-01.example:host".parse().unwrap();
        for hash in [0, 1, u64::MAX, 0x8000_0000_0000_0000, 0x0fff_ffff_ffff_ffff] {
            let slot = slot(hash);
            assert!(slot.isid(&name).is_some(), "{slot:?}");
            assert!(slot.number >= FIRST_NUMBER);
        }
    }
}
