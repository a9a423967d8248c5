//! How many reads leave a path that has only been asked.

use super::config_error::ConfigError;

/// The budget of hedged reads.
///
/// A path from which nothing came for a while is asked by a NOP-Out ([`SuspicionConfig`](super::SuspicionConfig)).
/// If another path of its group and of no lower priority was heard from meanwhile, its network is more likely dead than
/// the target slow, and the reads in flight there move before the answer is overdue, the oldest first. Should the path
/// answer after all, they were read twice; so each costs a token, and one that gets none waits for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HedgeConfig {
    /// Tokens that there are at most, and to begin with: reads of the whole device that may move at once. Default 64,
    /// range 1 to 65536.
    pub burst: u32,
    /// Tokens that come back, in percent of the reads that succeed. Default 5, range 0 to 100. In the long run no more
    /// reads than that are done twice.
    pub percent: u32,
}

impl HedgeConfig {
    pub(crate) const DEFAULT: Self = Self::new(64, 5);

    /// A budget.
    #[must_use]
    pub const fn new(burst: u32, percent: u32) -> Self {
        Self { burst, percent }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, range| match ok {
            true => Ok(()),
            false => Err(ConfigError { field, range }),
        };
        check(
            (1..=65_536).contains(&self.burst),
            "hedge.burst",
            "1 to 65536",
        )?;
        check(self.percent <= 100, "hedge.percent", "0 to 100")
    }
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
