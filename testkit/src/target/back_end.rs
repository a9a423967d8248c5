//! Commands that the target has taken and not done yet: they outlive the connection that they came by.
//!
//! A target's network side hands a write with all its data to its back end, and the back end does it
//! when it does it: a cache that is full, a mirror across a slow link, a disk that retries. If the
//! connection is lost meanwhile, nothing calls the write back by itself. What a login that reinstates
//! the nexus does about it differs among real targets, and so it can be set here.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use iscsi_proto::Instant;

use super::{
    core::{Nexus, lock},
    lun::LogicalUnit,
    scsi::{End, Purpose},
};

/// What a login that reinstates a nexus (RFC 7143 section 6.3.5) does about commands of the old
/// session that are in the back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reinstatement {
    /// They take no effect any more. Default.
    #[default]
    Ends,
    /// They are done before the login is answered, as with LIO.
    Waits,
    /// Nothing: they take effect when their time comes, whatever happened to their session. As with
    /// tgt and SPDK.
    Ignores,
}

/// How long writes stay in the back end, from when all their data has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteHold {
    /// How many of 1000 writes are held.
    pub per_mille: u16,
    /// The shortest time.
    pub least: Duration,
    /// The longest time; each held write draws its own.
    pub most: Duration,
}

impl WriteHold {
    /// Holds `per_mille` of 1000 writes for `least` to `most`.
    #[must_use]
    pub const fn new(per_mille: u16, least: Duration, most: Duration) -> Self {
        Self {
            per_mille,
            least,
            most,
        }
    }
}

/// What a crash of the target leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crash {
    /// Whether commands in the back end are still done: the network side died, not what is behind it. They
    /// are not where that lost its power.
    pub keeps_back_end: bool,
    /// Whether written data that was not made durable may be forgotten
    /// ([`LunConfig::volatile`](super::LunConfig::volatile)).
    pub loses_power: bool,
}

/// A command in the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldId(u64);

struct Held {
    id: HeldId,
    due: Instant,
    nexus: Nexus,
    unit: Arc<LogicalUnit>,
    generation: u32,
    purpose: Purpose,
    data: Vec<u8>,
    /// It was done, and how it ended; `None` within if it had been aborted.
    ended: Option<Option<End>>,
    /// Its connection is gone, and nobody asks how it ended.
    orphaned: bool,
}

impl Held {
    /// Does it, unless it was done.
    fn carry_out(&mut self) -> Option<End> {
        let (unit, nexus) = (&self.unit, (&self.nexus, self.generation));
        *self
            .ended
            .get_or_insert_with(|| self.purpose.carry_out(unit, &self.data, nexus))
    }
}

#[derive(Default)]
struct Queue {
    held: Vec<Held>,
    last: u64,
    hold: WriteHold,
    stopped: bool,
}

impl Queue {
    /// When the next command is to be done.
    fn next(&self) -> Option<Instant> {
        let waiting = self.held.iter().filter(|held| held.ended.is_none());
        waiting.map(|held| held.due).min()
    }
}

/// Commands are done, and called off, under one lock: what was called off has no effect later.
#[derive(Default)]
pub(super) struct BackEnd {
    queue: Mutex<Queue>,
    reinstatement: AtomicU8,
    /// Commands done after the end of their connection.
    late: AtomicU64,
    changed: Condvar,
    waker: AtomicWaker,
}

impl BackEnd {
    pub(super) fn set_reinstatement(&self, what: Reinstatement) {
        self.reinstatement.store(what as u8, Ordering::Release);
    }

    pub(super) fn reinstatement(&self) -> Reinstatement {
        match self.reinstatement.load(Ordering::Acquire) {
            0 => Reinstatement::Ends,
            1 => Reinstatement::Waits,
            _ => Reinstatement::Ignores,
        }
    }

    pub(super) fn set_hold(&self, hold: WriteHold) {
        lock(&self.queue).hold = hold;
    }

