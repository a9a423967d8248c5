//! How long the I/Os of a path take, kind by kind, so that those of two paths can be compared.
//!
//! One mean over all I/Os would not do. Paths that take turns may have the reads and the writes of a program go one this
//! way and the other that way, or the short and the long ones, and look as different as those are. Nor would a
//! percentile: a cable that loses one packet in fifty makes one I/O in fifty a thousand times as slow and leaves the
//! median where it was.

use std::time::{Duration, Instant};

use super::{
    action::{IoClass, IoKind},
    marginal_config::LatencyLimit,
};

/// Up to 16 KiB, 128 KiB, 1 MiB, and more.
const LENGTHS: usize = 4;
const CELLS: usize = 2 * LENGTHS;
/// A stretch ends when there are so many I/Os in it,
const ENOUGH: u32 = 8;
/// and as many as this are a mean.
const FEW: u32 = 4;
/// One that is longer says nothing. A selector that avoids a slow path gives it an I/O now and then.
const LONGEST: Duration = Duration::from_secs(300);
/// Nor does one that ended longer ago, beside one that has just ended.
const STALE: Duration = Duration::from_secs(60);
/// Paths whose shares of the I/O differ more are not compared.
const SHARE: u64 = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    ios: u32,
    micros: u64,
}

impl Cell {
    fn mean(self) -> Option<u64> {
        (self.ios >= FEW).then(|| self.micros / u64::from(self.ios))
    }
}

/// A stretch that is over.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    cells: [Cell; CELLS],
    from: Instant,
    to: Instant,
    /// I/Os per minute.
    rate: u64,
}

#[derive(Debug)]
pub(crate) struct Lately {
    cells: [Cell; CELLS],
    from: Instant,
    last: Option<Stretch>,
    /// How many I/Os there were when it was last looked at.
    seen: u32,
    /// Since when each stretch has been too slow, and how many I/Os that were.
    slow: Option<(Instant, u32)>,
}

/// What a stretch of one path came to beside those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The mean of the I/Os that can be compared.
    pub(crate) mean: Duration,
    /// What they would have taken on the best path.
    pub(crate) best: Duration,
}

impl Compared {
    fn is_slow(self, limit: &LatencyLimit) -> bool {
        let beyond = self.mean.saturating_sub(self.best);
        beyond > limit.floor && self.mean > self.best.saturating_mul(limit.factor)
    }
}

fn cell(class: &IoClass) -> usize {
    let length = match class.bytes {
        0..=0x4000 => 0,
        0x4001..=0x2_0000 => 1,
        0x2_0001..=0x10_0000 => 2,
        _ => 3,
    };
    let kind = if matches!(class.kind, IoKind::Read) {
        0
    } else {
        LENGTHS
    };
    kind + length
}

impl Lately {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            cells: [Cell { ios: 0, micros: 0 }; CELLS],
            from: now,
            last: None,
            seen: 0,
            slow: None,
        }
    }

    /// What was measured says nothing any more.
    pub(crate) const fn restart(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    #[inline]
    pub(crate) fn ended(&mut self, class: &IoClass, micros: u64) {
        let cell = &mut self.cells[cell(class)];
        cell.ios = cell.ios.saturating_add(1);
        cell.micros = cell.micros.saturating_add(micros);
    }

    /// Whether I/Os have ended since this was last asked.
    pub(crate) fn has_moved(&mut self) -> bool {
        let ios = self.ios();
        std::mem::replace(&mut self.seen, ios) != ios
    }

    fn ios(&self) -> u32 {
        self.cells
            .iter()
            .fold(0, |sum, cell| sum.saturating_add(cell.ios))
    }

    /// Ends the present stretch if there is enough in it. True if it did.
    pub(crate) fn close(&mut self, now: Instant) -> bool {
        let ios = self.ios();
        let age = now.saturating_duration_since(self.from);
        let is_over = ios >= ENOUGH && age <= LONGEST;
        if is_over {
            let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
            self.last = Some(Stretch {
                cells: self.cells,
                from: self.from,
                to: now,
                rate: u64::from(ios) * 60_000 / millis,
            });
        } else if age <= LONGEST {
            return false;
        } else {
            self.slow = None;
        }
        self.cells = [Cell::default(); CELLS];
        self.from = now;
        self.seen = 0;
        is_over
    }

    /// Its last stretch beside those of the others; `None` if there is too little in common.
    pub(crate) fn compare<'a>(
        &self,
        now: Instant,
        others: impl Iterator<Item = &'a Self> + Clone,
    ) -> Option<Compared> {
        let own = self.last.as_ref()?;
        let others = others.filter_map(|other| other.last.as_ref());
        let others = others.filter(|other| {
            let age = now.saturating_duration_since(other.to);
            age <= STALE && other.rate >= own.rate / SHARE
        });
        let (mut ios, mut took, mut best) = (0_u64, 0_u64, 0_u64);
        for (index, cell) in own.cells.iter().enumerate() {
            let means = others.clone().filter_map(|other| other.cells[index].mean());
            if let Some(least) = means.min() {
                let count = u64::from(cell.ios);
                ios += count;
                took = cell.micros.saturating_add(took);
                best = least.saturating_mul(count).saturating_add(best);
            }
        }
        (ios >= u64::from(ENOUGH)).then(|| Compared {
            mean: Duration::from_micros(took / ios),
            best: Duration::from_micros(best / ios),
        })
    }

    /// Books a comparison. True if it has been too slow for long enough.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        limit: &LatencyLimit,
        compared: Option<Compared>,
    ) -> bool {
        let stretch = self.last.as_ref();
        let stretch = stretch.filter(|_| compared.is_some_and(|compared| compared.is_slow(limit)));
        let Some(stretch) = stretch else {
            self.slow = None;
            return false;
        };
        let ios = stretch.cells.iter().map(|cell| cell.ios);
        let ios = ios.fold(0, u32::saturating_add);
        let (since, before) = self.slow.unwrap_or((stretch.from, 0));
        let ios = before.saturating_add(ios);
        self.slow = Some((since, ios));
        now.saturating_duration_since(since) >= limit.time && ios >= limit.samples
    }
}
