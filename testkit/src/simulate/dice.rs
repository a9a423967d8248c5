//! What is drawn most often.

use std::time::Duration;

use crate::sim::Rng;

/// A number in `from..=to`.
pub(super) const fn between(rng: &mut Rng, from: u64, to: u64) -> u64 {
    from + rng.below(to - from + 1)
}

pub(super) fn small(rng: &mut Rng, from: u8, to: u8) -> u8 {
    u8::try_from(between(rng, from.into(), to.into())).unwrap_or(from)
}

pub(super) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[usize::try_from(rng.below(of.len() as u64)).unwrap_or_default()]
}

/// In units of `unit`, `from..=to`.
pub(super) fn time(rng: &mut Rng, unit: Duration, from: u64, to: u64) -> Duration {
    unit * u32::try_from(between(rng, from, to)).unwrap_or(u32::MAX)
}
