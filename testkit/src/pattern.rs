//! Content that is computed, not stored: what a LUN holds until somebody writes to it.
//!
//! Every 512-byte block is a function of the LUN's seed and its own number, every eight-byte word in
//! it differs from the others, so a block from elsewhere, a shifted one, a repeated or a stale one is
//! seen at its first word. Only shifts, additions and exclusive-or inside a block: the compiler makes
//! vector code of it, and a target computes it faster than a socket takes it.

/// Bytes per block of the pattern, whatever the block size of the LUN.
const BLOCK: usize = 512;
const WORD: usize = 8;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is added to the block's key for each word.
const STEPS: [u64; BLOCK / WORD] = {
    let mut steps = [0; BLOCK / WORD];
    let mut word = 0;
    while word < steps.len() {
        steps[word] = GOLDEN.wrapping_mul(word as u64 + 1);
        word += 1;
    }
    steps
};

const fn key(seed: u64, block: u64) -> u64 {
    let mut z = seed
        ^ block
            .wrapping_mul(GOLDEN)
            .wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fill_block(seed: u64, block: u64, out: &mut [u8; BLOCK]) {
    let key = key(seed, block);
    for (word, step) in out.chunks_exact_mut(WORD).zip(STEPS) {
        let z = key.wrapping_add(step);
        word.copy_from_slice(&(z ^ (z >> 29)).to_le_bytes());
    }
}

/// The pieces of `len` bytes at `offset` that lie in one block each: block, start in it, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset.wrapping_add(done as u64);
        let start = (at % BLOCK as u64) as usize;
        let piece = (BLOCK - start).min(len - done);
        done += piece;
        (piece > 0).then_some((at / BLOCK as u64, start, piece))
    })
}

/// Fills `buf` with what the LUN with this `seed` holds at byte `offset`. Any offset, any length.
pub fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let mut rest = buf;
    for (block, start, len) in pieces(offset, rest.len()) {
        let (piece, tail) = rest.split_at_mut(len);
        if let Ok(whole) = <&mut [u8; BLOCK]>::try_from(&mut *piece) {
            fill_block(seed, block, whole);
        } else {
            let mut scratch = [0; BLOCK];
            fill_block(seed, block, &mut scratch);
            piece.copy_from_slice(&scratch[start..start + len]);
        }
        rest = tail;
    }
}

/// Checks that `data` is what the LUN with this `seed` holds at byte `offset`.
///
/// # Errors
///
/// The offset on the LUN (not in `data`) of the first byte that differs.
pub fn verify(seed: u64, offset: u64, data: &[u8]) -> Result<(), u64> {
    let mut rest = data;
    for (block, start, len) in pieces(offset, data.len()) {
        let (piece, tail) = rest.split_at(len);
        let mut expected = [0; BLOCK];
        fill_block(seed, block, &mut expected);
        let expected = &expected[start..start + len];
        if piece != expected {
            let same = piece
                .iter()
                .zip(expected)
                .take_while(|(a, b)| a == b)
                .count();
            return Err(block * BLOCK as u64 + (start + same) as u64);
        }
        rest = tail;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_of_the_pattern_is_the_same_as_in_the_whole() {
        let mut whole = vec![0; 4096];
        fill(7, 512, &mut whole);
        for (start, len) in [
            (0, 1),
            (511, 2),
            (3, 1500),
            (1024, 512),
            (4095, 1),
            (100, 0),
        ] {
            let mut piece = vec![0; len];
            fill(7, 512 + start as u64, &mut piece);
            assert_eq!(piece, whole[start..start + len]);
            assert_eq!(verify(7, 512 + start as u64, &piece), Ok(()));
        }
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let mut data = vec![0; 2000];
        fill(7, 300, &mut data);
        data[1234] ^= 1;
        assert_eq!(verify(7, 300, &data), Err(300 + 1234));
        assert_eq!(verify(7, 300, &data[..1234]), Ok(()));
    }

    #[test]
    fn no_word_repeats_between_blocks_or_seeds() {
        let mut data = vec![0; 256 * BLOCK];
        let (first, second) = data.split_at_mut(128 * BLOCK);
        fill(1, 0, first);
        fill(2, 0, second);
        let mut words: Vec<&[u8]> = data.chunks(WORD).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 256 * BLOCK / WORD);
    }
}
