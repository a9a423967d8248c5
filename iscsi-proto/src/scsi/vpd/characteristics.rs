//! Block Device Characteristics, page B1h (SBC-3).

use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::scsi::field::{be16, byte};
use crate::scsi::inquiry::Peripheral;

/// MEDIUM ROTATION RATE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RotationRate {
    /// 0000h: not reported.
    #[default]
    NotReported,
    /// 0001h: a medium that does not rotate.
    NonRotating,
    /// 0401h to FFFEh: revolutions per minute.
    Rpm(u16),
    /// A reserved value.
    Unknown(u16),
}

impl RotationRate {
    const fn from_wire(value: u16) -> Self {
        match value {
            0 => Self::NotReported,
            1 => Self::NonRotating,
            0x0401..=0xfffe => Self::Rpm(value),
            _ => Self::Unknown(value),
        }
    }

    const fn to_wire(self) -> u16 {
        match self {
            Self::NotReported => 0,
            Self::NonRotating => 1,
            Self::Rpm(value) | Self::Unknown(value) => value,
        }
    }
}

/// What kind of medium a disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockDeviceCharacteristics {
    /// MEDIUM ROTATION RATE.
    pub rotation: RotationRate,
    /// ZONED, two bits: 0 not reported, 1 host-aware, 2 device-managed.
    pub zoned: u8,
    /// FUAB: SYNCHRONIZE CACHE and FUA keep to a medium behind a battery.
    pub fua_behind_battery: bool,
    /// The page is longer than the data.
    pub truncated: bool,
}

impl BlockDeviceCharacteristics {
    /// PAGE LENGTH of the page in SBC-3.
    const BODY: usize = 0x3c;

    /// Parses the page. Fields past its end read as zero.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (body, truncated) = super::body(data, super::BLOCK_DEVICE_CHARACTERISTICS)?;
        let flags = byte(body, 4).unwrap_or(0);
        Ok(Self {
            rotation: RotationRate::from_wire(be16(body, 0).unwrap_or(0)),
            zoned: flags >> 4 & 0x03,
            fua_behind_battery: flags & 0x02 != 0,
            truncated,
        })
    }

    /// The page with the PAGE LENGTH of SBC-3.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        let mut body = Vec::with_capacity(Self::BODY);
        body.extend_from_slice(&self.rotation.to_wire().to_be_bytes());
        body.extend_from_slice(&[0, 0]);
        body.push((self.zoned & 0x03) << 4 | u8::from(self.fua_behind_battery) << 1);
        body.resize(Self::BODY, 0);
        super::emit(peripheral, super::BLOCK_DEVICE_CHARACTERISTICS, &body)
    }
}
