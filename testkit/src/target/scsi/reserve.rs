//! PERSISTENT RESERVE IN and OUT, as far as their CDBs go.

use super::{Action, Purpose, Sense, be16, be32, data};
use crate::target::lun::LogicalUnit;

/// SPC-4 section 6.15.
pub(super) fn persistent_reserve_in(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Action, Sense> {
    let report = lun.reservations(|reservations| reservations.report(cdb[1] & 0x1f));
    report
        .map(|bytes| data(bytes, be16(cdb, 7)))
        .ok_or(Sense::INVALID_FIELD)
}

/// SPC-4 section 6.16. REGISTER AND MOVE is an option that this target lacks.
pub(super) fn persistent_reserve_out(cdb: &[u8; 16]) -> Result<Action, Sense> {
    let action = cdb[1] & 0x1f;
    if !matches!(action, 0x00..=0x06) {
        return Err(Sense::INVALID_FIELD);
    }
    // The list has this one length, without transport IDs.
    if be32(cdb, 5) != 24 {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    }
    let scope_type = cdb[2];
    Ok(Action::Take(24, Purpose::Reserve { action, scope_type }))
}
