//! Sense data: what a CHECK CONDITION means (SPC-4, sense data).

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "sums of what was checked before; sense data of our own making"
)]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::field::{self, be16, be32, be64, byte};
use super::sense_code::AdditionalSenseCode;
use crate::error::DecodeError;

/// SENSE KEY, the coarse class of an error (SPC-4, sense key descriptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SenseKey {
    /// 0h: nothing to report.
    NoSense,
    /// 1h: the command succeeded after recovery by the device.
    RecoveredError,
    /// 2h: the logical unit cannot be accessed now.
    NotReady,
    /// 3h: a defect of the medium or of the data on it.
    MediumError,
    /// 4h: the device failed.
    HardwareError,
    /// 5h: the command or its parameters are not supported.
    IllegalRequest,
    /// 6h: something happened to the logical unit since the last command.
    UnitAttention,
    /// 7h: the blocks are protected against this access.
    DataProtect,
    /// 8h: blank medium, or data where blank medium was expected.
    BlankCheck,
    /// 9h: vendor specific.
    VendorSpecific,
    /// Ah: a third-party copy was aborted.
    CopyAborted,
    /// Bh: the device server aborted the command; a retry may succeed.
    AbortedCommand,
    /// Dh: a buffered device reached the end of its partition.
    VolumeOverflow,
    /// Eh: the source data did not match the data on the medium.
    Miscompare,
    /// Fh: command completed sense data.
    Completed,
    /// Any other value of the four bits.
    Unknown(u8),
}

impl SenseKey {
    /// The key in the low four bits.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte & 0x0f {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            0xf => Self::Completed,
            other => Self::Unknown(other),
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::NoSense => 0x0,
            Self::RecoveredError => 0x1,
            Self::NotReady => 0x2,
            Self::MediumError => 0x3,
            Self::HardwareError => 0x4,
            Self::IllegalRequest => 0x5,
            Self::UnitAttention => 0x6,
            Self::DataProtect => 0x7,
            Self::BlankCheck => 0x8,
            Self::VendorSpecific => 0x9,
            Self::CopyAborted => 0xa,
            Self::AbortedCommand => 0xb,
            Self::VolumeOverflow => 0xd,
            Self::Miscompare => 0xe,
            Self::Completed => 0xf,
            Self::Unknown(key) => key & 0x0f,
        }
    }
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSense => "NO SENSE",
            Self::RecoveredError => "RECOVERED ERROR",
            Self::NotReady => "NOT READY",
            Self::MediumError => "MEDIUM ERROR",
            Self::HardwareError => "HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::BlankCheck => "BLANK CHECK",
            Self::VendorSpecific => "VENDOR SPECIFIC",
            Self::CopyAborted => "COPY ABORTED",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::VolumeOverflow => "VOLUME OVERFLOW",
            Self::Miscompare => "MISCOMPARE",
            Self::Completed => "COMPLETED",
            Self::Unknown(key) => return write!(f, "sense key {key:#x}"),
        })
    }
}

/// The two layouts of sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenseFormat {
    /// Response codes 70h and 71h.
    Fixed,
    /// Response codes 72h and 73h.
    Descriptor,
}

/// Where an ILLEGAL REQUEST found its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldPointer {
    /// C/D: in the CDB, else in the parameter list.
    pub in_cdb: bool,
    /// FIELD POINTER: the first byte of the field.
    pub byte: u16,
    /// BIT POINTER: the leftmost bit of the field, where BPV marks it valid.
    pub bit: Option<u8>,
}

/// Decoded sense data together with the bytes that it came from, so that a host which passes SCSI
/// through can hand its guest exactly what the device said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SenseData {
    raw: Box<[u8]>,
    format: SenseFormat,
    deferred: bool,
    key: SenseKey,
    code: AdditionalSenseCode,
    information: Option<u64>,
    truncated: bool,
}

impl SenseData {
    /// The longest sense data that the standard allows, and the most that is kept.
    pub const MAX_LEN: usize = 252;

