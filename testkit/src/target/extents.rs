//! A set of blocks, kept as extents.

use std::{collections::BTreeMap, ops::Range};

/// Blocks as extents that neither overlap nor touch: the first block and the one past the last.
#[derive(Debug, Default)]
pub(super) struct Extents(BTreeMap<u64, u64>);

impl Extents {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of extents, which is what they take in memory.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, blocks: Range<u64>) {
        if blocks.is_empty() {
            return;
        }
        let Range { mut start, mut end } = blocks;
        let before = self.0.range(..start).next_back();
        if let Some((first, _)) = before.filter(|(_, past)| **past >= start) {
            start = *first;
        }
        while let Some((first, past)) = self.0.range(start..=end).next() {
            let (first, past) = (*first, *past);
            end = end.max(past);
            self.0.remove(&first);
        }
        self.0.insert(start, end);
    }

    pub(super) fn remove(&mut self, blocks: Range<u64>) {
        if blocks.is_empty() {
            return;
        }
        let Range { start, end } = blocks;
        if let Some((_, past)) = self.0.range_mut(..start).next_back() {
            if *past > start {
                let rest = std::mem::replace(past, start);
                if rest > end {
                    self.0.insert(end, rest);
                }
            }
        }
        while let Some((first, past)) = self.0.range(start..end).next() {
            let (first, past) = (*first, *past);
            self.0.remove(&first);
            if past > end {
                self.0.insert(end, past);
            }
        }
    }

    /// Whether `block` is in the set, and the next block of which the opposite is true; `None` where
    /// there is none.
    pub(super) fn run(&self, block: u64) -> (bool, Option<u64>) {
        match self.0.range(..=block).next_back() {
            Some((_, past)) if *past > block => (true, Some(*past)),
            _ => (false, self.0.range(block..).next().map(|(first, _)| *first)),
        }
    }

    /// The parts of `blocks` that are in the set, in ascending order.
    pub(super) fn within(&self, blocks: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let Range { start, end } = blocks;
        let before = self.0.range(..start).next_back();
        let begin = before
            .filter(|(_, past)| **past > start)
            .map_or(start, |(first, _)| *first);
        self.0
            .range(begin..end.max(begin))
            .map(move |(first, past)| (*first).max(start)..(*past).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Rng;

    /// Compares with a plain array, over many random steps.
    #[test]
    fn extents_are_what_a_bit_per_block_would_be() {
        const BLOCKS: u64 = 64;
        let mut rng = Rng::new(7);
        let (mut extents, mut bits) = (Extents::new(), [false; BLOCKS as usize]);
        for _ in 0..20_000 {
            let (a, b) = (rng.next_u64() % BLOCKS, rng.next_u64() % (BLOCKS + 1));
            let range = a.min(b)..a.max(b);
            let add = rng.next_u64() % 2 == 0;
            if add {
                extents.insert(range.clone());
            } else {
                extents.remove(range.clone());
            }
            bits[range.start as usize..range.end as usize].fill(add);

            let mut found = [false; BLOCKS as usize];
            for part in extents.within(0..BLOCKS) {
                found[part.start as usize..part.end as usize].fill(true);
            }
            assert_eq!(found, bits);
            let edges = bits.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert_eq!(extents.len(), edges + usize::from(bits[0]));
            assert_eq!(extents.is_empty(), !bits.contains(&true));
            let at = (rng.next_u64() % BLOCKS) as usize;
            let (inside, next) = extents.run(at as u64);
            assert_eq!(inside, bits[at]);
            let expected = (at..BLOCKS as usize).find(|i| bits[*i] != inside);
            let expected = expected.or_else(|| inside.then_some(BLOCKS as usize));
            assert_eq!(next, expected.map(|block| block as u64));
            let (from, to) = (at as u64, (at as u64 + 9).min(BLOCKS));
            let blocks: u64 = extents
                .within(from..to)
                .map(|part| part.end - part.start)
                .sum();
            let expected = bits[at..to as usize].iter().filter(|bit| **bit).count();
            assert_eq!(blocks as usize, expected);
        }
    }
}
