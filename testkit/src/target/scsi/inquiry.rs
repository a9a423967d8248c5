//! INQUIRY: standard data and vital product data.

use super::{Action, Inventory, Sense, be16, data, provisioning};
use crate::target::lun::LogicalUnit;

/// SPC-4 section 6.6 and the VPD pages of section 7.8.
pub(super) fn inquiry(
    cdb: &[u8; 16],
    lun: Option<&LogicalUnit>,
    inventory: Inventory<'_>,
) -> Action {
    let allocation_length = be16(cdb, 3);
    let Some(lun) = lun else {
        // Peripheral qualifier 011b: the target cannot have a unit here.
        let mut bytes = standard_inquiry();
        bytes[0] = 0x7f;
        return if cdb[1] & 1 == 1 {
            Action::Fail(Sense::NO_SUCH_LUN)
        } else {
            data(bytes, allocation_length)
        };
    };
    let page = match (cdb[1] & 1, cdb[2]) {
        (0, 0) => return data(standard_inquiry(), allocation_length),
        (1, 0x00) => vec![0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2],
        (1, 0x80) => lun.config.serial.clone().into_bytes(),
        (1, 0x83) => device_identification(lun),
        (1, 0xb0) => provisioning::block_limits(lun, inventory.max_transfer_length),
        (1, 0xb1) => characteristics(),
        (1, 0xb2) => provisioning::logical_block_provisioning(lun),
        _ => return Action::Fail(Sense::INVALID_FIELD),
    };
    let mut bytes = vec![0, cdb[2]];
    bytes.extend((page.len() as u16).to_be_bytes());
    bytes.extend(page);
    data(bytes, allocation_length)
}

fn standard_inquiry() -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[2] = 0x06; // SPC-4
    bytes[3] = 0x12; // HISUP, response data format 2
    bytes[4] = 91;
    bytes[7] = 0x02; // CMDQUE
    bytes[8..16].copy_from_slice(b"RUSTSDK ");
    bytes[16..32].copy_from_slice(b"TESTKIT DISK    ");
    bytes[32..36].copy_from_slice(b"0001");
    for (at, version) in (58..).step_by(2).zip([0x00a0_u16, 0x0960, 0x0460, 0x04c0]) {
        bytes[at..at + 2].copy_from_slice(&version.to_be_bytes());
    }
    bytes
}

/// An NAA and a T10 vendor descriptor, both of the logical unit.
fn device_identification(lun: &LogicalUnit) -> Vec<u8> {
    let mut page = vec![0x01, 0x03, 0, 16];
    page.extend(lun.config.naa);
    let serial = lun.config.serial.as_bytes();
    page.extend([0x02, 0x01, 0, (8 + serial.len()) as u8]);
    page.extend(b"RUSTSDK ");
    page.extend(serial);
    page
}

/// Block device characteristics (SBC-3 section 6.5.2).
fn characteristics() -> Vec<u8> {
    let mut page = vec![0; 60];
    page[..2].copy_from_slice(&1u16.to_be_bytes()); // nothing rotates
    page
}
