//! What each block may be read as.
//!
//! A read may give the last acknowledged write of its block, or a later one that was submitted before the
//! read was over; and never less than an earlier read gave that was over before this one began.

use std::ops::Range;

/// One block. Generations count from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// No read that begins now may give less.
    floor: u64,
    /// The last one that was submitted.
    newest: u64,
    /// A write of it is under way.
    writing: bool,
    /// An earlier write of it may still land, for all that the load can know.
    unproven: bool,
    /// It was written again since.
    rewritten: bool,
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
        entries.iter().all(|e| !e.writing && !e.unproven)
    }

    /// A write of `blocks` is submitted: the generations that it writes.
    pub(super) fn begin_write(&mut self, blocks: Range<u64>) -> impl Iterator<Item = u64> {
        self.of(blocks).iter_mut().map(|entry| {
            entry.writing = true;
            entry.newest += 1;
            entry.newest
        })
    }

    /// It is over. One that has failed may have been executed or not: either is right from then on.
    pub(super) fn end_write(&mut self, blocks: Range<u64>, acknowledged: bool) {
        for entry in self.of(blocks) {
            entry.writing = false;
            if acknowledged {
                // Only one write of a block is under way at a time.
                entry.floor = entry.newest;
            }
        }
    }

    /// A read of `blocks` is submitted: the least that it may give.
    pub(super) fn begin_read(&mut self, blocks: Range<u64>) -> Vec<u64> {
        self.of(blocks).iter().map(|entry| entry.floor).collect()
    }

    /// A read that began when `floor` was the least has given `found` of `block`.
    pub(super) fn end_read(&mut self, block: u64, floor: u64, found: u64) -> Result<(), OutOfTime> {
        let entry = &mut self.entries[block as usize];
        let allowed = (floor, entry.newest);
        if found < floor || found > entry.newest {
            return Err(OutOfTime { found, allowed });
        }
        entry.floor = entry.floor.max(found);
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
            !entry.writing && !entry.rewritten
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
        let floor = book.begin_read(block..block + 1)[0];
        book.end_read(block, floor, found)
    }

    #[test]
    fn a_read_gives_the_last_acknowledged_write_or_one_that_is_under_way() {
        let mut book = Book::new(4);
        assert_eq!(write(&mut book, 2, true), 1);
        assert_eq!(read(&mut book, 2, 1), Ok(()));
        assert!(read(&mut book, 2, 0).is_err(), "lost");
        assert!(read(&mut book, 2, 2).is_err(), "never written");
        let floor = book.begin_read(2..3)[0];
        let generation = book.begin_write(2..3).next().unwrap();
        book.end_write(2..3, true);
        assert_eq!(generation, 2);
        for found in [1, 2] {
            assert_eq!(book.end_read(2, floor, found), Ok(()), "it was overtaken");
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
}
