//! A guest's memory, which watches how it is used.

use std::sync::{Arc, Mutex, PoisonError};

use iscsi_client::buf::{MemError, MemRegion};

struct Content {
    bytes: Vec<u8>,
    loaded: usize,
    closed: bool,
    misused: Option<&'static str>,
}

/// Memory of one request. The guest goes on writing to it as soon as it was read once, and looks at who
/// touches it after the request.
pub(super) struct Guest {
    len: u64,
    content: Mutex<Content>,
}

impl Guest {
    pub(super) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            len: bytes.len() as u64,
            content: Mutex::new(Content {
                bytes,
                loaded: 0,
                closed: false,
                misused: None,
            }),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Content) -> R) -> R {
        f(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request is over: from now on this is nobody's business but the guest's.
    pub(super) fn close(&self) {
        self.with(|content| content.closed = true);
    }

    /// What was done to it that must not be.
    pub(super) fn misused(&self) -> Option<&'static str> {
        self.with(|content| content.misused)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with(|content| content.bytes.clone())
    }

    fn range(&self, offset: u64, len: usize) -> Result<std::ops::Range<usize>, MemError> {
        let size = self.len;
        let end = offset.saturating_add(len as u64);
        if end > size {
            let len = len as u64;
            return Err(MemError::OutOfRange { offset, len, size });
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(start..start + len)
    }
}

impl MemRegion for Guest {
    fn len(&self) -> u64 {
        self.len
    }

    fn load(&self, offset: u64, dst: &mut [u8]) -> Result<(), MemError> {
        let range = self.range(offset, dst.len())?;
        self.with(|content| {
            if content.closed {
                content.misused = Some("loaded after the request was over");
            }
            dst.copy_from_slice(&content.bytes[range]);
            content.loaded += dst.len();
            if content.loaded >= content.bytes.len() {
                content.bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            }
            Ok(())
        })
    }

    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError> {
        let range = self.range(offset, src.len())?;
        self.with(|content| {
            if content.closed {
                content.misused = Some("stored to after the request was over");
            }
            content.bytes[range].copy_from_slice(src);
            Ok(())
        })
    }
}
