//! Into which class a latency belongs.

use std::time::Duration;

use super::config_error::ConfigError;

/// How [`Prioritizer::PathLatency`](super::Prioritizer::PathLatency) ranks paths (multipath-tools' `path_latency`): by
/// classes of what a round trip takes, each of which reaches to so many times the latency of the one before.
///
/// Measured are the path checks, on paths that carry I/O as on those that rest: I/Os of the one could not be compared
/// with checks of the other, and a path would look the worse for being used. (What I/Os take beside those of the same
/// group is what [`LatencyLimit`](super::LatencyLimit) goes by. Nor does a check show what a controller does that
/// answers it by itself, and hands reads and writes on to another one; where access states tell of that, they count
/// first.) The median of the last [`io_num`](Self::io_num) checks counts, so that one that was stuck behind a burst does
/// not.
///
/// The quickest path that takes I/O has the class of its latency between 1 us and 100 s, and the others are counted from
/// it. So a path that is nearly as quick is always of its class, and in its group, wherever the limits of the classes are.
///
/// A path that comes is checked ten times a second until so many checks are answered, and is taken for as quick as the
/// quickest one until then. Later its class changes only if the new one has held for [`hold`](Self::hold), and the classes
/// of a device change no more often than that. Whether I/O then moves is for the
/// [failback policy](super::ConfigBuilder::failback) to say, which is `Manual` unless access states are known.
///
/// ```
/// use mpio::core::{Config, LatencyClasses, Prioritizer};
///
/// // A site that is ten times as far away is used while nothing nearer works.
/// let classes = LatencyClasses::DEFAULT.base_tenths(100);
/// let config = Config::builder()
///     .prioritizer(Prioritizer::PathLatency(classes))
///     .build()?;
/// # Ok::<(), mpio::core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct LatencyClasses {
    /// How many checks are looked at. Default 20, range 20 to 200.
    pub io_num: u32,
    /// From one class to the next, in tenths: 25 is 2.5 times (`base_num`). Default 40: links and adapters of one network
    /// differ by less, and another site by more. Range 11 to 100.
    pub base_tenths: u32,
    /// For how long another class has to hold before it counts, and how long after a change the next one may come.
    /// Default 30 s, range 1 s to 1 h.
    pub hold: Duration,
}

/// What is longer counts as this.
const LONGEST: u64 = 100_000_000;
/// Fractions of a microsecond, so that the lowest limits are not all the same.
const FRACTION: u64 = 1_000_000;

impl LatencyClasses {
    /// The default.
    pub const DEFAULT: Self = Self {
        io_num: 20,
        base_tenths: 40,
        hold: Duration::from_secs(30),
    };

    /// Sets [`io_num`](Self::io_num).
    pub const fn io_num(mut self, checks: u32) -> Self {
        self.io_num = checks;
        self
    }

    /// Sets [`base_tenths`](Self::base_tenths).
    pub const fn base_tenths(mut self, tenths: u32) -> Self {
        self.base_tenths = tenths;
        self
    }

    /// Sets [`hold`](Self::hold).
    pub const fn hold(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const S: Duration = Duration::from_secs(1);
        let check = |ok: bool, field, range| match ok {
            true => Ok(()),
            false => Err(ConfigError { field, range }),
        };
        check(
            (20..=200).contains(&self.io_num),
            "path_latency.io_num",
            "20 to 200",
        )?;
        check(
            (11..=100).contains(&self.base_tenths),
            "path_latency.base_tenths",
            "11 to 100",
        )?;
        check(
            (S..=3600 * S).contains(&self.hold),
            "path_latency.hold",
            "1 s to 1 h",
        )
    }

    /// The class of a latency in microseconds, where that of the quickest path is `quickest`: the lower, the quicker.
    pub(crate) fn class(&self, quickest: u64, micros: u64) -> u32 {
        let quickest = quickest.clamp(1, LONGEST);
        let class = self.steps(1, quickest) + self.steps(quickest, micros);
        class.min(self.steps(1, LONGEST))
    }

    /// The priority of a class, of which the better one is the greater.
    pub(crate) fn priority(&self, class: u32) -> u32 {
        self.steps(1, LONGEST).saturating_sub(class)
    }

    /// How often `from` can be multiplied without being more than `to`.
    fn steps(&self, from: u64, to: u64) -> u32 {
        let to = to.min(LONGEST) * FRACTION;
        let next = |limit: &u64| Some(limit * u64::from(self.base_tenths) / 10);
        let limits = std::iter::successors(Some(from * FRACTION), next).skip(1);
        let steps = limits.take_while(|&limit| limit <= to).count();
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

impl Default for LatencyClasses {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_ten_are_decades_from_a_microsecond_to_a_hundred_seconds() {
        let classes = LatencyClasses::DEFAULT.base_tenths(100);
        for (micros, class) in [
            (0, 0),
            (1, 0),
            (9, 0),
            (10, 1),
            (999, 2),
            (1000, 3),
            (99_999_999, 7),
            (100_000_000, 8),
            (u64::MAX, 8),
        ] {
            assert_eq!(classes.class(micros, micros), class, "{micros}");
        }
        assert_eq!(classes.priority(0), 8);
        assert_eq!(classes.priority(8), 0);
    }

    #[test]
    fn what_is_nearly_as_quick_as_the_quickest_is_of_its_class_wherever_the_limits_are() {
        for base in [11, 25, 40, 100] {
            let classes = LatencyClasses::DEFAULT.base_tenths(base);
            for quickest in [5, 95, 99, 100, 999, 1_000, 47_113, 9_999_999] {
                let near = quickest + quickest / 20;
                let far = quickest * 11;
                let class = classes.class(quickest, quickest);
                assert_eq!(classes.class(quickest, near), class, "{base} {quickest}");
                assert!(classes.class(quickest, far) > class, "{base} {quickest}");
            }
        }
    }

    #[test]
    fn the_narrowest_classes_are_counted_as_exactly_as_the_widest() {
        let classes = LatencyClasses::DEFAULT.base_tenths(11);
        // ln(10^8) / ln(1.1)
        assert_eq!(classes.class(1, u64::MAX), 193);
        // 1.1^7 is 1.95, and 1.1^8 is 2.14.
        assert_eq!(classes.class(1, 2), 7);
    }
}
