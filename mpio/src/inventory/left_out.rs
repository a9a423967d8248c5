//! What is left out since it is beyond a limit: each thing once, however often it is told of in a scan.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher as _},
};

use super::limits::Limit;

/// By their hashes: a number is all that is wanted of them, and there may be many.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    things: BTreeMap<Limit, BTreeSet<u64>>,
    /// Of lists, which have no two of one kind, how many were left out of the last one.
    lists: BTreeMap<(Limit, u64), usize>,
}

fn hash(thing: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

impl LeftOut {
    /// A scan begins.
    pub(super) fn clear(&mut self) {
        self.things.clear();
        self.lists.clear();
    }

    pub(super) fn add(&mut self, limit: Limit, thing: impl Hash) {
        self.things.entry(limit).or_default().insert(hash(thing));
    }

    /// So many were left out of a list of `whose`. It takes the place of what an earlier one had.
    pub(super) fn set(&mut self, limit: Limit, whose: impl Hash, how_many: usize) {
        let key = (limit, hash(whose));
        match how_many {
            0 => _ = self.lists.remove(&key),
            _ => _ = self.lists.insert(key, how_many),
        }
    }

    pub(super) fn counts(&self) -> BTreeMap<Limit, usize> {
        let things = self.things.iter().map(|(limit, of)| (*limit, of.len()));
        let lists = self
            .lists
            .iter()
            .map(|((limit, _), count)| (*limit, *count));
        let mut counts = BTreeMap::new();
        for (limit, count) in things.chain(lists) {
            let sum: &mut usize = counts.entry(limit).or_default();
            *sum = sum.saturating_add(count);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_twice_counts_once() {
        let mut left_out = LeftOut::default();
        for _ in 0..3 {
            left_out.add(Limit::Portals(4), "a");
            left_out.add(Limit::Portals(4), "b");
            left_out.add(Limit::Devices(2), "a");
            left_out.set(Limit::Units(8), "one", 5);
            left_out.set(Limit::Units(8), "two", 7);
        }
        left_out.set(Limit::Units(8), "one", 1);
        let counts = [
            (Limit::Portals(4), 2),
            (Limit::Units(8), 8),
            (Limit::Devices(2), 1),
        ];
        assert_eq!(left_out.counts(), BTreeMap::from(counts));
        left_out.set(Limit::Units(8), "one", 0);
        left_out.set(Limit::Units(8), "two", 0);
        assert_eq!(left_out.counts().get(&Limit::Units(8)), None);
        left_out.clear();
        assert!(left_out.counts().is_empty());
    }
}
