//! Standard INQUIRY data (SPC-4, INQUIRY command).

use alloc::vec::Vec;
use core::fmt;

use super::field::{self, array, byte};
use crate::error::DecodeError;

/// PERIPHERAL QUALIFIER: whether there is a logical unit behind this LUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeripheralQualifier {
    /// 000b: a logical unit is there, or the target cannot tell.
    #[default]
    Connected,
    /// 001b: the target could serve one here, and does not now.
    NotConnected,
    /// 011b: the target cannot serve a logical unit at this LUN.
    NotSupported,
    /// Any other value of the three bits.
    Unknown(u8),
}

/// PERIPHERAL DEVICE TYPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeripheralDeviceType {
    /// 00h: direct access block device, a disk.
    #[default]
    DirectAccessBlock,
    /// 01h: sequential access device, a tape.
    SequentialAccess,
    /// 05h: CD/DVD device.
    CdDvd,
    /// 08h: medium changer.
    MediumChanger,
    /// 0Ch: storage array controller, such as LUN 0 of an array without a disk there.
    StorageArrayController,
    /// 0Dh: enclosure services.
    EnclosureServices,
    /// 0Eh: simplified direct access device.
    SimplifiedDirectAccess,
    /// 14h: host managed zoned block device.
    HostManagedZonedBlock,
    /// 1Eh: well-known logical unit.
    WellKnownLogicalUnit,
    /// 1Fh: unknown or no device type.
    NoDeviceType,
    /// Any other value of the five bits.
    Unknown(u8),
}

/// The first byte of all INQUIRY data, standard or vital product data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peripheral {
    /// Whether there is a logical unit.
    pub qualifier: PeripheralQualifier,
    /// What kind it is.
    pub device_type: PeripheralDeviceType,
}

impl Peripheral {
    /// A disk that is there.
    pub const DISK: Self = Self {
        qualifier: PeripheralQualifier::Connected,
        device_type: PeripheralDeviceType::DirectAccessBlock,
    };
    /// The answer for a LUN without a logical unit (7Fh).
    pub const NONE: Self = Self {
        qualifier: PeripheralQualifier::NotSupported,
        device_type: PeripheralDeviceType::NoDeviceType,
    };

    /// Splits the byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        use PeripheralDeviceType as Type;
        let qualifier = match byte >> 5 {
            0 => PeripheralQualifier::Connected,
            1 => PeripheralQualifier::NotConnected,
            3 => PeripheralQualifier::NotSupported,
            other => PeripheralQualifier::Unknown(other),
        };
        let device_type = match byte & 0x1f {
            0x00 => Type::DirectAccessBlock,
            0x01 => Type::SequentialAccess,
            0x05 => Type::CdDvd,
            0x08 => Type::MediumChanger,
            0x0c => Type::StorageArrayController,
            0x0d => Type::EnclosureServices,
            0x0e => Type::SimplifiedDirectAccess,
            0x14 => Type::HostManagedZonedBlock,
            0x1e => Type::WellKnownLogicalUnit,
            0x1f => Type::NoDeviceType,
            other => Type::Unknown(other),
        };
        Self {
            qualifier,
            device_type,
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        use PeripheralDeviceType as Type;
        let qualifier = match self.qualifier {
            PeripheralQualifier::Connected => 0,
            PeripheralQualifier::NotConnected => 1,
            PeripheralQualifier::NotSupported => 3,
            PeripheralQualifier::Unknown(bits) => bits & 0x07,
        };
        let device_type = match self.device_type {
            Type::DirectAccessBlock => 0x00,
            Type::SequentialAccess => 0x01,
            Type::CdDvd => 0x05,
            Type::MediumChanger => 0x08,
            Type::StorageArrayController => 0x0c,
            Type::EnclosureServices => 0x0d,
            Type::SimplifiedDirectAccess => 0x0e,
            Type::HostManagedZonedBlock => 0x14,
            Type::WellKnownLogicalUnit => 0x1e,
            Type::NoDeviceType => 0x1f,
            Type::Unknown(bits) => bits & 0x1f,
        };
        qualifier << 5 | device_type
    }
}

/// A fixed-width ASCII field, padded with spaces. `Display` drops the padding and escapes what is
/// not printable, so that a device cannot write control characters into a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsciiField<const N: usize>(
    /// The bytes as on the wire.
    pub [u8; N],
);

impl<const N: usize> AsciiField<N> {
    /// The field that holds `text`, cut or padded with spaces to its width.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut field = [b' '; N];
        for (to, from) in field.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(field)
    }

    /// The bytes without padding.
    #[must_use]
    pub fn trimmed(&self) -> &[u8] {
        field::trim_padding(&self.0)
    }
}

