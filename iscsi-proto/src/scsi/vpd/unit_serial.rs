//! Unit Serial Number, page 80h (SPC-4).

use alloc::vec::Vec;
use core::fmt;

use crate::error::DecodeError;
use crate::scsi::field;
use crate::scsi::inquiry::Peripheral;

/// PRODUCT SERIAL NUMBER. Right-aligned by the standard, padded on either side in practice, and not
/// unique across vendors: join paths by the Device Identification page instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSerialNumber {
    /// The bytes as on the wire, padding included.
    pub bytes: Vec<u8>,
    /// The page is longer than the data.
    pub truncated: bool,
}

impl UnitSerialNumber {
    /// Parses the page.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (bytes, truncated) = super::body(data, super::UNIT_SERIAL_NUMBER)?;
        Ok(Self {
            bytes: bytes.to_vec(),
            truncated,
        })
    }

    /// The page.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        super::emit(peripheral, super::UNIT_SERIAL_NUMBER, &self.bytes)
    }

    /// The bytes without the padding of either side.
    #[must_use]
    pub fn trimmed(&self) -> &[u8] {
        let text = field::trim_padding(&self.bytes);
        let start = text
            .iter()
            .position(|&b| b != b' ' && b != 0)
            .unwrap_or(text.len());
        text.get(start..).unwrap_or(&[])
    }
}

/// Without padding; what is not printable ASCII is escaped.
impl fmt::Display for UnitSerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.trimmed().escape_ascii())
    }
}
