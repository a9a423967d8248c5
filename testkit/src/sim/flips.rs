//! Bits that change under way, unnoticed by TCP.

use super::{
    conn::{Conn, Side},
    counts::FaultCounts,
    frames::{Aim, Digests, Part},
    rng::Rng,
    state::Link,
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

    fn aim(self, rng: &mut Rng, digests: Digests) -> Option<Aim> {
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

/// Changes what the flips of the connection's links want changed in `data` from `side`.
pub(super) fn flip(
    flips: &[(Link, BitFlips)],
    conn: &mut Conn,
    side: Side,
    data: &mut [u8],
    (rng, counts): (&mut Rng, &mut FaultCounts),
) {
    let mut of_conn = flips.iter().filter(|(link, _)| link.is_way_of(conn, side));
    let flips = of_conn.next().map(|(_, flips)| *flips);
    let Some(frames) = &mut conn.frames else {
        return;
    };
    let mut hits = Vec::new();
    frames.advance(
        side,
        data,
        |digests| flips.and_then(|flips| flips.aim(rng, digests)),
        |at, bit, part| hits.push((at, bit, part)),
    );
    for (at, bit, part) in hits {
        data[at] ^= 1 << bit;
        *match part {
            Part::Header => &mut counts.flipped_headers,
            Part::HeaderDigest => &mut counts.flipped_header_digests,
            Part::Data => &mut counts.flipped_data,
            Part::DataDigest => &mut counts.flipped_data_digests,
        } += 1;
    }
}
