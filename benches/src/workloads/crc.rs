//! CRC32C over what digests are summed over.

use std::hint::black_box;

use iscsi_proto::digest::crc32c;

use super::Workload;
use crate::failure::Failure;

pub(super) const WORKLOADS: &[Workload] = &[
    of("crc32c/48", "a header", 1000, |ops| sum(48, ops)),
    of("crc32c/4k", "4 KiB", 200, |ops| sum(4 << 10, ops)),
    of("crc32c/256k", "256 KiB", 8, |ops| sum(256 << 10, ops)),
];

const fn of(
    name: &'static str,
    about: &'static str,
    counted: u64,
    run: fn(u64) -> Result<(), Failure>,
) -> Workload {
    Workload {
        name,
        about,
        warm: 2,
        counted,
        run,
    }
}

fn sum(len: usize, ops: u64) -> Result<(), Failure> {
    let data = vec![0x5a; len];
    let mut crc = 0;
    for _ in 0..ops {
        crc = crc32c(crc, black_box(&data));
    }
    black_box(crc);
    Ok(())
}
