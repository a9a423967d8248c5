//! What a device is like.

use std::sync::Arc;

pub use iscsi_proto::scsi::vpd::{ProvisioningType, RotationRate};

use crate::error::{Error, ErrorKind};

/// Counts the changes of a device's [`DeviceInfo`]; see
/// [`BlockDevice::info_changed`](super::BlockDevice::info_changed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A device's size, limits and identity, as of one moment. All sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Differs whenever any other field does.
    pub generation: Generation,
    /// Capacity. 0 of one path that has no access to the medium as yet
    /// ([`open_without_access`](crate::logical_unit::LogicalUnitOptions::open_without_access)).
    pub size: u64,
    /// Logical block: the unit of addressing on the medium.
    pub block_size: u32,
    /// Physical block: a write of less may be read-modify-write inside the device. At least
    /// `block_size`.
    pub physical_block_size: u32,
    /// Offsets and total lengths must be multiples of it (memory need not be aligned). A power of
    /// two or, for odd block sizes, the block size.
    pub request_alignment: u32,
    /// The transfer length that the device likes best; 0 if it did not say.
    pub optimal_transfer: u32,
    /// The longest transfer that is one command. Advice and not a limit: longer requests are split
    /// by the device.
    pub max_transfer: u32,
    /// Writes fail with [`ErrorKind::ReadOnly`].
    pub read_only: bool,
    /// Writes may be lost with the device's power until a flush (or FUA). `true` if unknown.
    pub write_cache: bool,
    /// The device itself honours FUA; otherwise a FUA write is followed by a flush.
    pub fua: bool,
    /// Whether every block has storage behind it.
    pub provisioning: ProvisioningType,
    /// Blocks can be unmapped at the device.
    pub unmap: bool,
    /// Unmapped blocks read as zeros.
    pub unmapped_reads_zeros: bool,
    /// How fast the medium rotates, if it does.
    pub rotation: RotationRate,
    /// Who it is.
    pub identity: Identity,
}

/// Who a device is, equal over every path to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The world wide identifier as multipath tools spell it: the designator type's digit (3 NAA,
    /// 2 EUI-64, 8 SCSI name, 1 T10 vendor id, 0 vendor specific) and the designator, NAA and EUI-64
    /// in lower-case hexadecimal. `None` if the device reports none: then it cannot be told from
    /// another one, and paths to it cannot be joined.
    pub wwid: Option<Arc<str>>,
    /// VPD page 80h.
    pub serial: Option<Arc<str>>,
    /// T10 vendor identification, trimmed.
    pub vendor: Arc<str>,
    /// Product identification, trimmed.
    pub product: Arc<str>,
    /// Product revision level, trimmed.
    pub revision: Arc<str>,
}

impl DeviceInfo {
    /// A writable device of `size` bytes in blocks of `block_size`, with a volatile cache, without
    /// FUA, nameless. Implementations set what they know better.
    #[must_use]
    pub fn new(size: u64, block_size: u32) -> Self {
        Self {
            generation: Generation::default(),
            size,
            block_size,
            physical_block_size: block_size,
            request_alignment: block_size,
            optimal_transfer: 0,
            max_transfer: u32::MAX - (u32::MAX % block_size.max(1)),
            read_only: false,
            write_cache: true,
            fua: false,
            provisioning: ProvisioningType::default(),
            unmap: false,
            unmapped_reads_zeros: false,
            rotation: RotationRate::default(),
            identity: Identity::default(),
        }
    }

    /// Whether a request of `len` bytes at `offset` is one that this device can carry out. The
    /// check of every implementation; it belongs there, at the time of the request, because the
    /// size may change after a caller has looked at it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misaligned`] or [`ErrorKind::OutOfRange`], with nothing executed.
    pub fn check(&self, offset: u64, len: usize) -> Result<(), Error> {
        let len = len as u64;
        let alignment = self.request_alignment.max(1);
        let misaligned = |n: u64| n % u64::from(alignment) != 0;
        if misaligned(offset) || misaligned(len) {
            return Err(Error::not_executed(ErrorKind::Misaligned {
                offset,
                len,
                alignment,
            }));
        }
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(Error::not_executed(ErrorKind::OutOfRange {
                offset,
                len,
                size: self.size,
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_accepts_what_fits_and_names_what_does_not() {
        let info = DeviceInfo::new(4096, 512);
        for (offset, len) in [(0, 0), (0, 4096), (3584, 512), (4096, 0)] {
            info.check(offset, len).unwrap();
        }
        let kind = |offset, len| info.check(offset, len).unwrap_err().kind();
        for (offset, len) in [(1, 512), (0, 511), (512, 1)] {
            assert!(matches!(kind(offset, len), ErrorKind::Misaligned { .. }));
        }
        for (offset, len) in [(4096, 512), (0, 4608), (u64::MAX - 511, 512)] {
            assert!(matches!(kind(offset, len), ErrorKind::OutOfRange { .. }));
        }
    }
}
