//! What befalls the cables of a plan, beyond what a cut, a stall and a reset are.

use crate::sim::{Direction, Link, Rng, SimNet, Sprung};

/// A fault of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    /// One direction is lost, with the acknowledgements of the other.
    Half(Direction),
    /// No read and no write transfers more than so many bytes.
    Segments(u16),
    /// New connections get no answer; the old ones go on.
    Ignore,
    /// The connections that there are carry so many bytes more, and then meet this.
    Trap(Direction, u16, Sprung),
    /// The connections that there are end, in good order, in both directions.
    Finish,
}

impl Wire {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let direction = pick(rng, &[Direction::ToPortal, Direction::FromPortal]);
        match rng.below(6) {
            0 | 1 => Self::Half(direction),
            2 => Self::Segments(pick(rng, &[3, 47, 53, 1460])),
            3 => Self::Ignore,
            4 => Self::Finish,
            _ => {
                let longest = pick(rng, &[60, 600, 20_000]);
                let bytes = 1 + rng.below(longest) as u16;
                let then = pick(rng, &[Sprung::Reset, Sprung::Finish, Sprung::Cut]);
                Self::Trap(direction, bytes, then)
            }
        }
    }

    /// Its name in tables.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Half(_) => "half cut",
            Self::Segments(_) => "short segments",
            Self::Ignore => "ignored attempts",
            Self::Trap(..) => "trap in a PDU",
            Self::Finish => "end of stream",
        }
    }

    pub(super) fn begin(self, net: &SimNet, link: Link) {
        match self {
            Self::Half(direction) => net.cut(link.only(direction)),
            Self::Segments(most) => net.segment(link, Some(most.into())),
            Self::Ignore => net.ignore(link),
            Self::Trap(direction, bytes, then) => net.trap(link, direction, bytes.into(), then),
            Self::Finish => net.finish(link),
        }
    }

    pub(super) fn end(self, net: &SimNet, link: Link) {
        match self {
            Self::Half(direction) => net.heal(link.only(direction)),
            Self::Segments(_) => net.segment(link, None),
            Self::Ignore => net.heal(link),
            Self::Trap(..) => net.disarm(link),
            Self::Finish => {}
        }
    }
}

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.below(all.len() as u64) as usize]
}
