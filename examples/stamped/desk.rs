//! What the load does next, what it has under way, and what it has come to.

use std::{collections::BTreeMap, iter, ops::Range, time::Instant};

use bytes::Bytes;
use iscsi_client::error::Error;

use super::{
    Done, Kind, Plan, Totals,
    book::{Book, Bounds, OutOfTime},
    stamp,
};
use crate::{clock, failure::Failure};

/// An I/O to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) blocks: Range<u64>,
    /// What to write.
    pub(super) data: Bytes,
    /// What each block is judged by.
    bounds: Vec<Bounds>,
    /// Bytes of a block.
    block: usize,
}

impl Job {
    pub(super) const fn offset(&self) -> u64 {
        self.blocks.start * self.block as u64
    }

    pub(super) const fn bytes(&self) -> usize {
        (self.blocks.end - self.blocks.start) as usize * self.block
    }
}

/// An I/O that is under way.
#[derive(Clone, Debug)]
struct UnderWay {
    kind: Kind,
    blocks: Range<u64>,
    submitted: Instant,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) plan: Plan,
    book: Book,
    random: u64,
    next_id: u64,
    under_way: BTreeMap<u64, UnderWay>,
    pub(super) done: Vec<Done>,
    pub(super) totals: Totals,
    pub(super) stopped: bool,
    /// Slots that draw I/Os.
    pub(super) slots: usize,
    /// Where the next one goes of those that follow each other.
    cursor: u64,
}

/// Places that are looked at for a write that waits for no other one. With a span that is much larger than
/// what is under way the first one does.
const TRIES: usize = 64;