impl<const N: usize> Default for AsciiField<N> {
    fn default() -> Self {
        Self([b' '; N])
    }
}

impl<const N: usize> fmt::Display for AsciiField<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.trimmed().escape_ascii())
    }
}

impl<const N: usize> fmt::Debug for AsciiField<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// TPGS: how a logical unit changes its asymmetric access states (SPC-4, asymmetric logical unit access).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tpgs {
    /// 00b: no asymmetric access, or a vendor's own way.
    #[default]
    None,
    /// 01b: the device changes states by itself.
    Implicit,
    /// 10b: SET TARGET PORT GROUPS changes them.
    Explicit,
    /// 11b: both.
    ImplicitAndExplicit,
}

/// The standard INQUIRY data, as far as an initiator of a disk needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandardInquiry {
    /// Whether there is a logical unit, and of which kind.
    pub peripheral: Peripheral,
    /// RMB: the medium can be removed.
    pub removable: bool,
    /// VERSION: 05h SPC-3, 06h SPC-4, 07h SPC-5; 00h claims no standard.
    pub version: u8,
    /// Asymmetric access.
    pub tpgs: Tpgs,
    /// 3PC: third-party copy commands are supported.
    pub third_party_copy: bool,
    /// PROTECT: protection information is supported.
    pub protect: bool,
    /// MULTIP: the device has several ports.
    pub multi_port: bool,
    /// CMDQUE: the task management model of SAM-5 with queued commands is supported.
    pub command_queuing: bool,
    /// T10 VENDOR IDENTIFICATION.
    pub vendor: AsciiField<8>,
    /// PRODUCT IDENTIFICATION.
    pub product: AsciiField<16>,
    /// PRODUCT REVISION LEVEL.
    pub revision: AsciiField<4>,
    /// Fewer bytes came than ADDITIONAL LENGTH announces, or than the 36 that the standard wants.
    /// Missing fields read as zero or spaces. An allocation length that is too short also does it.
    pub truncated: bool,
}

impl StandardInquiry {
    /// The length of the data that [`StandardInquiry::emit`] makes, and the least that a device
    /// must send.
    pub const LEN: usize = 36;

    /// Parses standard INQUIRY data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for fewer than five bytes: ADDITIONAL LENGTH is not there.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let [first, second, version, _, additional] =
            array::<5>(data, 0).ok_or_else(|| field::truncated(data, 5))?;
        let (data, cut) = field::clamp(data, 5 + usize::from(additional));
        let flags = |at| byte(data, at).unwrap_or(0);
        Ok(Self {
            peripheral: Peripheral::from_byte(first),
            removable: second & 0x80 != 0,
            version,
            tpgs: match flags(5) >> 4 & 0x03 {
                0 => Tpgs::None,
                1 => Tpgs::Implicit,
                2 => Tpgs::Explicit,
                _ => Tpgs::ImplicitAndExplicit,
            },
            third_party_copy: flags(5) & 0x08 != 0,
            protect: flags(5) & 0x01 != 0,
            multi_port: flags(6) & 0x10 != 0,
            command_queuing: flags(7) & 0x02 != 0,
            vendor: ascii(data, 8),
            product: ascii(data, 16),
            revision: ascii(data, 32),
            truncated: cut || data.len() < Self::LEN,
        })
    }

    /// The 36 bytes of standard data, response data format 2. Cut them to the allocation length.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let tpgs = match self.tpgs {
            Tpgs::None => 0,
            Tpgs::Implicit => 1,
            Tpgs::Explicit => 2,
            Tpgs::ImplicitAndExplicit => 3,
        };
        let mut data = Vec::with_capacity(Self::LEN);
        data.extend_from_slice(&[
            self.peripheral.to_byte(),
            u8::from(self.removable) << 7,
            self.version,
            0x02,
            (Self::LEN - 5) as u8,
            tpgs << 4 | u8::from(self.third_party_copy) << 3 | u8::from(self.protect),
            u8::from(self.multi_port) << 4,
            u8::from(self.command_queuing) << 1,
        ]);
        data.extend_from_slice(&self.vendor.0);
        data.extend_from_slice(&self.product.0);
        data.extend_from_slice(&self.revision.0);
        data
    }
}

/// The field as far as it came, spaces where it did not.
fn ascii<const N: usize>(data: &[u8], at: usize) -> AsciiField<N> {
    let mut field = AsciiField::default();
    for (to, from) in field.0.iter_mut().zip(data.get(at..).unwrap_or(&[])) {
        *to = *from;
    }
    field
}
