//! A buffer while a driver works on it: every segment has bytes of its own.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{Segments, region::RegionRange};

/// A [`ReadBuf`](super::ReadBuf) that is being filled.
pub(crate) type Receive = Staged<BytesMut>;

/// A [`WriteBuf`](super::WriteBuf) that is being sent: what its regions held at submission.
pub(crate) type Snapshot = Staged<Bytes>;

/// Segments with bytes to work on, found by offset.
#[derive(Debug)]
pub(crate) struct Staged<B> {
    parts: Segments<Part<B>>,
    len: usize,
    cut: bool,
}

#[derive(Debug)]
struct Part<B> {
    /// Offset of the first byte in the whole buffer.
    start: usize,
    bytes: B,
    /// The region that `bytes` stand for; `None` if they are the caller's own.
    home: Option<RegionRange>,
}

impl<B: AsRef<[u8]>> Part<B> {
    fn end(&self) -> usize {
        self.start + self.bytes.as_ref().len()
    }

    /// Which of `bytes` are in `range`, an offset range of the whole buffer.
    fn overlap(&self, range: &Range<usize>) -> Range<usize> {
        let start = range.start.clamp(self.start, self.end());
        let end = range.end.clamp(start, self.end());
        start - self.start..end - self.start
    }
}

impl<B: AsRef<[u8]>> Staged<B> {
    pub(super) fn new(parts: impl Iterator<Item = (B, Option<RegionRange>)>, cut: bool) -> Self {
        let mut len = 0;
        let parts = parts.map(|(bytes, home)| {
            let start = len;
            len += bytes.as_ref().len();
            Part { start, bytes, home }
        });
        let parts = parts.collect();
        Self { parts, len, cut }
    }

    pub(super) fn into_parts(self) -> impl Iterator<Item = (B, Option<RegionRange>)> {
        self.parts.into_iter().map(|part| (part.bytes, part.home))
    }

    pub(super) const fn cut(&self) -> bool {
        self.cut
    }

    /// Length of the whole buffer.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes that are copied between regions and private memory.
    pub(crate) fn region_bytes(&self) -> usize {
        let regions = self.parts.iter().filter(|part| part.home.is_some());
        regions.map(|part| part.bytes.as_ref().len()).sum()
    }

    /// The bytes `[offset, offset + len)`, in order; less if the buffer ends before. Guests hand in
    /// lists of hundreds of pages, so the first part is found by bisection.
    pub(crate) fn slices(&self, offset: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let range = offset..offset.saturating_add(len);
        let end = range.end;
        let first = self.parts.partition_point(|part| part.end() <= offset);
        let parts = self.parts[first..].iter();
        parts
            .take_while(move |part| part.start < end)
            .map(move |part| &part.bytes.as_ref()[part.overlap(&range)])
            .filter(|slice| !slice.is_empty())
    }

    /// Shows the bytes `[offset, offset + len)` to `visitor`.
    pub(crate) fn visit(&self, offset: usize, len: usize, visitor: &mut dyn FnMut(&[u8])) {
        self.slices(offset, len).for_each(visitor);
    }
}

impl Receive {
    /// The places `[offset, offset + len)`, in order; less if the buffer ends before.
    pub(crate) fn slices_mut(
        &mut self,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = &mut [u8]> {
        let range = offset..offset.saturating_add(len);
        let end = range.end;
        let first = self.parts.partition_point(|part| part.end() <= offset);
        let parts = self.parts[first..].iter_mut();
        parts
            .take_while(move |part| part.start < end)
            .map(move |part| {
                let overlap = part.overlap(&range);
                &mut part.bytes[overlap]
            })
            .filter(|slice| !slice.is_empty())
    }

    /// Copies bytes that arrived elsewhere to their place; what is past the end is dropped.
    pub(crate) fn copy_in(&mut self, offset: usize, mut src: &[u8]) {
        for place in self.slices_mut(offset, src.len()) {
            let (now, later) = src.split_at(place.len().min(src.len()));
            place[..now.len()].copy_from_slice(now);
            src = later;
        }
    }
}
