//! How good a path is.

use iscsi_proto::scsi::AccessState;

use super::{access::Known, config::Prioritizer};

/// The better path is the greater one: a sound one before any that is marginal, then by what the array says, then by
/// its class of latency, then by what the program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority {
    is_sound: bool,
    access: Option<u8>,
    latency: Option<u32>,
    given: u32,
}

/// Of a path whose state is not known yet among others whose state is: it may well work, and better ones exist.
const UNKNOWN: u8 = 10;

impl Priority {
    /// `class`: of its latency, where that counts and is known.
    pub(crate) fn of(
        prioritizer: Prioritizer,
        given: u32,
        known: Option<Known>,
        class: Option<u32>,
    ) -> Self {
        let access = match prioritizer {
            Prioritizer::Given => None,
            Prioritizer::Alua { exclusive_pref_bit } => {
                Some(known.map_or(UNKNOWN, |known| alua(known, exclusive_pref_bit)))
            }
            Prioritizer::Detect | Prioritizer::PathLatency(_) => {
                known.map(|known| alua(known, false))
            }
        };
        let latency = match prioritizer {
            Prioritizer::PathLatency(classes) => {
                Some(class.map_or(0, |class| classes.priority(class)))
            }
            _ => None,
        };
        Self {
            is_sound: true,
            access,
            latency,
            given,
        }
    }

    /// The same of a path that is sound, or marginal.
    pub(crate) const fn with_soundness(self, is_sound: bool) -> Self {
        Self { is_sound, ..self }
    }

    pub(crate) const fn is_sound(self) -> bool {
        self.is_sound
    }

    /// One number, as `multipath -ll` prints it.
    pub(crate) fn shown(self) -> u32 {
        let access = self.access.map(u32::from);
        match (access, self.latency) {
            // Both can be read off it, and the greater one is the better one.
            (Some(access), Some(latency)) => access * 1000 + latency,
            (None, Some(latency)) => latency,
            (access, None) => access.unwrap_or(self.given),
        }
    }
}

/// The numbers of multipath-tools' `alua` prioritizer.
fn alua(known: Known, exclusive_pref_bit: bool) -> u8 {
    let (base, is_optimized) = match known.state {
        AccessState::ActiveOptimized => (50, true),
        AccessState::ActiveNonOptimized => (10, false),
        AccessState::LogicalBlockDependent => (5, false),
        AccessState::Standby => (1, false),
        _ => (0, false),
    };
    let preferred = known.preferred && (exclusive_pref_bit || !is_optimized);
    base + if preferred { 80 } else { 0 }
}
