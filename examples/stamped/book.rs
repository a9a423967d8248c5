//! What each block may be read as.
//!
//! A read may give the last acknowledged write of its block, or a later one that was submitted before the
//! read was over; and never less than an earlier read gave that was over before this one began.
//!
//! Writes of one block that are under way together may be executed in any order, so of a chain of them, each of
//! which began before the one before it was over, any may be the last. A write that is acknowledged ends what was
//! acknowledged before its chain began, and nothing else; and what a read has given is no bound where a write was
//! under way that is older.

use std::ops::{Range, RangeInclusive};

/// One block. Generations count from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// No read that begins now may give less.
    floor: u64,
    /// The last one that was submitted.
    newest: u64,
    /// Writes of it that are under way.
    writing: u32,
    /// The first one of the chain to which they belong.
    chain: u64,
    /// An earlier write of it may still land, for all that the load can know.
    unproven: bool,
    /// It was written again since.
    rewritten: bool,
}

/// What a read of a block is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The least that it may give.
    floor: u64,
    /// What it gives is the least for later ones up to this: what lies above may be followed by an older one.
    settled: u64,
    /// The last write that was submitted when it began, and whether one was under way.
    newest: u64,
    was_written: bool,
}

/// All blocks of a span.
#[derive(Debug)]
pub(super) struct Book {
    entries: Vec<Entry>,
    /// Those that are `unproven`, so that nobody has to search for them.
    unproven: Vec<u64>,
}

/// A read gave what it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfTime {
    pub(super) found: u64,
    pub(super) allowed: (u64, u64),
}

