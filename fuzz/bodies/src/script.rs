//! The input of a structured target, read from its front.
//!
//! Not the `arbitrary` crate, which takes lengths from the end of the input: seeds are written by
//! programs here, and a change in the middle should move nothing but what follows it.

/// What is left of an input. Past its end everything reads as zero.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// All of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// One of the lowest bits of a byte: 0 to 7.
    #[must_use]
    pub const fn bit(of: u8, bit: u8) -> bool {
        of >> bit & 1 != 0
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// The next `n` bytes, or as many as there are.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A number below `n`, from one byte, or from two where one does not reach.
    pub fn below(&mut self, n: usize) -> usize {
        let drawn = match n {
            0..=256 => usize::from(self.byte()),
            _ => usize::from(self.u16()),
        };
        drawn % n.max(1)
    }

    /// One of `from`, which has some.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
