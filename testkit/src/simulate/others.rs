//! What befalls only some worlds, drawn after all else and by numbers of its own, so that the others are
//! what they would be without it.

use std::time::Duration;

use super::plan::{Fault, Plan, What};
use crate::{sim::Rng, target::PortState};

const MS: Duration = Duration::from_millis(1);

/// One world in so many.
const ONE_IN: u64 = 6;

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[usize::try_from(rng.below(of.len() as u64)).unwrap_or_default()]
}

impl Plan {
    /// Another initiator's reservations, and port groups that are away for long.
    pub(super) fn add_others(&mut self) {
        let rng = &mut Rng::new(self.seed ^ 0x07e5_e27e_d0b1_0c42);
        if rng.below(ONE_IN) != 0 {
            return;
        }
        let mut more = Vec::new();
        if rng.chance(600) {
            for _ in 0..1 + rng.below(4) {
                let longest = pick(rng, &[20, 500, 3000]);
                let unit = u16::try_from(rng.below(self.units.len() as u64)).unwrap_or_default();
                let exclusive = rng.chance(300);
                more.push(self.sometime(rng, longest, What::Reserve { unit, exclusive }));
            }
        }
        if rng.chance(600) {
            for _ in 0..1 + rng.below(2) {
                let state = pick(
                    rng,
                    &[
                        PortState::Standby,
                        PortState::Unavailable,
                        PortState::Offline,
                        PortState::Transitioning,
                    ],
                );
                let group = pick(rng, &self.portals);
                more.push(self.sometime(rng, 25_000, What::PortState { group, state }));
            }
        }
        self.faults.extend(more);
        self.faults.sort_by_key(|fault| fault.at);
    }

    fn sometime(&self, rng: &mut Rng, longest: u64, what: What) -> Fault {
        let latest = self.calm.saturating_sub(Duration::from_secs(5));
        let latest = u64::try_from(latest.as_millis()).unwrap_or(u64::MAX);
        let at = MS * u32::try_from(500 + rng.below(latest)).unwrap_or(u32::MAX);
        let lasts = MS * u32::try_from(1 + rng.below(longest)).unwrap_or(u32::MAX);
        let lasts = lasts.min(self.calm.saturating_sub(at));
        Fault { at, lasts, what }
    }
}
