//! Command descriptor blocks: built by the initiator, decoded by the target ([`Command`]).
//!
//! INQUIRY, REPORT LUNS and TEST UNIT READY are in SPC-4 section 6, the others in SBC-3 section 5.
//! LBAs and transfer lengths count logical blocks, allocation lengths count
//! bytes.

use core::fmt;

pub(crate) mod opcode {
    pub(crate) const TEST_UNIT_READY: u8 = 0x00;
    pub(crate) const REQUEST_SENSE: u8 = 0x03;
    pub(crate) const READ_6: u8 = 0x08;
    pub(crate) const WRITE_6: u8 = 0x0a;
    pub(crate) const INQUIRY: u8 = 0x12;
    pub(crate) const READ_CAPACITY_10: u8 = 0x25;
    pub(crate) const READ_10: u8 = 0x28;
    pub(crate) const WRITE_10: u8 = 0x2a;
    pub(crate) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(crate) const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub(crate) const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub(crate) const READ_16: u8 = 0x88;
    pub(crate) const WRITE_16: u8 = 0x8a;
    pub(crate) const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub(crate) const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub(crate) const REPORT_LUNS: u8 = 0xa0;
    pub(crate) const MAINTENANCE_IN: u8 = 0xa3;
    pub(crate) const MAINTENANCE_OUT: u8 = 0xa4;
    pub(crate) const READ_12: u8 = 0xa8;
    pub(crate) const WRITE_12: u8 = 0xaa;
}

/// The service action of READ CAPACITY (16) within SERVICE ACTION IN (16).
const READ_CAPACITY_16: u8 = 0x10;
/// FORCE UNIT ACCESS in byte 1 of the 10, 12 and 16 byte READ and WRITE commands.
const FUA: u8 = 0x08;

/// A command descriptor block of 6, 10, 12 or 16 bytes, padded with zeros as the SCSI Command PDU
/// wants it (RFC 7143 section 11.3.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cdb {
    /// The block; bytes from `len` on are zero.
    pub bytes: [u8; 16],
    /// How many bytes the command has.
    pub len: u8,
}

