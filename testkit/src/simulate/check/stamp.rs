//! Blocks that say what they are.
//!
//! Every 512-byte block that a workload writes names the write that it belongs to and its own place,
//! and every other word of it follows from those two. So one block, read anywhere, tells which write
//! it is from, whether it is where it was meant to be, and whether it is whole.

use std::fmt;

use crate::pattern;

/// Bytes of a block: the unit of which SCSI promises that a write changes all or nothing, for every
/// block size there is.
pub const BLOCK: usize = 512;

const WORD: usize = 8;
/// The words before the body: magic, stamp, block number.
const HEADER: usize = 3;
const MAGIC: u64 = u64::from_le_bytes(*b"iSCSIblk");
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const SEQUENCE_BITS: u32 = 48;

/// Which write a block is from: unique in a world, per unit at least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// What the unit held before anybody wrote: the target's computed content ([`pattern`]).
    pub const INITIAL: Self = Self(0);

    /// The `sequence`-th write of `writer`. Sequences count from 1 and wrap after 48 bits; writer 0
    /// with sequence 0 would be [`INITIAL`](Self::INITIAL).
    #[must_use]
    pub const fn new(writer: u16, sequence: u64) -> Self {
        Self(((writer as u64) << SEQUENCE_BITS) | (sequence & ((1 << SEQUENCE_BITS) - 1)))
    }

    /// Who wrote.
    #[must_use]
    pub const fn writer(self) -> u16 {
        (self.0 >> SEQUENCE_BITS) as u16
    }

    /// Which of the writer's writes it was.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::INITIAL {
            f.write_str("initial")
        } else {
            write!(f, "w{}#{}", self.writer(), self.sequence())
        }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A block that no write to this place can have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// It begins as one write's block and does not go on so.
    #[error("begins as {stamp}, and is something else from byte {at} on")]
    Mixed {
        /// What it begins as.
        stamp: Stamp,
        /// The first byte that is not of that write, `0..512`.
        at: usize,
    },
    /// A whole block of another place.
    #[error("is {stamp} of block {block}: misplaced")]
    Misplaced {
        /// Which write it is from.
        stamp: Stamp,
        /// Where it belongs.
        block: u64,
    },
    /// Neither a write's block nor the initial content.
    #[error("begins with {first:#018x}: nobody wrote that")]
    Foreign {
        /// The first eight bytes, little-endian.
        first: u64,
    },
}

/// What a block was found to be.
pub type Found = Result<Stamp, Torn>;

