//! REPORT LUNS.

use super::{Action, Inventory, Sense, be32, data};

/// SPC-4 section 6.33.
pub(super) fn report_luns(cdb: &[u8; 16], inventory: Inventory<'_>) -> Action {
    let mut bytes = (inventory.luns.len() as u32 * 8).to_be_bytes().to_vec();
    bytes.resize(8, 0);
    for lun in inventory.luns {
        bytes.extend(iscsi_proto::scsi::lun::Lun::new(lun.config.number).to_wire());
    }
    match cdb[2] {
        0x00 | 0x02 => data(bytes, be32(cdb, 6)),
        // No well-known logical units here.
        0x01 => data(vec![0; 8], be32(cdb, 6)),
        _ => Action::Fail(Sense::INVALID_FIELD),
    }
}