impl Cdb {
    /// The block in a SCSI Command PDU. Its length follows from the group code of the opcode
    /// (SPC-4, operation code); reserved, vendor-specific and variable-length groups count as 16.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let len = match bytes[0] >> 5 {
            0 => 6,
            1 | 2 => 10,
            5 => 12,
            _ => 16,
        };
        Self { bytes, len }
    }

    /// The command without its padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }

    /// The first byte.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// TEST UNIT READY.
    #[must_use]
    pub const fn test_unit_ready() -> Self {
        Self::from_bytes([0; 16])
    }

    /// REQUEST SENSE for at most `allocation_length` bytes of sense data, 252 of which are enough for
    /// everything. `descriptor` asks for the descriptor format, which a device may ignore. The answer
    /// is parsed by [`SenseData::parse`](super::SenseData::parse).
    #[must_use]
    pub const fn request_sense(descriptor: bool, allocation_length: u8) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = opcode::REQUEST_SENSE;
        bytes[1] = if descriptor { 1 } else { 0 };
        bytes[4] = allocation_length;
        Self::from_bytes(bytes)
    }

    /// INQUIRY for the standard data.
    #[must_use]
    pub const fn inquiry(allocation_length: u16) -> Self {
        Self::inquiry_with(0, 0, allocation_length)
    }

    /// INQUIRY for a vital product data page; page codes are constants of [`vpd`](super::vpd).
    #[must_use]
    pub const fn inquiry_vpd(page: u8, allocation_length: u16) -> Self {
        Self::inquiry_with(1, page, allocation_length)
    }

    const fn inquiry_with(evpd: u8, page: u8, allocation_length: u16) -> Self {
        let mut bytes = [0; 16];
        [bytes[0], bytes[1], bytes[2]] = [opcode::INQUIRY, evpd, page];
        [bytes[3], bytes[4]] = allocation_length.to_be_bytes();
        Self::from_bytes(bytes)
    }

    /// REPORT LUNS with SELECT REPORT 0: the logical units that this initiator may use, without
    /// the well-known ones. The standard wants at least 16 bytes of allocation length.
    #[must_use]
    pub const fn report_luns(allocation_length: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = opcode::REPORT_LUNS;
        [bytes[6], bytes[7], bytes[8], bytes[9]] = allocation_length.to_be_bytes();
        Self::from_bytes(bytes)
    }

    /// READ CAPACITY (10); the answer is 8 bytes.
    #[must_use]
    pub const fn read_capacity10() -> Self {
        Self::block10(opcode::READ_CAPACITY_10, 0, 0, 0)
    }

    /// READ CAPACITY (16) for the whole answer of 32 bytes.
    #[must_use]
    pub const fn read_capacity16() -> Self {
        Self::block16(opcode::SERVICE_ACTION_IN_16, READ_CAPACITY_16, 0, 32)
    }

    /// READ (10).
    #[must_use]
    pub const fn read10(lba: u32, blocks: u16, fua: bool) -> Self {
        Self::block10(opcode::READ_10, fua_bit(fua), lba, blocks)
    }

    /// READ (16).
    #[must_use]
    pub const fn read16(lba: u64, blocks: u32, fua: bool) -> Self {
        Self::block16(opcode::READ_16, fua_bit(fua), lba, blocks)
    }

    /// READ (10) where it reaches, else READ (16).
    #[must_use]
    pub const fn read(lba: u64, blocks: u32, fua: bool) -> Self {
        if fits10(lba, blocks) {
            Self::read10(lba as u32, blocks as u16, fua)
        } else {
            Self::read16(lba, blocks, fua)
        }
    }

    /// WRITE (10).
    #[must_use]
    pub const fn write10(lba: u32, blocks: u16, fua: bool) -> Self {
        Self::block10(opcode::WRITE_10, fua_bit(fua), lba, blocks)
    }

    /// WRITE (16).
    #[must_use]
    pub const fn write16(lba: u64, blocks: u32, fua: bool) -> Self {
        Self::block16(opcode::WRITE_16, fua_bit(fua), lba, blocks)
    }

    /// WRITE (10) where it reaches, else WRITE (16).
    #[must_use]
    pub const fn write(lba: u64, blocks: u32, fua: bool) -> Self {
        if fits10(lba, blocks) {
            Self::write10(lba as u32, blocks as u16, fua)
        } else {
            Self::write16(lba, blocks, fua)
        }
    }

    /// SYNCHRONIZE CACHE (10), status after the data is on the medium (IMMED 0). Zero blocks
    /// mean: up to the end of the medium.
    #[must_use]
    pub const fn synchronize_cache10(lba: u32, blocks: u16) -> Self {
        Self::block10(opcode::SYNCHRONIZE_CACHE_10, 0, lba, blocks)
    }

    /// SYNCHRONIZE CACHE (16), as [`Cdb::synchronize_cache10`].
    #[must_use]
    pub const fn synchronize_cache16(lba: u64, blocks: u32) -> Self {
        Self::block16(opcode::SYNCHRONIZE_CACHE_16, 0, lba, blocks)
    }

    const fn block10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> Self {
        let mut bytes = [0; 16];
        [bytes[0], bytes[1]] = [opcode, flags];
        [bytes[2], bytes[3], bytes[4], bytes[5]] = lba.to_be_bytes();
        [bytes[7], bytes[8]] = blocks.to_be_bytes();
        Self::from_bytes(bytes)
    }

    const fn block16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> Self {
        let l = lba.to_be_bytes();
        let mut bytes = [0; 16];
        [bytes[0], bytes[1]] = [opcode, flags];
        [bytes[2], bytes[3], bytes[4], bytes[5]] = [l[0], l[1], l[2], l[3]];
        [bytes[6], bytes[7], bytes[8], bytes[9]] = [l[4], l[5], l[6], l[7]];
        [bytes[10], bytes[11], bytes[12], bytes[13]] = blocks.to_be_bytes();
        Self::from_bytes(bytes)
    }
}