    /// How long the write that draws `random` is held.
    pub(super) fn hold(&self, random: u64) -> Duration {
        let queue = lock(&self.queue);
        let hold = &queue.hold;
        if random % 1000 >= u64::from(hold.per_mille) {
            return Duration::ZERO;
        }
        let span = hold.most.saturating_sub(hold.least).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        hold.least + Duration::from_nanos((random / 1000) % span.max(1))
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Takes a command, to be done at `due`.
    pub(super) fn take(
        &self,
        due: Instant,
        nexus: &Nexus,
        unit: &Arc<LogicalUnit>,
        generation: u32,
        (purpose, data): (Purpose, Vec<u8>),
    ) -> HeldId {
        let mut queue = lock(&self.queue);
        queue.last += 1;
        let id = HeldId(queue.last);
        queue.held.push(Held {
            id,
            due,
            nexus: nexus.clone(),
            unit: Arc::clone(unit),
            generation,
            purpose,
            data,
            ended: None,
            orphaned: false,
        });
        drop(queue);
        self.wake();
        id
    }

    /// Does a command for its connection; `None` if it was called off.
    pub(super) fn finish(&self, id: HeldId) -> Option<End> {
        let mut queue = lock(&self.queue);
        let index = queue.held.iter().position(|held| held.id == id)?;
        queue.held.swap_remove(index).carry_out()
    }

    /// Calls a command off.
    pub(super) fn forget(&self, id: HeldId) {
        lock(&self.queue).held.retain(|held| held.id != id);
    }

    /// The connection of a command is gone.
    pub(super) fn orphan(&self, id: HeldId) {
        let mut queue = lock(&self.queue);
        if let Some(held) = queue.held.iter_mut().find(|held| held.id == id) {
            held.orphaned = true;
            drop(queue);
            self.wake();
        }
    }

    /// Another login has the nexus now.
    pub(super) fn reinstated(&self, nexus: &Nexus) {
        let does = match self.reinstatement() {
            Reinstatement::Ignores => return,
            Reinstatement::Waits => true,
            Reinstatement::Ends => false,
        };
        let mut queue = lock(&self.queue);
        // In their order, should two of them concern the same place.
        queue.held.sort_by_key(|held| (held.due, held.id.0));
        queue.held.retain_mut(|held| {
            if held.nexus != *nexus {
                return true;
            }
            if does {
                _ = held.carry_out();
            }
            false
        });
    }

    /// Forgets what these nexuses have there.
    pub(super) fn forget_those(&self, of: impl Fn(&Nexus) -> bool) {
        lock(&self.queue).held.retain(|held| !of(&held.nexus));
    }

    /// Nobody answers any more for what these nexuses have there.
    pub(super) fn orphan_those(&self, of: impl Fn(&Nexus) -> bool) {
        let mut queue = lock(&self.queue);
        let theirs = queue.held.iter_mut().filter(|held| of(&held.nexus));
        theirs.for_each(|held| held.orphaned = true);
        drop(queue);
        self.wake();
    }

    /// Does what is due and says when the next one is.
    pub(super) fn run(&self, now: Instant) -> Option<Instant> {
        Self::run_queue(&mut lock(&self.queue), &self.late, now)
    }

    /// What is due is done whether or not its connection can be told: one that is stuck in a write must
    /// not keep a command from its time.
    fn run_queue(queue: &mut Queue, late: &AtomicU64, now: Instant) -> Option<Instant> {
        queue.held.sort_by_key(|held| (held.due, held.id.0));
        queue.held.retain_mut(|held| {
            if held.due > now {
                return true;
            }
            let is_new = held.ended.is_none();
            let ended = held.carry_out();
            if is_new && held.orphaned && ended == Some(End::Good) {
                late.fetch_add(1, Ordering::Relaxed);
            }
            !held.orphaned
        });
        queue.next()
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.waker.wake();
    }

    /// For a task that runs it: pending until there may be something new to run.
    pub(super) fn poll_changed(&self, cx: &Context<'_>, seen: Option<Instant>) -> Poll<()> {
        self.waker.register(cx.waker());
        if lock(&self.queue).next() == seen {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// For a thread that runs it: until it is stopped.
    pub(super) fn serve(&self, now: impl Fn() -> Instant) {
        let mut queue = lock(&self.queue);
        while !queue.stopped {
            let next = Self::run_queue(&mut queue, &self.late, now());
            // Far enough to be no poll, where nothing is due.
            let wait = next.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(now())
            });
            let waited = self.changed.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Ends [`serve`](Self::serve).
    pub(super) fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.wake();
    }
}
