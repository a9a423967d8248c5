//! What a disk must hold.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use bytes::Bytes;
use iscsi_client::device::{BlockDevice, BlockDeviceExt, FlushOptions};
use iscsi_testkit::pattern;

/// The content of a disk as it must be after all that was written to it.
#[derive(Debug)]
pub(crate) struct Image {
    block: usize,
    bytes: Vec<u8>,
    writes: u64,
}

impl Image {
    /// A disk of zeros.
    pub(crate) fn new(block: u32, size: u64) -> Self {
        Self {
            block: block as usize,
            bytes: vec![0; usize::try_from(size).expect("fits in memory")],
            writes: 0,
        }
    }

    /// Writes `blocks` blocks of content that no other write has, and reads them back together with
    /// the neighbours on both sides, which must be as they were.
    pub(crate) async fn write(&mut self, device: &dyn BlockDevice, at: usize, blocks: usize) {
        let range = at * self.block..(at + blocks) * self.block;
        self.writes += 1;
        pattern::fill(
            self.writes,
            range.start as u64,
            &mut self.bytes[range.clone()],
        );
        let bytes = Bytes::copy_from_slice(&self.bytes[range.clone()]);
        let written = device.write_bytes(range.start as u64, bytes).await;
        written.unwrap_or_else(|e| panic!("{blocks} blocks at {at}: {e:#}"));
        let end = (at + blocks + 1).min(self.bytes.len() / self.block);
        self.read(device, at.saturating_sub(1), end).await;
    }

    /// Reads blocks `from` to `to` and compares.
    pub(crate) async fn read(&self, device: &dyn BlockDevice, from: usize, to: usize) {
        let range = from * self.block..to * self.block;
        let read = device.read_bytes(range.start as u64, range.len()).await;
        let read = read.unwrap_or_else(|e| panic!("blocks {from} to {to}: {e:#}"));
        let expected = &self.bytes[range];
        if let Some(wrong) = read.iter().zip(expected).position(|(a, b)| a != b) {
            panic!("of blocks {from} to {to} byte {wrong} is not what was written");
        }
    }

    /// Flushes, reads all of it, and looks at the file behind the target as well.
    pub(crate) async fn verify(&self, device: &dyn BlockDevice, backing: &Path) {
        device
            .flush(FlushOptions::default())
            .await
            .expect("a flush");
        let blocks = self.bytes.len() / self.block;
        for from in (0..blocks).step_by(8192) {
            self.read(device, from, (from + 8192).min(blocks)).await;
        }
        let mut file = vec![0; self.bytes.len()];
        let read = File::open(backing).and_then(|f| f.read_exact_at(&mut file, 0));
        read.expect("the backing file");
        assert!(
            file == self.bytes,
            "the target's file is not what was written"
        );
    }
}
