//! The memory of a request: owned, moved in, and given back on success and on failure alike.
//!
//! A borrowed `&mut [u8]` cannot be used here: whoever reads the socket is another task than the
//! caller, so a borrow would cost either a copy or a socket that only moves while the caller polls.
//! And a `&[u8]` over the memory of a running guest would be undefined behaviour, since the guest
//! may write to it at any time. So a buffer is a list of *segments*, each of which is either bytes
//! that the request owns ([`Bytes`](bytes::Bytes), [`BytesMut`](bytes::BytesMut)) or a range of a
//! [`MemRegion`] that is copied from or to, exactly once.
//!
//! | | owned segment | region segment |
//! |---|---|---|
//! | read | received in place | received into private memory, verified, then stored; on failure nothing is stored |
//! | write | sent in place | loaded once, when the command is submitted; digests, every R2T and every retry use that snapshot |
//!
//! A read fills `buf[..buf.len()]`: its length counts and not its capacity, so callers keep
//! initialised buffers and use them again. After a failed read the contents of owned segments are
//! unspecified.

mod completion;
mod read;
mod region;
mod staged;
#[cfg(test)]
mod tests;
mod write;

pub use completion::Completion;
pub use read::{ReadBuf, ReadSeg};
pub use region::{MemError, MemRegion};
pub use write::{WriteBuf, WriteSeg};

pub(crate) use staged::{Receive, Snapshot};

/// Segments of a buffer. One is in line: it is the usual case, and every request moves its buffer
/// several times.
type Segments<S> = smallvec::SmallVec<[S; 1]>;
