//! Which logical unit is this? The question that decides whether two paths lead to one disk.

use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write as _;

use super::device_identification::{Association, Designator, DesignatorKind, DeviceIdentification};
use crate::scsi::field::{array, byte, trim_padding};

/// The kind of name that identifies a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IdentityKind {
    /// T10 vendor ID based: only as unique as the vendor made it.
    T10VendorId,
    /// EUI-64 based.
    Eui64,
    /// NAA.
    Naa,
    /// A SCSI name string that is neither an NAA nor an EUI-64 in text form (`iqn.`).
    ScsiName,
    /// UUID.
    Uuid,
}

/// The name of a logical unit, the same through every path. Two paths belong together if and only
/// if their identities are equal; all other data may agree by chance.
///
/// Of the designators that name the logical unit (never its port or its target device) the best
/// wins: NAA-6, UUID, NAA-5, NAA-2, EUI-64, SCSI name string, T10 vendor ID, and last NAA-3, which
/// is assigned locally. The order is that of multipath-tools, which knows no UUIDs; between NAA-6
/// and UUID the kind decides and not the order in the page, which controllers do not all keep.
/// Designators of the wrong length are passed over; vendor-specific ones, groups and MD5 never
/// identify.
///
/// `Display` is what `scsi_id` and `multipath -ll` print: the designator type (`3` NAA, `2`
/// EUI-64, `1` T10, `8` name, `a` UUID), then hexadecimal digits, or text with runs of spaces as
/// one `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalUnitIdentity {
    kind: IdentityKind,
    bytes: Vec<u8>,
}

impl LogicalUnitIdentity {
    /// The identity in one designator and its rank (higher is better), where it has one.
    #[must_use]
    pub fn from_designator(designator: &Designator) -> Option<(u8, Self)> {
        if designator.association != Association::LogicalUnit {
            return None;
        }
        let bytes = designator.bytes.as_slice();
        match designator.kind {
            DesignatorKind::Naa => {
                naa_rank(bytes).map(|rank| (rank, Self::new(IdentityKind::Naa, bytes)))
            }
            DesignatorKind::Uuid => uuid(bytes).map(|id| (8, Self::new(IdentityKind::Uuid, &id))),
            DesignatorKind::Eui64 if matches!(bytes.len(), 8 | 12 | 16) => {
                Some((4, Self::new(IdentityKind::Eui64, bytes)))
            }
            DesignatorKind::ScsiName => Self::from_scsi_name(bytes).map(|identity| (3, identity)),
            // Eight bytes are the vendor alone, which all its disks share.
            DesignatorKind::T10VendorId => {
                let text = trim_padding(bytes);
                (text.len() > 8).then(|| (2, Self::new(IdentityKind::T10VendorId, text)))
            }
            _ => None,
        }
    }

    /// A name string that spells out an NAA or EUI-64 becomes one, so that it equals the binary
    /// designator of another path.
    fn from_scsi_name(bytes: &[u8]) -> Option<Self> {
        let name = trim_padding(bytes);
        let (prefix, rest) = (array::<4>(name, 0)?, name.get(4..)?);
        match &prefix {
            b"naa." => {
                let id = hex(rest)?;
                naa_rank(&id).map(|_| Self {
                    kind: IdentityKind::Naa,
                    bytes: id,
                })
            }
            b"eui." => {
                let id = hex(rest)?;
                matches!(id.len(), 8 | 12 | 16).then_some(Self {
                    kind: IdentityKind::Eui64,
                    bytes: id,
                })
            }
            b"iqn." if !rest.is_empty() => Some(Self::new(IdentityKind::ScsiName, name)),
            _ => None,
        }
    }

    fn new(kind: IdentityKind, bytes: &[u8]) -> Self {
        Self {
            kind,
            bytes: bytes.to_vec(),
        }
    }

    /// What kind of name it is.
    #[must_use]
    pub const fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// The name: binary for NAA, EUI-64 and UUID, text without padding for the others.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// NAA type in the high four bits, each with its only length (SPC-4, NAA designator format).
fn naa_rank(bytes: &[u8]) -> Option<u8> {
    match (byte(bytes, 0)? >> 4, bytes.len()) {
        (6, 16) => Some(9),
        (5, 8) => Some(7),
        (2, 8) => Some(6),
        (3, 8) => Some(1),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> Option<[u8; 16]> {
    (bytes.len() == 18 && byte(bytes, 0)? >> 4 == 1)
        .then(|| array(bytes, 2))
        .flatten()
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() % 2 != 0 {
        return None;
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| {
            let (high, low) = (value(pair.first()?)?, value(pair.last()?)?);
            u8::try_from(high << 4 | low).ok()
        })
        .collect()
}

impl fmt::Display for LogicalUnitIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(match self.kind {
            IdentityKind::T10VendorId => '1',
            IdentityKind::Eui64 => '2',
            IdentityKind::Naa => '3',
            IdentityKind::ScsiName => '8',
            IdentityKind::Uuid => 'a',
        })?;
        match self.kind {
            IdentityKind::T10VendorId | IdentityKind::ScsiName => {
                let words = self
                    .bytes
                    .split(|&b| b == b' ')
                    .filter(|word| !word.is_empty());
                for (index, word) in words.enumerate() {
                    if index > 0 {
                        f.write_char('_')?;
                    }
                    write!(f, "{}", word.escape_ascii())?;
                }
                Ok(())
            }
            _ => self.bytes.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

impl DeviceIdentification {
    /// The best name of the logical unit; see [`LogicalUnitIdentity`] for the ranking. Of equals,
    /// the first. `None` where the page has none that is fit to tell logical units apart.
    #[must_use]
    pub fn logical_unit_identity(&self) -> Option<LogicalUnitIdentity> {
        let mut best: Option<(u8, LogicalUnitIdentity)> = None;
        for designator in &self.designators {
            let Some((rank, identity)) = LogicalUnitIdentity::from_designator(designator) else {
                continue;
            };
            if best.as_ref().is_none_or(|(best_rank, _)| rank > *best_rank) {
                best = Some((rank, identity));
            }
        }
        best.map(|(_, identity)| identity)
    }
}
