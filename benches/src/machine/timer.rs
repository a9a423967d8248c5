//! Timers of the clock that moves only when nothing else can.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use iscsi_client::runtime::{AsyncTimer, Runtime};

use super::{Machine, lock};

/// All timers there are; a dropped one leaves its place to the next.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<Option<Entry>>);

#[derive(Debug)]
struct Entry {
    at: Instant,
    /// Set while somebody waits.
    waker: Option<Waker>,
}

impl Timers {
    fn insert(&mut self, at: Instant) -> usize {
        let entry = Some(Entry { at, waker: None });
        if let Some(free) = self.0.iter().position(Option::is_none) {
            self.0[free] = entry;
            return free;
        }
        self.0.push(entry);
        self.0.len() - 1
    }

    /// Wakes whoever waits for the earliest moment, and says which it is.
    pub(super) fn fire_next(&mut self) -> Option<Instant> {
        let waited = self.0.iter().flatten().filter(|e| e.waker.is_some());
        let next = waited.map(|entry| entry.at).min()?;
        for entry in self.0.iter_mut().flatten() {
            if entry.at <= next {
                entry.waker.take().into_iter().for_each(Waker::wake);
            }
        }
        Some(next)
    }
}

#[derive(Debug)]
pub(super) struct Timer {
    machine: Machine,
    timers: Arc<Mutex<Timers>>,
    place: usize,
    at: Instant,
}

impl Timer {
    pub(super) fn new(machine: Machine, at: Instant) -> Self {
        let timers = Arc::clone(&machine.0.timers);
        let place = lock(&timers).insert(at);
        Self {
            machine,
            timers,
            place,
            at,
        }
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
        if let Some(entry) = &mut lock(&self.timers).0[self.place] {
            entry.at = at;
        }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.machine.now() >= self.at {
            return Poll::Ready(());
        }
        if let Some(entry) = &mut lock(&self.timers).0[self.place] {
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        lock(&self.timers).0[self.place] = None;
    }
}
