//! How often each fault happened.

/// How often each fault of a world has happened so far. A fault that found nothing to befall does not
/// count: the cut of a link without connections counts when an attempt hangs for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Connections that were cut in both directions.
    pub cut: u64,
    /// Connections that were cut in one direction.
    pub half_cut: u64,
    /// Connections that were stalled, in one direction or in both.
    pub stalled: u64,
    /// Connections that were reset from outside.
    pub reset: u64,
    /// Connections that were ended from outside.
    pub finished: u64,
    /// Attempts that were refused, though somebody listens.
    pub refused: u64,
    /// Attempts that met a cut, a stall, or a link that ignores them.
    pub ignored: u64,
    /// Names that could not be resolved since the resolver is broken.
    pub unresolved: u64,
    /// Reads and writes that a short segment ended.
    pub short_segments: u64,
    /// Bits that were flipped in a header (BHS or AHS).
    pub flipped_headers: u64,
    /// Bits that were flipped in a header digest.
    pub flipped_header_digests: u64,
    /// Bits that were flipped in data, padding included.
    pub flipped_data: u64,
    /// Bits that were flipped in a data digest.
    pub flipped_data_digests: u64,
    /// Processes that were suspended.
    pub suspended: u64,
    /// Processes that were killed, or lost power.
    pub killed: u64,
}

impl FaultCounts {
    /// Each count with its name, in the order of the fields.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 15] {
        [
            ("cut", self.cut),
            ("half cut", self.half_cut),
            ("stalled", self.stalled),
            ("reset", self.reset),
            ("finished", self.finished),
            ("refused", self.refused),
            ("ignored", self.ignored),
            ("unresolved", self.unresolved),
            ("short segments", self.short_segments),
            ("flipped headers", self.flipped_headers),
            ("flipped header digests", self.flipped_header_digests),
            ("flipped data", self.flipped_data),
            ("flipped data digests", self.flipped_data_digests),
            ("suspended", self.suspended),
            ("killed", self.killed),
        ]
    }
}
