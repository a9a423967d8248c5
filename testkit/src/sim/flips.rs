//! Bits that change under way, unnoticed by TCP.

use super::{
    bit_flips::BitFlips, conn::Conn, counts::FaultCounts, frames::Part, ids::Side, rng::Rng,
    state::Link,
};

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
