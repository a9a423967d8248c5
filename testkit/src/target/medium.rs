//! What is on a logical unit: computed content, under what was written and what was deallocated.

use std::{collections::BTreeMap, sync::Arc};

use super::{config::LunConfig, extents::Extents};
use crate::{pattern, sim::Rng};

/// More extents than any test makes; an initiator that punches holes for ever must not fill the
/// memory.
const MAX_EXTENTS: usize = 1 << 20;

/// There is no memory left for another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSpace;

/// The content of a unit. Positions and lengths are in blocks, unless they say otherwise; ranges were
/// checked when the command came.
#[derive(Debug)]
pub(super) struct Medium {
    seed: u64,
    block_size: usize,
    /// A block that WRITE SAME repeats is there once.
    written: BTreeMap<u64, Arc<[u8]>>,
    /// Reads as zeros. Never overlaps `written`.
    deallocated: Extents,
    /// The most blocks that `written` holds.
    room: usize,
    /// Of a volatile cache: what is on the medium proper, of each block that is newer in the cache.
    undo: Option<BTreeMap<u64, Before>>,
}

/// What a block was.
#[derive(Debug)]
enum Before {
    Original,
    Deallocated,
    Written(Arc<[u8]>),
}

impl Medium {
    pub(super) fn new(config: &LunConfig) -> Self {
        let room = config.write_space / u64::from(config.block_size);
        Self {
            seed: config.seed,
            block_size: config.block_size as usize,
            written: BTreeMap::new(),
            deallocated: Extents::new(),
            room: usize::try_from(room).unwrap_or(usize::MAX),
            undo: config.volatile.then(BTreeMap::new),
        }
    }

    /// Remembers what these blocks are, before they change.
    fn remember(&mut self, blocks: std::ops::Range<u64>) {
        let Some(undo) = &mut self.undo else { return };
        for block in blocks {
            undo.entry(block).or_insert_with(|| {
                match (self.written.get(&block), self.deallocated.run(block).0) {
                    (Some(data), _) => Before::Written(Arc::clone(data)),
                    (None, true) => Before::Deallocated,
                    (None, false) => Before::Original,
                }
            });
        }
    }

    /// What is in the cache is on the medium.
    pub(super) fn make_durable(&mut self) {
        if let Some(undo) = &mut self.undo {
            undo.clear();
        }
    }

    /// The same of these blocks.
    pub(super) fn make_blocks_durable(&mut self, blocks: std::ops::Range<u64>) {
        if let Some(undo) = &mut self.undo {
            undo.retain(|block, _| !blocks.contains(block));
        }
    }

