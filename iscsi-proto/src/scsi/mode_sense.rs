//! MODE SENSE (6) and (10), as far as a disk needs them: is it write-protected, does it honour FUA,
//! does it have a volatile cache, how does it treat the tasks of other initiators (SPC-4 sections
//! 6.13, 6.14 and 7.5.8, SBC-3 sections 6.4.1 and 6.4.5).

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "lengths of what we make ourselves"
)]

use alloc::vec;
use alloc::vec::Vec;

use super::{
    cdb::Cdb,
    field::{self, be16, byte},
};
use crate::error::DecodeError;

const MODE_SENSE_6: u8 = 0x1a;
const MODE_SENSE_10: u8 = 0x5a;
/// DBD: no block descriptors, which only repeat the capacity in fewer bits.
const DBD: u8 = 0x08;
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;
const WCE: u8 = 0x04;

/// The Control mode page (0Ah), as far as an initiator acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlMode {
    /// TST, three bits: 0, one task set for all initiators; 1, one for each.
    pub task_set_type: u8,
    /// D_SENSE: sense data comes in the descriptor format.
    pub descriptor_sense: bool,
    /// QUEUE ALGORITHM MODIFIER, four bits: 0, commands are not reordered so that data would
    /// change; 1, they may be.
    pub queue_algorithm_modifier: u8,
    /// QERR, two bits: what a CHECK CONDITION does to other commands. 0 nothing, 1 all of the task
    /// set are aborted, 3 all of the nexus are.
    pub queue_error: u8,
    /// UA_INTLCK_CTRL, two bits: 0, a unit attention is cleared once it is reported.
    pub unit_attention_interlock: u8,
    /// SWP: writes are refused until it is cleared.
    pub software_write_protect: bool,
    /// TAS: commands aborted by another initiator end with TASK ABORTED and not in silence.
    pub task_aborted_status: bool,
}

impl ControlMode {
    /// PAGE LENGTH.
    const BODY: u8 = 0x0a;

    fn parse(page: &[u8]) -> Option<Self> {
        let [_, _, tasks, queue, protect, status] = field::array::<6>(page, 0)?;
        Some(Self {
            task_set_type: tasks >> 5,
            descriptor_sense: tasks & 0x04 != 0,
            queue_algorithm_modifier: queue >> 4,
            queue_error: queue >> 1 & 0x03,
            unit_attention_interlock: protect >> 4 & 0x03,
            software_write_protect: protect & 0x08 != 0,
            task_aborted_status: status & 0x40 != 0,
        })
    }

    fn emit_into(self, data: &mut Vec<u8>) {
        data.extend_from_slice(&[
            DiskModes::CONTROL_PAGE,
            Self::BODY,
            self.task_set_type << 5 | u8::from(self.descriptor_sense) << 2,
            self.queue_algorithm_modifier << 4 | (self.queue_error & 0x03) << 1,
            (self.unit_attention_interlock & 0x03) << 4
                | u8::from(self.software_write_protect) << 3,
            u8::from(self.task_aborted_status) << 6,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
    }
}

/// Mode parameters of a disk: the header, the Caching page (08h) and the Control page (0Ah).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskModes {
    /// WP: writes are refused.
    pub write_protected: bool,
    /// DPOFUA: the FUA bit of READ and WRITE is honoured.
    pub dpo_fua: bool,
    /// WCE of the Caching page: writes may be acknowledged before they are on the medium. `None`
    /// where the page is not there.
    pub write_cache: Option<bool>,
    /// The Control page. `None` where it is not there.
    pub control: Option<ControlMode>,
}

impl DiskModes {
    /// The Caching mode page.
    pub const CACHING_PAGE: u8 = 0x08;
    /// The Control mode page.
    pub const CONTROL_PAGE: u8 = 0x0a;
    /// All mode pages.
    pub const ALL_PAGES: u8 = 0x3f;

    /// MODE SENSE (6) for one page's current values; 3Fh is all pages.
    #[must_use]
    pub const fn cdb(page: u8, allocation_length: u8) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = MODE_SENSE_6;
        bytes[1] = DBD;
        bytes[2] = page & 0x3f;
        bytes[4] = allocation_length;
        Cdb::from_bytes(bytes)
    }

