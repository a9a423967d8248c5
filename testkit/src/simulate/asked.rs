//! Whether a device was asked to take a new size, or has taken it by itself.

/// Requests to take the size that the paths tell, of one device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    under_way: u32,
    last: u64,
}

impl Asked {
    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    pub(super) fn end(&mut self, now: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.last = now;
    }

    /// A request is under way, or has ended just now.
    pub(super) fn is_asked(self, now: u64) -> bool {
        self.under_way > 0 || self.last == now
    }
}
