//! The state of a simulated world, behind one lock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
    time::Instant,
};

use iscsi_client::runtime::BoxFuture;

use super::{
    SimConfig,
    conn::{ConnId, Side},
    rng::{Rng, Trace},
    state::Net,
};

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A timer's deadline.
    Timer(u64),
    /// Something arrives at one end of a connection.
    Arrive(ConnId, Side),
    /// The kernel gives up on unacknowledged data.
    GiveUp(ConnId),
    /// A connection attempt reaches the portal.
    Syn(u64),
    /// A connection attempt has taken too long.
    DialTimeout(u64),
}

/// When an event happens: time, then a seeded tie-breaker, then the order of scheduling.
pub(super) type EventKey = (u64, u64, u64);

/// A spawned future, and the waker that it is always polled with.
pub(super) struct Task {
    pub(super) future: BoxFuture<()>,
    pub(super) waker: Waker,
}

pub(super) struct World {
    pub(super) config: SimConfig,
    /// Virtual nanoseconds since the beginning.
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) timers: BTreeMap<u64, Waker>,
    pub(super) net: Net,
    /// Wakers to call once the lock is released: a waker is foreign code.
    pub(super) wakes: Vec<Waker>,
    agenda: BTreeMap<EventKey, Event>,
    last_id: u64,
}

impl World {
    pub(super) fn new(config: SimConfig) -> Self {
        Self {
            now: 0,
            rng: Rng::new(config.seed),
            trace: Trace(config.seed),
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            net: Net::default(),
            wakes: Vec::new(),
            agenda: BTreeMap::new(),
            last_id: 0,
            config,
        }
    }

    /// A number that nothing else in this world has. Task 0 is the future given to `block_on`.
    pub(super) const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) -> EventKey {
        let key = (at.max(self.now), self.rng.next_u64(), self.next_id());
        self.agenda.insert(key, event);
        key
    }

    pub(super) fn cancel(&mut self, key: EventKey) {
        self.agenda.remove(&key);
    }

    /// Goes to the next event and lets it happen; false when there is none.
    pub(super) fn advance(&mut self) -> bool {
        let Some((key, event)) = self.agenda.pop_first() else {
            return false;
        };
        self.now = key.0;
        self.trace.fold(key.0);
        self.trace.fold(key.2);
        match event {
            Event::Timer(id) => self.wakes.extend(self.timers.remove(&id)),
            Event::Arrive(conn, side) => self.arrive(conn, side),
            Event::GiveUp(conn) => self.give_up(conn),
            Event::Syn(dial) => self.syn(dial),
            Event::DialTimeout(dial) => self.dial_timeout(dial),
        }
        true
    }
}

/// The tasks that were woken and not yet polled.
#[derive(Default)]
pub(super) struct ReadyQueue(Mutex<Vec<u64>>);

impl ReadyQueue {
    pub(super) fn push(&self, task: u64) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&task) {
            ready.push(task);
        }
    }

    pub(super) fn take(&self, pick: impl FnOnce(usize) -> usize) -> Option<u64> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let index = pick(ready.len());
        Some(ready.swap_remove(index))
    }
}

struct TaskWaker {
    task: u64,
    ready: Arc<ReadyQueue>,
}

pub(super) fn task_waker(task: u64, ready: &Arc<ReadyQueue>) -> Waker {
    Waker::from(Arc::new(TaskWaker {
        task,
        ready: Arc::clone(ready),
    }))
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

pub(super) struct Shared {
    pub(super) base: Instant,
    pub(super) ready: Arc<ReadyQueue>,
    world: Mutex<World>,
}

impl Shared {
    pub(super) fn new(config: SimConfig) -> Self {
        Self {
            base: epoch(),
            ready: Arc::default(),
            world: Mutex::new(World::new(config)),
        }
    }

    /// Runs `f` on the world, then calls the wakers that it collected, without the lock.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        let mut world: MutexGuard<'_, World> =
            self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut world);
        let wakes = std::mem::take(&mut world.wakes);
        drop(world);
        wakes.into_iter().for_each(Waker::wake);
        result
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "std has no other way to make an Instant; only differences to it are ever used"
)]
fn epoch() -> Instant {
    Instant::now()
}
