//! Block Device Characteristics, VPD page B1h (SBC-3 section 6.6.2).

use crate::target::lun::LogicalUnit;

pub(super) fn block_device_characteristics(lun: &LogicalUnit) -> Vec<u8> {
    let mut page = vec![0; 60];
    page[..2].copy_from_slice(&lun.config.rotation_rate.to_be_bytes());
    page
}