    /// Parses sense data. What is missing at the end reads as zero and sets [`truncated`].
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] where not even the sense key is there, [`DecodeError::Scsi`] for
    /// a response code other than 70h to 73h.
    ///
    /// [`truncated`]: Self::is_truncated
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (kept, _) = field::clamp(data, Self::MAX_LEN);
        let too_long = data.len() > Self::MAX_LEN;
        let response_code = byte(kept, 0).ok_or_else(|| field::truncated(data, 3))? & 0x7f;
        let format = match response_code {
            0x70 | 0x71 => SenseFormat::Fixed,
            0x72 | 0x73 => SenseFormat::Descriptor,
            _ => return Err(DecodeError::Scsi { offset: 0 }),
        };
        // ADDITIONAL SENSE LENGTH bounds what counts, as far as the bytes reach.
        let (usable, cut) = match byte(kept, 7) {
            Some(additional) => field::clamp(kept, 8 + usize::from(additional)),
            None => (kept, true),
        };
        let key_at = if format == SenseFormat::Fixed { 2 } else { 1 };
        let code_at = if format == SenseFormat::Fixed { 12 } else { 2 };
        let key = byte(usable, key_at).ok_or_else(|| field::truncated(data, 3))?;
        let (information, overflow) = match format {
            SenseFormat::Fixed => (fixed_information(usable), key & 0x10 != 0),
            SenseFormat::Descriptor => (
                descriptor_information(usable),
                byte(usable, 4).is_some_and(|b| b & 0x80 != 0),
            ),
        };
        Ok(Self {
            raw: kept.into(),
            format,
            deferred: response_code & 1 != 0,
            key: SenseKey::from_byte(key),
            code: AdditionalSenseCode(
                byte(usable, code_at).unwrap_or(0),
                byte(usable, code_at + 1).unwrap_or(0),
            ),
            information,
            truncated: cut || too_long || overflow,
        })
    }

    /// Parses the data segment of a SCSI Response or of a SCSI asynchronous event: SenseLength,
    /// then sense data (RFC 7143 sections 11.4.7.2 and 11.9.4). What follows is ignored.
    ///
    /// `None` where the target sent no sense data: an empty segment, or SenseLength 0.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for a segment of one byte or without a sense key, and what
    /// [`SenseData::parse`] reports. A SenseLength past the segment is no error: what is there is
    /// parsed and marked truncated.
    pub fn parse_data_segment(segment: &[u8]) -> Result<Option<Self>, DecodeError> {
        if segment.is_empty() {
            return Ok(None);
        }
        let length = be16(segment, 0).ok_or_else(|| field::truncated(segment, 2))?;
        if length == 0 {
            return Ok(None);
        }
        let (data, cut) = field::clamp(segment.get(2..).unwrap_or(&[]), usize::from(length));
        let mut sense = Self::parse(data)?;
        sense.truncated |= cut;
        Ok(Some(sense))
    }

    /// Current sense data of 18 bytes in the fixed format, which every initiator understands.
    #[must_use]
    pub fn fixed(key: SenseKey, code: AdditionalSenseCode) -> Self {
        Self::build(SenseFormat::Fixed, false, key, code, None)
    }

    /// Current sense data in the descriptor format (D_SENSE 1 in the Control mode page).
    #[must_use]
    pub fn descriptor(key: SenseKey, code: AdditionalSenseCode) -> Self {
        Self::build(SenseFormat::Descriptor, false, key, code, None)
    }

    /// The same with the INFORMATION field, usually the LBA that failed. A value beyond 32 bits
    /// takes the descriptor format, which alone has room for it. Builds anew: call it on sense
    /// data that was made here, not parsed.
    #[must_use]
    pub fn with_information(self, information: u64) -> Self {
        let format = if u32::try_from(information).is_ok() {
            self.format
        } else {
            SenseFormat::Descriptor
        };
        Self::build(
            format,
            self.deferred,
            self.key,
            self.code,
            Some(information),
        )
    }

    /// The same as deferred sense data: about an earlier command than the one that it answers.
    #[must_use]
    pub fn into_deferred(self) -> Self {
        Self::build(self.format, true, self.key, self.code, self.information)
    }

    fn build(
        format: SenseFormat,
        deferred: bool,
        key: SenseKey,
        code: AdditionalSenseCode,
        information: Option<u64>,
    ) -> Self {
        let deferred_bit = u8::from(deferred);
        let raw = match format {
            SenseFormat::Fixed => {
                let mut raw = vec![0; 18];
                raw[0] = 0x70 | deferred_bit;
                raw[2] = key.to_byte();
                raw[7] = 10;
                raw[12] = code.0;
                raw[13] = code.1;
                if let Some(value) = information.and_then(|value| u32::try_from(value).ok()) {
                    raw[0] |= 0x80;
                    raw[3..7].copy_from_slice(&value.to_be_bytes());
                }
                raw
            }
            SenseFormat::Descriptor => {
                let mut raw = vec![
                    0x72 | deferred_bit,
                    key.to_byte(),
                    code.0,
                    code.1,
                    0,
                    0,
                    0,
                    0,
                ];
                if let Some(value) = information {
                    raw[7] = 12;
                    raw.extend_from_slice(&[0, 10, 0x80, 0]);
                    raw.extend_from_slice(&value.to_be_bytes());
                }
                raw
            }
        };
        let raw = raw.into_boxed_slice();
        Self {
            raw,
            format,
            deferred,
            key,
            code,
            information,
            truncated: false,
        }
    }

    /// The sense data as on the wire, at most [`SenseData::MAX_LEN`] bytes of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The data segment of a SCSI Response: SenseLength and sense data, without padding.
    #[must_use]
    pub fn to_data_segment(&self) -> Vec<u8> {
        // Never longer than 252 bytes, so the cast loses nothing.
        let mut segment = (self.raw.len() as u16).to_be_bytes().to_vec();
        segment.extend_from_slice(&self.raw);
        segment
    }

    /// SENSE KEY.
    #[must_use]
    pub const fn key(&self) -> SenseKey {
        self.key
    }

    /// ADDITIONAL SENSE CODE and its qualifier.
    #[must_use]
    pub const fn code(&self) -> AdditionalSenseCode {
        self.code
    }

    /// The INFORMATION field, only where the device marked it VALID.
    #[must_use]
    pub const fn information(&self) -> Option<u64> {
        self.information
    }

    /// Whether this is a unit attention of the command that it came with: key 6h, and no deferred error.
    #[must_use]
    pub fn is_attention(&self) -> bool {
        self.key() == SenseKey::UnitAttention && !self.is_deferred()
    }

    /// Whether this is about an earlier command than the one that it answers (71h, 73h).
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        self.deferred
    }

    /// How far a device has come that is becoming ready or formatting, in 65536ths; `None` where it
    /// does not say (SPC-4 section 4.5.2.4.4).
    #[must_use]
    pub fn progress(&self) -> Option<u16> {
        let progresses = matches!(self.key, SenseKey::NoSense | SenseKey::NotReady);
        match self.sense_key_specific() {
            Some([_, high, low]) if progresses => Some(u16::from_be_bytes([high, low])),
            // The progress of something that has a sense key of its own, which fixed format has no
            // place for.
            _ if self.format == SenseFormat::Descriptor => {
                descriptor(self.usable(), 0x0a, 8).and_then(|found| be16(found, 6))
            }
            _ => None,
        }
    }

    /// Which byte of the CDB or of the parameter list an ILLEGAL REQUEST is about; `None` where the
    /// device does not say (SPC-4 section 4.5.2.4.2).
    #[must_use]
    pub fn field_pointer(&self) -> Option<FieldPointer> {
        let is_one = self.key == SenseKey::IllegalRequest;
        let [flags, high, low] = self.sense_key_specific().filter(|_| is_one)?;
        Some(FieldPointer {
            in_cdb: flags & 0x40 != 0,
            byte: u16::from_be_bytes([high, low]),
            bit: (flags & 0x08 != 0).then_some(flags & 0x07),
        })
    }

    /// SENSE KEY SPECIFIC, only where the device marked it valid (SKSV).
    #[must_use]
    pub fn sense_key_specific(&self) -> Option<[u8; 3]> {
        let usable = self.usable();
        let bytes: [u8; 3] = match self.format {
            SenseFormat::Fixed => field::array(usable, 15)?,
            SenseFormat::Descriptor => field::array(descriptor(usable, 0x02, 8)?, 4)?,
        };
        (bytes[0] & 0x80 != 0).then_some(bytes)
    }

    /// What ADDITIONAL SENSE LENGTH says to be there, as far as it is.
    fn usable(&self) -> &[u8] {
        match byte(&self.raw, 7) {
            Some(additional) => field::clamp(&self.raw, 8 + usize::from(additional)).0,
            None => &self.raw,
        }
    }

    /// The layout that the device chose.
    #[must_use]
    pub const fn format(&self) -> SenseFormat {
        self.format
    }

    /// Whether something is missing: a length reaches past the data, more than 252 bytes came, or
    /// the device says so itself (SDAT_OVFL).
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }
}

