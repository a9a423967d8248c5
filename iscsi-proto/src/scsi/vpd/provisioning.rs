//! Logical Block Provisioning, page B2h (SBC-3).

use alloc::vec::Vec;

use super::device_identification::Designator;
use crate::error::DecodeError;
use crate::scsi::field::byte;
use crate::scsi::inquiry::Peripheral;

/// PROVISIONING TYPE: whether every block has storage behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProvisioningType {
    /// 000b: fully provisioned, or not reported.
    #[default]
    NotReported,
    /// 001b: resource provisioned: blocks can be unmapped, and storage is there for all of them.
    Resource,
    /// 010b: thin provisioned: storage may run out.
    Thin,
    /// Any other value of the three bits.
    Unknown(u8),
}

/// What UNMAP and its like do, and how full a thin device may get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogicalBlockProvisioning {
    /// THRESHOLD EXPONENT: threshold sets count in units of 2 to this power blocks; 0: no
    /// thresholds.
    pub threshold_exponent: u8,
    /// LBPU: UNMAP is supported.
    pub unmap: bool,
    /// LBPWS: WRITE SAME (16) with UNMAP is supported.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME (10) with UNMAP is supported.
    pub write_same_10: bool,
    /// LBPRZ, three bits: of unmapped blocks, xx1b reads zeros, 010b reads the provisioning
    /// initialization pattern, 000b says nothing. SBC-3 has the lowest bit only.
    pub lbprz: u8,
    /// ANC_SUP: blocks can be anchored.
    pub anchor: bool,
    /// PROVISIONING TYPE.
    pub provisioning: ProvisioningType,
    /// PROVISIONING GROUP DESCRIPTOR (DP 1): the pool, where the device names it and the
    /// descriptor is whole.
    pub group: Option<Designator>,
    /// The page, or the descriptor in it, is longer than the data.
    pub truncated: bool,
}

impl LogicalBlockProvisioning {
    /// Parses the page. Fields past its end read as zero.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (body, mut truncated) = super::body(data, super::LOGICAL_BLOCK_PROVISIONING)?;
        let flags = byte(body, 1).unwrap_or(0);
        let group = if flags & 0x01 != 0 {
            let found = body.get(4..).and_then(Designator::split_first);
            truncated |= found.is_none();
            found.map(|(designator, _)| designator)
        } else {
            None
        };
        Ok(Self {
            threshold_exponent: byte(body, 0).unwrap_or(0),
            unmap: flags & 0x80 != 0,
            write_same_16: flags & 0x40 != 0,
            write_same_10: flags & 0x20 != 0,
            lbprz: flags >> 2 & 0x07,
            anchor: flags & 0x02 != 0,
            provisioning: match byte(body, 2).unwrap_or(0) & 0x07 {
                0 => ProvisioningType::NotReported,
                1 => ProvisioningType::Resource,
                2 => ProvisioningType::Thin,
                other => ProvisioningType::Unknown(other),
            },
            group,
            truncated,
        })
    }

    /// Whether unmapped blocks read as zeros.
    #[must_use]
    pub const fn reads_zeros(&self) -> bool {
        self.lbprz & 0x01 != 0
    }

    /// The page.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        let provisioning = match self.provisioning {
            ProvisioningType::NotReported => 0,
            ProvisioningType::Resource => 1,
            ProvisioningType::Thin => 2,
            ProvisioningType::Unknown(bits) => bits & 0x07,
        };
        let flags = u8::from(self.unmap) << 7
            | u8::from(self.write_same_16) << 6
            | u8::from(self.write_same_10) << 5
            | (self.lbprz & 0x07) << 2
            | u8::from(self.anchor) << 1
            | u8::from(self.group.is_some());
        let mut body = Vec::from([self.threshold_exponent, flags, provisioning, 0]);
        if let Some(group) = &self.group {
            group.emit_into(&mut body);
        }
        super::emit(peripheral, super::LOGICAL_BLOCK_PROVISIONING, &body)
    }
}
