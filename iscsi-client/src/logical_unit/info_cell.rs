//! The current [`DeviceInfo`] and those who wait for the next one.

use std::{
    future::{Future, poll_fn},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    device::{DeviceInfo, Generation},
    error::{Error, ErrorKind},
};

#[derive(Debug)]
pub(super) struct InfoCell(Mutex<State>);

#[derive(Debug)]
struct State {
    info: Arc<DeviceInfo>,
    closed: bool,
    waiters: Vec<(u64, Waker)>,
    next_waiter: u64,
}

impl State {
    fn poll(&mut self, seen: Generation) -> Poll<Result<Arc<DeviceInfo>, Error>> {
        if self.closed {
            return Poll::Ready(Err(Error::not_executed(ErrorKind::Closed)));
        }
        if self.info.generation == seen {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Arc::clone(&self.info)))
    }
}

impl InfoCell {
    pub(super) fn new(info: DeviceInfo) -> Self {
        Self(Mutex::new(State {
            info: Arc::new(info),
            closed: false,
            waiters: Vec::new(),
            next_waiter: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so poison says nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Arc<DeviceInfo> {
        Arc::clone(&self.lock().info)
    }

    /// Looks at the info without taking a reference: the check of every request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], before anything else.
    pub(super) fn with<T>(
        &self,
        look: impl FnOnce(&DeviceInfo) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let state = self.lock();
        if state.closed {
            return Err(Error::not_executed(ErrorKind::Closed));
        }
        look(&state.info)
    }

    /// Changes the info; if it is another one afterwards, it gets a generation of its own and the
    /// waiters are woken.
    pub(super) fn update(&self, change: impl FnOnce(&mut DeviceInfo)) -> Arc<DeviceInfo> {
        let mut state = self.lock();
        let mut info = DeviceInfo::clone(&state.info);
        change(&mut info);
        if info == *state.info {
            return Arc::clone(&state.info);
        }
        info.generation = state.info.generation.next();
        state.info = Arc::new(info);
        let info = Arc::clone(&state.info);
        wake(state);
        info
    }

    /// Returns whether it was open.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        let was_open = !mem::replace(&mut state.closed, true);
        wake(state);
        was_open
    }

    /// Ready once the generation is another one than `seen`, or the device is closed.
    pub(super) fn changed(
        &self,
        seen: Generation,
    ) -> impl Future<Output = Result<Arc<DeviceInfo>, Error>> + Send {
        let mut waiter = Waiter {
            cell: self,
            id: None,
        };
        // A method call, since a closure that names a field would capture a copy of it, and the
        // waiter itself would be dropped here and now.
        poll_fn(move |cx| waiter.poll(seen, cx))
    }
}

impl State {
    fn position(&self, id: u64) -> Option<usize> {
        self.waiters.iter().position(|(other, _)| *other == id)
    }
}

/// Wakers run without the lock: they may run anything, even a look at the info.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiters = mem::take(&mut state.waiters);
    drop(state);
    waiters.into_iter().for_each(|(_, waker)| waker.wake());
}

/// Takes its waker away when the future is dropped.
struct Waiter<'a> {
    cell: &'a InfoCell,
    id: Option<u64>,
}

impl Waiter<'_> {
    fn poll(
        &mut self,
        seen: Generation,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arc<DeviceInfo>, Error>> {
        let mut state = self.cell.lock();
        let polled = state.poll(seen);
        if polled.is_pending() {
            match self.id.and_then(|id| state.position(id)) {
                Some(at) => state.waiters[at].1.clone_from(cx.waker()),
                None => {
                    let id = state.next_waiter;
                    state.next_waiter += 1;
                    state.waiters.push((id, cx.waker().clone()));
                    self.id = Some(id);
                }
            }
        }
        polled
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut state = self.cell.lock();
            if let Some(at) = state.position(id) {
                state.waiters.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_change_wakes_and_an_equal_info_does_not() {
        let cell = InfoCell::new(DeviceInfo::new(4096, 512));
        let seen = cell.get().generation;
        let mut changed = pin!(cell.changed(seen));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(changed.as_mut().poll(&mut cx).is_pending());
        cell.update(|info| info.size = 4096);
        assert!(changed.as_mut().poll(&mut cx).is_pending());
        cell.update(|info| info.size = 8192);
        let Poll::Ready(Ok(info)) = changed.poll(&mut cx) else {
            panic!("a change was missed")
        };
        assert_eq!((info.size, info.generation), (8192, seen.next()));
    }

    #[test]
    fn waiters_leave_nothing_behind() {
        let cell = InfoCell::new(DeviceInfo::new(4096, 512));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut changed = Box::pin(cell.changed(Generation::default()));
            assert!(changed.as_mut().poll(&mut cx).is_pending());
            assert!(changed.as_mut().poll(&mut cx).is_pending());
            assert_eq!(cell.lock().waiters.len(), 1);
        }
        assert!(cell.lock().waiters.is_empty());
    }

    #[test]
    fn closing_ends_every_wait() {
        let cell = InfoCell::new(DeviceInfo::new(4096, 512));
        let mut changed = pin!(cell.changed(Generation::default()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(changed.as_mut().poll(&mut cx).is_pending());
        assert!(cell.close());
        assert!(
            matches!(changed.poll(&mut cx), Poll::Ready(Err(e)) if e.kind() == ErrorKind::Closed)
        );
        assert!(!cell.close());
    }
}
