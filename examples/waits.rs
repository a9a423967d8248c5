//! How long I/Os took, and how long the longest one did at each loss of a path.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    histogram::Histogram,
    rounds::ms,
    stamped::{Done, Kind},
};

/// The edges of the classes, in milliseconds.
const EDGES: [u64; 10] = [1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 15_000];
const CLASSES: usize = EDGES.len() + 1;
/// Losses of paths that are looked at together; that many at one time are one event.
const OPEN: usize = 64;

/// How many took how long. The field names are the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Class {
    /// Less than so many milliseconds; the last class has no end.
    pub below_ms: Option<u64>,
    /// I/Os in all, in the order of [`ROWS`].
    pub ios: [u64; ROWS.len()],
    /// Losses of a path at which the longest I/O, one that does not overlap another, took so long.
    pub losses: u64,
}

/// The kinds, as they stand in a table.
pub const ROWS: [&str; 4] = ["reads", "writes", "overlapping", "flushes"];

const fn row(kind: Kind) -> usize {
    match kind {
        Kind::Read => 0,
        Kind::Write => 1,
        Kind::Overlapping => 2,
        Kind::Flush => 3,
    }
}

fn class(took: Duration) -> usize {
    let edge = |edge: &&u64| took >= Duration::from_millis(**edge);
    EDGES.iter().take_while(edge).count()
}

/// A path was lost.
#[derive(Clone, Copy, Debug)]
struct Loss {
    at: Instant,
    longest: Duration,
}

/// How long I/Os took.
#[derive(Debug, Default)]
pub struct Waits {
    kinds: [Histogram; ROWS.len()],
    ios: [[u64; ROWS.len()]; CLASSES],
    losses: [u64; CLASSES],
    open: Vec<Loss>,
    longest: Duration,
}

impl Waits {
    /// An I/O is over.
    pub fn done(&mut self, done: &Done) {
        let took = done.completed.saturating_duration_since(done.submitted);
        let row = row(done.kind);
        self.kinds[row].record(took);
        self.ios[class(took)][row] += 1;
        // One that overlaps a write which may still land waits for that, by design.
        if done.kind == Kind::Overlapping {
            return;
        }
        self.longest = self.longest.max(took);
        for loss in &mut self.open {
            if done.submitted <= loss.at && loss.at <= done.completed {
                loss.longest = loss.longest.max(took);
            }
        }
    }

    /// A path was lost.
    pub fn lost(&mut self, at: Instant) {
        if self.open.len() < OPEN {
            let longest = Duration::ZERO;
            self.open.push(Loss { at, longest });
        }
    }

    /// Closes the losses that nothing is left of which was under way then.
    pub fn look(&mut self, under_way: &[(Kind, Instant)]) {
        let oldest = under_way
            .iter()
            .filter(|(kind, _)| *kind != Kind::Overlapping)
            .map(|(_, since)| *since)
            .min();
        let losses = &mut self.losses;
        self.open.retain(|loss| {
            let goes_on = oldest.is_some_and(|oldest| oldest <= loss.at);
            losses[class(loss.longest)] += u64::from(!goes_on);
            goes_on
        });
    }

    /// The longest I/O since the last call, of those that did not overlap another.
    pub const fn take_longest(&mut self) -> Duration {
        std::mem::replace(&mut self.longest, Duration::ZERO)
    }

    /// The longest of a kind.
    #[must_use]
    pub fn longest(&self, kind: Kind) -> Duration {
        self.kinds[row(kind)].max()
    }

    /// The classes that are not empty.
    #[must_use]
    pub fn classes(&self) -> Vec<Class> {
        let edges = EDGES.iter().copied().map(Some).chain([None]);
        edges
            .zip(self.ios.iter().zip(self.losses))
            .map(|(below_ms, (ios, losses))| Class {
                below_ms,
                ios: *ios,
                losses,
            })
            .filter(|class| class.ios.iter().sum::<u64>() + class.losses > 0)
            .collect()
    }

