//! How much memory a body may hold.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts for [`Meter`]; the fuzz targets and the replay have it as their global allocator.
pub static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// What was allocated and not freed since a moment. The whole process counts, so only one body may run
/// at a time.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    base: usize,
    total: usize,
}

impl Meter {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        let total = ALLOCATOR.stats().bytes_allocated;
        let base = held();
        Self { base, total }
    }

    /// # Panics
    ///
    /// When more than `limit` bytes more than at the start are held.
    pub fn holds_at_most(&self, limit: usize) {
        let held = held().saturating_sub(self.base);
        assert!(
            held <= limit,
            "{held} bytes are held, at most {limit} may be"
        );
    }

    /// # Panics
    ///
    /// When more than `limit` bytes were allocated since the start, freed or not.
    pub fn took_at_most(&self, limit: usize) {
        let took = ALLOCATOR.stats().bytes_allocated.wrapping_sub(self.total);
        assert!(
            took <= limit,
            "{took} bytes were allocated, at most {limit} may be"
        );
    }
}
