//! Memory that somebody else may change at any time, entered by copies only.

use std::{fmt, sync::Arc};

/// Memory that is shared with others: a guest's RAM, a mapping, a device's buffer.
///
/// There is deliberately no way to get a slice out of it: a reference to memory that a running
/// vCPU writes is undefined behaviour in Rust however briefly it lives. The two methods copy, and
/// an implementation over volatile or atomic accesses is a few lines in every hypervisor. The
/// bytes of one call need not be a consistent picture; each byte must be one that was there at some
/// moment of the call.
///
/// The client checks a range against [`len`](Self::len) when a segment is made. The implementation
/// checks it again in every call, since memory may be unplugged in between.
#[expect(
    clippy::len_without_is_empty,
    reason = "an empty region is of no use to anyone"
)]
pub trait MemRegion: Send + Sync + 'static {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Copies `dst.len()` bytes at `offset` into `dst`. Must not block on I/O: it is called where
    /// commands are submitted.
    ///
    /// # Errors
    ///
    /// [`MemError`] where the range is not there; `dst` is unspecified then.
    fn load(&self, offset: u64, dst: &mut [u8]) -> Result<(), MemError>;

    /// Copies `src` to `offset`. Must not block on I/O: it is called in the task that awaits the read,
    /// after the last byte was verified, and never once that future is dropped.
    ///
    /// # Errors
    ///
    /// [`MemError`] where the range is not there; a part of `src` may have been stored.
    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError>;
}

/// Why a region could not be copied from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemError {
    /// The range does not lie within the region.
    #[error("{len} bytes at {offset} are outside a memory region of {size} bytes")]
    OutOfRange {
        /// Offset in the region, in bytes.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Size of the region, in bytes.
        size: u64,
    },
    /// The memory is not there, or may not be accessed this way (unplugged, protected).
    #[error("memory at offset {offset} of the region cannot be accessed")]
    Inaccessible {
        /// Offset in the region, in bytes.
        offset: u64,
    },
}

/// A range of a region; `offset + len` was within the region when it was made.
#[derive(Clone)]
pub(super) struct RegionRange {
    mem: Arc<dyn MemRegion>,
    offset: u64,
    len: usize,
}

impl RegionRange {
    pub(super) fn new(mem: Arc<dyn MemRegion>, offset: u64, len: usize) -> Result<Self, MemError> {
        let size = mem.len();
        let len64 = len as u64;
        if offset.checked_add(len64).is_none_or(|end| end > size) {
            return Err(MemError::OutOfRange {
                offset,
                len: len64,
                size,
            });
        }
        Ok(Self { mem, offset, len })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Keeps `[n, len)` and returns `[0, n)`; `n` is at most `len`.
    pub(super) fn split_to(&mut self, n: usize) -> Self {
        let n = n.min(self.len);
        let head = Self {
            mem: Arc::clone(&self.mem),
            offset: self.offset,
            len: n,
        };
        // No overflow: the whole range was checked against the region's size.
        self.offset += n as u64;
        self.len -= n;
        head
    }

    /// Appends the part that `split_to` left.
    pub(super) fn unsplit(&mut self, rest: &Self) {
        self.len += rest.len;
    }

    pub(super) fn load(&self, dst: &mut [u8]) -> Result<(), MemError> {
        self.mem.load(self.offset, dst)
    }

    /// Stores `src` at `at` within the range.
    pub(super) fn store(&self, at: usize, src: &[u8]) -> Result<(), MemError> {
        self.mem.store(self.offset.saturating_add(at as u64), src)
    }
}

impl fmt::Debug for RegionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region[{}; {}]", self.offset, self.len)
    }
}
