//! One logical unit: computed content under a writable overlay.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use super::config::LunConfig;
use crate::pattern;

/// A logical unit, shared by all connections.
#[derive(Debug)]
pub(super) struct LogicalUnit {
    pub(super) config: LunConfig,
    overlay: RwLock<BTreeMap<u64, Box<[u8]>>>,
    /// Set by the first write, so that units which are only read never touch the lock.
    written: AtomicBool,
    /// Counts logical unit resets: a task of an earlier generation was aborted by one.
    resets: AtomicU32,
}

impl LogicalUnit {
    pub(super) const fn new(config: LunConfig) -> Self {
        Self {
            config,
            overlay: RwLock::new(BTreeMap::new()),
            written: AtomicBool::new(false),
            resets: AtomicU32::new(0),
        }
    }

    pub(super) const fn blocks(&self) -> u64 {
        self.config.size / self.config.block_size as u64
    }

    pub(super) fn generation(&self) -> u32 {
        self.resets.load(Ordering::Acquire)
    }

    /// Ends every task of the unit: none of them writes after this returns.
    pub(super) fn reset(&self) {
        let _writers = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        self.resets.fetch_add(1, Ordering::AcqRel);
    }

    /// Reads at byte `offset`; the range was checked when the command came.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        pattern::fill(self.config.seed, offset, buf);
        if !self.written.load(Ordering::Acquire) || buf.is_empty() {
            return;
        }
        let size = u64::from(self.config.block_size);
        let end = offset + buf.len() as u64;
        let overlay = self.overlay.read().unwrap_or_else(PoisonError::into_inner);
        for (block, data) in overlay.range(offset / size..end.div_ceil(size)) {
            let at = block * size;
            let (from, to) = (at.max(offset), (at + size).min(end));
            let source = &data[(from - at) as usize..(to - at) as usize];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
    }

    /// Writes whole blocks at byte `offset`, if the task that wants it still may: `permitted` is asked
    /// under the lock that a reset takes, so that an aborted write never lands.
    pub(super) fn write(&self, offset: u64, data: &[u8], generation: u32) -> bool {
        let size = u64::from(self.config.block_size);
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation() != generation {
            return false;
        }
        for (block, data) in (offset / size..).zip(data.chunks_exact(size as usize)) {
            match overlay.get_mut(&block) {
                Some(old) => old.copy_from_slice(data),
                None => drop(overlay.insert(block, data.into())),
            }
        }
        self.written.store(true, Ordering::Release);
        true
    }
}