    /// Of what is in the cache each block is forgotten, or has reached the medium in time.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        for (block, before) in self.undo.iter_mut().flat_map(std::mem::take) {
            if rng.chance(500) {
                continue;
            }
            self.written.remove(&block);
            self.deallocated.remove(block..block + 1);
            match before {
                Before::Original => {}
                Before::Deallocated => self.deallocated.insert(block..block + 1),
                Before::Written(data) => drop(self.written.insert(block, data)),
            }
        }
    }

    /// Bytes, from byte `offset`.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        pattern::fill(self.seed, offset, buf);
        if buf.is_empty() {
            return;
        }
        let size = self.block_size as u64;
        let end = offset + buf.len() as u64;
        let blocks = offset / size..end.div_ceil(size);
        let part = |blocks: std::ops::Range<u64>| {
            let (from, to) = (blocks.start * size, blocks.end * size);
            (from.max(offset) - offset) as usize..(to.min(end) - offset) as usize
        };
        for hole in self.deallocated.within(blocks.clone()) {
            buf[part(hole)].fill(0);
        }
        for (block, data) in self.written.range(blocks) {
            let to = part(*block..block + 1);
            let from = ((offset + to.start as u64) - block * size) as usize;
            let len = to.len();
            buf[to].copy_from_slice(&data[from..from + len]);
        }
    }

    /// Whole blocks.
    pub(super) fn write(&mut self, block: u64, data: &[u8]) -> Result<(), NoSpace> {
        let blocks = data.chunks_exact(self.block_size);
        self.reserve(block, blocks.len() as u64)?;
        self.remember(block..block + blocks.len() as u64);
        for (block, data) in (block..).zip(blocks) {
            match self.written.get_mut(&block).and_then(Arc::get_mut) {
                Some(old) => old.copy_from_slice(data),
                None => drop(self.written.insert(block, data.into())),
            }
        }
        Ok(())
    }

    /// The one block `data`, `count` times.
    pub(super) fn write_same(
        &mut self,
        block: u64,
        count: u64,
        data: &[u8],
    ) -> Result<(), NoSpace> {
        self.reserve(block, count)?;
        self.remember(block..block + count);
        let data: Arc<[u8]> = data.into();
        for block in block..block + count {
            self.written.insert(block, Arc::clone(&data));
        }
        Ok(())
    }

    /// From now on these blocks read as zeros and take no memory. May be left undone where that would
    /// take too much itself, which `false` says.
    pub(super) fn deallocate(&mut self, block: u64, count: u64) -> bool {
        if self.deallocated.len() >= MAX_EXTENTS {
            return false;
        }
        let blocks = block..block + count;
        self.remember(blocks.clone());
        let written: Vec<u64> = self
            .written
            .range(blocks.clone())
            .map(|(b, _)| *b)
            .collect();
        for block in written {
            self.written.remove(&block);
        }
        self.deallocated.insert(blocks);
        true
    }

    /// Whether `block` is deallocated, and the next block that is otherwise.
    pub(super) fn provisioning(&self, block: u64) -> (bool, Option<u64>) {
        self.deallocated.run(block)
    }

    fn reserve(&mut self, block: u64, count: u64) -> Result<(), NoSpace> {
        let taken = self.written.len() as u64;
        let room = self.room as u64;
        if taken.saturating_add(count) > room {
            let again = self.written.range(block..block + count).count() as u64;
            if taken - again + count > room {
                return Err(NoSpace);
            }
        }
        if !self.deallocated.is_empty() {
            self.deallocated.remove(block..block + count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(space: u64) -> Medium {
        let mut config = LunConfig::new(0, 1 << 40);
        config.write_space = space;
        Medium::new(&config)
    }

    fn read(medium: &Medium, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![1; len];
        medium.read(offset, &mut buf);
        buf
    }

    #[test]
    fn what_was_written_last_is_read() {
        let mut medium = medium(1 << 20);
        let original = read(&medium, 0, 8 * 512);
        medium.write(1, &[7; 1024]).unwrap();
        assert!(medium.deallocate(2, 3));
        medium.write_same(4, 2, &[9; 512]).unwrap();
        medium.write(5, &[8; 512]).unwrap();
        let mut expected = original;
        expected[512..1024].fill(7);
        expected[1024..2048].fill(0);
        expected[2048..2560].fill(9);
        expected[2560..3072].fill(8);
        assert_eq!(read(&medium, 0, 8 * 512), expected);
        // Not from a block's beginning, and not to its end.
        assert_eq!(read(&medium, 700, 2000), expected[700..2700]);
        assert_eq!(medium.provisioning(0), (false, Some(2)));
        assert_eq!(medium.provisioning(3), (true, Some(4)));
        assert_eq!(medium.provisioning(4), (false, None));
    }

    #[test]
    fn memory_for_written_blocks_is_bounded_and_comes_back() {
        let mut medium = medium(4 * 512);
        medium.write(0, &[1; 4 * 512]).unwrap();
        medium.write(2, &[2; 2 * 512]).unwrap();
        assert_eq!(medium.write(3, &[3; 1024]), Err(NoSpace));
        assert_eq!(medium.write_same(0, 5, &[3; 512]), Err(NoSpace));
        assert_eq!(
            read(&medium, 3 * 512, 512),
            [2; 512],
            "nothing of it was written"
        );
        assert!(medium.deallocate(0, 1 << 31));
        medium.write_same(1 << 20, 4, &[3; 512]).unwrap();
    }
}