fn fixed_information(usable: &[u8]) -> Option<u64> {
    let valid = byte(usable, 0)? & 0x80 != 0;
    if valid {
        be32(usable, 3).map(u64::from)
    } else {
        None
    }
}

/// The information descriptor.
fn descriptor_information(usable: &[u8]) -> Option<u64> {
    let found = descriptor(usable, 0x00, 12)?;
    if byte(found, 2)? & 0x80 == 0 {
        return None;
    }
    be64(found, 4)
}

/// Looks for the first descriptor of a type, which counts only with its length of `len` bytes at
/// least. Every step goes at least two bytes forward.
fn descriptor(usable: &[u8], kind: u8, len: usize) -> Option<&[u8]> {
    let mut rest = usable.get(8..)?;
    loop {
        let length = 2 + usize::from(byte(rest, 1)?);
        if byte(rest, 0)? == kind {
            return if length >= len { rest.get(..len) } else { None };
        }
        rest = rest.get(length..)?;
    }
}

impl fmt::Display for SenseData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.key, self.code)?;
        if let Some(information) = self.information {
            write!(f, ", information {information}")?;
        }
        if self.deferred {
            f.write_str(", deferred")?;
        }
        if self.truncated {
            f.write_str(", truncated")?;
        }
        Ok(())
    }
}
