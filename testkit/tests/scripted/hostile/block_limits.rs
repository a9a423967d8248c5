//! Block Limits that contradict themselves (SBC-3, Block Limits VPD page).

use iscsi_client::device::BlockDeviceExt;
use iscsi_proto::scsi::Cdb;
use iscsi_testkit::scripted::Told;

use super::disk::{Lies, cdb, lying, open};
use crate::{
    conformance::talk::pattern,
    support::{World, rows},
};

rows! {
    h111_block_limits_that_mean_nothing;
}

const BLOCK: u32 = 512;
/// What a request is cut to where the disk has no limit.
const OURS: u32 = 4 << 20;

/// Limits of 0 are not reported, an optimal length beyond the longest one neither; no product wraps, no request is
/// longer than the disk says, and all of each request is carried out.
async fn h111_block_limits_that_mean_nothing(world: &World) {
    let core = world.core();
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        // Granularity, longest and optimal transfer in blocks; what is made of the last two in bytes.
        for (granularity, longest, optimal, expected) in [
            (0, 0, 0, (OURS, 0)),
            (0, 0, 8, (OURS, 8 * BLOCK)),
            (0, 1, 0, (BLOCK, 0)),
            (0, 1, 1, (BLOCK, BLOCK)),
            (8, 1, 2, (BLOCK, 0)),
            (u16::MAX, 3, 1, (3 * BLOCK, BLOCK)),
            (1, 5, u32::MAX, (5 * BLOCK, 0)),
            (0, 8192, 8191, (OURS, 8191 * BLOCK)),
            (0, 8193, 8193, (OURS, OURS)),
            // In 32 bits these products are 0 and 512.
            (0, 0x0080_0000, 0, (OURS, 0)),
            (0, 0x0080_0001, 0x0080_0001, (OURS, OURS)),
            (0, 0x8000_0000, 0x8000_0000, (OURS, OURS)),
            (u16::MAX, u32::MAX, u32::MAX, (OURS, OURS)),
        ] {
            lies.about(&cdb::page(0xb0), move |_, truth| {
                let mut page = truth.to_vec();
                page[6..8].copy_from_slice(&u16::to_be_bytes(granularity));
                page[8..12].copy_from_slice(&u32::to_be_bytes(longest));
                page[12..16].copy_from_slice(&u32::to_be_bytes(optimal));
                // Limits of UNMAP and of WRITE SAME: none, or no end of it.
                page[20..44].fill(if granularity == 0 { 0 } else { 0xff });
                Told::Data(page)
            });
            let case = format!("{granularity}, {longest}, {optimal}");
            let unit = open(&session).await.unwrap();
            let info = unit.info();
            assert_eq!(
                (info.max_transfer, info.optimal_transfer),
                expected,
                "{case}"
            );
            let len = 20 * BLOCK as usize;
            let mut bytes = pattern(len);
            bytes[0] = longest as u8;
            bytes[1] = optimal as u8;
            lies.heard(&[]);
            unit.write_bytes(0, bytes.clone().into()).await.unwrap();
            let writes = lies.heard(&[Cdb::write(0, 1, false).bytes[0]]).len();
            let each = (expected.0 as usize).min(len);
            assert_eq!(writes, len.div_ceil(each), "{case}");
            assert_eq!(unit.read_bytes(0, len).await.unwrap(), bytes, "{case}");
            let mut found = vec![0; len];
            core.peek(0, 0, &mut found);
            assert_eq!(found, bytes, "{case}");
        }
    })
    .await;
}
