//! The state of a simulated world, behind one lock.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
    time::Instant,
};

use super::{
    config::SimConfig,
    deadline::Timer,
    ids::{ConnId, ProcessId, Side},
    life::Process,
    rng::{Rng, Trace},
    slab::{Key, Slab},
    state::Net,
    task::{ReadyQueue, Task},
    trap::Sprung,
};

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A timer's deadline.
    Timer(Key),
    /// Something arrives at one end of a connection.
    Arrive(ConnId, Side),
    /// Something arrives at an end that was closed before.
    Unwelcome(ConnId, Side),
    /// The kernel gives up on unacknowledged data.
    GiveUp(ConnId),
    /// A connection has carried as much as a fault waits for.
    Spring(ConnId, Sprung),
    /// A connection attempt reaches the portal.
    Syn(Key),
    /// A connection attempt has taken too long.
    DialTimeout(Key),
    /// A suspension of a process ends.
    Resume(ProcessId, u64),
}

/// An event: in the order of time, then of a seeded tie-breaker, then of scheduling.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    tie: u64,
    number: u64,
    event: Event,
}

impl Entry {
    const fn order(&self) -> (u64, u64, u64) {
        (self.at, self.tie, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

pub(super) struct World {
    pub(super) config: SimConfig,
    /// Virtual nanoseconds since the beginning.
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) tasks: Slab<Task>,
    pub(super) timers: Slab<Timer>,
    pub(super) processes: Vec<Process>,
    pub(super) net: Net,
    /// Wakers to call once the lock is released: a waker is foreign code.
    pub(super) wakes: Vec<Waker>,
    pub(super) ready: Arc<ReadyQueue>,
    agenda: BinaryHeap<Reverse<Entry>>,
    last_number: u64,
}

impl World {
    fn new(config: SimConfig, ready: Arc<ReadyQueue>) -> Self {
        Self {
            now: 0,
            rng: Rng::new(config.seed),
            trace: Trace(config.seed),
            tasks: Slab::default(),
            timers: Slab::default(),
            processes: vec![Process::default()],
            net: Net::default(),
            wakes: Vec::new(),
            ready,
            agenda: BinaryHeap::new(),
            last_number: 0,
            config,
        }
    }

    /// Returns the event's number.
    pub(super) fn schedule(&mut self, at: u64, event: Event) -> u64 {
        self.last_number += 1;
        self.agenda.push(Reverse(Entry {
            at: at.max(self.now),
            tie: self.rng.next_u64(),
            number: self.last_number,
            event,
        }));
        self.last_number
    }

    /// Goes to the next event and lets it happen; false when there is none.
    pub(super) fn advance(&mut self) -> bool {
        loop {
            let Some(Reverse(entry)) = self.agenda.pop() else {
                return false;
            };
            if let Event::Timer(timer) = entry.event {
                if !self.is_timer_due(timer, entry.number, entry.at) {
                    continue;
                }
            }
            self.now = entry.at;
            self.trace.fold(entry.at);
            self.trace.fold(entry.number);
            self.happen(entry.event);
            return true;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Timer(timer) => self.fire(timer),
            Event::Arrive(conn, side) => self.arrive(conn, side),
            Event::Unwelcome(conn, side) => self.send_reset(conn, side),
            Event::GiveUp(conn) => self.give_up(conn),
            Event::Spring(conn, then) => self.spring(conn, then),
            Event::Syn(dial) => self.syn(dial),
            Event::DialTimeout(dial) => self.dial_timeout(dial),
            Event::Resume(process, suspension) => self.resume(process, Some(suspension)),
        }
    }
}

pub(super) struct Shared {
    pub(super) base: Instant,
    pub(super) ready: Arc<ReadyQueue>,
    world: Mutex<World>,
}

impl Shared {
    pub(super) fn new(config: SimConfig) -> Self {
        let ready = Arc::<ReadyQueue>::default();
        Self {
            base: epoch(),
            world: Mutex::new(World::new(config, Arc::clone(&ready))),
            ready,
        }
    }

    /// Runs `f` on the world, then calls the wakers that it collected, without the lock.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut world);
        if world.wakes.is_empty() {
            return result;
        }
        let mut wakes = std::mem::take(&mut world.wakes);
        drop(world);
        wakes.drain(..).for_each(Waker::wake);
        self.give_back(wakes);
        result
    }

    /// The memory of the list is used again.
    fn give_back(&self, wakes: Vec<Waker>) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.wakes.capacity() == 0 {
            world.wakes = wakes;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "std has no other way to make an Instant; only differences to it are ever used"
)]
fn epoch() -> Instant {
    Instant::now()
}
