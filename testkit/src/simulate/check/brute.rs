//! The same question as in `zones`, answered by trying all orders. For short histories, and as the
//! judge of the judge.

use std::collections::BTreeSet;

use super::{
    access::{Access, Certainty, Role},
    stamp::Stamp,
};

/// More accesses than this are refused: the search is exponential.
pub(super) const MOST: usize = 16;

/// Whether a register that held `initial` can have answered these accesses so.
///
/// # Panics
///
/// If there are more than [`MOST`].
pub(super) fn judge(initial: Stamp, accesses: &[Access]) -> bool {
    assert!(accesses.len() <= MOST, "{} accesses", accesses.len());
    let all = (1_u32 << accesses.len()) - 1;
    // Where the search was, and found nothing.
    let mut barren = BTreeSet::new();
    search(accesses, all, initial, &mut barren)
}

fn is_optional(access: &Access) -> bool {
    matches!(
        access.role,
        Role::Write(Certainty::Maybe | Certainty::Never)
    )
}

/// `left`: the accesses that have no place in the order yet.
fn search(
    accesses: &[Access],
    left: u32,
    value: Stamp,
    barren: &mut BTreeSet<(u32, Stamp)>,
) -> bool {
    let waiting = || {
        accesses
            .iter()
            .enumerate()
            .filter(move |(index, _)| left & (1 << index) != 0)
    };
    if waiting().all(|(_, access)| is_optional(access)) {
        return true;
    }
    if barren.contains(&(left, value)) {
        return false;
    }
    for (index, next) in waiting() {
        if next.role == Role::Write(Certainty::Never) || (next.is_read() && next.stamp != value) {
            continue;
        }
        // What ended before `next` began comes before it: what has to happen forbids `next` now,
        // what need not happen has missed its time.
        let earlier = waiting().filter(|(_, access)| access.responded < next.invoked);
        if earlier.clone().any(|(_, access)| !is_optional(access)) {
            continue;
        }
        let missed = earlier.fold(0_u32, |mask, (index, _)| mask | (1 << index));
        let rest = left & !(1 << index) & !missed;
        if search(accesses, rest, next.stamp, barren) {
            return true;
        }
    }
    barren.insert((left, value));
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sim::Rng,
        simulate::check::{access::AFTER, zones},
    };

    /// A history of one block: what a register did, with some lies mixed in.
    fn draw(rng: &mut Rng) -> Vec<Access> {
        let count = 2 + rng.below(9);
        let span = 4 + rng.below(24);
        // Twice the moments, shuffled: no two are equal.
        let mut moments: Vec<u64> = (1..=2 * span + 2 * count).collect();
        for index in (1..moments.len()).rev() {
            moments.swap(index, rng.below(index as u64 + 1) as usize);
        }
        let mut accesses = Vec::new();
        for op in 0..count {
            let (a, b) = (moments[2 * op as usize], moments[2 * op as usize + 1]);
            let (invoked, mut responded) = (a.min(b), a.max(b));
            let role = match rng.below(10) {
                0..5 => Role::Read,
                5..8 => Role::Write(Certainty::Did),
                8 => Role::Write(Certainty::Maybe),
                _ if rng.below(2) == 0 => Role::Write(Certainty::Never),
                _ => Role::Write(Certainty::Maybe),
            };
            if role == Role::Write(Certainty::Maybe) && rng.below(2) == 0 {
                responded = AFTER;
            }
            accesses.push(Access {
                op: op as u32,
                device: 0,
                stamp: Stamp::new(1, op + 1),
                role,
                invoked,
                responded,
                ended: b,
            });
        }
        answer(rng, &mut accesses);
        accesses
    }

    /// Lets each access happen at a point within its time and gives each read what it saw then;
    /// sometimes something else.
    fn answer(rng: &mut Rng, accesses: &mut [Access]) {
        let lies = rng.below(3) != 0;
        let mut points: Vec<(u64, usize)> = accesses
            .iter()
            .enumerate()
            .map(|(index, access)| {
                let end = access.responded.min(access.invoked + 20);
                (
                    2 * access.invoked + rng.below(2 * (end - access.invoked) + 1),
                    index,
                )
            })
            .collect();
        points.sort_unstable();
        let mut value = Stamp::INITIAL;
        for (_, index) in points {
            match accesses[index].role {
                Role::Write(Certainty::Did) => value = accesses[index].stamp,
                Role::Write(Certainty::Maybe) if rng.below(2) == 0 => value = accesses[index].stamp,
                Role::Write(_) => {}
                Role::Read => {
                    accesses[index].stamp = value;
                    if lies && rng.below(3) == 0 {
                        accesses[index].stamp = Stamp::new(1, rng.below(accesses.len() as u64 + 1));
                        if accesses[index].stamp.sequence() == 0 {
                            accesses[index].stamp = Stamp::INITIAL;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn zones_and_all_orders_agree_on_thirty_thousand_short_histories() {
        let (mut legal, mut illegal) = (0, 0);
        for seed in 0..30_000 {
            let mut accesses = draw(&mut Rng::new(seed));
            let possible = judge(Stamp::INITIAL, &accesses);
            accesses.sort_by_key(|access| access.stamp);
            let verdict = zones::judge(Some(Stamp::INITIAL), &accesses);
            assert_eq!(
                verdict.is_ok(),
                possible,
                "seed {seed}: {verdict:?} {accesses:#?}"
            );
            if possible {
                legal += 1;
            } else {
                illegal += 1;
            }
        }
        assert!(legal > 5_000 && illegal > 5_000, "{legal} {illegal}");
    }
}
