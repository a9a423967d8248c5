//! What a unit says about its limits and its provisioning: VPD pages B0h and B2h.

use super::{medium, unmap};
use crate::target::lun::LogicalUnit;

/// SBC-3 section 6.5.3; offsets count from the end of the page's header.
pub(super) fn block_limits(lun: &LogicalUnit, max_transfer_length: u32) -> Vec<u8> {
    let mut page = vec![0; 60];
    let blocks = max_transfer_length / lun.config.block_size;
    page[0] = 0x01; // WSNZ
    page[1] = medium::MAX_COMPARE_BLOCKS;
    page[2..4].copy_from_slice(&1u16.to_be_bytes()); // optimal granularity
    page[4..8].copy_from_slice(&blocks.to_be_bytes());
    page[8..12].copy_from_slice(&blocks.min(2048).to_be_bytes());
    if lun.config.thin {
        page[16..20].copy_from_slice(&unmap::MAX_BLOCKS.to_be_bytes());
        page[20..24].copy_from_slice(&unmap::MAX_DESCRIPTORS.to_be_bytes());
        page[24..28].copy_from_slice(&1u32.to_be_bytes()); // optimal granularity
    }
    page[32..40].copy_from_slice(&u64::from(medium::MAX_SAME_BLOCKS).to_be_bytes());
    page
}

/// SBC-3 section 6.5.4.
pub(super) fn logical_block_provisioning(lun: &LogicalUnit) -> Vec<u8> {
    let mut page = vec![0; 4];
    if lun.config.thin {
        page[1] = 0xe4; // LBPU, LBPWS, LBPWS10, LBPRZ
        page[2] = 0x02; // thin
    }
    page
}
