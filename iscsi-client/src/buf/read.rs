//! Where a read puts its bytes.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    MemError, MemRegion, Segments,
    region::RegionRange,
    staged::{Receive, Staged},
};

/// The memory of a read: segments that are filled in order.
///
/// Made from a [`BytesMut`] or `Vec<u8>` (its length is what is read, see the [module](super)), a
/// region segment, or an iterator of [`ReadSeg`]s.
#[derive(Debug, Default)]
pub struct ReadBuf {
    segments: Segments<ReadSeg>,
    len: usize,
    /// The first segment is the rest of a segment that [`split_to`](Self::split_to) has cut, so
    /// [`unsplit`](Self::unsplit) may merge it. Addresses that happen to be adjacent are not enough
    /// to tell, and merging two buffers of the caller's would not give back what was moved in.
    cut: bool,
}

/// One segment of a [`ReadBuf`].
pub struct ReadSeg(Seg);

enum Seg {
    Owned(BytesMut),
    Region(RegionRange),
}

impl ReadSeg {
    /// `len` bytes of `mem` at `offset`, stored to once the data has arrived and was verified.
    ///
    /// # Errors
    ///
    /// [`MemError::OutOfRange`] if the region is smaller.
    pub fn region(mem: Arc<dyn MemRegion>, offset: u64, len: usize) -> Result<Self, MemError> {
        RegionRange::new(mem, offset, len).map(|range| Self(Seg::Region(range)))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Seg::Owned(bytes) => bytes.len(),
            Seg::Region(range) => range.len(),
        }
    }

    /// Whether the segment takes no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of an owned segment; `None` for a region, which has no bytes to be seen.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.0 {
            Seg::Owned(bytes) => Some(bytes),
            Seg::Region(_) => None,
        }
    }

    /// The memory of an owned segment.
    ///
    /// # Errors
    ///
    /// The segment itself, if it is a region.
    pub fn into_bytes_mut(self) -> Result<BytesMut, Self> {
        match self.0 {
            Seg::Owned(bytes) => Ok(bytes),
            Seg::Region(_) => Err(self),
        }
    }

    fn split_to(&mut self, n: usize) -> Self {
        Self(match &mut self.0 {
            Seg::Owned(bytes) => Seg::Owned(bytes.split_to(n.min(bytes.len()))),
            Seg::Region(range) => Seg::Region(range.split_to(n)),
        })
    }

    /// Appends the part that `split_to` left; gives it back if the two are not of one kind.
    fn unsplit(&mut self, rest: Self) -> Result<(), Self> {
        match (&mut self.0, rest.0) {
            (Seg::Owned(bytes), Seg::Owned(rest)) => bytes.unsplit(rest),
            (Seg::Region(range), Seg::Region(rest)) => range.unsplit(&rest),
            (_, rest) => return Err(Self(rest)),
        }
        Ok(())
    }
}

impl fmt::Debug for ReadSeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Seg::Owned(bytes) => write!(f, "bytes[{}]", bytes.len()),
            Seg::Region(range) => range.fmt(f),
        }
    }
}

impl From<BytesMut> for ReadSeg {
    fn from(bytes: BytesMut) -> Self {
        Self(Seg::Owned(bytes))
    }
}

