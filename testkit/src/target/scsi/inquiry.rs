//! INQUIRY: standard data and vital product data.

use super::characteristics::block_device_characteristics;
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
        let mut bytes = standard_inquiry(inventory);
        bytes[0] = 0x7f;
        return if cdb[1] & 1 == 1 {
            Action::Fail(Sense::NO_SUCH_LUN)
        } else {
            data(bytes, allocation_length)
        };
    };
    let page = match (cdb[1] & 1, cdb[2]) {
        (0, 0) => return data(standard_inquiry(inventory), allocation_length),
        (1, 0x00) => vec![0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2],
        (1, 0x80) => lun.identity().serial.into_bytes(),
        (1, 0x83) => device_identification(lun, inventory),
        (1, 0xb0) => provisioning::block_limits(lun, inventory.max_transfer_length),
        (1, 0xb1) => block_device_characteristics(lun),
        (1, 0xb2) => provisioning::logical_block_provisioning(lun),
        _ => return Action::Fail(Sense::INVALID_FIELD),
    };
    let mut bytes = vec![0, cdb[2]];
    bytes.extend((page.len() as u16).to_be_bytes());
    bytes.extend(page);
    data(bytes, allocation_length)
}

fn standard_inquiry(inventory: Inventory<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[2] = 0x06; // SPC-4
    bytes[3] = 0x12; // HISUP, response data format 2
    bytes[4] = 91;
    bytes[5] = inventory.alua.tpgs();
    bytes[6] = 0x10; // MULTIP
    bytes[7] = 0x02; // CMDQUE
    bytes[8..16].copy_from_slice(b"RUSTSDK ");
    bytes[16..32].copy_from_slice(b"TESTKIT DISK    ");
    bytes[32..36].copy_from_slice(b"0001");
    for (at, version) in (58..).step_by(2).zip([0x00a0_u16, 0x0960, 0x0460, 0x04c0]) {
        bytes[at..at + 2].copy_from_slice(&version.to_be_bytes());
    }
    bytes
}

/// An NAA and a T10 vendor descriptor of the logical unit; name, relative identifier and group of the
/// port that the command came through (SPC-4 section 7.8.5).
fn device_identification(lun: &LogicalUnit, inventory: Inventory<'_>) -> Vec<u8> {
    let mut page = vec![0x01, 0x03, 0, 16];
    let identity = lun.identity();
    page.extend(identity.naa);
    let serial = identity.serial.as_bytes();
    page.extend([0x02, 0x01, 0, (8 + serial.len()) as u8]);
    page.extend(b"RUSTSDK ");
    page.extend(serial);
    let number = |kind: u8, number: u16| {
        let [high, low] = number.to_be_bytes();
        // Protocol iSCSI, binary; PIV, association target port.
        [0x51, 0x90 | kind, 0, 4, 0, 0, high, low]
    };
    page.extend(number(0x04, inventory.port));
    if inventory.alua.is_on() {
        page.extend(number(0x05, inventory.group));
    }
    // RFC 7143 section 4.4: name and portal group tag; UTF-8, NUL-padded.
    let mut name = format!("{},t,0x{:04x}", inventory.name, inventory.group).into_bytes();
    name.resize((name.len() / 4 + 1) * 4, 0);
    page.extend([0x53, 0x98, 0, name.len() as u8]);
    page.extend(name);
    page
}
