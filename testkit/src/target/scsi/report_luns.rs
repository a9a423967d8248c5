//! REPORT LUNS.

use iscsi_proto::scsi::Lun;

use super::{Action, Inventory, Sense, be32, data};

/// SPC-4 section 6.33.
pub(super) fn report_luns(cdb: &[u8; 16], inventory: Inventory<'_>) -> Action {
    let mapped = inventory.luns.iter().filter(|lun| lun.is_mapped());
    let numbers = mapped.map(|lun| Lun::new(lun.config.number));
    let list: Vec<u8> = numbers.flat_map(Lun::to_wire).collect();
    let mut bytes = (list.len() as u32).to_be_bytes().to_vec();
    bytes.resize(8, 0);
    bytes.extend(list);
    match cdb[2] {
        0x00 | 0x02 => data(bytes, be32(cdb, 6)),
        // No well-known logical units here.
        0x01 => data(vec![0; 8], be32(cdb, 6)),
        _ => Action::Fail(Sense::INVALID_FIELD),
    }
}
