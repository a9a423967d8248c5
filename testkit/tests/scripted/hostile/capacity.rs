//! READ CAPACITY that lies (SBC-3 sections 5.15 and 5.16).

use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDevice, BlockDeviceExt, ReadOptions},
    error::{ErrorKind, Outcome},
};
use iscsi_proto::{
    DecodeError,
    scsi::{Cdb, ReadCapacity10, ReadCapacity16},
};
use iscsi_testkit::scripted::Told;

use super::disk::{Lies, cdb, lying, malformed, open};
use crate::support::{World, rows};

rows! {
    h110_geometry_that_cannot_be;
    h110_the_largest_disk_that_can_be;
    h110_capacity_that_is_cut;
    h110_a_disk_that_changes_its_geometry;
}

fn long(last_lba: u64, block_length: u32, physical_block_exponent: u8) -> Vec<u8> {
    let capacity = ReadCapacity16 {
        last_lba,
        block_length,
        physical_block_exponent,
        ..ReadCapacity16::default()
    };
    capacity.emit().to_vec()
}

fn short(last_lba: u32, block_length: u32) -> Vec<u8> {
    let capacity = ReadCapacity10 {
        last_lba,
        block_length,
    };
    capacity.emit().to_vec()
}

/// Block lengths that nobody can calculate with, and sizes that 64 bits cannot hold.
async fn h110_geometry_that_cannot_be(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let lengths = [
            0,
            1,
            3,
            256,
            511,
            513,
            520,
            528,
            768,
            4160,
            65_537,
            131_072,
            1 << 31,
            u32::MAX,
        ];
        let of_lengths = lengths.map(|block_length| (2047, block_length));
        let too_large = [
            (u64::MAX, 512),
            (u64::MAX, 65_536),
            (u64::MAX - 1, 512),
            (1 << 55, 512),
            ((1 << 55) - 1, 512),
            ((1 << 48) - 1, 65_536),
        ];
        for (last_lba, block_length) in of_lengths.into_iter().chain(too_large) {
            for exponent in [0, 15] {
                lies.data(
                    cdb::READ_CAPACITY_16,
                    long(last_lba, block_length, exponent),
                );
                let error = open(&session).await.unwrap_err();
                let bad = DecodeError::BadGeometry {
                    last_lba,
                    block_length,
                };
                assert_eq!(malformed(&error), bad);
            }
        }
        // The same from a disk that knows the short command only.
        lies.told(cdb::READ_CAPACITY_16, Told::Sense(5, 0x20, 0));
        for block_length in lengths {
            for last_lba in [0, 2047, u32::MAX] {
                lies.data(cdb::READ_CAPACITY_10, short(last_lba, block_length));
                let error = open(&session).await.unwrap_err();
                let last_lba = last_lba.into();
                let bad = DecodeError::BadGeometry {
                    last_lba,
                    block_length,
                };
                assert_eq!(malformed(&error), bad);
            }
        }
        // "More than this command can say", and no other command.
        lies.data(cdb::READ_CAPACITY_10, short(u32::MAX, 512));
        let error = open(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        lies.data(cdb::READ_CAPACITY_10, short(u32::MAX - 1, 512));
        let size = u64::from(u32::MAX) * 512;
        assert_eq!(open(&session).await.unwrap().info().size, size);
    })
    .await;
}