    /// Percentiles by kind.
    #[must_use]
    pub fn percentiles(&self) -> Vec<Percentiles> {
        let of = |(kind, histogram): (&'static str, &Histogram)| Percentiles {
            kind,
            count: histogram.count(),
            p50_ms: ms(histogram.percentile(0.5)),
            p99_ms: ms(histogram.percentile(0.99)),
            p999_ms: ms(histogram.percentile(0.999)),
            max_ms: ms(histogram.max()),
        };
        ROWS.into_iter().zip(&self.kinds).map(of).collect()
    }
}

/// How long the I/Os of a kind took.
#[derive(Clone, Debug, Serialize)]
pub struct Percentiles {
    /// The kind.
    pub kind: &'static str,
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// Of a hundred one took longer.
    pub p99_ms: f64,
    /// Of a thousand one took longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// The classes and percentiles as a table.
impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12}", "ms")?;
        for kind in ROWS {
            write!(f, " {kind:>12}")?;
        }
        writeln!(f, " {:>12}", "path losses")?;
        for class in self.classes() {
            match class.below_ms {
                Some(edge) => write!(f, "{:>12}", format!("< {edge}"))?,
                None => write!(f, "{:>12}", "longer")?,
            }
            for ios in class.ios {
                write!(f, " {ios:>12}")?;
            }
            writeln!(f, " {:>12}", class.losses)?;
        }
        type Column = fn(&Percentiles) -> f64;
        let columns: [(&str, Column); 4] = [
            ("median", |p| p.p50_ms),
            ("99 %", |p| p.p99_ms),
            ("99.9 %", |p| p.p999_ms),
            ("longest", |p| p.max_ms),
        ];
        let percentiles = self.percentiles();
        for (name, column) in columns {
            write!(f, "{name:>12}")?;
            for of_kind in &percentiles {
                write!(f, " {:>12}", column(of_kind))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    fn done(kind: Kind, submitted: Instant, took: Duration) -> Done {
        Done {
            kind,
            submitted,
            completed: submitted + took,
            ok: true,
        }
    }

    #[test]
    fn a_loss_counts_with_the_longest_io_that_was_under_way_at_it() {
        let (mut waits, begun) = (Waits::default(), clock::now());
        waits.done(&done(Kind::Read, begun, 5 * MS));
        waits.lost(begun + 10 * MS);
        waits.look(&[(Kind::Read, begun + 9 * MS)]);
        waits.done(&done(Kind::Read, begun + 9 * MS, 300 * MS));
        waits.done(&done(Kind::Write, begun + 11 * MS, 900 * MS));
        waits.done(&done(Kind::Overlapping, begun + 9 * MS, 9000 * MS));
        assert!(waits.classes().iter().all(|class| class.losses == 0));
        waits.look(&[(Kind::Overlapping, begun), (Kind::Read, begun + 11 * MS)]);
        let classes = waits.classes();
        let losses: Vec<_> = classes.iter().filter(|class| class.losses > 0).collect();
        assert_eq!((losses.len(), losses[0].below_ms), (1, Some(500)));
        assert_eq!(losses[0].ios, [1, 0, 0, 0]);
        let of = |below| classes.iter().find(|class| class.below_ms == below);
        assert_eq!(of(Some(15_000)).unwrap().ios, [0, 0, 1, 0]);
        assert_eq!(waits.take_longest(), 900 * MS);
        assert_eq!(waits.take_longest(), Duration::ZERO);
    }

    #[test]
    fn every_wait_has_its_class() {
        let (mut waits, now) = (Waits::default(), clock::now());
        for took in [0, 1, 9, 10, 14_999, 15_000, 1_000_000] {
            waits.done(&done(Kind::Flush, now, took * MS));
        }
        let classes = waits.classes();
        let found: Vec<_> = classes.iter().map(|c| (c.below_ms, c.ios[3])).collect();
        let expected = [
            (Some(1), 1),
            (Some(10), 2),
            (Some(50), 1),
            (Some(15_000), 1),
            (None, 2),
        ];
        assert_eq!(found, expected);
        assert!(waits.to_string().contains("longer"));
    }
}
