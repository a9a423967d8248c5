//! Device Identification, page 83h (SPC-4): what a logical unit, its port and its
//! target device are called.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what we make ourselves"
)]

use alloc::vec;
use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::scsi::field::{self, array, be16};
use crate::scsi::inquiry::Peripheral;

/// ASSOCIATION: what a designator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Association {
    /// 00b: the logical unit, the same through every port.
    LogicalUnit,
    /// 01b: the target port that the command came through.
    TargetPort,
    /// 10b: the SCSI target device.
    TargetDevice,
    /// 11b: reserved.
    Unknown(u8),
}

/// CODE SET of a designator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeSet {
    /// 1h: binary.
    Binary,
    /// 2h: ASCII.
    Ascii,
    /// 3h: UTF-8.
    Utf8,
    /// Any other value of the four bits.
    Unknown(u8),
}

/// DESIGNATOR TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DesignatorKind {
    /// 0h: vendor specific.
    VendorSpecific,
    /// 1h: T10 vendor ID and what that vendor made of the rest.
    T10VendorId,
    /// 2h: EUI-64 based, 8, 12 or 16 bytes.
    Eui64,
    /// 3h: NAA, 8 or 16 bytes.
    Naa,
    /// 4h: relative target port identifier.
    RelativeTargetPort,
    /// 5h: target port group.
    TargetPortGroup,
    /// 6h: logical unit group.
    LogicalUnitGroup,
    /// 7h: MD5 logical unit identifier.
    Md5LogicalUnit,
    /// 8h: SCSI name string.
    ScsiName,
    /// 9h: protocol specific port identifier.
    ProtocolSpecificPort,
    /// Ah: UUID (SPC-5).
    Uuid,
    /// Any other value of the four bits.
    Unknown(u8),
}

impl DesignatorKind {
    const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::VendorSpecific,
            0x1 => Self::T10VendorId,
            0x2 => Self::Eui64,
            0x3 => Self::Naa,
            0x4 => Self::RelativeTargetPort,
            0x5 => Self::TargetPortGroup,
            0x6 => Self::LogicalUnitGroup,
            0x7 => Self::Md5LogicalUnit,
            0x8 => Self::ScsiName,
            0x9 => Self::ProtocolSpecificPort,
            0xa => Self::Uuid,
            other => Self::Unknown(other),
        }
    }

    const fn to_bits(self) -> u8 {
        match self {
            Self::VendorSpecific => 0x0,
            Self::T10VendorId => 0x1,
            Self::Eui64 => 0x2,
            Self::Naa => 0x3,
            Self::RelativeTargetPort => 0x4,
            Self::TargetPortGroup => 0x5,
            Self::LogicalUnitGroup => 0x6,
            Self::Md5LogicalUnit => 0x7,
            Self::ScsiName => 0x8,
            Self::ProtocolSpecificPort => 0x9,
            Self::Uuid => 0xa,
            Self::Unknown(bits) => bits & 0x0f,
        }
    }
}

/// One designation descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Designator {
    /// What it names.
    pub association: Association,
    /// How its bytes are to be read.
    pub code_set: CodeSet,
    /// PROTOCOL IDENTIFIER where PIV marks it valid; 5h is iSCSI.
    pub protocol: Option<u8>,
    /// What kind of name it is.
    pub kind: DesignatorKind,
    /// DESIGNATOR, at most 255 bytes.
    pub bytes: Vec<u8>,
}

impl Designator {
    const HEADER: usize = 4;
    /// PROTOCOL IDENTIFIER of iSCSI.
    const ISCSI: u8 = 5;

    /// A name of the logical unit, with the code set that its kind wants.
    #[must_use]
    pub const fn logical_unit(kind: DesignatorKind, bytes: Vec<u8>) -> Self {
        let code_set = match kind {
            DesignatorKind::T10VendorId => CodeSet::Ascii,
            DesignatorKind::ScsiName => CodeSet::Utf8,
            _ => CodeSet::Binary,
        };
        Self {
            association: Association::LogicalUnit,
            code_set,
            protocol: None,
            kind,
            bytes,
        }
    }

    /// A SCSI name string of the logical unit, NUL-terminated and padded to a multiple of four.
    #[must_use]
    pub fn scsi_name(name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize((bytes.len() / 4 + 1) * 4, 0);
        Self::logical_unit(DesignatorKind::ScsiName, bytes)
    }

    /// A UUID of the logical unit (SPC-5).
    #[must_use]
    pub fn uuid(uuid: [u8; 16]) -> Self {
        let mut bytes = vec![0x10, 0];
        bytes.extend_from_slice(&uuid);
        Self::logical_unit(DesignatorKind::Uuid, bytes)
    }

