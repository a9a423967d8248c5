//! What is decided before a world begins.

use std::{ops::Range, time::Duration};

/// What a world is like. All of it, with the seed, determines the run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimConfig {
    /// The seed.
    pub seed: u64,
    /// One-way latency; each piece of data draws its own, and none overtakes an earlier one.
    /// Default 50 µs to 250 µs.
    pub latency: Range<Duration>,
    /// Bytes that one direction of a connection holds before its writer must wait. Default 256 KiB.
    pub pipe_capacity: usize,
    /// How many of 1000 reads and writes transfer less than they could, down to one byte.
    /// Default 100.
    pub partial_per_mille: u16,
    /// How many of 1000 draws of four random bytes, which is what numbers begin with that wrap, are
    /// within 256 of their end (in network byte order). Default 0.
    pub brink_per_mille: u16,
    /// Whether what repeats is done on a [beat](iscsi_client::runtime::Beat). Default no.
    pub beat: bool,
    /// Whether connections tell how far their bytes have come, as some platforms do. Default false.
    pub tells_progress: bool,
    /// Polls and events after which [`SimRuntime::block_on`](super::SimRuntime::block_on) gives up. Default 50 million: a busy loop
    /// is found within seconds, a long run is not disturbed.
    pub step_limit: u64,
}

impl SimConfig {
    /// The default world under `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            latency: Duration::from_micros(50)..Duration::from_micros(250),
            pipe_capacity: 256 * 1024,
            partial_per_mille: 100,
            brink_per_mille: 0,
            beat: false,
            tells_progress: false,
            step_limit: 50_000_000,
        }
    }
}
