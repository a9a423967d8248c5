//! Where a write takes its bytes from.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    MemError, MemRegion, Segments,
    region::RegionRange,
    staged::{Snapshot, Staged},
};

/// The data of a write: segments that are sent in order.
///
/// A clone shares the memory. Made from [`Bytes`], [`BytesMut`] or `Vec<u8>`, a region segment, or
/// an iterator of [`WriteSeg`]s.
///
/// `Bytes::from_owner` wraps a mapping or a pool without a copy *only if nobody writes to it* while
/// the request lives; guest memory comes in as a [`MemRegion`], never that way.
#[derive(Clone, Debug, Default)]
pub struct WriteBuf {
    segments: Segments<WriteSeg>,
    len: usize,
}

/// One segment of a [`WriteBuf`].
#[derive(Clone)]
pub struct WriteSeg(Seg);

#[derive(Clone)]
enum Seg {
    Bytes(Bytes),
    Region(RegionRange),
}

impl WriteSeg {
    /// `len` bytes of `mem` at `offset`, loaded once when the command is submitted.
    ///
    /// # Errors
    ///
    /// [`MemError::OutOfRange`] if the region is smaller.
    pub fn region(mem: Arc<dyn MemRegion>, offset: u64, len: usize) -> Result<Self, MemError> {
        RegionRange::new(mem, offset, len).map(|range| Self(Seg::Region(range)))
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match &self.0 {
            Seg::Bytes(bytes) => bytes.len(),
            Seg::Region(range) => range.len(),
        }
    }

    /// Whether the segment has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of an owned segment; `None` for a region.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Seg::Bytes(bytes) => Some(bytes),
            Seg::Region(_) => None,
        }
    }

    fn split_to(&mut self, n: usize) -> Self {
        Self(match &mut self.0 {
            Seg::Bytes(bytes) => Seg::Bytes(bytes.split_to(n.min(bytes.len()))),
            Seg::Region(range) => Seg::Region(range.split_to(n)),
        })
    }
}

fn load(range: &RegionRange) -> Result<Bytes, MemError> {
    let mut private = BytesMut::zeroed(range.len());
    range.load(&mut private)?;
    Ok(private.freeze())
}

impl fmt::Debug for WriteSeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Seg::Bytes(bytes) => write!(f, "bytes[{}]", bytes.len()),
            Seg::Region(range) => range.fmt(f),
        }
    }
}

impl From<Bytes> for WriteSeg {
    fn from(bytes: Bytes) -> Self {
        Self(Seg::Bytes(bytes))
    }
}

impl WriteBuf {
    /// Bytes to write: the sum of all segments.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One segment of bytes of its own: the usual case.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.segments.as_slice(), [WriteSeg(Seg::Bytes(_))])
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &WriteSeg> {
        self.segments.iter()
    }

    /// The segments, in order, each as it was moved in.
    pub fn into_segments(self) -> impl Iterator<Item = WriteSeg> {
        self.segments.into_iter()
    }

    /// The memory of a buffer that is one owned segment, for use again.
    ///
    /// # Errors
    ///
    /// The buffer itself, if it has several segments or a region, or somebody else still holds the
    /// bytes.
    pub fn into_bytes_mut(mut self) -> Result<BytesMut, Self> {
        if self.segments.len() > 1 {
            return Err(self);
        }
        match self.segments.pop() {
            None => Ok(BytesMut::new()),
            Some(WriteSeg(Seg::Bytes(bytes))) => bytes.try_into_mut().map_err(Self::from),
            Some(region) => Err(region.into()),
        }
    }

    /// Whether it has segments that are regions, whose bytes may change under a request.
    #[must_use]
    pub fn has_regions(&self) -> bool {
        let region = |segment: &WriteSeg| matches!(segment.0, Seg::Region(_));
        self.segments.iter().any(region)
    }

    /// The same data with every region loaded into private memory. Whoever may send a write more
    /// than once (a path group that retries elsewhere) loads it once, here, so that all copies of
    /// the write are equal although the guest goes on changing its memory.
    ///
    /// # Errors
    ///
    /// The region's.
    pub fn load(&self) -> Result<Self, MemError> {
        let segments = self.segments.iter().map(|segment| match &segment.0 {
            Seg::Bytes(bytes) => Ok(bytes.clone().into()),
            Seg::Region(range) => load(range).map(WriteSeg::from),
        });
        Ok(Self {
            segments: segments.collect::<Result<_, _>>()?,
            len: self.len,
        })
    }

    /// Cuts off and returns the first `n` bytes (all, if there are fewer); no byte is copied.
    ///
    /// There is no way back, since `Bytes` has none: keep a clone of the whole.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Self {
        let n = n.min(self.len);
        let mut whole = 0;
        let mut left = n;
        while let Some(segment) = self.segments.get(whole).filter(|s| s.len() <= left) {
            left -= segment.len();
            whole += 1;
        }
        let mut segments: Segments<_> = self.segments.drain(..whole).collect();
        if left > 0 {
            segments.push(self.segments[0].split_to(left));
        }
        self.len -= n;
        Self { segments, len: n }
    }

    /// Loads regions, once; owned bytes are moved, not counted up.
    ///
    /// # Errors
    ///
    /// The buffer and the region's error.
    pub(crate) fn snapshot(mut self) -> Result<Snapshot, Box<(Self, MemError)>> {
        if self.segments.len() == 1 {
            match self.segments.pop() {
                Some(WriteSeg(Seg::Bytes(bytes))) => return Ok(Staged::one(bytes, false)),
                Some(region) => self.segments.push(region),
                None => {}
            }
        }
        let loaded = self.segments.iter().filter_map(|segment| match &segment.0 {
            Seg::Bytes(_) => None,
            Seg::Region(range) => Some(load(range)),
        });
        let loaded: Segments<Bytes> = match loaded.collect() {
            Ok(loaded) => loaded,
            Err(error) => return Err(Box::new((self, error))),
        };
        let mut loaded = loaded.into_iter();
        let parts = self.segments.into_iter().map(|segment| match segment.0 {
            Seg::Bytes(bytes) => (bytes, None),
            Seg::Region(range) => (loaded.next().unwrap_or_default(), Some(range)),
        });
        Ok(Staged::new(parts, false))
    }
}

impl Snapshot {
    /// The buffer as it was moved in.
    pub(crate) fn finish(self) -> WriteBuf {
        let (parts, len) = match self.unstage() {
            Ok(bytes) => return bytes.into(),
            Err(parts) => parts,
        };
        let segments = parts.map(|(bytes, home)| match home {
            None => WriteSeg(Seg::Bytes(bytes)),
            Some(range) => WriteSeg(Seg::Region(range)),
        });
        let segments = segments.collect();
        WriteBuf { segments, len }
    }
}

impl From<WriteSeg> for WriteBuf {
    fn from(segment: WriteSeg) -> Self {
        Self::from_iter([segment])
    }
}

impl From<Bytes> for WriteBuf {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len();
        let mut segments = Segments::new();
        segments.push(bytes.into());
        Self { segments, len }
    }
}

impl From<BytesMut> for WriteBuf {
    fn from(bytes: BytesMut) -> Self {
        bytes.freeze().into()
    }
}

impl From<Vec<u8>> for WriteBuf {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl FromIterator<WriteSeg> for WriteBuf {
    fn from_iter<I: IntoIterator<Item = WriteSeg>>(segments: I) -> Self {
        let segments: Segments<_> = segments.into_iter().collect();
        let len = segments.iter().map(WriteSeg::len).sum();
        Self { segments, len }
    }
}
