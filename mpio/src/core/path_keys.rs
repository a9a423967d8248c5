//! Reservation keys, one for each nexus of each host.

use std::fmt;

/// The keys that the paths of a device are registered with: 16 bits of family, 16 bits of host, and 32 bits
/// that are a function of the path's I_T nexus (initiator name, ISID, target name, portal group).
///
/// * The *family* is what all hosts agree on that use the unit in this way. A key of another family is
///   somebody else's: where there is one, a fence that has keys ([`PreemptAndAbort`](super::PreemptAndAbort)) neither
///   registers nor preempts. A registration of the program's own
///   ([`register`](crate::MultipathDevice::register)) does not mind others.
/// * The *host* tells them apart, and is this host's alone: keys of this family and host are taken for one's own.
/// * The nexus is in it, and not a number of the path: a path whose login another portal group takes has
///   another nexus there, and needs another key. Were it the same, to preempt it would prove the commands of
///   the one nexus dead and mean those of the other. It is the same after a restart, so that the old
///   registration is found and replaced.
///
/// Two nexuses of a host have one key once in 2^32 pairs. Then nothing is preempted while either is in use,
/// and what is preempted is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKeys {
    family: u16,
    host: u16,
}

impl PathKeys {
    /// `None` for family 0, where keys would look like those of programs that count from 1.
    #[must_use]
    pub const fn new(family: u16, host: u16) -> Option<Self> {
        if family == 0 {
            return None;
        }
        Some(Self { family, host })
    }

    /// The key of a nexus with this digest ([`digest`](Self::digest)).
    #[must_use]
    pub const fn key(self, nexus: u32) -> u64 {
        (self.family as u64) << 48 | (self.host as u64) << 32 | nexus as u64
    }

    /// Whether `key` is of this family, whichever host's.
    #[must_use]
    pub const fn is_of_family(self, key: u64) -> bool {
        key >> 48 == self.family as u64
    }

    /// Whether `key` is one of this host's.
    #[must_use]
    pub const fn is_of_host(self, key: u64) -> bool {
        key >> 32 == self.key(0) >> 32
    }

    /// Of whatever names a nexus (FNV-1a, 32 bits): the same bytes give the same digest in every version.
    #[must_use]
    pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        let mut hash = 0x811c_9dc5_u32;
        for part in parts {
            // With its length, so that no two lists of parts are the same bytes.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
            for byte in length.iter().chain(part) {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        }
        hash
    }
}

impl fmt::Display for PathKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}{:04x}xxxxxxxx", self.family, self.host)
    }
}

/// Why a path has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum KeyRefusal {
    /// The unit has no persistent reservations, or no room for another registration.
    Unsupported,
    /// Somebody is registered there with a key of another family.
    OthersRegistered,
    /// The unit is reserved. A key of ours might let past what the reservation is to keep out.
    Reserved,
    /// Nobody can tell whether it is registered: the orders failed again and again.
    Unknown,
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "the unit does not register it",
            Self::OthersRegistered => "others have registered keys there",
            Self::Reserved => "the unit is reserved",
            Self::Unknown => "whether the unit registers it cannot be found out",
        })
    }
}

/// What became of the registration of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Registered {
    /// It has this key.
    With(u64),
    /// It has none, and takes I/O all the same: its lost writes cannot be preempted.
    Not(KeyRefusal),
}

/// What became of a PREEMPT AND ABORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preempted {
    /// It ended in GOOD: the commands of the nexus are aborted.
    Done,
    /// It did not, or nobody knows.
    Failed,
    /// Nothing was aborted: the keys at the target are not those of the order. It was not sent, or ended in
    /// RESERVATION CONFLICT. Somebody has sent a CLEAR, or the target has forgotten them.
    Unregistered,
    /// It was not sent, since others use persistent reservations there.
    Others(KeyRefusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_family_its_host_and_its_nexus() {
        let keys = PathKeys::new(0x4d50, 7).unwrap();
        assert_eq!(keys.key(0x0102_0304), 0x4d50_0007_0102_0304);
        assert!(keys.is_of_family(keys.key(0)));
        assert!(keys.is_of_family(PathKeys::new(0x4d50, 8).unwrap().key(9)));
        assert!(keys.is_of_host(keys.key(9)));
        assert!(!keys.is_of_host(PathKeys::new(0x4d50, 8).unwrap().key(9)));
        assert!(!keys.is_of_family(1));
        assert!(!keys.is_of_family(0x4d51_0007_0000_0000));
        assert_eq!(PathKeys::new(0, 7), None);
        assert_eq!(keys.to_string(), "0x4d500007xxxxxxxx");
    }

    #[test]
    fn the_digest_is_for_ever_and_knows_its_parts() {
        let of = |parts: &[&str]| PathKeys::digest(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["iqn.a", "b"]), 0x1dba_e8b6);
        assert_ne!(of(&["iqn.a", "b"]), of(&["iqn.", "ab"]));
        assert_ne!(of(&["iqn.a", "b"]), of(&["iqn.a", "c"]));
    }
}
