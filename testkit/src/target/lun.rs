//! One logical unit, as all connections share it.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::{
    config::LunConfig,
    core::{Nexus, lock},
    medium::Medium,
    reservations::{Access, Reservations},
};
use crate::pattern;

/// A logical unit, shared by all connections.
#[derive(Debug)]
pub(super) struct LogicalUnit {
    pub(super) config: LunConfig,
    medium: RwLock<Medium>,
    /// Set by the first change, so that units which are only read never touch the lock.
    changed: AtomicBool,
    /// Counts logical unit resets: a task of an earlier generation was aborted by one.
    resets: AtomicU32,
    reservations: Mutex<Reservations>,
    /// Whether there is a reservation, so that a unit without one never touches the lock.
    reserved: AtomicBool,
}

impl LogicalUnit {
    pub(super) fn new(config: LunConfig) -> Self {
        Self {
            medium: RwLock::new(Medium::new(&config)),
            config,
            changed: AtomicBool::new(false),
            resets: AtomicU32::new(0),
            reservations: Mutex::default(),
            reserved: AtomicBool::new(false),
        }
    }

    pub(super) const fn blocks(&self) -> u64 {
        self.config.size / self.config.block_size as u64
    }

    pub(super) fn generation(&self) -> u32 {
        self.resets.load(Ordering::Acquire)
    }

    /// Ends every task of the unit: none of them takes effect after this returns.
    pub(super) fn reset(&self) {
        let _writers = self.medium.write().unwrap_or_else(PoisonError::into_inner);
        self.resets.fetch_add(1, Ordering::AcqRel);
    }

    /// Looks at the reservations, or changes them.
    pub(super) fn reservations<T>(&self, with: impl FnOnce(&mut Reservations) -> T) -> T {
        let mut reservations = lock(&self.reservations);
        let result = with(&mut reservations);
        self.reserved
            .store(reservations.is_reserved(), Ordering::Release);
        result
    }

    /// Whether a reservation keeps `nexus` from this command.
    pub(super) fn conflicts(&self, nexus: &Nexus, cdb: &[u8; 16]) -> bool {
        self.reserved.load(Ordering::Acquire)
            && lock(&self.reservations).conflicts(nexus, Access::of(cdb))
    }

    /// Reads at byte `offset`; the range was checked when the command came.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        if self.changed.load(Ordering::Acquire) {
            let medium = self.medium.read().unwrap_or_else(PoisonError::into_inner);
            medium.read(offset, buf);
        } else {
            pattern::fill(self.config.seed, offset, buf);
        }
    }

    /// Looks at the medium.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Medium) -> T) -> T {
        look(&self.medium.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the medium in one step that no other command sees half of; `None` if the unit was reset
    /// since `generation`. That is asked under the lock that a reset takes, so that an aborted task
    /// never takes effect.
    pub(super) fn change<T>(
        &self,
        generation: u32,
        change: impl FnOnce(&mut Medium) -> T,
    ) -> Option<T> {
        let mut medium = self.medium.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation() != generation {
            return None;
        }
        // Before the first byte of it, so that no reader takes the way without the lock any more.
        self.changed.store(true, Ordering::Release);
        Some(change(&mut medium))
    }
}
