//! A buffer while a driver works on it: every segment has bytes of its own.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::region::RegionRange;

/// A [`ReadBuf`](super::ReadBuf) that is being filled.
pub(crate) type Receive = Staged<BytesMut>;

/// A [`WriteBuf`](super::WriteBuf) that is being sent: what its regions held at submission.
pub(crate) type Snapshot = Staged<Bytes>;

/// Segments with bytes to work on, found by offset.
#[derive(Debug)]
pub(crate) struct Staged<B> {
    body: Body<B>,
    cut: bool,
}

#[derive(Debug)]
enum Body<B> {
    /// The caller's own bytes in one piece, which is the usual case.
    One(B),
    Many {
        parts: Box<[Part<B>]>,
        len: usize,
    },
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
    /// Bytes in one piece.
    pub(super) const fn one(bytes: B, cut: bool) -> Self {
        Self {
            body: Body::One(bytes),
            cut,
        }
    }

    pub(super) fn new(parts: impl Iterator<Item = (B, Option<RegionRange>)>, cut: bool) -> Self {
        let mut len = 0;
        let parts = parts.map(|(bytes, home)| {
            let start = len;
            len += bytes.as_ref().len();
            Part { start, bytes, home }
        });
        let parts = parts.collect();
        Self {
            body: Body::Many { parts, len },
            cut,
        }
    }

    pub(super) const fn cut(&self) -> bool {
        self.cut
    }

    /// Bytes in one piece; otherwise the parts, with the length of all.
    pub(super) fn unstage(
        self,
    ) -> Result<B, (impl Iterator<Item = (B, Option<RegionRange>)>, usize)> {
        match self.body {
            Body::One(bytes) => Ok(bytes),
            Body::Many { parts, len } => {
                let parts = parts.into_iter().map(|part| (part.bytes, part.home));
                Err((parts, len))
            }
        }
    }

    fn parts(&self) -> &[Part<B>] {
        match &self.body {
            Body::One(_) => &[],
            Body::Many { parts, .. } => parts,
        }
    }

    /// Whether any of it is a region's, be that an empty one.
    pub(crate) fn has_regions(&self) -> bool {
        self.parts().iter().any(|part| part.home.is_some())
    }

    /// Bytes that are copied between regions and private memory.
    pub(crate) fn region_bytes(&self) -> usize {
        let regions = self.parts().iter().filter(|part| part.home.is_some());
        regions.map(|part| part.bytes.as_ref().len()).sum()
    }

    /// The bytes `[offset, offset + len)`, in order; less if the buffer ends before. Guests hand in
    /// lists of hundreds of pages, so the first part is found by bisection.
    pub(crate) fn slices(&self, offset: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let range = offset..offset.saturating_add(len);
        let one = match &self.body {
            Body::One(bytes) => Some(&bytes.as_ref()[within(&range, bytes.as_ref().len())]),
            Body::Many { .. } => None,
        };
        let end = range.end;
        let parts = self.parts();
        let first = parts.partition_point(|part| part.end() <= offset);
        let many = parts[first..]
            .iter()
            .take_while(move |part| part.start < end)
            .map(move |part| &part.bytes.as_ref()[part.overlap(&range)]);
        one.into_iter()
            .chain(many)
            .filter(|slice| !slice.is_empty())
    }

    /// Shows the bytes `[offset, offset + len)` to `visitor`.
    pub(crate) fn visit(&self, offset: usize, len: usize, visitor: &mut dyn FnMut(&[u8])) {
        self.slices(offset, len).for_each(visitor);
    }
}

/// The part of `range` that a buffer of `len` bytes has.
fn within(range: &Range<usize>, len: usize) -> Range<usize> {
    let end = range.end.min(len);
    range.start.min(end)..end
}

impl Receive {
    /// The places `[offset, offset + len)`, in order; less if the buffer ends before.
    pub(crate) fn slices_mut(
        &mut self,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = &mut [u8]> {
        let range = offset..offset.saturating_add(len);
        let (one, parts) = match &mut self.body {
            Body::One(bytes) => {
                let within = within(&range, bytes.len());
                (Some(&mut bytes[within]), &mut [][..])
            }
            Body::Many { parts, .. } => (None, &mut parts[..]),
        };
        let end = range.end;
        let first = parts.partition_point(|part| part.end() <= offset);
        let many = parts[first..]
            .iter_mut()
            .take_while(move |part| part.start < end)
            .map(move |part| {
                let overlap = part.overlap(&range);
                &mut part.bytes[overlap]
            });
        one.into_iter()
            .chain(many)
            .filter(|slice| !slice.is_empty())
    }

    /// Copies bytes that arrived elsewhere to their place; what is past the end is dropped.
    pub(crate) fn copy_in(&mut self, offset: usize, mut src: &[u8]) {
        if let Body::One(bytes) = &mut self.body {
            let range = offset..offset.saturating_add(src.len());
            let range = within(&range, bytes.len());
            let place = &mut bytes[range];
            place.copy_from_slice(&src[..place.len()]);
            return;
        }
        for place in self.slices_mut(offset, src.len()) {
            let (now, later) = src.split_at(place.len().min(src.len()));
            place[..now.len()].copy_from_slice(now);
            src = later;
        }
    }
}
