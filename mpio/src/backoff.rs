//! How long to wait before something that has failed is tried again.

use std::{future::poll_fn, time::Duration};

use iscsi_client::runtime::Runtime;

/// Between the first failure and the next attempt.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest such delay: how long a NIC that was plugged in may go unused. What leads nowhere, as where each
/// of two NICs reaches one of two portals, costs a connection attempt this often.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Doubles, with jitter over the upper half.
    pub(crate) fn next_delay(&mut self, runtime: &dyn Runtime) -> Duration {
        let full = (FIRST_DELAY * (1 << self.failures.min(10))).min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0];
        runtime.fill_random(&mut random);
        full / 2 + full * u32::from(random[0]) / 512
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// It went well.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

pub(crate) async fn sleep(runtime: &dyn Runtime, time: Duration) {
    if time.is_zero() {
        return;
    }
    let mut timer = runtime.new_timer(runtime.now() + time);
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}