impl Book {
    pub(super) fn new(blocks: u64) -> Self {
        let entry = Entry::default();
        Self {
            entries: vec![entry; usize::try_from(blocks).unwrap_or(usize::MAX)],
            unproven: Vec::new(),
        }
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    fn of(&mut self, blocks: Range<u64>) -> &mut [Entry] {
        &mut self.entries[blocks.start as usize..blocks.end as usize]
    }

    /// Whether a write there would wait for no other one.
    pub(super) fn is_free(&mut self, blocks: Range<u64>) -> bool {
        let entries = self.of(blocks);
        entries.iter().all(|e| e.writing == 0 && !e.unproven)
    }

    /// A write of `blocks` is submitted: the generations that it writes.
    pub(super) fn begin_write(&mut self, blocks: Range<u64>) -> impl Iterator<Item = u64> {
        self.of(blocks).iter_mut().map(|entry| {
            entry.newest += 1;
            if entry.writing == 0 {
                entry.chain = entry.newest;
            }
            entry.writing += 1;
            entry.newest
        })
    }

    /// It is over. One that has failed may have been executed or not: either is right from then on.
    pub(super) fn end_write(&mut self, blocks: Range<u64>, acknowledged: bool) {
        for entry in self.of(blocks) {
            entry.writing -= 1;
            if acknowledged {
                // Its chain is still this one, since it has been under way up to now.
                entry.floor = entry.floor.max(entry.chain);
            }
        }
    }

    /// A read of `blocks` is submitted.
    pub(super) fn begin_read(&mut self, blocks: Range<u64>) -> Vec<Bounds> {
        let bounds = |entry: &mut Entry| Bounds {
            floor: entry.floor,
            settled: match entry.writing {
                0 => entry.newest + 1,
                _ => entry.chain,
            },
            newest: entry.newest,
            was_written: entry.writing > 0,
        };
        self.of(blocks).iter_mut().map(bounds).collect()
    }

    /// If a write of `block` was under way at any time of a read that began with these bounds, and is over now: the
    /// generations of which it may give a piece each. A target may serve the two at once (a file in Linux's page cache
    /// does), within one logical block as well.
    pub(super) fn raced(&self, block: u64, bounds: Bounds) -> Option<RangeInclusive<u64>> {
        let newest = self.entries[block as usize].newest;
        let is_raced = bounds.was_written || newest != bounds.newest;
        is_raced.then_some(bounds.floor..=newest)
    }

    /// A read that began with these bounds has given `found` of `block`.
    pub(super) fn end_read(
        &mut self,
        block: u64,
        bounds: Bounds,
        found: u64,
    ) -> Result<(), OutOfTime> {
        let entry = &mut self.entries[block as usize];
        let allowed = (bounds.floor, entry.newest);
        if found < bounds.floor || found > entry.newest {
            return Err(OutOfTime { found, allowed });
        }
        entry.floor = entry.floor.max(found.min(bounds.settled));
        Ok(())
    }

    /// The path of a write may have been lost: for `blocks`, which it has under way.
    pub(super) fn doubt(&mut self, blocks: Range<u64>) {
        for block in blocks {
            let entry = &mut self.entries[block as usize];
            entry.rewritten = false;
            if !std::mem::replace(&mut entry.unproven, true) {
                self.unproven.push(block);
            }
        }
    }

    /// No write whose path was lost can land any more.
    pub(super) fn trust(&mut self) {
        for block in self.unproven.drain(..) {
            self.entries[block as usize].unproven = false;
        }
    }

    /// A block of which an earlier write may still land, and which was not written again since then. Each
    /// is given once.
    pub(super) fn next_to_rewrite(&mut self) -> Option<u64> {
        let entries = &self.entries;
        let wanted = |block: &&u64| {
            let entry = entries[**block as usize];
            entry.writing == 0 && !entry.rewritten
        };
        let block = *self.unproven.iter().find(wanted)?;
        self.entries[block as usize].rewritten = true;
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(book: &mut Book, block: u64, acknowledged: bool) -> u64 {
        let generation = book.begin_write(block..block + 1).next().unwrap();
        book.end_write(block..block + 1, acknowledged);
        generation
    }

    fn read(book: &mut Book, block: u64, found: u64) -> Result<(), OutOfTime> {
        let bounds = book.begin_read(block..block + 1)[0];
        book.end_read(block, bounds, found)
    }

    #[test]
    fn a_read_gives_the_last_acknowledged_write_or_one_that_is_under_way() {
        let mut book = Book::new(4);
        assert_eq!(write(&mut book, 2, true), 1);
        assert_eq!(read(&mut book, 2, 1), Ok(()));
        assert!(read(&mut book, 2, 0).is_err(), "lost");
        assert!(read(&mut book, 2, 2).is_err(), "never written");
        let bounds = book.begin_read(2..3)[0];
        let generation = book.begin_write(2..3).next().unwrap();
        book.end_write(2..3, true);
        assert_eq!(generation, 2);
        for found in [1, 2] {
            assert_eq!(book.end_read(2, bounds, found), Ok(()), "it was overtaken");
        }
        assert_eq!(
            read(&mut book, 2, 1),
            Err(OutOfTime {
                found: 1,
                allowed: (2, 2)
            })
        );
    }

    #[test]
    fn what_was_once_read_is_not_taken_back() {
        let mut book = Book::new(1);
        write(&mut book, 0, true);
        write(&mut book, 0, false);
        assert_eq!(read(&mut book, 0, 1), Ok(()), "not executed");
        assert_eq!(read(&mut book, 0, 2), Ok(()), "executed after all");
        assert!(read(&mut book, 0, 1).is_err());
    }

    #[test]
    fn of_writes_that_overlap_in_time_any_may_be_the_last() {
        let mut book = Book::new(1);
        write(&mut book, 0, true);
        let begin = |book: &mut Book| book.begin_write(0..1).next().unwrap();
        assert_eq!((begin(&mut book), begin(&mut book)), (2, 3));
        let early = book.begin_read(0..1)[0];
        assert_eq!(book.end_read(0, early, 3), Ok(()));
        assert_eq!(book.end_read(0, early, 2), Ok(()), "2 came after 3");
        assert_eq!(book.end_read(0, early, 1), Ok(()), "it was slow");
        book.end_write(0..1, true);
        assert!(read(&mut book, 0, 1).is_err(), "one of both is there");
        assert_eq!(begin(&mut book), 4, "the chain goes on");
        book.end_write(0..1, true);
        book.end_write(0..1, true);
        for found in [3, 4] {
            let bounds = Bounds {
                floor: 2,
                settled: 2,
                newest: 0,
                was_written: false,
            };
            assert_eq!(book.begin_read(0..1)[0].floor, 2);
            assert_eq!(book.end_read(0, bounds, found), Ok(()));
        }
        assert_eq!(write(&mut book, 0, true), 5);
        assert!(
            read(&mut book, 0, 4).is_err(),
            "a new chain ends the old one"
        );
        assert_eq!(read(&mut book, 0, 5), Ok(()));
    }

    #[test]
    fn what_was_read_when_all_was_done_stays() {
        let mut book = Book::new(1);
        book.begin_write(0..1).for_each(drop);
        book.begin_write(0..1).for_each(drop);
        book.end_write(0..1, true);
        book.end_write(0..1, true);
        assert_eq!(read(&mut book, 0, 2), Ok(()), "the later one was the last");
        assert!(read(&mut book, 0, 1).is_err(), "and stays it");
    }

    #[test]
    fn a_block_in_doubt_is_free_again_when_it_is_trusted_and_is_rewritten_once() {
        let mut book = Book::new(8);
        let generations: Vec<u64> = book.begin_write(2..4).collect();
        assert_eq!(generations, [1, 1]);
        assert!(!book.is_free(3..5) && book.is_free(4..6));
        book.doubt(2..4);
        assert_eq!(book.next_to_rewrite(), None, "it is under way");
        book.end_write(2..4, true);
        assert!(!book.is_free(3..5));
        assert_eq!(book.next_to_rewrite(), Some(2));
        assert_eq!(book.next_to_rewrite(), Some(3));
        assert_eq!(book.next_to_rewrite(), None);
        book.doubt(3..4);
        assert_eq!(book.next_to_rewrite(), Some(3), "in doubt once more");
        book.trust();
        assert!(book.is_free(0..8));
        assert_eq!(book.next_to_rewrite(), None);
    }

    #[test]
    fn a_read_is_raced_by_a_write_that_was_under_way_or_came_meanwhile_and_by_no_other() {
        let mut book = Book::new(2);
        _ = book.begin_write(0..1).count();
        book.end_write(0..1, true);
        let before = book.begin_read(0..2);
        assert_eq!(book.raced(0, before[0]), None, "that one was over");
        _ = book.begin_write(0..1).count();
        assert_eq!(book.raced(0, before[0]), Some(1..=2), "it came meanwhile");
        assert_eq!(book.raced(1, before[1]), None, "that was another block");
        let during = book.begin_read(0..1);
        book.end_write(0..1, true);
        assert_eq!(book.raced(0, during[0]), Some(1..=2), "it was under way");
        let after = book.begin_read(0..1);
        assert_eq!(book.raced(0, after[0]), None);
    }
}
