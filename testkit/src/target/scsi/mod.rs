//! What a command descriptor block asks for, and the answers that need no medium.
//!
//! Decoded and built by hand on purpose: the initiator's SCSI types are the thing under test, and one
//! misreading of SPC-4 in both places would cancel out.

pub(in crate::target) mod alua;
mod capacity;
mod characteristics;
mod defects;
mod inquiry;
mod medium;
mod mode;
mod provisioning;
mod purpose;
mod report_luns;
mod request_sense;
mod reserve;
mod supported;
mod unmap;

use super::lun::LogicalUnit;
use alua::Alua;
use capacity::{read_capacity_10, read_capacity_16};
use inquiry::inquiry;
use mode::mode_sense;
pub(in crate::target) use purpose::Purpose;
use report_luns::report_luns;
pub(in crate::target) use request_sense::request_sense;

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::target) struct Sense(
    pub(in crate::target) u8,
    pub(in crate::target) u8,
    pub(in crate::target) u8,
);

impl Sense {
    pub(in crate::target) const INVALID_OPCODE: Self = Self(0x05, 0x20, 0x00);
    pub(in crate::target) const INVALID_FIELD: Self = Self(0x05, 0x24, 0x00);
    pub(in crate::target) const LBA_OUT_OF_RANGE: Self = Self(0x05, 0x21, 0x00);
    pub(in crate::target) const NO_SUCH_LUN: Self = Self(0x05, 0x25, 0x00);
    pub(in crate::target) const WRITE_PROTECTED: Self = Self(0x07, 0x27, 0x00);
    pub(in crate::target) const SPACE_ALLOCATION_FAILED: Self = Self(0x07, 0x27, 0x07);
    pub(in crate::target) const PARAMETER_LIST_LENGTH: Self = Self(0x05, 0x1a, 0x00);
    pub(in crate::target) const INVALID_FIELD_IN_LIST: Self = Self(0x05, 0x26, 0x00);
    /// INVALID FIELD IN COMMAND INFORMATION UNIT: what the initiator announced to transfer.
    pub(in crate::target) const INVALID_INFORMATION_UNIT: Self = Self(0x05, 0x0e, 0x03);
    /// PROTOCOL SERVICE CRC ERROR: data that came damaged.
    pub(in crate::target) const PROTOCOL_SERVICE_CRC_ERROR: Self = Self(0x0b, 0x47, 0x05);
    pub(in crate::target) const MISCOMPARE: Self = Self(0x0e, 0x1d, 0x00);

    /// Fixed format, current error (SPC-4 section 4.5.3).
    pub(in crate::target) const fn to_bytes(self) -> [u8; 18] {
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
pub(in crate::target) enum Action {
    /// GOOD, no data.
    Good,
    /// Parameter data, already cut to the allocation length.
    Data(Vec<u8>),
    /// The same, and no word of it if that is less than the initiator expects.
    Truncated(Vec<u8>),
    /// No answer.
    Never,
    /// Medium to initiator: byte offset and length.
    Read(u64, u32),
    /// So many bytes from the initiator, and what they are for.
    Take(u32, Purpose),
    /// CHECK CONDITION.
    Fail(Sense),
    /// Another status, without sense data.
    Status(u8),
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::target) enum End {
    Good,
    Check(Sense),
    Status(u8),
}

/// What a command may have to know of the target besides its unit: the LUNs, the longest transfer,
/// and the port that it came through.
#[derive(Clone, Copy, Debug)]
pub(in crate::target) struct Inventory<'a> {
    pub(in crate::target) luns: &'a [std::sync::Arc<LogicalUnit>],
    pub(in crate::target) max_transfer_length: u32,
    pub(in crate::target) alua: &'a Alua,
    /// The target's name, and the port's relative identifier and group.
    pub(in crate::target) name: &'a str,
    pub(in crate::target) port: u16,
    pub(in crate::target) group: u16,
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
pub(in crate::target) const fn ignores_unit_attention(opcode: u8) -> bool {
    matches!(opcode, 0x12 | 0xa0 | 0x03)
}

/// Decodes `cdb`, addressed to `lun` (`None`: no such unit).
pub(in crate::target) fn decode(
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
            request_sense(cdb, sense)
        }
        (_, None) => Action::Fail(Sense::NO_SUCH_LUN),
        (0x00, Some(_)) => Action::Good,
        (_, Some(lun)) => {
            let action = decode_for(cdb, lun, inventory);
            action.unwrap_or_else(Action::Fail)
        }
    }
}

/// The commands that need a logical unit.
fn decode_for(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    match cdb[0] {
        0x08 | 0x28 | 0xa8 | 0x88 => medium::read(cdb, lun, inventory),
        0x0a | 0x2a | 0xaa | 0x8a | 0x2e | 0xae | 0x8e => medium::write(cdb, lun, inventory),
        0x2f | 0xaf | 0x8f => medium::verify(cdb, lun, inventory),
        0x89 => medium::compare_and_write(cdb, lun, inventory),
        0x8b => medium::or_write(cdb, lun, inventory),
        0x34 | 0x90 | 0x35 | 0x91 => medium::cache(cdb, lun),
        0x41 | 0x93 => medium::write_same(cdb, lun),
        0x42 => unmap::unmap(cdb, lun),
        0x1a | 0x5a => Ok(mode_sense(cdb, lun)),
        0x1b => start_stop_unit(cdb),
        0x25 => Ok(read_capacity_10(lun)),
        0x37 | 0xb7 => Ok(defects::read_defect_data(cdb)),
        0x5e => reserve::persistent_reserve_in(cdb, lun),
        0x5f => reserve::persistent_reserve_out(cdb),
        0x9e => match cdb[1] & 0x1f {
            0x10 => Ok(read_capacity_16(cdb, lun)),
            0x12 => unmap::get_lba_status(cdb, lun),
            _ => Err(Sense::INVALID_FIELD),
        },
        0xa3 if cdb[1] & 0x1f == 0x0a => inventory.alua.report(cdb),
        0xa3 if cdb[1] & 0x1f == 0x0c => {
            let alua = inventory.alua;
            supported::report(cdb, lun, (alua.is_on(), alua.is_explicit()))
        }
        0xa4 if cdb[1] & 0x1f == 0x0a => inventory.alua.set_command(cdb),
        _ => Err(Sense::INVALID_OPCODE),
    }
}

/// A medium that cannot be removed cannot be loaded or ejected either (LOEJ). There is nothing to spin
/// up or down.
const fn start_stop_unit(cdb: &[u8; 16]) -> Result<Action, Sense> {
    if cdb[4] & 0x02 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    Ok(Action::Good)
}

fn data(mut bytes: Vec<u8>, allocation_length: u32) -> Action {
    bytes.truncate(allocation_length as usize);
    Action::Data(bytes)
}