    /// MODE SENSE (10) for one page's current values; 3Fh is all pages.
    #[must_use]
    pub const fn cdb10(page: u8, allocation_length: u16) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = MODE_SENSE_10;
        bytes[1] = DBD;
        bytes[2] = page & 0x3f;
        [bytes[7], bytes[8]] = allocation_length.to_be_bytes();
        Cdb::from_bytes(bytes)
    }

    /// Whether writes are refused, by whichever of the two switches.
    #[must_use]
    pub fn is_write_protected(&self) -> bool {
        let software = |control: ControlMode| control.software_write_protect;
        self.write_protected || self.control.is_some_and(software)
    }

    /// Parses the parameter data of MODE SENSE (6). A page that is not whole counts as not there.
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
        Ok(Self::from_pages(specific, pages))
    }

    /// Parses the parameter data of MODE SENSE (10), as [`parse`](Self::parse).
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for less than the header of eight bytes.
    pub fn parse10(data: &[u8]) -> Result<Self, DecodeError> {
        let [high, low, _, specific, _, _, ..] =
            field::array::<8>(data, 0).ok_or_else(|| field::truncated(data, 8))?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (data, _) = field::clamp(data, length + 2);
        let descriptors = usize::from(be16(data, 6).unwrap_or(0));
        Ok(Self::from_pages(
            specific,
            data.get(8 + descriptors..).unwrap_or(&[]),
        ))
    }

    fn from_pages(specific: u8, pages: &[u8]) -> Self {
        Self {
            write_protected: specific & WP != 0,
            dpo_fua: specific & DPOFUA != 0,
            write_cache: find_page(pages, Self::CACHING_PAGE)
                .and_then(|page| byte(page, 2))
                .map(|flags| flags & WCE != 0),
            control: find_page(pages, Self::CONTROL_PAGE).and_then(ControlMode::parse),
        }
    }

    /// The parameter data of MODE SENSE (6), as a target answers with the pages that are there.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut data = vec![0, 0, self.specific(), 0];
        self.emit_pages(&mut data);
        // A header and two pages of fixed lengths.
        data[0] = (data.len() - 1) as u8;
        data
    }

    /// The parameter data of MODE SENSE (10).
    #[must_use]
    pub fn emit10(&self) -> Vec<u8> {
        let mut data = vec![0, 0, 0, self.specific(), 0, 0, 0, 0];
        self.emit_pages(&mut data);
        data[1] = (data.len() - 2) as u8;
        data
    }

    const fn specific(&self) -> u8 {
        let wp = if self.write_protected { WP } else { 0 };
        wp | if self.dpo_fua { DPOFUA } else { 0 }
    }

    fn emit_pages(&self, data: &mut Vec<u8>) {
        if let Some(write_cache) = self.write_cache {
            data.extend_from_slice(&[Self::CACHING_PAGE, 18]);
            data.push(if write_cache { WCE } else { 0 });
            data.extend_from_slice(&[0; 17]);
        }
        if let Some(control) = self.control {
            control.emit_into(data);
        }
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
            4 + usize::from(be16(pages, 2)?)
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
                    for control in [None, Some(ControlMode::default()), Some(control())] {
                        let modes = DiskModes {
                            write_protected,
                            dpo_fua,
                            write_cache,
                            control,
                        };
                        assert_eq!(DiskModes::parse(&modes.emit()), Ok(modes));
                        assert_eq!(DiskModes::parse10(&modes.emit10()), Ok(modes));
                        let software = control.is_some_and(|c| c.software_write_protect);
                        assert_eq!(modes.is_write_protected(), write_protected || software);
                    }
                }
            }
        }
    }

    fn control() -> ControlMode {
        ControlMode {
            task_set_type: 1,
            descriptor_sense: true,
            queue_algorithm_modifier: 1,
            queue_error: 3,
            unit_attention_interlock: 2,
            software_write_protect: true,
            task_aborted_status: true,
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
            control: Some(control()),
        };
        type Parse = fn(&[u8]) -> Result<DiskModes, DecodeError>;
        let forms: [(Vec<u8>, Parse, usize); 2] = [
            (data.emit(), DiskModes::parse, 4),
            (data.emit10(), DiskModes::parse10, 8),
        ];
        for (data, parse, header) in forms {
            for end in 0..data.len() {
                let Ok(modes) = parse(&data[..end]) else {
                    assert!(end < header, "{end}");
                    continue;
                };
                let cache = (end >= header + 20).then_some(true);
                let found = (modes.write_protected, modes.write_cache, modes.control);
                assert_eq!(found, (true, cache, None), "{end}");
            }
        }
    }

    #[test]
    fn the_command_asks_for_one_page_without_descriptors() {
        let cdb = DiskModes::cdb(DiskModes::CACHING_PAGE, 64);
        assert_eq!(cdb.as_bytes(), [0x1a, 0x08, 0x08, 0, 64, 0]);
        let cdb = DiskModes::cdb10(DiskModes::CONTROL_PAGE, 0x1234);
        let expected = [0x5a, 0x08, 0x0a, 0, 0, 0, 0, 0x12, 0x34, 0];
        assert_eq!(cdb.as_bytes(), expected);
    }
}
