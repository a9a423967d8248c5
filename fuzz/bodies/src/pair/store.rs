//! What blocks may hold.

use iscsi_testkit::pattern;

use super::BLOCK;

/// Of the target's content.
pub(super) const SEED: u64 = 7;

/// For each block what it may hold: one thing as a rule, and more behind writes whose outcome is not known.
pub(super) struct Expected {
    blocks: Vec<Vec<Vec<u8>>>,
    /// Writes so far, each of which has its own bytes.
    writes: u64,
}

impl Expected {
    pub(super) fn new(blocks: u64) -> Self {
        let block = |lba: u64| {
            let mut bytes = vec![0; BLOCK];
            pattern::fill(SEED, lba * BLOCK as u64, &mut bytes);
            vec![bytes]
        };
        Self {
            blocks: (0..blocks).map(block).collect(),
            writes: 0,
        }
    }

    /// Bytes that nobody has written yet.
    pub(super) fn fresh(&mut self, len: usize) -> Vec<u8> {
        self.writes += 1;
        let mut bytes = vec![0; len];
        pattern::fill(SEED + self.writes, 0, &mut bytes);
        bytes
    }

    fn each<'a>(
        &mut self,
        lba: u64,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&mut Vec<Vec<u8>>, &'a [u8])> {
        let blocks = self.blocks.iter_mut().skip(lba as usize);
        blocks.zip(bytes.chunks(BLOCK))
    }

    /// A write was acknowledged. What may still land of earlier ones stays possible.
    pub(super) fn wrote(&mut self, lba: u64, bytes: &[u8]) {
        for (block, bytes) in self.each(lba, bytes) {
            // The first is the last acknowledged one.
            block[0] = bytes.to_vec();
        }
    }

    /// A write may have been executed, or may yet be.
    pub(super) fn may_write(&mut self, lba: u64, bytes: &[u8]) {
        for (block, bytes) in self.each(lba, bytes) {
            block.push(bytes.to_vec());
        }
    }

    /// Somebody read this.
    pub(super) fn read(&mut self, lba: u64, bytes: &[u8]) {
        for (at, (block, bytes)) in (lba..).zip(self.each(lba, bytes)) {
            assert!(
                block.iter().any(|may| may == bytes),
                "wrong bytes in block {at}"
            );
        }
    }
}