const fn key(block: u64, stamp: Stamp) -> u64 {
    let mut z = stamp.0.wrapping_mul(GOLDEN) ^ block.wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn encode(block: u64, stamp: Stamp, out: &mut [u8; BLOCK]) {
    let key = key(block, stamp);
    let mut step = key;
    for (index, word) in out.chunks_exact_mut(WORD).enumerate() {
        let value = match index {
            0 => MAGIC,
            1 => stamp.0,
            2 => block,
            _ => {
                step = step.wrapping_add(GOLDEN);
                step ^ (step >> 29)
            }
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// Fills `out` with the blocks of a write of `stamp` that starts at `block`.
///
/// # Panics
///
/// If `out` is not a whole number of blocks.
pub fn fill(block: u64, stamp: Stamp, out: &mut [u8]) {
    for (number, out) in (block..).zip(out.chunks_mut(BLOCK)) {
        let out = out.try_into().expect("a whole number of blocks");
        encode(number, stamp, out);
    }
}

/// Says what the block at number `block` of a unit is, whose initial content has the seed `seed`.
///
/// # Errors
///
/// It is no block that a write to this place can have left.
///
/// # Panics
///
/// If `data` is not one block.
pub fn read(seed: u64, block: u64, data: &[u8]) -> Found {
    let data: &[u8; BLOCK] = data.try_into().expect("one block");
    let word = |index: usize| {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(&data[index * WORD..][..WORD]);
        u64::from_le_bytes(bytes)
    };
    if word(0) != MAGIC {
        return read_initial(seed, block, word(0), data);
    }
    let (stamp, place) = (Stamp(word(1)), word(2));
    let mut expected = [0; BLOCK];
    encode(place, stamp, &mut expected);
    if *data != expected {
        let same = data.iter().zip(&expected).take_while(|(a, b)| a == b);
        let at = same.count();
        return Err(Torn::Mixed { stamp, at });
    }
    if place != block {
        return Err(Torn::Misplaced {
            stamp,
            block: place,
        });
    }
    Ok(stamp)
}

fn read_initial(seed: u64, block: u64, first: u64, data: &[u8; BLOCK]) -> Found {
    let start = block * BLOCK as u64;
    match pattern::verify(seed, start, data) {
        Ok(()) => Ok(Stamp::INITIAL),
        Err(wrong) if wrong - start >= (HEADER * WORD) as u64 => Err(Torn::Mixed {
            stamp: Stamp::INITIAL,
            at: (wrong - start) as usize,
        }),
        Err(_) => Err(Torn::Foreign { first }),
    }
}

/// Says of each block of `data`, which starts at number `block`, what it is.
///
/// # Panics
///
/// If `data` is not a whole number of blocks.
#[must_use]
pub fn read_all(seed: u64, block: u64, data: &[u8]) -> Vec<Found> {
    (block..)
        .zip(data.chunks(BLOCK))
        .map(|(number, data)| read(seed, number, data))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64, stamp: Stamp) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        fill(number, stamp, &mut out);
        out
    }

    #[test]
    fn each_block_says_what_it_is() {
        let stamp = Stamp::new(3, 17);
        let mut data = vec![0; 4 * BLOCK];
        fill(100, stamp, &mut data);
        assert_eq!(read_all(7, 100, &data), [Ok(stamp); 4]);
        assert_eq!((stamp.writer(), stamp.sequence()), (3, 17));
        assert_eq!(stamp.to_string(), "w3#17");
    }

    #[test]
    fn what_the_unit_held_at_first_is_told_apart_from_another_seeds() {
        let mut data = [0; BLOCK];
        pattern::fill(7, 5 * BLOCK as u64, &mut data);
        assert_eq!(read(7, 5, &data), Ok(Stamp::INITIAL));
        assert!(matches!(read(8, 5, &data), Err(Torn::Foreign { .. })));
        assert!(matches!(read(7, 6, &data), Err(Torn::Foreign { .. })));
        assert_eq!(
            read(7, 5, &[0; BLOCK]),
            Err(Torn::Foreign { first: 0 }),
            "a buffer that nobody filled"
        );
    }

    #[test]
    fn a_misplaced_block_names_its_place() {
        let stamp = Stamp::new(1, 2);
        assert_eq!(
            read(7, 9, &block(8, stamp)),
            Err(Torn::Misplaced { stamp, block: 8 })
        );
    }

    #[test]
    fn a_block_is_torn_wherever_it_is_cut() {
        let (old, new) = (Stamp::new(1, 2), Stamp::new(1, 3));
        let whole = block(8, new);
        // Both begin with the same magic number.
        for at in (2 * WORD..BLOCK).step_by(WORD) {
            let mut torn = whole;
            torn[at..].copy_from_slice(&block(8, old)[at..]);
            let result = read(7, 8, &torn);
            assert!(
                matches!(result, Err(Torn::Mixed { .. })),
                "{at}: {result:?}"
            );
            let mut initial = [0; BLOCK];
            pattern::fill(7, 8 * BLOCK as u64, &mut initial);
            initial[at..].copy_from_slice(&whole[at..]);
            assert!(read(7, 8, &initial).is_err(), "{at}");
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_wherever_it_is() {
        for byte in 0..BLOCK {
            let mut data = block(8, Stamp::new(1, 3));
            data[byte] ^= 0x10;
            assert!(read(7, 8, &data).is_err(), "byte {byte}");
        }
    }
}
