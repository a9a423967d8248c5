//! Processor time, which is what a world costs whatever else the machine does.

use std::time::Duration;

/// Of this process so far; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};

    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .ok()
        .map(Into::into)
}

/// Of this process so far; `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn time() -> Option<Duration> {
    None
}

/// The time of day is of no interest, only how much of it has passed.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a person waits; nothing in a world sees it"
)]
pub(crate) fn clock() -> std::time::Instant {
    std::time::Instant::now()
}
