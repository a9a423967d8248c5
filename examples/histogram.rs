//! Percentiles of latencies.

use std::time::Duration;

/// Steps per power of two, half of which are used: an error below 1/64, or 1.6 %.
const STEPS: usize = 128;
const POWERS: usize = 58;

/// A log-linear histogram of nanoseconds. Exact below 128 ns; a percentile is the lower edge of its
/// bucket, as in the load generator on libiscsi that this one stands beside. Recording is an addition
/// and never allocates.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; STEPS * POWERS],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a latency.
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }

    /// How many were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The latency that the share `q` (0 to 1) of all does not exceed; zero if there are none.
    #[must_use]
    pub fn percentile(&self, q: f64) -> Duration {
        let rank = (q * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Duration::from_nanos(lower_edge(index));
            }
        }
        self.max()
    }

    /// The greatest latency, exactly.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

const fn bucket(ns: u64) -> usize {
    let power = if ns < STEPS as u64 {
        0
    } else {
        (u64::BITS - ns.leading_zeros() - 7) as usize
    };
    power * STEPS + ((ns >> power) as usize) % STEPS
}

const fn lower_edge(bucket: usize) -> u64 {
    ((bucket % STEPS) as u64) << (bucket / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution_are_off_by_less_than_two_percent() {
        let mut histogram = Histogram::new();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        for (q, us) in [(0.5, 5000.0), (0.99, 9900.0), (0.999, 9990.0)] {
            let found = histogram.percentile(q).as_secs_f64() * 1e6;
            assert!(
                found <= us && found > us * (1.0 - 1.0 / 64.0),
                "{q}: {found}"
            );
        }
        assert_eq!(histogram.max(), Duration::from_millis(10));
        assert_eq!(histogram.count(), 10_000);
    }

    #[test]
    fn every_latency_has_a_bucket_whose_edge_is_not_above_it() {
        for shift in 0..64 {
            for ns in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let edge = lower_edge(bucket(ns));
                assert!(edge <= ns && ns - edge <= ns / 64, "{ns}: {edge}");
            }
        }
    }

    #[test]
    fn an_empty_histogram_has_no_latency() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        histogram.record(Duration::MAX);
        assert!(histogram.percentile(0.0) > Duration::from_secs(1));
        histogram.clear();
        assert_eq!(histogram.percentile(1.0), Duration::ZERO);
    }
}
