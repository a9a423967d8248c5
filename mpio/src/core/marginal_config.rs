//! When a path is marginal, and for how long.

use std::time::Duration;

use super::config_error::ConfigError;

/// When a path that works is too bad to be used as long as there is a sound one, and what it has to show before it is
/// sound again (multipath-tools' `marginal_path_*`, `san_path_err_*` and `marginal_pathgroups`, which are off there by
/// default and know no latency).
///
/// A marginal path stays joined, and its session up. It forms a group of its own, or with other marginal ones, after
/// all groups of sound paths, and takes I/O while none of those can. Moving away from it is no fail-back and waits for
/// none; a group that an operator has chosen is used even so.
///
/// Only what a path has for itself counts. A fault counts when another path, which was usable before, is usable still
/// and was heard of since: one that hits all paths alike (a target that is stopped, a switch that all go through)
/// counts for none of them, nor does any while there is one path.
///
/// ```
/// use std::time::Duration;
/// use mpio::core::{Config, MarginalConfig};
///
/// let minute = Duration::from_secs(60);
/// let marginal = MarginalConfig::DEFAULT
///     .losses(3)
///     .window(5 * minute)
///     .probation(minute, 30 * minute);
/// let config = Config::builder().marginal(Some(marginal)).build()?;
/// # Ok::<(), mpio::core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct MarginalConfig {
    /// It is marginal after so many losses within `window`: that it went down, or was suspected because it was silent,
    /// while it was usable. Default 5: a controller that is restarted is one, and one that comes up in several
    /// attempts a few. Range 2 to 32.
    pub losses: u32,
    /// And after so many of these and of errors of I/Os that are blamed on the path, of which all until the next good
    /// check are one, so there is about one per second at most. Default 10, range 2 to 32.
    pub errors: u32,
    /// For how long they are remembered. Default 10 min, range 1 s to 24 h.
    pub window: Duration,
    /// When it is marginal for being slow; `None`: never.
    pub latency: Option<LatencyLimit>,
    /// How long it has to be usable without a fault before it is sound again. It is checked every second meanwhile, or
    /// sixteen times if that is more often, and the last of these checks decides. Where it was slow, each check that takes
    /// too long begins the time anew. Default 2 min, range 1 s to 24 h.
    pub probation: Duration,
    /// Each time that it is marginal again within `window` after it became sound, or within the time that its probation
    /// took, the next one is twice as long, up to this. Default 1 h, range `probation` to 7 days.
    pub max_probation: Duration,
}

/// When a path is too slow beside the best one of its group.
///
/// Compared are the mean times of I/Os that succeed, reads with reads and writes with writes of about the same length,
/// over stretches of a second or more; with paths that take a quarter of its I/Os at least. What a path is slow at is
/// not what a check does: one that is slow for long I/Os alone is sound again after its probation, and then marginal
/// again for twice as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct LatencyLimit {
    /// Its I/Os take more than so many times as long. Default 5, range 2 to 1000.
    pub factor: u32,
    /// And longer by this. Default 20 ms: more than arrays and links that are in order differ by, and less than the
    /// shortest retransmission timeout adds to a tenth of the I/Os. Also, a check that takes no longer than this is
    /// good. Range 100 us to 1 min.
    pub floor: Duration,
    /// In each stretch for so long. Default 30 s, range 1 s to 1 h.
    pub time: Duration,
    /// In which it ended so many I/Os at least. Default 32, range 8 to 1000000. Where a [selector](super::PathSelector)
    /// avoids slow paths these take a while to come together.
    pub samples: u32,
}

/// What a path remembers of its faults; the limits of their numbers are not above.
pub(crate) const MOST_FAULTS: usize = 32;

impl LatencyLimit {
    /// The default.
    pub const DEFAULT: Self = Self {
        factor: 5,
        floor: Duration::from_millis(20),
        time: Duration::from_secs(30),
        samples: 32,
    };

    /// Sets [`factor`](Self::factor) and [`floor`](Self::floor).
    pub const fn above(mut self, factor: u32, floor: Duration) -> Self {
        self.factor = factor;
        self.floor = floor;
        self
    }

    /// Sets [`time`](Self::time) and [`samples`](Self::samples).
    pub const fn sustained(mut self, time: Duration, samples: u32) -> Self {
        self.time = time;
        self.samples = samples;
        self
    }
}

impl Default for LatencyLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl MarginalConfig {
    /// The default.
    pub const DEFAULT: Self = Self {
        losses: 5,
        errors: 10,
        window: Duration::from_secs(600),
        latency: Some(LatencyLimit::DEFAULT),
        probation: Duration::from_secs(120),
        max_probation: Duration::from_secs(3600),
    };

    /// Sets [`losses`](Self::losses).
    pub const fn losses(mut self, losses: u32) -> Self {
        self.losses = losses;
        self
    }

    /// Sets [`errors`](Self::errors).
    pub const fn errors(mut self, errors: u32) -> Self {
        self.errors = errors;
        self
    }

    /// Sets [`window`](Self::window).
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets [`latency`](Self::latency).
    pub const fn latency(mut self, limit: Option<LatencyLimit>) -> Self {
        self.latency = limit;
        self
    }

    /// Sets [`probation`](Self::probation) and [`max_probation`](Self::max_probation).
    pub const fn probation(mut self, first: Duration, max: Duration) -> Self {
        self.probation = first;
        self.max_probation = max;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const S: Duration = Duration::from_secs(1);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let check = |ok: bool, field, range| match ok {
            true => Ok(()),
            false => Err(ConfigError { field, range }),
        };
        check(
            (2..=32).contains(&self.losses),
            "marginal.losses",
            "2 to 32",
        )?;
        check(
            (2..=32).contains(&self.errors),
            "marginal.errors",
            "2 to 32",
        )?;
        check(
            (S..=DAY).contains(&self.window),
            "marginal.window",
            "1 s to 24 h",
        )?;
        check(
            (S..=DAY).contains(&self.probation),
            "marginal.probation",
            "1 s to 24 h",
        )?;
        check(
            (self.probation..=7 * DAY).contains(&self.max_probation),
            "marginal.max_probation",
            "probation to 7 days",
        )?;
        let Some(limit) = self.latency else {
            return Ok(());
        };
        check(
            (2..=1000).contains(&limit.factor),
            "marginal.latency.factor",
            "2 to 1000",
        )?;
        check(
            (S / 10_000..=60 * S).contains(&limit.floor),
            "marginal.latency.floor",
            "100 us to 1 min",
        )?;
        check(
            (S..=3600 * S).contains(&limit.time),
            "marginal.latency.time",
            "1 s to 1 h",
        )?;
        check(
            (8..=1_000_000).contains(&limit.samples),
            "marginal.latency.samples",
            "8 to 1000000",
        )
    }
}

impl Default for MarginalConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
