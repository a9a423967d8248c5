//! Whether a device follows its unit when that is resized.

/// What a device does about a new size that all its paths in use tell (`auto_resize`). While they disagree it
/// keeps the size that it has, whatever is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AutoResize {
    /// It keeps the size that it has until [`resize`](crate::MultipathDevice::resize).
    Never,
    /// It takes a greater size by itself. A smaller one waits for [`resize`](crate::MultipathDevice::resize): a unit
    /// that has shrunk under a file system is more often a mistake at the array than a wish.
    GrowOnly,
    /// It takes any size by itself.
    GrowShrink,
}

impl AutoResize {
    /// Whether a device of `size` bytes becomes one of `told` bytes by itself.
    pub(crate) const fn takes(self, size: u64, told: u64) -> bool {
        match self {
            Self::Never => told == size,
            Self::GrowOnly => told >= size,
            Self::GrowShrink => true,
        }
    }
}
