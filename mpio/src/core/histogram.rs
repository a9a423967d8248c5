//! How long I/Os took, counted for ever.

use std::{fmt, ops::Sub, time::Duration};

use super::{
    action::IoKind,
    latency::{BUCKETS, bucket, upper_end},
};

/// How many I/Os took how long.
///
/// The buckets are fixed, four to each doubling, from 4 µs to 134 s: a percentile read from them is at most 25 % too
/// high. So histograms of paths, devices and hosts can be [added](Self::merge), and the difference of two of one
/// path is what happened [between](Self::since) them. Counts are never halved or reset; each wraps around at 2^64.
///
/// ```
/// # use {mpio::core::Histogram, std::time::Duration};
/// let mut histogram = Histogram::new();
/// for _ in 0..99 {
///     histogram.record(Duration::from_micros(300));
/// }
/// histogram.record(Duration::from_millis(20));
/// assert_eq!(histogram.count(), 100);
/// assert_eq!(histogram.percentile(50.0), Some(Duration::from_micros(320)));
/// assert!(histogram.percentile(99.9) > Some(Duration::from_millis(19)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

/// One of the buckets of a [`Histogram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// What is in it took at least this long.
    pub from: Duration,
    /// And less than this: [`Duration::MAX`] of the last one.
    pub to: Duration,
    /// How many.
    pub count: u64,
}

impl Histogram {
    /// Without any.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
        }
    }

    /// Counts one more.
    pub fn record(&mut self, took: Duration) {
        self.record_in(bucket(took));
    }

    /// In a bucket that is known already.
    pub(crate) const fn record_in(&mut self, bucket: usize) {
        self.counts[bucket] = self.counts[bucket].wrapping_add(1);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.counts.iter();
        counts.fold(0, |sum, &count| sum.wrapping_add(count))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    /// So many percent (0 to 100, of which what is outside counts as the nearer end) took less than this, which is at
    /// most 25 % too high; of the last bucket its lower end. `None` if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let total = self.count();
        let part = if percent.is_nan() { 100.0 } else { percent }.clamp(0.0, 100.0) / 100.0;
        // Rounded up, and at least the first one.
        let wanted = ((total as f64 * part).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0_u64;
        self.buckets().find_map(|bucket| {
            seen = seen.wrapping_add(bucket.count);
            let end = if bucket.to == Duration::MAX {
                bucket.from
            } else {
                bucket.to
            };
            (seen >= wanted).then_some(end)
        })
    }

    /// The buckets in which there is something, the quickest first.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let filled = self.counts.iter().enumerate();
        filled
            .filter(|&(_, &count)| count != 0)
            .map(|(index, &count)| Bucket {
                from: lower_end(index),
                to: if index + 1 == BUCKETS {
                    Duration::MAX
                } else {
                    upper_end(index)
                },
                count,
            })
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.wrapping_add(*more);
        }
    }

    /// What came after `earlier`, which is an older one of the same path or device. Of two that have nothing to do with
    /// each other it says nothing of use.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(&earlier.counts) {
            *count = count.wrapping_sub(*before);
        }
        since
    }
}

/// The first bucket has all that is quicker.
fn lower_end(index: usize) -> Duration {
    if index <= bucket(Duration::ZERO) {
        return Duration::ZERO;
    }
    upper_end(index - 1)
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Sub for &Histogram {
    type Output = Histogram;

    /// As [`since`](Histogram::since).
    fn sub(self, earlier: Self) -> Histogram {
        self.since(earlier)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `1000 I/Os, 50 % in 320us, 99 % in 1.28ms, 99.9 % in 20.48ms`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} I/Os", self.count())?;
        for percent in [50.0, 99.0, 99.9] {
            if let Some(time) = self.percentile(percent) {
                write!(f, ", {percent} % in {time:?}")?;
            }
        }
        Ok(())
    }
}

/// How long I/Os took: reads and writes apart. Only those that succeeded, and no flushes, which take as long as the medium
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Latencies {
    /// Reads.
    pub reads: Histogram,
    /// Writes.
    pub writes: Histogram,
}

impl Latencies {
    pub(crate) const fn new() -> Self {
        Self {
            reads: Histogram::new(),
            writes: Histogram::new(),
        }
    }

    pub(crate) const fn record_in(&mut self, kind: IoKind, bucket: usize) {
        match kind {
            IoKind::Read => self.reads.record_in(bucket),
            IoKind::Write => self.writes.record_in(bucket),
            _ => {}
        }
    }

    /// Both together.
    #[must_use]
    pub fn all(&self) -> Histogram {
        let mut all = self.reads.clone();
        all.merge(&self.writes);
        all
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
    }

    /// What came after `earlier`, as [`Histogram::since`].
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads.since(&earlier.reads),
            writes: self.writes.since(&earlier.writes),
        }
    }
}

