//! One logical unit, as all connections share it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use super::{
    config::LunConfig,
    core::{Nexus, lock},
    medium::Medium,
    reservations::{Access, Reservations},
};
use crate::{pattern, sim::Rng};

/// A logical unit, shared by all connections.
#[derive(Debug)]
pub(super) struct LogicalUnit {
    pub(super) config: LunConfig,
    medium: RwLock<Medium>,
    /// Set by the first change, so that units which are only read never touch the lock.
    changed: AtomicBool,
    /// Counts logical unit resets: a task of an earlier generation was aborted by one.
    resets: AtomicU32,
    /// In bytes.
    size: AtomicU64,
    identity: Mutex<Identity>,
    /// How often the tasks of one nexus alone were aborted by another one.
    aborts: Mutex<BTreeMap<Nexus, u32>>,
    /// Whether that has ever happened, so that a unit without it never touches the lock.
    has_aborts: AtomicBool,
    /// Whether it is mapped to initiators.
    mapped: AtomicBool,
    reservations: Mutex<Reservations>,
    /// Whether there is a reservation, so that a unit without one never touches the lock.
    reserved: AtomicBool,
}

/// Who a unit says it is: VPD 83h and 80h.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) naa: [u8; 16],
    pub(super) serial: String,
}

impl LogicalUnit {
    pub(super) fn new(config: LunConfig) -> Self {
        Self {
            medium: RwLock::new(Medium::new(&config)),
            changed: AtomicBool::new(false),
            resets: AtomicU32::new(0),
            size: AtomicU64::new(config.size),
            identity: Mutex::new(Identity {
                naa: config.naa,
                serial: config.serial.clone(),
            }),
            aborts: Mutex::default(),
            has_aborts: AtomicBool::new(false),
            config,
            mapped: AtomicBool::new(true),
            reservations: Mutex::default(),
            reserved: AtomicBool::new(false),
        }
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.mapped.load(Ordering::Acquire)
    }

    pub(super) fn set_mapped(&self, mapped: bool) {
        self.mapped.store(mapped, Ordering::Release);
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn blocks(&self) -> u64 {
        self.size() / u64::from(self.config.block_size)
    }

    pub(super) fn resize(&self, size: u64) {
        let block = u64::from(self.config.block_size);
        assert!(
            size > 0 && size % block == 0,
            "{size} bytes of whole blocks"
        );
        self.size.store(size, Ordering::Release);
    }

    pub(super) fn identity(&self) -> Identity {
        lock(&self.identity).clone()
    }

    pub(super) fn set_identity(&self, naa: [u8; 16], serial: &str) {
        let serial = serial.into();
        *lock(&self.identity) = Identity { naa, serial };
    }

    /// Differs once whatever ends the tasks that `nexus` has here now has happened.
    pub(super) fn generation(&self, nexus: &Nexus) -> u32 {
        let resets = self.resets.load(Ordering::Acquire);
        if !self.has_aborts.load(Ordering::Acquire) {
            return resets;
        }
        // Neither ever goes back, so their sum tells of both.
        resets.wrapping_add(lock(&self.aborts).get(nexus).copied().unwrap_or(0))
    }

    /// Ends every task of `nexus` here, as [`reset`](Self::reset) does with all.
    pub(super) fn abort_tasks_of(&self, nexus: Nexus) {
        let _writers = self.medium.write().unwrap_or_else(PoisonError::into_inner);
        let mut aborts = lock(&self.aborts);
        let count = aborts.entry(nexus).or_default();
        *count = count.wrapping_add(1);
        self.has_aborts.store(true, Ordering::Release);
    }

    /// A cache without power forgets what was not made durable, or some of it: it may have got round to
    /// some of it by itself.
    pub(super) fn lose_power(&self, rng: &mut Rng) {
        self.medium
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .lose_power(rng);
    }

    /// SYNCHRONIZE CACHE: all that was written is durable.
    pub(super) fn make_durable(&self) {
        if self.config.volatile {
            self.medium
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .make_durable();
        }
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
    /// since `generation`, or the tasks of `nexus` were aborted. That is asked under the lock that a
    /// reset takes, so that an aborted task never takes effect.
    pub(super) fn change<T>(
        &self,
        (nexus, generation): (&Nexus, u32),
        change: impl FnOnce(&mut Medium) -> T,
    ) -> Option<T> {
        let mut medium = self.medium.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation(nexus) != generation {
            return None;
        }
        // Before the first byte of it, so that no reader takes the way without the lock any more.
        self.changed.store(true, Ordering::Release);
        Some(change(&mut medium))
    }
}
