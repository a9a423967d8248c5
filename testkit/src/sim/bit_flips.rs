//! Which bits change under way.

use super::{
    frames::{Aim, Digests, Part},
    rng::Rng,
};

/// How bits change on a link. What TCP's own checksum misses is seen by nobody but a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BitFlips {
    /// Of so many PDUs out of a million one bit changes, in the header, the data or a digest.
    pub per_million: u32,
    /// Whether also what no digest vouches for is hit: logins, and sessions without digests. Default
    /// no.
    pub unprotected: bool,
}

impl BitFlips {
    /// Flips a bit of so many PDUs out of a million, where a digest tells.
    #[must_use]
    pub const fn new(per_million: u32) -> Self {
        Self {
            per_million,
            unprotected: false,
        }
    }

    pub(super) fn aim(self, rng: &mut Rng, digests: Digests) -> Option<Aim> {
        if rng.below(1_000_000) >= u64::from(self.per_million) {
            return None;
        }
        let part = match rng.below(10) {
            0..=3 => Part::Header,
            4 => Part::HeaderDigest,
            5..=8 => Part::Data,
            _ => Part::DataDigest,
        };
        let aim = (part, rng.next_u64(), rng.below(8) as u8);
        Some(aim).filter(|_| self.unprotected || digests.protect(part))
    }
}