/// The buckets are what counts; the rest is for those who read it.
#[cfg(feature = "serde")]
mod serialised {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::*;

    #[derive(Serialize)]
    struct Shown {
        count: u64,
        p50_ns: Option<u64>,
        p99_ns: Option<u64>,
        p999_ns: Option<u64>,
        buckets: Vec<Filled>,
    }

    #[derive(Serialize, Deserialize)]
    struct Filled {
        from_ns: u64,
        count: u64,
    }

    #[derive(Deserialize)]
    struct Read {
        buckets: Vec<Filled>,
    }

    fn nanos(time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    impl Serialize for Histogram {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let percentile = |percent| self.percentile(percent).map(nanos);
            let shown = Shown {
                count: self.count(),
                p50_ns: percentile(50.0),
                p99_ns: percentile(99.0),
                p999_ns: percentile(99.9),
                buckets: self
                    .buckets()
                    .map(|bucket| Filled {
                        from_ns: nanos(bucket.from),
                        count: bucket.count,
                    })
                    .collect(),
            };
            shown.serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Histogram {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let mut histogram = Self::new();
            for Filled { from_ns, count } in Read::deserialize(from)?.buckets {
                let begin = Duration::from_nanos(from_ns);
                let index = bucket(begin);
                if lower_end(index) != begin {
                    let what = format_args!("no bucket begins at {from_ns} ns");
                    return Err(D::Error::custom(what));
                }
                histogram.counts[index] = histogram.counts[index].wrapping_add(count);
            }
            Ok(histogram)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        for micros in micros {
            histogram.record(Duration::from_micros(micros));
        }
        histogram
    }

    #[test]
    fn percentiles_are_within_a_quarter_of_the_truth() {
        let histogram = of((1..=1000).map(|i| i * 10));
        for (percent, truth) in [(50.0, 5_000), (99.0, 9_900), (99.9, 9_990), (100.0, 10_000)] {
            let found = histogram.percentile(percent).unwrap().as_micros();
            assert!(
                (truth..=truth * 5 / 4).contains(&found),
                "{percent}: {found}"
            );
        }
        assert_eq!(histogram.percentile(-1.0), histogram.percentile(0.0));
        assert_eq!(histogram.percentile(f64::NAN), histogram.percentile(100.0));
        assert_eq!(Histogram::new().percentile(50.0), None);
    }

    #[test]
    fn every_time_is_in_the_bucket_that_says_so() {
        let mut micros = 0_u64;
        while micros < 1 << 29 {
            for near in [micros, micros + 1, micros.saturating_sub(1)] {
                let time = Duration::from_micros(near);
                let histogram = of([near]);
                let bucket = histogram.buckets().next().unwrap();
                assert!(
                    bucket.from <= time && time < bucket.to,
                    "{time:?} {bucket:?}"
                );
            }
            micros = (micros + 1) * 9 / 8;
        }
        let mut histogram = of([]);
        histogram.record(Duration::MAX);
        let last = histogram.buckets().next().unwrap();
        assert_eq!((last.to, last.count), (Duration::MAX, 1));
        assert!(histogram.percentile(50.0).unwrap() > Duration::from_secs(100));
    }

    #[test]
    fn sums_and_differences_are_those_of_the_counts() {
        let (a, b) = (of([5, 300, 300]), of([300, 9_000]));
        let mut both = a.clone();
        both.merge(&b);
        assert_eq!(both.count(), 5);
        assert_eq!(both.since(&a), b);
        assert_eq!(&both - &b, a);
        assert!((&both - &both).is_empty());
    }

    /// A counter that has gone round is no less right.
    #[test]
    fn counts_wrap_around_and_their_difference_does_not() {
        let mut old = Histogram::new();
        old.counts[40] = u64::MAX;
        let mut new = old.clone();
        new.record_in(40);
        new.record_in(40);
        assert_eq!(new.counts[40], 1);
        assert_eq!(new.since(&old).count(), 2);
    }

    /// Each path has them for as long as it is there, idle or not.
    #[test]
    fn they_take_less_than_two_kilobytes() {
        assert!(size_of::<Latencies>() < 2048);
    }

    #[test]
    fn it_is_one_line() {
        let text = of(std::iter::repeat_n(300, 99).chain([20_000])).to_string();
        assert_eq!(
            text,
            "100 I/Os, 50 % in 320µs, 99 % in 320µs, 99.9 % in 20.48ms"
        );
        assert_eq!(of([]).to_string(), "0 I/Os");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_back_as_it_was() {
        let histogram = of([0, 4, 5, 300, 300, 1 << 40]);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        let odd = r#"{"buckets": [{"from_ns": 5001, "count": 1}]}"#;
        let error = serde_json::from_str::<Histogram>(odd)
            .unwrap_err()
            .to_string();
        assert!(error.contains("5001"), "{error}");
    }
}