/// Sizes just below the limit: every address is the right one, and what ends behind the last byte, or past the end
/// of 64 bits, is not sent.
async fn h110_the_largest_disk_that_can_be(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        for (last_lba, block_length) in [
            (0, 512),
            (0, 65_536),
            (u64::from(u32::MAX), 512),
            ((1 << 55) - 2, 512),
            ((1 << 52) - 2, 4096),
            ((1 << 48) - 2, 65_536),
        ] {
            for exponent in [0, 1, 15] {
                lies.data(
                    cdb::READ_CAPACITY_16,
                    long(last_lba, block_length, exponent),
                );
                let unit = open(&session).await.unwrap();
                let info = unit.info();
                let block = u64::from(block_length);
                assert_eq!(info.size, (last_lba + 1) * block);
                assert_eq!(info.block_size, block_length);
                assert_eq!(info.physical_block_size, block_length << exponent);
                let answer = vec![7; block_length as usize];
                lies.data(cdb::READ_16, answer.clone());
                lies.data(&[0x28], answer.clone());
                lies.heard(&[]);
                let bytes = unit.read_bytes(last_lba * block, block_length as usize);
                assert_eq!(bytes.await.unwrap(), answer);
                let right = Cdb::read(last_lba, 1, false);
                assert_eq!(lies.heard(&[]), [right.bytes]);
                for (offset, len) in [
                    (info.size, block),
                    (info.size - block, 2 * block),
                    (0, 1 << 24),
                    (u64::MAX - block + 1, block),
                    (u64::MAX - block + 1, 2 * block),
                ] {
                    if offset.checked_add(len).is_some_and(|end| end <= info.size) {
                        continue;
                    }
                    let buf = ReadBuf::zeroed(len as usize);
                    let read = BlockDevice::read(&unit, offset, buf, ReadOptions::default());
                    let error = read.await.result.unwrap_err();
                    let size = info.size;
                    assert_eq!(error.kind(), ErrorKind::OutOfRange { offset, len, size });
                    assert_eq!(error.outcome(), Outcome::NotExecuted);
                }
                assert_eq!(lies.heard(&[]), [[0; 16]; 0]);
            }
        }
    })
    .await;
}

/// Answers that end anywhere: the size has to be there.
async fn h110_capacity_that_is_cut(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        for end in 0..32 {
            let mut bytes = long(2047, 512, 3);
            bytes.truncate(end);
            lies.data(cdb::READ_CAPACITY_16, bytes);
            match open(&session).await {
                Ok(unit) => {
                    let info = unit.info();
                    let physical = if end > 13 { 4096 } else { 512 };
                    assert!(end >= 12);
                    assert_eq!((info.size, info.physical_block_size), (1 << 20, physical));
                }
                Err(error) => {
                    assert!(end < 12);
                    let (length, needed) = (end as u32, 12);
                    assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
                }
            }
        }
        lies.told(cdb::READ_CAPACITY_16, Told::Sense(5, 0x24, 0));
        for end in 0..8 {
            let mut bytes = short(2047, 512);
            bytes.truncate(end);
            lies.data(cdb::READ_CAPACITY_10, bytes);
            let error = open(&session).await.unwrap_err();
            let (length, needed) = (end as u32, 8);
            assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
        }
    })
    .await;
}

/// The disk says that its capacity has changed, and then what cannot be: no read or write is sent before it makes
/// sense again, whatever that was.
async fn h110_a_disk_that_changes_its_geometry(world: &World) {
    let core = world.core();
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let before = unit.read_bytes(0, 4096).await.unwrap();
        let whole = unit.info();
        for (last_lba, block_length, kind) in [
            (2047, 0, ErrorKind::Protocol),
            (u64::MAX, 512, ErrorKind::Protocol),
            (2047, 3, ErrorKind::Protocol),
            (255, 4096, ErrorKind::WrongUnit),
            (15, 65_536, ErrorKind::WrongUnit),
        ] {
            core.raise_attention(0, 0x2a, 0x09);
            lies.data(cdb::READ_CAPACITY_16, long(last_lba, block_length, 0));
            lies.heard(&[]);
            for _ in 0..3 {
                let error = unit.read_bytes(0, 4096).await.unwrap_err();
                assert_eq!(error.kind(), kind);
                assert_eq!(error.outcome(), Outcome::NotExecuted);
                let error = unit.write_bytes(0, vec![1; 512].into()).await.unwrap_err();
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (kind, Outcome::NotExecuted)
                );
            }
            // The first of them has found the unit attention.
            let io = lies.heard(&[]);
            let io = io.iter().filter(|cdb| cdb::is_io(cdb));
            assert_eq!(io.count(), 1);
            assert_eq!(unit.info(), whole);
            lies.end();
            assert_eq!(unit.read_bytes(0, 4096).await.unwrap(), before);
        }
    })
    .await;
}