impl Desk {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            book: Book::new(plan.span / plan.block as u64),
            random: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            plan,
            next_id: 0,
            under_way: BTreeMap::new(),
            done: Vec::new(),
            totals: Totals::default(),
            stopped: false,
            slots: 0,
            cursor: 0,
        }
    }

    pub(super) fn blocks(&self) -> u64 {
        self.book.len()
    }

    /// The load's next I/O; `None` when the slot that asks is to end.
    pub(super) fn next(&mut self) -> Option<Job> {
        if self.stopped || self.slots > self.plan.depth {
            self.slots -= 1;
            return None;
        }
        let variety = self.plan.variety;
        if self.draws(variety.flush_percent) {
            return Some(self.submit(Kind::Flush, 0..0, Bytes::new(), Vec::new()));
        }
        if self.draws(self.plan.read_percent) {
            let place = self.place();
            return Some(self.read(place));
        }
        if self.draws(variety.overlap_percent) {
            if let Some(place) = self.overlapping_place() {
                return Some(self.write(Kind::Overlapping, place));
            }
        }
        for _ in 0..TRIES {
            let place = self.place();
            if self.book.is_free(place.clone()) {
                return Some(self.write(Kind::Write, place));
            }
        }
        let place = self.place();
        Some(self.read(place))
    }

    /// True so many times of a hundred.
    fn draws(&mut self, percent: u8) -> bool {
        // One that is never true leaves the sequence as it is.
        percent > 0 && self.random() % 100 < percent.into()
    }

    fn place(&mut self) -> Range<u64> {
        let length = self.length();
        let step = self.plan.least() / self.plan.block as u64;
        let places = (self.blocks() - length) / step + 1;
        let first = if self.draws(self.plan.variety.sequential_percent) {
            let next = self.cursor + length;
            let first = if next > self.blocks() { 0 } else { self.cursor };
            self.cursor = first + length;
            first
        } else {
            self.random() % places * step
        };
        first..first + length
    }

    /// Blocks of an I/O: the smaller of two draws, since small ones are the most in most loads.
    fn length(&mut self) -> u64 {
        let least = self.plan.least();
        let doublings = u64::from((self.plan.io as u64 / least).ilog2());
        let doubled = match doublings {
            0 => 0,
            _ => (self.random() % (doublings + 1)).min(self.random() % (doublings + 1)),
        };
        (least << doubled) / self.plan.block as u64
    }

    /// Where another write is under way or may still land. Most of what is drawn has to be something else: a device
    /// has such a write wait, and in the end all slots would.
    fn overlapping_place(&mut self) -> Option<Range<u64>> {
        let of = |kind| move |io: &&UnderWay| io.kind == kind;
        let overlapping = self.under_way.values().filter(of(Kind::Overlapping));
        if overlapping.count() > self.plan.depth / 8 {
            return None;
        }
        let writes = self.under_way.values().filter(of(Kind::Write)).count() as u64;
        if writes == 0 {
            return None;
        }
        let chosen = (self.random() % writes) as usize;
        let length = self.length();
        let mut writes = self.under_way.values().filter(of(Kind::Write));
        let hit = writes.nth(chosen)?.blocks.clone();
        let first = hit.start + self.random() % (hit.end - hit.start);
        let first = first.min(self.blocks() - length);
        Some(first..first + length)
    }

    /// Xorshift.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Writes a block once more whose earlier write may still land.
    pub(super) fn rewrite(&mut self) -> Option<Job> {
        let block = self.book.next_to_rewrite()?;
        Some(self.write(Kind::Overlapping, block..block + 1))
    }

    pub(super) fn write(&mut self, kind: Kind, blocks: Range<u64>) -> Job {
        let run = self.plan.run;
        let block = self.plan.block;
        let mut data = vec![0; (blocks.end - blocks.start) as usize * block];
        let generations = self.book.begin_write(blocks.clone());
        let places = data.chunks_exact_mut(block);
        for ((place, generation), number) in places.zip(generations).zip(blocks.clone()) {
            stamp::fill(run, number, generation, place);
        }
        self.submit(kind, blocks, data.into(), Vec::new())
    }

    pub(super) fn read(&mut self, blocks: Range<u64>) -> Job {
        let bounds = self.book.begin_read(blocks.clone());
        self.submit(Kind::Read, blocks, Bytes::new(), bounds)
    }

    fn submit(&mut self, kind: Kind, blocks: Range<u64>, data: Bytes, bounds: Vec<Bounds>) -> Job {
        let id = self.next_id;
        self.next_id += 1;
        let under_way = UnderWay {
            kind,
            blocks: blocks.clone(),
            submitted: clock::now(),
        };
        self.under_way.insert(id, under_way);
        Job {
            id,
            kind,
            blocks,
            data,
            bounds,
            block: self.plan.block,
        }
    }

    /// An I/O is over; with what was read, if it was a read.
    pub(super) fn end(&mut self, job: &Job, now: Instant, result: Result<&[u8], Error>) -> bool {
        let Some(UnderWay { submitted, .. }) = self.under_way.remove(&job.id) else {
            return false;
        };
        let ok = result.is_ok();
        self.done.push(Done {
            kind: job.kind,
            submitted,
            completed: now,
            ok,
        });
        self.totals.count(job.kind);
        if job.kind.is_write() {
            self.book.end_write(job.blocks.clone(), ok);
        }
        match result {
            Ok(data) if job.kind == Kind::Read => self.verify(job, data),
            Ok(_) => {}
            Err(error) => {
                let (kind, at, len) = (job.kind, job.offset(), job.bytes());
                self.totals.errors += 1;
                self.totals.first_error.get_or_insert_with(|| {
                    Failure::new(format_args!("{kind} of {len} bytes at {at}: {error:#}"))
                });
            }
        }
        ok
    }

    fn verify(&mut self, job: &Job, data: &[u8]) {
        let blocks = job.blocks.clone().zip(&job.bounds);
        // A buffer that did not come back whole is judged as empty, block for block.
        let pieces = data.chunks(job.block).chain(iter::repeat(&[][..]));
        for ((number, bounds), block) in blocks.zip(pieces) {
            let what = match stamp::generation(self.plan.run, number, block) {
                Ok(found) => match self.book.end_read(number, *bounds, found) {
                    Ok(()) => continue,
                    Err(OutOfTime { found, allowed }) => format!(
                        "generation {found}, where {} to {} are right",
                        allowed.0, allowed.1
                    ),
                },
                Err(stamp::Wrong::Damaged) => {
                    let may_be = self.book.raced(number, *bounds);
                    let is_mix = |may_be| stamp::is_mix(self.plan.run, number, block, may_be);
                    if may_be.is_some_and(is_mix) {
                        self.totals.torn += 1;
                        continue;
                    }
                    stamp::Wrong::Damaged.to_string()
                }
                Err(wrong) => wrong.to_string(),
            };
            self.totals.wrong += 1;
            let first = &mut self.totals.first_wrong;
            first.get_or_insert_with(|| {
                Failure::new(format_args!("block {number} was read as {what}"))
            });
        }
    }

    /// A path may have been lost: whatever is being written may have been sent there.
    pub(super) fn doubt(&mut self) {
        for io in self.under_way.values() {
            if io.kind.is_write() {
                self.book.doubt(io.blocks.clone());
            }
        }
    }

    pub(super) fn trust(&mut self) {
        self.book.trust();
    }

    /// What is under way, and since when.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (Kind, Instant)> {
        self.under_way.values().map(|io| (io.kind, io.submitted))
    }
}
