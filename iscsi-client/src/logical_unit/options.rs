//! How a logical unit is used.

use std::time::Duration;

/// Limits and manners of a [`LogicalUnit`](super::LogicalUnit).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogicalUnitOptions {
    /// Time for a request that has no timeout of its own, retries included. Default 30 s, which is
    /// what disk drivers give a command.
    pub timeout: Duration,
    /// Time for a flush that has no timeout of its own. Default `None`: `timeout`, or more where the
    /// unit is [known](crate::quirks::Effects::flush_timeout) to need it.
    pub flush_timeout: Option<Duration>,
    /// Time for [`open`](super::LogicalUnit::open). Default 30 s.
    pub open_timeout: Duration,
    /// The longest transfer of one command in bytes; the unit's own limit is kept to as well, and
    /// at least one block is always sent. Default 4 MiB: more saves nothing per byte and lets
    /// others wait.
    pub max_transfer: u32,
    /// How many commands of one split request are under way at a time. Default 8.
    pub split_depth: usize,
    /// Whether BUSY, TASK SET FULL, a unit that is becoming ready and a lost connection are ridden
    /// out here, with pauses, until the request's time is over. With `false` the request fails at
    /// once, and [`Error::retry`](crate::error::Error::retry) is the advice: right for somebody who
    /// has other paths. Default `true`.
    pub ride_out: bool,
    /// Whether a unit is opened that grants no access to its medium through this port at the moment
    /// (standby, unavailable, offline, or between two states). Its [`size`](crate::device::DeviceInfo::size)
    /// is 0 then, and read as soon as there is access; until then every request fails with
    /// [`ErrorKind::NotReady`](crate::error::ErrorKind::NotReady). Right for one path of several. Default
    /// `false`: opening fails so.
    pub open_without_access: bool,
}

impl Default for LogicalUnitOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            flush_timeout: None,
            open_timeout: Duration::from_secs(30),
            max_transfer: 4 << 20,
            split_depth: 8,
            ride_out: true,
            open_without_access: false,
        }
    }
}

impl LogicalUnitOptions {
    /// Fails at once where another path may do better; see [`ride_out`](Self::ride_out).
    #[must_use]
    pub const fn fail_fast(mut self) -> Self {
        self.ride_out = false;
        self
    }
}
