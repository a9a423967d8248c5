//! Supported VPD Pages, page 00h (SPC-4).

use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::scsi::inquiry::Peripheral;

/// The list of the pages that a device has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupportedPages {
    /// Page codes in the order of the device.
    pub pages: Vec<u8>,
    /// The page is longer than the data.
    pub truncated: bool,
}

impl SupportedPages {
    /// Parses the page.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] without a header, [`DecodeError::WrongVpdPage`] for another page.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let (pages, truncated) = super::body(data, super::SUPPORTED_PAGES)?;
        Ok(Self {
            pages: pages.to_vec(),
            truncated,
        })
    }

    /// Whether the page is listed.
    #[must_use]
    pub fn contains(&self, page: u8) -> bool {
        self.pages.contains(&page)
    }

    /// The page. The standard wants ascending order.
    #[must_use]
    pub fn emit(&self, peripheral: Peripheral) -> Vec<u8> {
        super::emit(peripheral, super::SUPPORTED_PAGES, &self.pages)
    }
}
