//! MODE SENSE (6), as far as a disk needs it: is it write-protected, does it honour FUA, does it
//! have a volatile cache (SPC-4 section 6.13, SBC-3 sections 6.4.1 and 6.4.5).

use alloc::vec;
use alloc::vec::Vec;

use super::{
    cdb::Cdb,
    field::{self, byte},
};
use crate::error::DecodeError;

const OPCODE: u8 = 0x1a;
/// DBD: no block descriptors, which only repeat the capacity in fewer bits.
const DBD: u8 = 0x08;
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;
const WCE: u8 = 0x04;

/// Mode parameters of a disk: the header and the Caching page (08h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskModes {
    /// WP: writes are refused.
    pub write_protected: bool,
    /// DPOFUA: the FUA bit of READ and WRITE is honoured.
    pub dpo_fua: bool,
    /// WCE of the Caching page: writes may be acknowledged before they are on the medium. `None`
    /// where the page is not there.
    pub write_cache: Option<bool>,
}

impl DiskModes {
    /// The Caching mode page.
    pub const CACHING_PAGE: u8 = 0x08;

    /// MODE SENSE (6) for one page's current values; 3Fh is all pages.
    #[must_use]
    pub const fn cdb(page: u8, allocation_length: u8) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = OPCODE;
        bytes[1] = DBD;
        bytes[2] = page & 0x3f;
        bytes[4] = allocation_length;
        Cdb::from_bytes(bytes)
    }

    /// Parses the parameter data. A page that is not whole counts as not there.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for less than the header of four bytes.
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let [length, _, specific, descriptors] =
            field::array::<4>(data, 0).ok_or_else(|| field::truncated(data, 4))?;
        // MODE DATA LENGTH does not count itself.
        let (data, _) = field::clamp(data, usize::from(length) + 1);
        let pages = data.get(4 + usize::from(descriptors)..).unwrap_or(&[]);
        Ok(Self {
            write_protected: specific & WP != 0,
            dpo_fua: specific & DPOFUA != 0,
            write_cache: find_page(pages, Self::CACHING_PAGE)
                .and_then(|page| byte(page, 2))
                .map(|flags| flags & WCE != 0),
        })
    }

    /// The parameter data, as a target answers for the Caching page.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let specific =
            if self.write_protected { WP } else { 0 } | if self.dpo_fua { DPOFUA } else { 0 };
        let mut data = vec![3, 0, specific, 0];
        if let Some(write_cache) = self.write_cache {
            data.extend_from_slice(&[Self::CACHING_PAGE, 18]);
            data.push(if write_cache { WCE } else { 0 });
            data.extend_from_slice(&[0; 17]);
            data[0] = 23;
        }
        data
    }
}

/// Every step goes at least two bytes forward.
fn find_page(mut pages: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        let first = byte(pages, 0)?;
        // SPF: a subpage has a longer header, PAGE LENGTH in bytes 2 and 3.
        let len = if first & 0x40 == 0 {
            2 + usize::from(byte(pages, 1)?)
        } else {
            4 + usize::from(field::be16(pages, 2)?)
        };
        if first & 0x7f == code {
            return pages.get(..len);
        }
        pages = pages.get(len..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives_the_round_trip() {
        for write_protected in [false, true] {
            for dpo_fua in [false, true] {
                for write_cache in [None, Some(false), Some(true)] {
                    let modes = DiskModes {
                        write_protected,
                        dpo_fua,
                        write_cache,
                    };
                    assert_eq!(DiskModes::parse(&modes.emit()), Ok(modes));
                }
            }
        }
    }

    #[test]
    fn the_caching_page_is_found_behind_descriptors_and_subpages() {
        let mut data = vec![0, 0, 0x90, 8];
        data.extend_from_slice(&[0xee; 8]);
        data.extend_from_slice(&[0x48, 1, 0, 3, 9, 9, 9]);
        data.extend_from_slice(&[0x0a, 2, 0xff, 0xff]);
        data.extend_from_slice(&[0x88, 2, 0x04, 0]);
        data[0] = data.len() as u8 - 1;
        let modes = DiskModes::parse(&data).unwrap();
        assert_eq!((modes.write_protected, modes.dpo_fua), (true, true));
        assert_eq!(modes.write_cache, Some(true));
    }

    #[test]
    fn data_that_ends_anywhere_is_no_panic_and_no_invention() {
        let data = DiskModes {
            write_protected: true,
            dpo_fua: false,
            write_cache: Some(true),
        }
        .emit();
        for end in 0..data.len() {
            match DiskModes::parse(&data[..end]) {
                Err(error) => assert!(end < 4, "{error} at {end}"),
                Ok(modes) => assert_eq!((modes.write_protected, modes.write_cache), (true, None)),
            }
        }
    }

    #[test]
    fn the_command_asks_for_one_page_without_descriptors() {
        let cdb = DiskModes::cdb(DiskModes::CACHING_PAGE, 64);
        assert_eq!(cdb.as_bytes(), [0x1a, 0x08, 0x08, 0, 64, 0]);
    }
}