const fn fua_bit(fua: bool) -> u8 {
    if fua { FUA } else { 0 }
}

const fn fits10(lba: u64, blocks: u32) -> bool {
    lba <= u32::MAX as u64 && blocks <= u16::MAX as u32
}

/// What a CDB asks for, as a target sees it. Fields that a simple disk has no use for (DPO, group
/// number, CONTROL) are not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// INQUIRY.
    Inquiry {
        /// A vital product data page is wanted, not the standard data.
        evpd: bool,
        /// PAGE CODE; must be zero without `evpd`.
        page: u8,
        /// The answer is cut to this many bytes.
        allocation_length: u16,
    },
    /// REPORT LUNS.
    ReportLuns {
        /// SELECT REPORT: 0 usual, 1 well-known, 2 all.
        select: u8,
        /// The answer is cut to this many bytes.
        allocation_length: u32,
    },
    /// READ CAPACITY (10).
    ReadCapacity10,
    /// READ CAPACITY (16).
    ReadCapacity16 {
        /// The answer is cut to this many bytes.
        allocation_length: u32,
    },
    /// READ (6), (10), (12) or (16).
    Read {
        /// First logical block.
        lba: u64,
        /// TRANSFER LENGTH in blocks; the 0 of READ (6) is given as the 256 that it means.
        blocks: u32,
        /// Read the medium, not a volatile cache.
        fua: bool,
    },
    /// WRITE (6), (10), (12) or (16).
    Write {
        /// First logical block.
        lba: u64,
        /// TRANSFER LENGTH in blocks; the 0 of WRITE (6) is given as the 256 that it means.
        blocks: u32,
        /// Status only after the data is on the medium.
        fua: bool,
    },
    /// SYNCHRONIZE CACHE (10) or (16).
    SynchronizeCache {
        /// First logical block.
        lba: u64,
        /// Number of blocks, 0 for all up to the end of the medium.
        blocks: u32,
        /// IMMED: status may come before the work is done.
        immediate: bool,
    },
    /// Any other opcode (or service action of one that is shared).
    Other(u8),
}

impl Command {
    /// Decodes a CDB.
    #[must_use]
    pub const fn decode(cdb: &Cdb) -> Self {
        let b = &cdb.bytes;
        let lba10 = u32::from_be_bytes([b[2], b[3], b[4], b[5]]) as u64;
        let lba16 = u64::from_be_bytes([b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9]]);
        let blocks10 = u16::from_be_bytes([b[7], b[8]]) as u32;
        // READ (12), WRITE (12) and the allocation length of REPORT LUNS share these bytes.
        let length12 = u32::from_be_bytes([b[6], b[7], b[8], b[9]]);
        let length16 = u32::from_be_bytes([b[10], b[11], b[12], b[13]]);
        let fua = b[1] & FUA != 0;
        let immediate = b[1] & 0x02 != 0;
        let lba6 = u32::from_be_bytes([0, b[1] & 0x1f, b[2], b[3]]) as u64;
        let blocks6 = if b[4] == 0 { 256 } else { b[4] as u32 };

