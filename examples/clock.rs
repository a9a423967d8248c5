//! The clock that latencies are measured with.

use std::time::Instant;

/// The present.
///
/// The runtime's clock would do as well, but tokio's takes some 20 ns more, which is noise in a figure
/// that is taken twice per I/O.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a tool that measures needs the operating system's clock"
)]
pub fn now() -> Instant {
    Instant::now()
}
