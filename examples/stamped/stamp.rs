//! A block that says which one it is, and how new.
//!
//! ```text
//!    0  magic
//!    8  run: other for each run, so that what an earlier one has left behind is not taken for ours
//!   16  number of the block in its span
//!   24  generation: 1 for the first write of the block, then one more for each
//!   32  noise, other for each run, block and generation
//!   -8  checksum of all before
//! ```
//!
//! A block has 4096 bytes as a rule, and 512 where writes are that small: any multiple of eight that holds all this.
//!
//! All numbers are big-endian. The noise is there so that a block which is made of two writes is as wrong
//! as one of which a bit has flipped: the checksum is of the whole block.

use std::{fmt, ops::RangeInclusive};

/// Bytes of a stamped block, where nothing smaller is written.
pub const BLOCK: usize = 4096;
/// Bytes that a stamped block has at least.
pub const LEAST: usize = 64;

const MAGIC: u64 = u64::from_be_bytes(*b"stamped1");
const WORD: usize = 8;
const NOISE: usize = 4 * WORD;

/// Why a block is not what was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It was never stamped.
    NoStamp,
    /// It is no whole block of any write.
    Damaged,
    /// It is of another run.
    OtherRun,
    /// It is another block of this run.
    OtherBlock(u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStamp => f.write_str("no stamp"),
            Self::Damaged => f.write_str("damaged, or of two writes"),
            Self::OtherRun => f.write_str("what another run has written"),
            Self::OtherBlock(number) => write!(f, "what was written to block {number}"),
        }
    }
}

/// Stamps `block`.
///
/// # Panics
///
/// If its length is less than [`LEAST`], or no multiple of eight.
pub fn fill(run: u64, number: u64, generation: u64, block: &mut [u8]) {
    assert!(is_whole(block), "a stamp covers a whole block");
    for (place, word) in block
        .chunks_exact_mut(WORD)
        .zip([MAGIC, run, number, generation])
    {
        place.copy_from_slice(&word.to_be_bytes());
    }
    let mut noise = run ^ number.rotate_left(24) ^ generation.rotate_left(48) | 1;
    let end = block.len() - WORD;
    for place in block[NOISE..end].chunks_exact_mut(WORD) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        place.copy_from_slice(&noise.to_be_bytes());
    }
    let sum = checksum(&block[..end]);
    block[end..].copy_from_slice(&sum.to_be_bytes());
}

/// The generation of a block that was read as block `number` of `run`.
///
/// # Errors
///
/// What else it is.
pub fn generation(run: u64, number: u64, block: &[u8]) -> Result<u64, Wrong> {
    if !is_whole(block) {
        return Err(Wrong::Damaged);
    }
    if word(block, 0) != MAGIC {
        return Err(Wrong::NoStamp);
    }
    let end = block.len() - WORD;
    if word(block, end) != checksum(&block[..end]) {
        return Err(Wrong::Damaged);
    }
    if word(block, WORD) != run {
        return Err(Wrong::OtherRun);
    }
    match word(block, 2 * WORD) {
        found if found == number => Ok(word(block, 3 * WORD)),
        other => Err(Wrong::OtherBlock(other)),
    }
}

/// More generations than this may be in no block at a time: with enough of them any byte is one of theirs.
const MOST_MIXED: u64 = 16;

/// Whether each byte of a block is that of one of these generations of block `number`: it is made of several writes, and of
/// nothing else.
pub fn is_mix(run: u64, number: u64, block: &[u8], generations: RangeInclusive<u64>) -> bool {
    let count = generations.end().saturating_sub(*generations.start());
    if !is_whole(block) || count >= MOST_MIXED {
        return false;
    }
    let mut known = vec![false; block.len()];
    let mut one = vec![0; block.len()];
    for generation in generations {
        fill(run, number, generation, &mut one);
        for (known, (is, would_be)) in known.iter_mut().zip(block.iter().zip(&one)) {
            *known |= is == would_be;
        }
    }
    known.iter().all(|known| *known)
}

const fn is_whole(block: &[u8]) -> bool {
    block.len() >= LEAST && block.len() % WORD == 0
}

fn word(block: &[u8], at: usize) -> u64 {
    let mut word = [0; WORD];
    word.copy_from_slice(&block[at..at + WORD]);
    u64::from_be_bytes(word)
}

/// FNV-1a over words: each step is invertible, so no single word can change unnoticed.
fn checksum(stamped: &[u8]) -> u64 {
    stamped
        .chunks_exact(WORD)
        .fold(0xcbf2_9ce4_8422_2325, |sum, place| {
            (sum ^ word(place, 0))
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(29)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(run: u64, number: u64, generation: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        fill(run, number, generation, &mut block);
        block
    }

    #[test]
    fn a_block_says_which_one_it_is_and_how_new() {
        for (number, newest) in [(0, 1), (7, 1 << 40), (u64::MAX, u64::MAX)] {
            let block = stamped(5, number, newest);
            assert_eq!(generation(5, number, &block), Ok(newest));
            assert_eq!(generation(6, number, &block), Err(Wrong::OtherRun));
            let next = number.wrapping_add(1);
            assert_eq!(generation(5, next, &block), Err(Wrong::OtherBlock(number)));
        }
    }

    #[test]
    fn a_block_can_be_as_small_as_a_sector() {
        let mut block = [0; 512];
        fill(5, 6, 7, &mut block);
        assert_eq!(generation(5, 6, &block), Ok(7));
        block[511] ^= 1;
        assert_eq!(generation(5, 6, &block), Err(Wrong::Damaged));
        for length in [0, 8, 56, 511] {
            assert_eq!(generation(5, 6, &block[..length]), Err(Wrong::Damaged));
        }
    }

    #[test]
    fn every_bit_counts() {
        let block = stamped(1, 2, 3);
        for byte in 0..BLOCK {
            let mut bad = block.clone();
            bad[byte] ^= 1 << (byte % 8);
            assert!(generation(1, 2, &bad).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn what_is_made_of_two_writes_is_of_neither() {
        let (old, new) = (stamped(1, 2, 3), stamped(1, 2, 4));
        for cut in (512..BLOCK).step_by(512) {
            let torn = [&new[..cut], &old[cut..]].concat();
            assert_eq!(generation(1, 2, &torn), Err(Wrong::Damaged), "at {cut}");
        }
        assert_eq!(generation(1, 2, &[0; BLOCK]), Err(Wrong::NoStamp));
        assert_eq!(generation(1, 2, &new[..512]), Err(Wrong::Damaged));
    }

    #[test]
    fn a_mix_of_writes_that_may_be_there_is_told_from_damage() {
        let (mut old, mut new) = (vec![0; 512], vec![0; 512]);
        fill(1, 2, 5, &mut old);
        fill(1, 2, 6, &mut new);
        let mut torn = old.clone();
        torn[100..300].copy_from_slice(&new[100..300]);
        assert!(is_mix(1, 2, &torn, 5..=6));
        assert!(!is_mix(1, 2, &torn, 6..=9), "one of them was over before");
        assert!(!is_mix(1, 3, &torn, 5..=6), "another block's");
        assert!(!is_mix(1, 2, &torn, 0..=16), "too many to tell");
        assert!(!is_mix(1, 2, &torn[..511], 5..=6), "not whole");
        torn[200] ^= 0x10;
        assert!(!is_mix(1, 2, &torn, 5..=6), "damaged as well");
    }
}