        match b[0] {
            opcode::TEST_UNIT_READY => Self::TestUnitReady,
            opcode::INQUIRY => Self::Inquiry {
                evpd: b[1] & 1 != 0,
                page: b[2],
                allocation_length: u16::from_be_bytes([b[3], b[4]]),
            },
            opcode::REPORT_LUNS => Self::ReportLuns {
                select: b[2],
                allocation_length: length12,
            },
            opcode::READ_CAPACITY_10 => Self::ReadCapacity10,
            opcode::SERVICE_ACTION_IN_16 if b[1] & 0x1f == READ_CAPACITY_16 => {
                Self::ReadCapacity16 {
                    allocation_length: length16,
                }
            }
            opcode::READ_6 => Self::Read {
                lba: lba6,
                blocks: blocks6,
                fua: false,
            },
            opcode::READ_10 => Self::Read {
                lba: lba10,
                blocks: blocks10,
                fua,
            },
            opcode::READ_12 => Self::Read {
                lba: lba10,
                blocks: length12,
                fua,
            },
            opcode::READ_16 => Self::Read {
                lba: lba16,
                blocks: length16,
                fua,
            },
            opcode::WRITE_6 => Self::Write {
                lba: lba6,
                blocks: blocks6,
                fua: false,
            },
            opcode::WRITE_10 => Self::Write {
                lba: lba10,
                blocks: blocks10,
                fua,
            },
            opcode::WRITE_12 => Self::Write {
                lba: lba10,
                blocks: length12,
                fua,
            },
            opcode::WRITE_16 => Self::Write {
                lba: lba16,
                blocks: length16,
                fua,
            },
            opcode::SYNCHRONIZE_CACHE_10 => Self::SynchronizeCache {
                lba: lba10,
                blocks: blocks10,
                immediate,
            },
            opcode::SYNCHRONIZE_CACHE_16 => Self::SynchronizeCache {
                lba: lba16,
                blocks: length16,
                immediate,
            },
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.len;
        match Command::decode(self) {
            Command::TestUnitReady => f.write_str("TEST UNIT READY"),
            Command::Inquiry {
                evpd: true, page, ..
            } => write!(f, "INQUIRY page {page:#04x}"),
            Command::Inquiry { .. } => f.write_str("INQUIRY"),
            Command::ReportLuns { .. } => f.write_str("REPORT LUNS"),
            Command::ReadCapacity10 => f.write_str("READ CAPACITY(10)"),
            Command::ReadCapacity16 { .. } => f.write_str("READ CAPACITY(16)"),
            Command::Read { lba, blocks, fua } => {
                let fua = if fua { " FUA" } else { "" };
                write!(f, "READ({len}) LBA {lba} blocks {blocks}{fua}")
            }
            Command::Write { lba, blocks, fua } => {
                let fua = if fua { " FUA" } else { "" };
                write!(f, "WRITE({len}) LBA {lba} blocks {blocks}{fua}")
            }
            Command::SynchronizeCache { lba, blocks, .. } => {
                write!(f, "SYNCHRONIZE CACHE({len}) LBA {lba} blocks {blocks}")
            }
            Command::Other(opcode) => match (opcode, self.bytes[1] & 0x1f) {
                (opcode::REQUEST_SENSE, _) => f.write_str("REQUEST SENSE"),
                (0x1a | 0x5a, _) => {
                    write!(f, "MODE SENSE({len}) page {:#04x}", self.bytes[2] & 0x3f)
                }
                (opcode::MAINTENANCE_IN, 0x0a) => f.write_str("REPORT TARGET PORT GROUPS"),
                (opcode::MAINTENANCE_OUT, 0x0a) => f.write_str("SET TARGET PORT GROUPS"),
                (opcode::PERSISTENT_RESERVE_IN, action) => {
                    write!(f, "PERSISTENT RESERVE IN, {}", reserve_in(action))
                }
                (opcode::PERSISTENT_RESERVE_OUT, action) => {
                    write!(f, "PERSISTENT RESERVE OUT, {}", reserve_out(action))
                }
                _ => write!(f, "command {opcode:#04x}"),
            },
        }
    }
}

const fn reserve_in(service_action: u8) -> &'static str {
    match service_action {
        0x00 => "READ KEYS",
        0x01 => "READ RESERVATION",
        0x02 => "REPORT CAPABILITIES",
        0x03 => "READ FULL STATUS",
        _ => "unknown service action",
    }
}

const fn reserve_out(service_action: u8) -> &'static str {
    match service_action {
        0x00 => "REGISTER",
        0x01 => "RESERVE",
        0x02 => "RELEASE",
        0x03 => "CLEAR",
        0x04 => "PREEMPT",
        0x05 => "PREEMPT AND ABORT",
        0x06 => "REGISTER AND IGNORE EXISTING KEY",
        0x07 => "REGISTER AND MOVE",
        _ => "unknown service action",
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cdb({self}: {:02x?})", self.as_bytes())
    }
}
