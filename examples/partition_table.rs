//! Partition tables: GPT and MBR, as the `gpt` crate reads them.

use std::{fmt, io::Cursor};

use gpt::{
    disk::LogicalBlockSize,
    header::{Header, read_header_from_arbitrary_device},
    mbr::ProtectiveMBR,
    partition::file_read_partitions,
};
use iscsi_client::device::{BlockDevice, BlockDeviceExt};
use serde::Serialize;

use crate::failure::Failure;

/// What an MBR says of a disk that has a GPT.
const PROTECTIVE: u8 = 0xee;
/// Bytes of the sector that an MBR is.
const SECTOR: usize = 512;
/// Bytes of an entry; no other size is in use.
const ENTRY: u32 = 128;
/// How many entries are read. 128 is what tools make; a table of a hundred times as many is none.
const MOST: u32 = 1024;

/// The partitions of a disk. `Display` has a line for each. The field names are the keys of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// `gpt` or `dos`, as `blkid` calls them.
    pub table: &'static str,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its first byte.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// A GUID, or two hexadecimal digits.
    pub kind: String,
    /// What a GPT calls it; empty if it has no name.
    pub name: String,
}

impl Table {
    /// Reads the table of a disk. Each partition lies within the disk.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read, has no table, or one that makes no sense.
    pub async fn read(device: &dyn BlockDevice) -> Result<Self, Failure> {
        let info = device.info();
        let (size, block) = (info.size, info.block_size);
        // An MBR is one sector, and the header of a GPT is in the second block.
        let first = u64::from(block) * 2;
        if size < first {
            return Err(no_table());
        }
        let begin = device.read_bytes(0, first as usize).await?;
        let sectors = match block {
            512 => LogicalBlockSize::Lb512,
            4096 => LogicalBlockSize::Lb4096,
            other => {
                return Err(Failure::new(format_args!(
                    "no table is known with blocks of {other} bytes; only with 512 and 4096"
                )));
            }
        };
        let mbr = ProtectiveMBR::from_bytes(&begin[..SECTOR], LogicalBlockSize::Lb512)
            .map_err(|_| no_table())?;
        let records = || (0..4).filter_map(|at| Some((at, mbr.partition(at)?)));
        let used = records().filter(|(_, record)| record.os_type != 0);
        let table = if records().any(|(_, record)| record.os_type == PROTECTIVE) {
            Self {
                table: "gpt",
                partitions: guid_partitions(device, &begin, sectors).await?,
            }
        } else {
            let partition = |(at, record): (usize, gpt::mbr::PartRecord)| Partition {
                number: at as u32 + 1,
                offset: u64::from(record.lb_start) * u64::from(block),
                length: u64::from(record.lb_size) * u64::from(block),
                kind: format!("{:02x}", record.os_type),
                name: String::new(),
            };
            Self {
                table: "dos",
                partitions: used.map(partition).collect(),
            }
        };
        table.checked(size)
    }

    fn checked(self, size: u64) -> Result<Self, Failure> {
        for partition in &self.partitions {
            let end = partition.offset.checked_add(partition.length);
            if partition.length == 0 || end.is_none_or(|end| end > size) {
                let number = partition.number;
                return Err(Failure::new(format_args!(
                    "partition {number} is not within the disk of {size} bytes: the table is of another disk, or damaged"
                )));
            }
        }
        Ok(self)
    }

    /// One line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

async fn guid_partitions(
    device: &dyn BlockDevice,
    begin: &[u8],
    block: LogicalBlockSize,
) -> Result<Vec<Partition>, Failure> {
    let damaged = |error: &dyn fmt::Display| {
        Failure::new(format_args!(
            "the first copy of the GPT cannot be used: {error}; sgdisk or gdisk repair it from the second one"
        ))
    };
    let header = read_header_from_arbitrary_device(&mut Cursor::new(begin), block);
    let header = header.map_err(|error| damaged(&error))?;
    // The crate would take any number for good, and memory for it.
    if header.part_size != ENTRY || header.num_parts > MOST {
        let (entries, size) = (header.num_parts, header.part_size);
        return Err(damaged(&format_args!(
            "it has {entries} entries of {size} bytes"
        )));
    }
    let blocks = u64::from(block);
    let length = u64::from(header.num_parts * ENTRY).next_multiple_of(blocks);
    let start = header.part_start.checked_mul(blocks);
    let end = start.and_then(|start| start.checked_add(length));
    let (Some(start), true) = (start, end.is_some_and(|end| end <= device.info().size)) else {
        return Err(damaged(&"its entries are not within the disk"));
    };
    let entries = device.read_bytes(start, length as usize).await?;
    // Only the entries are handed over, so that is where they begin.
    let header = Header {
        part_start: 0,
        ..header
    };
    let found = file_read_partitions(&mut Cursor::new(&entries[..]), &header, block);
    let found = found.map_err(|error| damaged(&error))?;
    let mut partitions = Vec::new();
    for (number, entry) in found.into_iter().filter(|(_, entry)| entry.is_used()) {
        let (Ok(offset), Ok(length)) = (entry.bytes_start(block), entry.bytes_len(block)) else {
            return Err(damaged(&format_args!(
                "partition {number} ends before it begins"
            )));
        };
        // The names are the disk's, and no terminal is to be spoken to by it.
        let printable = |letter: &char| !letter.is_control();
        partitions.push(Partition {
            number,
            offset,
            length,
            kind: entry.part_type_guid.guid.to_string(),
            name: entry.name.chars().filter(printable).collect(),
        });
    }
    Ok(partitions)
}

fn no_table() -> Failure {
    Failure::new("no partition table: all of the disk is one piece, or holds nothing yet")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} partitions", self.table, self.partitions.len())?;
        self.partitions
            .iter()
            .try_for_each(|partition| write!(f, "\n{partition}"))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            offset,
            length,
            kind,
            name,
        } = self;
        write!(f, "{number}: {length} bytes at {offset}, type {kind}")?;
        match name.is_empty() {
            true => Ok(()),
            false => write!(f, ", {name}"),
        }
    }
}
