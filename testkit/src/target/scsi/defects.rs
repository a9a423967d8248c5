//! READ DEFECT DATA: a memory has no defects.

use super::{Action, be16, be32, data};

/// SBC-3 sections 5.16 and 5.17: an empty list in the format that was asked for.
pub(super) fn read_defect_data(cdb: &[u8; 16]) -> Action {
    // REQ_PLIST, REQ_GLIST and DEFECT LIST FORMAT come back as PLISTV, GLISTV and the format.
    if cdb[0] == 0x37 {
        data(vec![0, cdb[2] & 0x1f, 0, 0], be16(cdb, 7))
    } else {
        data(vec![0, cdb[1] & 0x1f, 0, 0, 0, 0, 0, 0], be32(cdb, 6))
    }
}