    /// The relative identifier of the iSCSI target port that the command came through.
    #[must_use]
    pub fn relative_target_port(port: u16) -> Self {
        Self::target_port(DesignatorKind::RelativeTargetPort, port)
    }

    /// The target port group of the iSCSI target port that the command came through.
    #[must_use]
    pub fn target_port_group(group: u16) -> Self {
        Self::target_port(DesignatorKind::TargetPortGroup, group)
    }

    fn target_port(kind: DesignatorKind, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            association: Association::TargetPort,
            code_set: CodeSet::Binary,
            protocol: Some(Self::ISCSI),
            kind,
            bytes: vec![0, 0, high, low],
        }
    }

    /// The number in a relative target port or target port group designator.
    #[must_use]
    pub fn port_number(&self) -> Option<u16> {
        match self.kind {
            DesignatorKind::RelativeTargetPort | DesignatorKind::TargetPortGroup => {
                be16(&self.bytes, 2)
            }
            _ => None,
        }
    }

    /// Splits the first descriptor off `data`; `None` where it reaches past the end.
    pub(super) fn split_first(data: &[u8]) -> Option<(Self, &[u8])> {
        let [codes, kinds, _, length] = array::<{ Self::HEADER }>(data, 0)?;
        let end = Self::HEADER + usize::from(length);
        let bytes = data.get(Self::HEADER..end)?.to_vec();
        let designator = Self {
            association: match kinds >> 4 & 0x03 {
                0 => Association::LogicalUnit,
                1 => Association::TargetPort,
                2 => Association::TargetDevice,
                other => Association::Unknown(other),
            },
            code_set: match codes & 0x0f {
                1 => CodeSet::Binary,
                2 => CodeSet::Ascii,
                3 => CodeSet::Utf8,
                other => CodeSet::Unknown(other),
            },
            protocol: (kinds & 0x80 != 0).then_some(codes >> 4),
            kind: DesignatorKind::from_bits(kinds),
            bytes,
        };
        Some((designator, data.get(end..)?))
    }

    pub(super) fn emit_into(&self, page: &mut Vec<u8>) {
        let association = match self.association {
            Association::LogicalUnit => 0,
            Association::TargetPort => 1,
            Association::TargetDevice => 2,
            Association::Unknown(bits) => bits & 0x03,
        };
        let code_set = match self.code_set {
            CodeSet::Binary => 1,
            CodeSet::Ascii => 2,
            CodeSet::Utf8 => 3,
            CodeSet::Unknown(bits) => bits & 0x0f,
        };
        let piv = u8::from(self.protocol.is_some()) << 7;
        let length = u8::try_from(self.bytes.len()).unwrap_or(u8::MAX);
        let (bytes, _) = field::clamp(&self.bytes, usize::from(length));
        page.extend_from_slice(&[
            self.protocol.unwrap_or(0) << 4 | code_set,
            piv | association << 4 | self.kind.to_bits(),
            0,
            length,
        ]);
        page.extend_from_slice(bytes);
    }
}

/// The Device Identification page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIdentification {
    /// Designators in the order of the device.
    pub designators: Vec<Designator>,
    /// The page, or the last designator in it, is longer than the data.
    pub truncated: bool,
}

impl DeviceIdentification {
    /// Parses the page: every designator that is wholly there.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (mut rest, mut truncated) = super::body(data, super::DEVICE_IDENTIFICATION)?;
        let mut designators = Vec::new();
        while !rest.is_empty() {
            let Some((designator, behind)) = Designator::split_first(rest) else {
                truncated = true;
                break;
            };
            designators.push(designator);
            rest = behind;
        }
        Ok(Self {
            designators,
            truncated,
        })
    }

    /// The page. Designators beyond 255 bytes are cut.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        let mut body = Vec::new();
        for designator in &self.designators {
            designator.emit_into(&mut body);
        }
        super::emit(peripheral, super::DEVICE_IDENTIFICATION, &body)
    }

    /// The target port group of the port that the command came through, where reported.
    #[must_use]
    pub fn target_port_group(&self) -> Option<u16> {
        self.port_number(DesignatorKind::TargetPortGroup)
    }

    /// The relative identifier of the port that the command came through, where reported.
    #[must_use]
    pub fn relative_target_port(&self) -> Option<u16> {
        self.port_number(DesignatorKind::RelativeTargetPort)
    }

    fn port_number(&self, kind: DesignatorKind) -> Option<u16> {
        self.designators
            .iter()
            .filter(|d| d.kind == kind && d.association == Association::TargetPort)
            .find_map(Designator::port_number)
    }
}
