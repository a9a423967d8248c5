//! Time as the core sees it: a number that the caller brings along.

use core::time::Duration;

/// A moment, in nanoseconds since an epoch that the caller chooses and keeps.
///
/// Only differences matter. The caller promises that the values it passes to one object never go
/// backwards; an earlier one is treated as "no time has passed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The caller's epoch.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + by`, or the last representable moment (584 years after the epoch).
    #[must_use]
    pub const fn saturating_add(self, by: Duration) -> Self {
        // In 64 bits, since it is asked several times per poll.
        let seconds = by.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(by.subsec_nanos() as u64);
        Self(self.0.saturating_add(nanos))
    }

    /// The last moment up to this one that is a multiple of `unit` nanoseconds after the epoch; itself where that is
    /// zero.
    #[must_use]
    pub(crate) const fn last_multiple_of(self, unit: u64) -> Self {
        match self.0.checked_rem(unit) {
            Some(over) => Self(self.0.saturating_sub(over)),
            None => self,
        }
    }

    /// The earlier of two moments, either of which may be missing.
    pub(crate) const fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(Self(a)), Some(Self(b))) => Some(Self(if b < a { b } else { a })),
            (Some(one), None) | (None, Some(one)) => Some(one),
            (None, None) => None,
        }
    }

    /// The time from `earlier` to `self`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let late = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(late.saturating_add(Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(
            Instant::ZERO.saturating_duration_since(late),
            Duration::ZERO
        );
        let long = Duration::new(u64::MAX / 1_000_000_000, 999_999_999);
        assert_eq!(Instant::ZERO.saturating_add(long).as_nanos(), u64::MAX);
        let t = Instant::ZERO.saturating_add(Duration::from_millis(3));
        assert_eq!(
            t.saturating_duration_since(Instant::ZERO),
            Duration::from_millis(3)
        );
    }

    #[test]
    fn the_last_multiple_is_never_later() {
        let t = Instant::from_nanos(5_999);
        assert_eq!(t.last_multiple_of(1_000).as_nanos(), 5_000);
        assert_eq!(
            Instant::from_nanos(5_000)
                .last_multiple_of(1_000)
                .as_nanos(),
            5_000
        );
        assert_eq!(t.last_multiple_of(0), t);
        assert_eq!(t.last_multiple_of(u64::MAX), Instant::ZERO);
    }

    #[test]
    fn the_earlier_of_two_is_the_one_that_is_there() {
        let (a, b) = (Some(Instant(1)), Some(Instant(2)));
        assert_eq!(Instant::earlier(a, b), a);
        assert_eq!(Instant::earlier(b, a), a);
        assert_eq!(Instant::earlier(None, b), b);
        assert_eq!(Instant::earlier(b, None), b);
        assert_eq!(Instant::earlier(None, None), None);
    }
}
