//! Completion times of a path, in buckets of a fixed number.

use std::time::Duration;

/// Four buckets per doubling: a percentile read from them is at most 25 % too high, which is far
/// below what distinguishes a slow target from a dead network.
const PER_DOUBLING: usize = 4;
/// Up to 2^27 us, about two minutes. Longer ones count as that.
const DOUBLINGS: usize = 27;
pub(crate) const BUCKETS: usize = PER_DOUBLING * DOUBLINGS;
/// The percentile is looked up again after this many new samples.
const REFRESH: u32 = 64;
/// At this many samples all counts are halved, so that the past fades.
const FADE: u32 = 8192;

#[derive(Debug)]
pub(crate) struct Latency {
    counts: [u32; BUCKETS],
    total: u32,
    fresh: u32,
    p99: Duration,
}

impl Latency {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
            fresh: 0,
            p99: Duration::ZERO,
        }
    }

    /// A sample in this bucket. True if the percentile has become a lower one.
    pub(crate) fn record(&mut self, bucket: usize) -> bool {
        let before = self.p99;
        self.counts[bucket] += 1;
        self.total += 1;
        self.fresh += 1;
        // The first samples count at once: nothing else is known yet.
        if self.fresh >= REFRESH || self.total < REFRESH {
            self.fresh = 0;
            self.p99 = self.percentile_99();
        }
        if self.total >= FADE {
            self.total = 0;
            for count in &mut self.counts {
                *count /= 2;
                self.total += *count;
            }
        }
        self.p99 < before
    }

    /// The upper end of the bucket in which the 99th percentile lies; zero without samples.
    pub(crate) const fn p99(&self) -> Duration {
        self.p99
    }

    fn percentile_99(&self) -> Duration {
        let mut above = self.total / 100;
        for (index, &count) in self.counts.iter().enumerate().rev() {
            if count > above {
                return upper_end(index);
            }
            above -= count;
        }
        Duration::ZERO
    }
}

/// Which bucket a time belongs into.
pub(crate) fn bucket(took: Duration) -> usize {
    bucket_of(micros(took))
}

pub(crate) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// As [`bucket`], of microseconds.
pub(crate) fn bucket_of(micros: u64) -> usize {
    let micros = micros.clamp(4, (1 << DOUBLINGS) - 1);
    let log = micros.ilog2() as usize;
    let quarter = (micros >> (log - 2)) as usize & 3;
    log * PER_DOUBLING + quarter
}

/// What all in a bucket took less than; the last one has all that is longer, too.
pub(crate) const fn upper_end(index: usize) -> Duration {
    let (log, quarter) = (index / PER_DOUBLING, (index % PER_DOUBLING) as u64);
    if log < 2 {
        return Duration::from_micros(4);
    }
    Duration::from_micros((5 + quarter) << (log - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_within_a_quarter_of_the_truth() {
        let mut latency = Latency::new();
        for i in 1..=1000 {
            latency.record(bucket_of(i * 10));
        }
        let p99 = latency.p99();
        assert!(p99 >= Duration::from_micros(9_600), "{p99:?}");
        assert!(p99 <= Duration::from_micros(12_400), "{p99:?}");
    }

    #[test]
    fn one_slow_command_in_a_thousand_does_not_move_the_percentile() {
        let mut latency = Latency::new();
        for i in 0..1000 {
            latency.record(bucket_of(if i == 500 { 3_000_000 } else { 200 }));
        }
        assert!(latency.p99() < Duration::from_micros(260));
    }

    #[test]
    fn extreme_values_have_a_bucket() {
        let mut latency = Latency::new();
        latency.record(bucket_of(0));
        assert!(latency.p99() <= Duration::from_micros(5));
        latency.record(bucket_of(u64::MAX));
        assert!(latency.p99() >= Duration::from_secs(100));
    }

    #[test]
    fn the_past_fades() {
        let mut latency = Latency::new();
        for _ in 0..FADE / 2 {
            latency.record(bucket_of(500_000));
        }
        for _ in 0..20 * FADE {
            latency.record(bucket_of(300));
        }
        assert!(latency.p99() < Duration::from_millis(1));
    }
}
