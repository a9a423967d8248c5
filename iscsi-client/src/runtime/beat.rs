//! Times at which what repeats is done together.

use std::time::{Duration, Instant};

/// Divides time, so that what has to be done about every so many seconds is done by all at once.
///
/// A process with a thousand idle paths asks each of them for a sign of life now and then. Spread evenly that is a
/// wake-up of the process every few milliseconds; on a beat it is one per second, of which all that is due makes use
/// while code and data are warm. Linux does the same with its own timers (`round_jiffies`). What an I/O waits for is never
/// put off for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat(Instant);

/// The longest unit: how coarse a time may be that nobody waits for.
const LONGEST: Duration = Duration::from_secs(1);
/// Below that nothing is gained.
const SHORTEST: Duration = Duration::from_millis(4);

impl Beat {
    /// Beats are counted from `origin`.
    #[must_use]
    pub const fn from(origin: Instant) -> Self {
        Self(origin)
    }

    /// The moment from which they are counted.
    #[must_use]
    pub const fn origin(self) -> Instant {
        self.0
    }

    /// Between two beats, for what is done once per `period`: a second, halved until it is a quarter of the period at
    /// most, so that beats of one period are beats of all shorter ones too. Zero for a period below 32 ms or so, which is
    /// kept as it is.
    #[must_use]
    pub fn unit(period: Duration) -> Duration {
        let mut unit = LONGEST;
        while unit > period / 4 {
            unit /= 2;
            if unit < SHORTEST {
                return Duration::ZERO;
            }
        }
        unit
    }

    /// The last beat up to `at`, for what is done once per `period`; `at` itself before the origin.
    #[must_use]
    pub fn up_to(self, at: Instant, period: Duration) -> Instant {
        let unit = Self::unit(period).as_nanos();
        let since = at.saturating_duration_since(self.0);
        let over = since.as_nanos().checked_rem(unit).unwrap_or(0);
        // Less than a unit, which is a second at most.
        let over = Duration::from_nanos(u64::try_from(over).unwrap_or(0));
        at.checked_sub(over).unwrap_or(at)
    }
}

/// The beat of an adapter, from now on.
#[cfg(any(feature = "smol", feature = "tokio"))]
#[expect(
    clippy::disallowed_methods,
    reason = "the clock of the operating system, which the adapters have"
)]
pub(super) fn begin() -> Beat {
    Beat::from(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_unit_is_a_quarter_of_the_period_at_most_and_beats_of_long_ones_are_those_of_short_ones()
    {
        let units = [20_000, 5_000, 4_000, 3_999, 2_000, 1_000, 16, 15, 0];
        let units = units.map(|period| Beat::unit(ms(period)).as_micros());
        let expected = [
            1_000_000, 1_000_000, 1_000_000, 500_000, 500_000, 250_000, 0, 0, 0,
        ];
        assert_eq!(units, expected);
        assert_eq!(Beat::unit(Duration::MAX), LONGEST);
    }

    #[test]
    fn a_beat_is_never_later_and_the_same_for_all() {
        #[expect(clippy::disallowed_methods, reason = "only differences matter")]
        let origin = Instant::now();
        let beat = Beat::from(origin);
        let period = ms(5_000);
        assert_eq!(beat.up_to(origin + ms(5_999), period), origin + ms(5_000));
        assert_eq!(beat.up_to(origin + ms(5_000), period), origin + ms(5_000));
        assert_eq!(beat.up_to(origin + ms(10), ms(10)), origin + ms(10));
        let earlier = origin.checked_sub(ms(1)).unwrap();
        assert_eq!(beat.up_to(earlier, period), earlier);
    }
}
