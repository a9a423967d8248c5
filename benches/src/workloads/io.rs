//! What the workloads of all layers above the codec do.

use std::cell::Cell;

/// A kind of I/O.
#[derive(Clone, Copy, Debug)]
pub(super) struct Io {
    pub(super) write: bool,
    /// Bytes, a multiple of 512.
    pub(super) len: u32,
    /// How many are under way at a time.
    pub(super) depth: u32,
}

impl Io {
    pub(super) const fn read(len: u32, depth: u32) -> Self {
        Self {
            write: false,
            len,
            depth,
        }
    }

    pub(super) const fn write(len: u32, depth: u32) -> Self {
        Self {
            write: true,
            len,
            depth,
        }
    }

    pub(super) const fn blocks(self) -> u32 {
        self.len / 512
    }
}

/// Hands out I/Os, each to a place of its own, until there were enough.
#[derive(Debug)]
pub(super) struct Turns {
    left: Cell<u64>,
}

impl Turns {
    pub(super) const fn new(ops: u64) -> Self {
        Self {
            left: Cell::new(ops),
        }
    }

    /// The number of the next I/O; spread over the device, and never past 1 GiB.
    pub(super) fn next(&self) -> Option<u64> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        Some(left.wrapping_mul(2_654_435_761) % 1024)
    }
}

pub(super) const K: u32 = 1 << 10;
pub(super) const M: u32 = 1 << 20;
