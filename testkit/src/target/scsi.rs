//! What a command descriptor block asks for, and the answers that need no medium.
//!
//! Decoded and built by hand on purpose: the initiator's SCSI types are the thing under test, and one
//! misreading of SPC-4 in both places would cancel out.

use super::lun::LogicalUnit;

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sense(pub(super) u8, pub(super) u8, pub(super) u8);

impl Sense {
    pub(super) const INVALID_OPCODE: Self = Self(0x05, 0x20, 0x00);
    pub(super) const INVALID_FIELD: Self = Self(0x05, 0x24, 0x00);
    pub(super) const LBA_OUT_OF_RANGE: Self = Self(0x05, 0x21, 0x00);
    pub(super) const NO_SUCH_LUN: Self = Self(0x05, 0x25, 0x00);
    pub(super) const WRITE_PROTECTED: Self = Self(0x07, 0x27, 0x00);

    /// Fixed format, current error (SPC-4 section 4.5.3).
    pub(super) const fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = 0x70;
        bytes[2] = self.0;
        bytes[7] = 10;
        bytes[12] = self.1;
        bytes[13] = self.2;
        bytes
    }
}

/// What a command does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// GOOD, no data.
    Good,
    /// Parameter data, already cut to the allocation length.
    Data(Vec<u8>),
    /// Medium to initiator: byte offset and length.
    Read(u64, u32),
    /// Initiator to medium: byte offset and length.
    Write(u64, u32),
    /// CHECK CONDITION.
    Fail(Sense),
    /// Another status, without sense data.
    Status(u8),
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    Check(Sense),
    Status(u8),
}

/// The numbers of the LUNs, for REPORT LUNS, and the longest transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inventory<'a> {
    pub(super) luns: &'a [std::sync::Arc<LogicalUnit>],
    pub(super) max_transfer_length: u32,
}

fn be16(cdb: &[u8; 16], at: usize) -> u32 {
    u32::from(u16::from_be_bytes([cdb[at], cdb[at + 1]]))
}

fn be32(cdb: &[u8; 16], at: usize) -> u32 {
    be16(cdb, at) << 16 | be16(cdb, at + 2)
}

fn be64(cdb: &[u8; 16], at: usize) -> u64 {
    u64::from(be32(cdb, at)) << 32 | u64::from(be32(cdb, at + 4))
}

/// Whether a pending unit attention lets this command pass (SPC-4 section 6: INQUIRY, REPORT LUNS,
/// REQUEST SENSE).
pub(super) const fn ignores_unit_attention(opcode: u8) -> bool {
    matches!(opcode, 0x12 | 0xa0 | 0x03)
}

/// Decodes `cdb`, addressed to `lun` (`None`: no such unit).
pub(super) fn decode(
    cdb: &[u8; 16],
    lun: Option<&LogicalUnit>,
    inventory: Inventory<'_>,
) -> Action {
    match (cdb[0], lun) {
        (0xa0, _) => report_luns(cdb, inventory),
        (0x12, lun) => inquiry(cdb, lun, inventory),
        (0x03, lun) => {
            let sense = if lun.is_some() {
                Sense(0, 0, 0)
            } else {
                Sense::NO_SUCH_LUN
            };
            data(sense.to_bytes().to_vec(), u32::from(cdb[4]))
        }
        (_, None) => Action::Fail(Sense::NO_SUCH_LUN),
        (0x00, Some(_)) => Action::Good,
        (0x25, Some(lun)) => read_capacity_10(lun),
        (0x9e, Some(lun)) if cdb[1] & 0x1f == 0x10 => read_capacity_16(cdb, lun),
        (0x28 | 0x2a, Some(lun)) => medium(
            cdb[0] == 0x2a,
            lun,
            be32(cdb, 2).into(),
            be16(cdb, 7),
            inventory,
        ),
        (0x88 | 0x8a, Some(lun)) => {
            medium(cdb[0] == 0x8a, lun, be64(cdb, 2), be32(cdb, 10), inventory)
        }
        (0x35, Some(lun)) => synchronize(lun, be32(cdb, 2).into(), be16(cdb, 7)),
        (0x91, Some(lun)) => synchronize(lun, be64(cdb, 2), be32(cdb, 10)),
        (_, Some(_)) => Action::Fail(Sense::INVALID_OPCODE),
    }
}

fn data(mut bytes: Vec<u8>, allocation_length: u32) -> Action {
    bytes.truncate(allocation_length as usize);
    Action::Data(bytes)
}

fn medium(
    write: bool,
    lun: &LogicalUnit,
    lba: u64,
    blocks: u32,
    inventory: Inventory<'_>,
) -> Action {
    let size = u64::from(lun.config.block_size);
    if lba
        .checked_add(blocks.into())
        .is_none_or(|end| end > lun.blocks())
    {
        return Action::Fail(Sense::LBA_OUT_OF_RANGE);
    }
    let len = u64::from(blocks) * size;
    if len > inventory.max_transfer_length.into() {
        return Action::Fail(Sense::INVALID_FIELD);
    }
    match (write, blocks) {
        (true, _) if lun.config.read_only => Action::Fail(Sense::WRITE_PROTECTED),
        (_, 0) => Action::Good,
        (true, _) => Action::Write(lba * size, len as u32),
        (false, _) => Action::Read(lba * size, len as u32),
    }
}

fn synchronize(lun: &LogicalUnit, lba: u64, blocks: u32) -> Action {
    if lba
        .checked_add(blocks.into())
        .is_none_or(|end| end > lun.blocks())
    {
        return Action::Fail(Sense::LBA_OUT_OF_RANGE);
    }
    Action::Good
}

/// SPC-4 section 6.33.
fn report_luns(cdb: &[u8; 16], inventory: Inventory<'_>) -> Action {
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

/// SPC-4 section 6.6 and the VPD pages of section 7.8.
fn inquiry(cdb: &[u8; 16], lun: Option<&LogicalUnit>, inventory: Inventory<'_>) -> Action {
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
        (1, 0x00) => vec![0x00, 0x80, 0x83, 0xb0],
        (1, 0x80) => lun.config.serial.clone().into_bytes(),
        (1, 0x83) => device_identification(lun),
        (1, 0xb0) => block_limits(lun, inventory.max_transfer_length),
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

/// SBC-3 section 6.5.3.
fn block_limits(lun: &LogicalUnit, max_transfer_length: u32) -> Vec<u8> {
    let mut page = vec![0; 60];
    let blocks = max_transfer_length / lun.config.block_size;
    page[2..4].copy_from_slice(&1u16.to_be_bytes()); // optimal granularity
    page[4..8].copy_from_slice(&blocks.to_be_bytes());
    page[8..12].copy_from_slice(&blocks.min(2048).to_be_bytes());
    page
}

fn read_capacity_10(lun: &LogicalUnit) -> Action {
    let last = u32::try_from(lun.blocks() - 1).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend(lun.config.block_size.to_be_bytes());
    Action::Data(bytes)
}

fn read_capacity_16(cdb: &[u8; 16], lun: &LogicalUnit) -> Action {
    let mut bytes = (lun.blocks() - 1).to_be_bytes().to_vec();
    bytes.extend(lun.config.block_size.to_be_bytes());
    bytes.resize(32, 0);
    data(bytes, be32(cdb, 10))
}
