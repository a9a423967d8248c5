//! MODE SENSE (6) and (10): the Caching page and the Control page (SPC-4 sections 6.13, 6.14, 7.5.8;
//! SBC-3 section 6.4.5).

use super::{Action, Sense, be16, data};
use crate::target::lun::LogicalUnit;

const SAVING_NOT_SUPPORTED: Sense = Sense(0x05, 0x39, 0x00);

pub(super) fn mode_sense(cdb: &[u8; 16], lun: &LogicalUnit) -> Action {
    let ten = cdb[0] == 0x5a;
    // Page control 01b asks which bits can be changed: none.
    let values = match cdb[2] >> 6 {
        0b11 => return Action::Fail(SAVING_NOT_SUPPORTED),
        0b01 => 0x00,
        _ => 0xff,
    };
    let pages = match (cdb[2] & 0x3f, cdb[3]) {
        (0x08, 0) => caching(lun, values),
        (0x0a, 0) => control(values),
        (0x3f, 0 | 0xff) => [caching(lun, values), control(values)].concat(),
        _ => return Action::Fail(Sense::INVALID_FIELD),
    };
    // DBD: no block descriptor.
    let descriptor = match cdb[1] & 0x08 {
        0 => block_descriptor(lun, ten && cdb[1] & 0x10 != 0),
        _ => Vec::new(),
    };
    let specific = u8::from(lun.config.read_only) << 7 | u8::from(lun.config.fua) << 4;
    let (len, described) = (pages.len() + descriptor.len(), descriptor.len() as u8);
    let (mut bytes, allocation_length) = if ten {
        let [high, low] = (len as u16 + 6).to_be_bytes();
        let long = u8::from(described == 16);
        let header = vec![high, low, 0, specific, long, 0, 0, described];
        (header, be16(cdb, 7))
    } else {
        (vec![len as u8 + 3, 0, specific, described], cdb[4].into())
    };
    bytes.extend(descriptor);
    bytes.extend(pages);
    data(bytes, allocation_length)
}

/// The short form has 32 bits of blocks and says "more" with all of them set; the long one, with
/// LLBAA, has 64 (SBC-3 section 6.4.2).
fn block_descriptor(lun: &LogicalUnit, long: bool) -> Vec<u8> {
    let blocks = lun.blocks();
    let mut bytes = if long {
        let mut bytes = blocks.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes
    } else {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        blocks.to_be_bytes().to_vec()
    };
    bytes.extend(lun.config.block_size.to_be_bytes());
    bytes
}

fn caching(lun: &LogicalUnit, values: u8) -> Vec<u8> {
    let mut page = vec![0; 20];
    page[0] = 0x08;
    page[1] = 0x12;
    // WCE.
    page[2] = (u8::from(lun.config.write_cache) << 2) & values;
    page
}

fn control(values: u8) -> Vec<u8> {
    let mut page = vec![0; 12];
    page[0] = 0x0a;
    page[1] = 0x0a;
    // QUEUE ALGORITHM MODIFIER: commands are not kept in order.
    page[3] = 0x10 & values;
    page
}