impl ReadBuf {
    /// A new buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        BytesMut::zeroed(len).into()
    }

    /// Bytes to read: the sum of all segments.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One segment of bytes of its own: the usual case.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.segments.as_slice(), [ReadSeg(Seg::Owned(_))])
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &ReadSeg> {
        self.segments.iter()
    }

    /// The segments, in order, each as it was moved in.
    pub fn into_segments(self) -> impl Iterator<Item = ReadSeg> {
        self.segments.into_iter()
    }

    /// The memory of a buffer that is one owned segment, as one made from a `BytesMut` is.
    ///
    /// # Errors
    ///
    /// The buffer itself, if it has several segments or a region: joining them would be a copy that
    /// nobody asked for.
    pub fn into_bytes_mut(mut self) -> Result<BytesMut, Self> {
        if self.segments.len() > 1 {
            return Err(self);
        }
        match self.segments.pop().map(ReadSeg::into_bytes_mut) {
            None => Ok(BytesMut::new()),
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(region)) => Err(region.into()),
        }
    }

    /// The bytes of a buffer that is one owned segment.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [] => Some(&[]),
            [segment] => segment.as_slice(),
            _ => None,
        }
    }

    /// Copies `src` into the buffer at `offset`, whatever its segments are. A device that has read
    /// the bytes elsewhere (a cache, the other half of a hedged read) delivers them with this.
    ///
    /// # Errors
    ///
    /// [`MemError`] if `src` does not fit, or a region refuses it; a part may have been copied.
    pub fn copy_in(&mut self, offset: usize, src: &[u8]) -> Result<(), MemError> {
        if offset
            .checked_add(src.len())
            .is_none_or(|end| end > self.len)
        {
            return Err(MemError::OutOfRange {
                offset: offset as u64,
                len: src.len() as u64,
                size: self.len as u64,
            });
        }
        let (mut at, mut src) = (offset, src);
        for segment in &mut self.segments {
            let len = segment.len();
            if at >= len {
                at -= len;
                continue;
            }
            let (now, later) = src.split_at(src.len().min(len - at));
            match &mut segment.0 {
                Seg::Owned(bytes) => bytes[at..at + now.len()].copy_from_slice(now),
                Seg::Region(range) => range.store(at, now)?,
            }
            (at, src) = (0, later);
            if src.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Cuts off and returns the first `n` bytes (all, if there are fewer); no byte is copied.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Self {
        let n = n.min(self.len);
        if n == 0 {
            return Self::default();
        }
        let mut head = Self {
            segments: Segments::new(),
            len: n,
            cut: self.cut,
        };
        let mut whole = 0;
        let mut left = n;
        while let Some(segment) = self.segments.get(whole).filter(|s| s.len() <= left) {
            left -= segment.len();
            whole += 1;
        }
        head.segments.extend(self.segments.drain(..whole));
        self.cut = left > 0;
        if left > 0 {
            head.segments.push(self.segments[0].split_to(left));
        }
        self.len -= n;
        head
    }

    /// Appends `rest`. The two halves of a [`split_to`](Self::split_to) become what they were, in
    /// place; unrelated buffers keep their segments.
    pub fn unsplit(&mut self, rest: Self) {
        let cut = rest.cut;
        self.len += rest.len;
        let mut segments = rest.segments.into_iter();
        match (self.segments.last_mut(), cut) {
            (Some(last), true) => {
                if let Some(Err(unmerged)) = segments.next().map(|first| last.unsplit(first)) {
                    self.segments.push(unmerged);
                }
            }
            (None, _) => self.cut = cut,
            _ => {}
        }
        self.segments.extend(segments);
    }

    /// Makes it fillable: region segments get private memory.
    pub(crate) fn into_receive(mut self) -> Receive {
        if self.segments.len() == 1 {
            match self.segments.pop() {
                Some(ReadSeg(Seg::Owned(bytes))) => return Staged::one(bytes, self.cut),
                Some(region) => self.segments.push(region),
                None => {}
            }
        }
        let parts = self.segments.into_iter().map(|segment| match segment.0 {
            Seg::Owned(bytes) => (bytes, None),
            Seg::Region(range) => (BytesMut::zeroed(range.len()), Some(range)),
        });
        Staged::new(parts, self.cut)
    }
}

impl Receive {
    /// Ends the filling. With `ok`, region segments are stored now and only now; otherwise they are
    /// never touched. The buffer comes back in either case; the error is a region's, which then may
    /// hold a part of the data.
    pub(crate) fn finish(self, ok: bool) -> (ReadBuf, Result<(), MemError>) {
        let cut = self.cut();
        let (parts, len) = match self.unstage() {
            Ok(bytes) => {
                let mut buf = ReadBuf::from(bytes);
                buf.cut = cut;
                return (buf, Ok(()));
            }
            Err(parts) => parts,
        };
        let mut stored = Ok(());
        let segments = parts.map(|(private, home)| {
            let Some(range) = home else {
                return ReadSeg(Seg::Owned(private));
            };
            if ok && stored.is_ok() {
                stored = range.store(0, &private);
            }
            ReadSeg(Seg::Region(range))
        });
        let segments = segments.collect();
        (ReadBuf { segments, len, cut }, stored)
    }
}

impl From<ReadSeg> for ReadBuf {
    fn from(segment: ReadSeg) -> Self {
        Self::from_iter([segment])
    }
}

impl From<BytesMut> for ReadBuf {
    fn from(bytes: BytesMut) -> Self {
        let len = bytes.len();
        let mut segments = Segments::new();
        segments.push(bytes.into());
        Self {
            segments,
            len,
            cut: false,
        }
    }
}

impl From<Vec<u8>> for ReadBuf {
    /// Takes the vector's memory over without a copy; it comes back as a [`BytesMut`].
    fn from(bytes: Vec<u8>) -> Self {
        // `Bytes` takes a vector in place and nobody else can hold it; `BytesMut` has no `From`.
        match Bytes::from(bytes).try_into_mut() {
            Ok(bytes) => bytes.into(),
            Err(shared) => BytesMut::from(&shared[..]).into(),
        }
    }
}

impl FromIterator<ReadSeg> for ReadBuf {
    fn from_iter<I: IntoIterator<Item = ReadSeg>>(segments: I) -> Self {
        let segments: Segments<_> = segments.into_iter().collect();
        let len = segments.iter().map(ReadSeg::len).sum();
        Self {
            segments,
            len,
            cut: false,
        }
    }
}
