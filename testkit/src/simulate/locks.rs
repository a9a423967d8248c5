//! A lock manager of the hosts' own, as that of a cluster file system: it speaks no iSCSI, and it survives
//! the hosts. A lock whose holder dies is kept for its next life.

use std::ops::Range;

/// A lock on blocks of a unit.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    number: u64,
    pub(super) device: usize,
    unit: usize,
    pub(super) blocks: Range<u64>,
}

/// All locks that are held, by whomever.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Vec<Lock>,
    last: u64,
}

impl Locks {
    /// Takes a lock for a device of a host, if nobody has any part of it.
    pub(super) fn take(&mut self, device: usize, unit: usize, blocks: Range<u64>) -> Option<Lock> {
        let overlaps = |lock: &Lock| {
            lock.unit == unit && lock.blocks.start < blocks.end && blocks.start < lock.blocks.end
        };
        if self.held.iter().any(overlaps) {
            return None;
        }
        self.last += 1;
        let lock = Lock {
            number: self.last,
            device,
            unit,
            blocks,
        };
        self.held.push(lock.clone());
        Some(lock)
    }

    /// Gives a lock back.
    pub(super) fn release(&mut self, lock: &Lock) {
        self.held.retain(|held| held.number != lock.number);
    }

    /// What a device's programs held when they died.
    pub(super) fn left_by(&self, devices: &Range<usize>) -> Vec<Lock> {
        let theirs = self
            .held
            .iter()
            .filter(|lock| devices.contains(&lock.device));
        theirs.cloned().collect()
    }
}
