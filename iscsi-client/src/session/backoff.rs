//! How long to wait before the next login.

use std::time::{Duration, Instant};

/// Jittered exponential back-off for logins.
///
/// The first attempt after a loss is immediate: most losses are a cable or a controller that already
/// has a replacement, and each millisecond here is a stall of the caller. What follows doubles from
/// [`FIRST`] to [`LONGEST`]. The counter is forgotten only after a session has *stayed* up: a target
/// that takes every login and drops it at once must not be asked at line rate.
///
/// Where nobody answered there is nobody to be spared, and who is back is to be found within a second:
/// such an attempt counts for nothing, and the next one follows at a fixed interval from its beginning.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
    up_since: Option<Instant>,
}

/// The first delay that is not zero. Shorter than a person notices, longer than a login takes.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay: how long a healed path may go unnoticed.
const LONGEST: Duration = Duration::from_secs(10);
/// A session that lived this long was not part of a login storm.
const STEADY: Duration = LONGEST;

impl Backoff {
    /// A login succeeded.
    pub(super) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The delay before the next attempt. `random` spreads the initiators of one failed switch over
    /// the upper half of the delay; half is enough for that and keeps the promised order of size.
    pub(super) fn next(&mut self, now: Instant, random: u32) -> Duration {
        if let Some(since) = self.up_since.take() {
            if now.saturating_duration_since(since) >= STEADY {
                self.attempts = 0;
            }
        }
        let attempt = self.attempts;
        self.attempts = attempt.saturating_add(1);
        let Some(doublings) = attempt.checked_sub(1) else {
            return Duration::ZERO;
        };
        let full = FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        let half = full / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The delay after an attempt to which nobody answered: what is left of `interval` since it
    /// `began`. `random` takes away a quarter at most.
    pub(super) fn unanswered(
        now: Instant,
        began: Instant,
        interval: Duration,
        random: u32,
    ) -> Duration {
        spread(interval, random).saturating_sub(now.saturating_duration_since(began))
    }

    /// The caller asked for a login now; that says nothing about the path, so counting begins anew.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The upper quarter of an interval.
pub(super) fn spread(interval: Duration, random: u32) -> Duration {
    let part = interval / 4;
    interval - part + part.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary origin; only differences are used"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn delays_double_from_a_tenth_of_a_second_to_ten_seconds() {
        let now = origin();
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..10)
            .map(|_| backoff.next(now, u32::MAX).as_millis())
            .collect();
        assert_eq!(
            delays,
            [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let now = origin();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(now, 0), Duration::ZERO);
        assert_eq!(backoff.next(now, 0), Duration::from_millis(50));
        assert_eq!(backoff.next(now, 0), Duration::from_millis(100));
    }

    #[test]
    fn where_nobody_answers_attempts_begin_at_a_fixed_interval() {
        let began = origin();
        let interval = Duration::from_millis(400);
        let after = |past, random| {
            let now = began + Duration::from_millis(past);
            Backoff::unanswered(now, began, interval, random).as_millis()
        };
        assert_eq!([after(0, u32::MAX), after(0, 0)], [400, 300]);
        assert_eq!([after(100, u32::MAX), after(100, 0)], [300, 200]);
        assert_eq!([after(400, u32::MAX), after(5000, 0)], [0, 0]);
    }

    #[test]
    fn only_a_session_that_stayed_up_is_tried_again_at_once() {
        let start = origin();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(start, u32::MAX), Duration::ZERO);
        backoff.up(start);
        let soon = start + Duration::from_secs(1);
        assert_eq!(backoff.next(soon, u32::MAX), Duration::from_millis(100));
        backoff.up(soon);
        let later = soon + STEADY;
        assert_eq!(backoff.next(later, u32::MAX), Duration::ZERO);
    }
}
