//! What the I/Os of a load read into and write from.

use bytes::{Buf, Bytes, BytesMut};
use iscsi_client::buf::{ReadBuf, WriteBuf};

use super::{Load, Op};

/// The memory of one slot.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) read: ReadBuf,
    pub(super) write: WriteBuf,
}

impl Memory {
    pub(super) fn new(load: &Load) -> Self {
        let fits = |wanted: bool| if wanted { load.block_size } else { 0 };
        let reads = !matches!(load.op, Op::Write | Op::RandWrite);
        let writes = !matches!(load.op, Op::Read | Op::RandRead);
        Self {
            read: aligned(fits(reads)).into(),
            write: Bytes::from(aligned(fits(writes))).into(),
        }
    }
}

const PAGE: usize = 4096;

/// `len` bytes that begin at a page: what a program would hand in that also does direct I/O, and what
/// every implementation in a comparison has to get alike.
fn aligned(len: usize) -> BytesMut {
    if len == 0 {
        return BytesMut::new();
    }
    let mut bytes = BytesMut::zeroed(len + PAGE - 1);
    bytes.fill(0xa5);
    let skip = bytes.as_ptr().align_offset(PAGE).min(PAGE - 1);
    bytes.advance(skip);
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_at_a_page_and_stays_there() {
        for len in [1, 512, 4096, 1 << 20] {
            let bytes = aligned(len);
            let at = bytes.as_ptr();
            assert_eq!((bytes.len(), at.align_offset(PAGE)), (len, 0));
            let back = ReadBuf::from(bytes).into_bytes_mut().unwrap();
            assert_eq!(back.as_ptr(), at);
        }
    }
}
