//! Timers of virtual time.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use iscsi_client::runtime::AsyncTimer;

use super::{
    deadline::Timer,
    ids::ProcessId,
    slab::Key,
    world::{Event, Shared, World},
};

impl World {
    /// Whether this event of a timer is the one that counts, and the timer is due by it.
    pub(super) fn is_timer_due(&mut self, id: Key, number: u64, at: u64) -> bool {
        let Some(timer) = self.timers.get_mut(id) else {
            return false;
        };
        if timer.event.0 != number {
            return false;
        }
        timer.event = (0, 0);
        if timer.is_armed && timer.at > at {
            let at = timer.at;
            let number = self.schedule(at, Event::Timer(id));
            if let Some(timer) = self.timers.get_mut(id) {
                timer.event = (number, at);
            }
            return false;
        }
        timer.is_armed
    }

    pub(super) fn fire(&mut self, id: Key) {
        if let Some(timer) = self.timers.get_mut(id) {
            timer.is_armed = false;
            self.wakes.extend(timer.waker.take());
        }
    }

    /// A waker that is no longer wanted is handed back: its destructor is foreign code.
    fn poll_timer(&mut self, id: Key, waker: &Waker) -> (Poll<()>, Option<Waker>) {
        let now = self.now;
        let Some(timer) = self.timers.get_mut(id) else {
            return (Poll::Pending, None);
        };
        let process = self.processes.get(timer.process as usize);
        if process.is_some_and(|process| process.is_dead) {
            return (Poll::Pending, None);
        }
        if timer.at <= now {
            timer.is_armed = false;
            return (Poll::Ready(()), timer.waker.take());
        }
        timer.is_armed = true;
        let mut old = None;
        if !timer.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            old = timer.waker.replace(waker.clone());
        }
        let at = timer.at;
        if timer.event.0 == 0 || timer.event.1 > at {
            let number = self.schedule(at, Event::Timer(id));
            if let Some(timer) = self.timers.get_mut(id) {
                timer.event = (number, at);
            }
        }
        (Poll::Pending, old)
    }
}

pub(super) struct SimTimer {
    shared: Arc<Shared>,
    id: Key,
}

impl SimTimer {
    pub(super) fn new(shared: &Arc<Shared>, process: ProcessId, at: Instant) -> Self {
        let at = nanos_since(shared.base, at);
        let id = shared.with(|world| {
            world.timers.insert(Timer {
                process,
                at,
                is_armed: false,
                waker: None,
                event: (0, 0),
            })
        });
        Self {
            shared: Arc::clone(shared),
            id,
        }
    }
}

fn nanos_since(base: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(base).as_nanos()).unwrap_or(u64::MAX)
}

impl AsyncTimer for SimTimer {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        let at = nanos_since(self.shared.base, at);
        self.shared.with(|world| {
            if let Some(timer) = world.timers.get_mut(self.id) {
                timer.at = at;
                timer.is_armed = false;
            }
        });
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (poll, old) = self
            .shared
            .with(|world| world.poll_timer(self.id, cx.waker()));
        drop(old);
        poll
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        let timer = self.shared.with(|world| world.timers.remove(self.id));
        drop(timer);
    }
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timer = |world: &mut World| world.timers.get(self.id).map(|timer| timer.at);
        let at = self.shared.with(timer).unwrap_or_default();
        write!(f, "SimTimer({:?})", Duration::from_nanos(at))
    }
}
