//! What a path gets done, as it is measured.
//!
//! The rate of a path is what it has carried divided by the time in which something was in flight there,
//! over windows of [`WINDOW`], smoothed. A command counts [`OVERHEAD`] besides its bytes, so that many
//! small ones are not mistaken for little work.

use std::time::{Duration, Instant};

/// What a command costs besides its bytes, in bytes.
const OVERHEAD: u64 = 4096;
/// Busy time after which the rate is computed anew. A link of 1 Gbit/s carries a megabyte in it, which
/// is enough to be no accident; and four windows are soon over when a link changes.
const WINDOW: Duration = Duration::from_millis(10);
/// A path that is busy now and then gets its rate from whatever it did in so much time.
const LONG_WINDOW: Duration = Duration::from_millis(100);
/// Small I/Os end quickly: only every so many of them the window is looked at,
const UNCOUNTED: u32 = 16;
/// unless they weigh so much.
const LARGE: u64 = 32 << 10;
/// An older rate says nothing any more: it is replaced, not smoothed.
const STALE: Duration = Duration::from_secs(1);
/// How long a path may be left out because it was slow, before an I/O finds out whether it still is.
const PAUSE: Duration = Duration::from_secs(1);
/// But it costs at most one part in so many of the time.
const PAUSE_FACTOR: u32 = 32;
/// And a path is never left out for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Throughput {
    /// What is in flight, in bytes with their overhead.
    load: u64,
    /// Since when something is in flight; meaningless while nothing is.
    busy_from: Instant,
    /// Up to when the busy time of the present window is in `busy`.
    counted_to: Instant,
    window_from: Instant,
    busy: Duration,
    done: u64,
    /// I/Os that ended since the clock was last looked at.
    uncounted: u32,
    /// Bytes per second, 0 while it is unknown.
    rate: u64,
    speed: u64,
    /// When an I/O is to be sent here though others look better; meaningless while it is busy.
    curious_at: Instant,
}

/// What an I/O counts.
pub(crate) const fn weight(bytes: u64) -> u64 {
    bytes.saturating_add(OVERHEAD)
}

impl Throughput {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            load: 0,
            busy_from: now,
            counted_to: now,
            window_from: now,
            busy: Duration::ZERO,
            done: 0,
            uncounted: 0,
            rate: 0,
            speed: 0,
            curious_at: now,
        }
    }

    /// What was measured says nothing any more: the path was lost, or silent. What is in flight stays.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self {
            load: self.load,
            ..Self::new(now)
        };
    }

    pub(crate) const fn started(&mut self, now: Instant, bytes: u64) {
        if self.load == 0 {
            self.busy_from = now;
            self.counted_to = now;
        }
        self.load = self.load.saturating_add(weight(bytes));
    }

    pub(crate) fn ended(&mut self, now: Instant, bytes: u64, success: bool) {
        let weight = weight(bytes);
        self.load = self.load.saturating_sub(weight);
        if success {
            self.done = self.done.saturating_add(weight);
        }
        self.uncounted += 1;
        if self.load == 0 || self.uncounted >= UNCOUNTED || weight >= LARGE {
            self.look(now);
        }
    }

    fn look(&mut self, now: Instant) {
        self.uncounted = 0;
        let busy = self.busy + now.saturating_duration_since(self.counted_to);
        if busy >= WINDOW {
            self.learn(now, busy);
        }
        if self.load == 0 {
            self.rest(now);
        }
    }

    fn learn(&mut self, now: Instant, busy: Duration) {
        let nanos = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX).max(1);
        let rate = u128::from(self.done) * 1_000_000_000 / u128::from(nanos);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX).max(1);
        let is_stale = now.saturating_duration_since(self.window_from) >= STALE + busy;
        self.rate = if self.rate == 0 || is_stale {
            rate
        } else {
            self.rate - self.rate / 4 + rate / 4
        };
        self.speed = speed(self.rate);
        self.window_from = now;
        self.counted_to = now;
        self.busy = Duration::ZERO;
        self.done = 0;
    }

    /// Nothing is in flight any more.
    fn rest(&mut self, now: Instant) {
        self.busy += now.saturating_duration_since(self.counted_to);
        if now.saturating_duration_since(self.window_from) >= LONG_WINDOW {
            self.learn(now, self.busy);
        }
        let pause = now.saturating_duration_since(self.busy_from) * PAUSE_FACTOR;
        self.curious_at = now + pause.clamp(PAUSE, LONGEST_PAUSE);
    }

    /// What is in flight, in bytes with their overhead.
    pub(crate) const fn load(&self) -> u64 {
        self.load
    }

    /// Bytes per second; 0 before the first measurement.
    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    /// What loads are divided by to compare paths; see [`speed`]. 0 before the first measurement.
    pub(crate) const fn speed(&self) -> u64 {
        self.speed
    }

    /// It was left out for so long that its rate may have become another one.
    pub(crate) fn is_curious(&self, now: Instant) -> bool {
        self.load == 0 && self.rate != 0 && now >= self.curious_at
    }
}

/// The rate to the power of 3/4.
///
/// Not the rate itself: as long as a path is not saturated it carries what it is given, so its measured
/// rate is its share of the load. Were shares proportional to rates, any division of the load between
/// equal paths would keep itself up, and chance would carry it to one of them. With an exponent below
/// one a share that is too large shrinks with each measurement (a ratio of x between equal paths becomes
/// that of x^(3/4)), and paths of which one is five times as fast still share 3.3 to 1.
const fn speed(rate: u64) -> u64 {
    let root = rate.isqrt();
    root.saturating_mul(root.isqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "any start serves for virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_busy_path_is_measured_by_what_it_gets_done() {
        let mut now = start();
        let mut path = Throughput::new(now);
        path.started(now, 61_440);
        for _ in 0..100 {
            path.started(now, 61_440);
            now += MS;
            path.ended(now, 61_440, true);
        }
        let rate = path.rate();
        assert!((65_000_000..=66_000_000).contains(&rate), "{rate}");
        assert_eq!(path.load(), 65_536);
    }

    #[test]
    fn idle_time_is_not_counted() {
        let mut now = start();
        let mut path = Throughput::new(now);
        for _ in 0..100 {
            path.started(now, 61_440);
            now += MS;
            path.ended(now, 61_440, true);
            now += 9 * MS;
        }
        let rate = path.rate();
        assert!((65_000_000..=66_000_000).contains(&rate), "{rate}");
    }

    #[test]
    fn a_change_is_learnt_within_a_few_windows() {
        let mut now = start();
        let mut path = Throughput::new(now);
        let mut run = |path: &mut Throughput, each: Duration, count: u32| {
            for _ in 0..count {
                path.started(now, 61_440);
                now += each;
                path.ended(now, 61_440, true);
            }
        };
        run(&mut path, MS, 1000);
        run(&mut path, 10 * MS, 10);
        let rate = path.rate();
        assert!(rate < 10_000_000, "{rate}");
        run(&mut path, MS, 200);
        let rate = path.rate();
        assert!(rate > 60_000_000, "{rate}");
    }

    #[test]
    fn a_slow_path_is_asked_again_seldom() {
        let now = start();
        let mut path = Throughput::new(now);
        path.started(now, 0);
        path.ended(now + 100 * MS, 0, true);
        assert!(!path.is_curious(now + 3200 * MS));
        assert!(path.is_curious(now + 3300 * MS));
        path.started(now + 3300 * MS, 0);
        assert!(!path.is_curious(now + 9900 * MS), "it is being asked");
    }
}
