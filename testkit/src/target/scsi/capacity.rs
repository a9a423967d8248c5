//! READ CAPACITY, both sizes.

use super::{Action, be32, data};
use crate::target::lun::LogicalUnit;

pub(super) fn read_capacity_10(lun: &LogicalUnit) -> Action {
    let last = u32::try_from(lun.blocks() - 1).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend(lun.config.block_size.to_be_bytes());
    Action::Data(bytes)
}

pub(super) fn read_capacity_16(cdb: &[u8; 16], lun: &LogicalUnit) -> Action {
    let mut bytes = (lun.blocks() - 1).to_be_bytes().to_vec();
    bytes.extend(lun.config.block_size.to_be_bytes());
    bytes.resize(32, 0);
    if lun.config.thin {
        bytes[14] = 0xc0; // LBPME, LBPRZ
    }
    data(bytes, be32(cdb, 10))
}
