//! Vital product data pages (SPC-4 and SBC-3, vital product data parameters).
//!
//! Every page type parses with `parse(data)` and emits with `emit(peripheral)`. A page that is
//! shorter than it says is parsed as far as it goes and says so in `truncated`, since an allocation
//! length that was too short looks the same as a device that lies; [`needed_length`] tells how much
//! to ask for.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of what was checked before, or in wider types"
)]

pub mod block_limits;
pub mod characteristics;
pub mod device_identification;
pub mod identity;
pub mod provisioning;
pub mod supported_pages;
pub mod unit_serial;

use alloc::vec::Vec;

pub use block_limits::BlockLimits;
pub use characteristics::{BlockDeviceCharacteristics, RotationRate};
pub use device_identification::{
    Association, CodeSet, Designator, DesignatorKind, DeviceIdentification,
};
pub use identity::{IdentityKind, LogicalUnitIdentity};
pub use provisioning::{LogicalBlockProvisioning, ProvisioningType};
pub use supported_pages::SupportedPages;
pub use unit_serial::UnitSerialNumber;

use super::field::{self, array, be16};
use super::inquiry::Peripheral;
use crate::error::DecodeError;

/// Supported VPD Pages.
pub const SUPPORTED_PAGES: u8 = 0x00;
/// Unit Serial Number.
pub const UNIT_SERIAL_NUMBER: u8 = 0x80;
/// Device Identification.
pub const DEVICE_IDENTIFICATION: u8 = 0x83;
/// Block Limits.
pub const BLOCK_LIMITS: u8 = 0xb0;
/// Block Device Characteristics.
pub const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xb1;
/// Logical Block Provisioning.
pub const LOGICAL_BLOCK_PROVISIONING: u8 = 0xb2;

const HEADER: usize = 4;

/// The allocation length that the whole page needs: its header plus PAGE LENGTH, which counts bytes
/// beyond the allocation length too. `None` where the header is not there.
#[must_use]
pub fn needed_length(page: &[u8]) -> Option<u32> {
    be16(page, 2).map(|length| u32::from(length) + HEADER as u32)
}

/// What is there of the body of page `expected`, and whether some of it is missing.
fn body(data: &[u8], expected: u8) -> Result<(&[u8], bool), DecodeError> {
    let [_, found, high, low] =
        array::<HEADER>(data, 0).ok_or_else(|| field::truncated(data, HEADER as u32))?;
    if found != expected {
        return Err(DecodeError::WrongVpdPage { expected, found });
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    Ok(field::clamp(data.get(HEADER..).unwrap_or(&[]), length))
}

/// A page around `body`, which is cut to the 65535 bytes that PAGE LENGTH can say.
fn emit(peripheral: Peripheral, page: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let (body, _) = field::clamp(body, usize::from(length));
    let mut data = Vec::with_capacity(HEADER + body.len());
    data.extend_from_slice(&[peripheral.to_byte(), page]);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(body);
    data
}
