//! Session identifiers without a file to keep them in.

use iscsi_proto::{Isid, name::IscsiName};

/// What makes one session of an initiator differ from another towards the same target.
///
/// Each number is a position in the caller's configuration, so the same configuration gives the same
/// [`Isid`] after a restart: the login is then a session reinstatement (RFC 7143 section 6.3.5), which
/// makes the target drop what the crashed process left behind, and persistent reservations still
/// belong to the same initiator port.
///
/// A slot has one session at a time; the default one is the first local end with the first portal.
///
/// ```
/// use iscsi_client::{initiator::SessionTarget, isid::SessionSlot};
///
/// let target: iscsi_proto::IscsiName = "iqn.2026-01.example:disk".parse()?;
/// let first = SessionTarget::new(target.clone(), "10.0.1.1".parse()?);
/// let second = SessionTarget::new(target, "10.0.2.1".parse()?)
///     .with_slot(SessionSlot { portal: 1, ..SessionSlot::default() });
/// assert_ne!(first.slot, second.slot);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionSlot {
    /// Which of the configured local ends (NICs), below [`SessionSlot::MAX_BIND`].
    pub bind: u16,
    /// Which of the target's portals, below [`SessionSlot::MAX_PORTAL`].
    pub portal: u16,
    /// Which of several sessions over the same two ends.
    pub number: u16,
}

impl SessionSlot {
    /// Bind slots that an [`Isid`] can tell apart.
    pub const MAX_BIND: u16 = 1 << 12;
    /// Portal indices that an [`Isid`] can tell apart.
    pub const MAX_PORTAL: u16 = 1 << 12;

    /// The session identifier of this slot: a pure function of it and of the initiator's name.
    ///
    /// The format is "Random" (type 10b, section 11.12.5): 6 reserved bits, then 24 bits and a 16-bit
    /// qualifier of our choice. The 24 bits are `bind` and `portal`, the qualifier is `number`, both
    /// masked with a hash of the name. The mask is one to one, so within the documented ranges two
    /// slots of one name never collide, which a plain hash of all four could not promise. The mask
    /// itself serves targets that look at the ISID and forget the name.
    ///
    /// `None` if `bind` or `portal` is out of range.
    #[must_use]
    pub fn isid(self, initiator: &IscsiName) -> Option<Isid> {
        if self.bind >= Self::MAX_BIND || self.portal >= Self::MAX_PORTAL {
            return None;
        }
        let [m0, m1, m2, m3, m4, ..] = fnv1a(initiator.as_str().as_bytes()).to_be_bytes();
        let ends = (u32::from(self.bind) << 12) | u32::from(self.portal);
        let [_, b0, b1, c] = ends.to_be_bytes();
        let [d0, d1] = self.number.to_be_bytes();
        Some(Isid([
            TYPE_RANDOM,
            b0 ^ m0,
            b1 ^ m1,
            c ^ m2,
            d0 ^ m3,
            d1 ^ m4,
        ]))
    }
}

/// Type 10b in the two high bits; the A field of this type is reserved.
const TYPE_RANDOM: u8 = 0b1000_0000;

/// FNV-1a, 64 bits. Not `std`'s hasher: its result may change between Rust releases, and this one
/// must be the same for as long as sessions are to be reinstated.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(text: &str) -> IscsiName {
        text.parse().unwrap()
    }

    #[test]
    fn no_two_slots_of_one_name_share_an_isid() {
        let name = name("iqn.2024-01.com.example:host-7");
        let mut seen = BTreeSet::new();
        let edges = |max: u16| (0..12).chain([max / 2, max - 2, max - 1]);
        for bind in edges(SessionSlot::MAX_BIND) {
            for portal in edges(SessionSlot::MAX_PORTAL) {
                for number in (0..8).chain([255, 256, u16::MAX]) {
                    let slot = SessionSlot {
                        bind,
                        portal,
                        number,
                    };
                    assert!(seen.insert(slot.isid(&name).unwrap()), "{slot:?}");
                }
            }
        }
    }

    #[test]
    fn the_isid_of_a_slot_never_changes() {
        let slot = SessionSlot {
            bind: 1,
            portal: 2,
            number: 3,
        };
        let isid = slot.isid(&name("iqn.2024-01.com.example:host-7")).unwrap();
        assert_eq!(isid.to_string(), "8035a107a193");
    }

    #[test]
    fn the_type_is_random_and_reserved_bits_are_zero() {
        for host in 0..50 {
            let name = name(&format!("iqn.2024-01.com.example:host-{host}"));
            let isid = SessionSlot::default().isid(&name).unwrap();
            assert_eq!(isid.0[0], 0x80);
        }
    }

    #[test]
    fn a_slot_out_of_range_has_no_isid() {
        let name = name("eui.02004567a425678d");
        let bind = SessionSlot {
            bind: SessionSlot::MAX_BIND,
            ..SessionSlot::default()
        };
        let portal = SessionSlot {
            portal: SessionSlot::MAX_PORTAL,
            ..SessionSlot::default()
        };
        assert_eq!(bind.isid(&name), None);
        assert_eq!(portal.isid(&name), None);
    }
}
