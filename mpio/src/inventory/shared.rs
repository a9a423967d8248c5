//! What the handles of an inventory see of it, and what they ask for.
//!
//! The driver alone owns what the inventory works with; it writes here what has come of it, once per poll. So
//! there is no lock around a decision, and none is held while a device or a session is touched.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
    time::Instant,
};

use super::{log::EventLog, snapshot::InventorySnapshot};
use crate::device::MultipathDevice;

/// How an inventory is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its last handle was dropped: devices that the program holds go on.
    LetGo,
    /// It was closed: so are all its devices.
    Close,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) devices: BTreeMap<Arc<str>, MultipathDevice>,
    pub(super) snapshot: Arc<InventorySnapshot>,
    pub(super) log: EventLog,
    /// Scans that were asked for, from 1: the first one is that of the beginning.
    pub(super) asked: u64,
    /// The last one that the program asked for itself.
    pub(super) asked_by_program: u64,
    /// Scans that are over.
    pub(super) done: u64,
    pub(super) ending: Option<Ending>,
    /// Devices whose drivers have ended, with the number that tells one device from the next of its name.
    pub(super) ended_devices: Vec<(Arc<str>, u64)>,
    /// The driver is done, or gone.
    pub(super) ended: bool,
    driver: Option<Waker>,
    watchers: Vec<(u64, Waker)>,
    next_watcher: u64,
}

#[derive(Debug)]
pub(super) struct Shared(Mutex<Board>);

impl Shared {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Board {
            asked: 1,
            log: EventLog::new(now),
            ..Board::default()
        }))
    }

    /// Looks at the board. Nothing that is dropped in `look` may wake anybody.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        // Nothing panics under this lock.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the driver for something.
    pub(super) fn ask<T>(&self, ask: impl FnOnce(&mut Board) -> T) -> T {
        let (result, driver) = self.look(|board| (ask(board), board.driver.take()));
        driver.into_iter().for_each(Waker::wake);
        result
    }

    /// Tells everybody who waits.
    pub(super) fn tell<T>(&self, tell: impl FnOnce(&mut Board) -> T) -> T {
        let (result, watchers) =
            self.look(|board| (tell(board), std::mem::take(&mut board.watchers)));
        watchers.into_iter().for_each(|(_, waker)| waker.wake());
        result
    }

    /// Takes what is asked for, or leaves the driver's waker.
    pub(super) fn orders<T>(
        &self,
        waker: &Waker,
        take: impl FnOnce(&mut Board) -> Option<T>,
    ) -> Option<T> {
        self.look(|board| {
            let taken = take(board);
            if taken.is_none() {
                board.driver = Some(waker.clone());
            }
            taken
        })
    }

    /// Waits until `look` finds what it looks for; it is asked again whenever the driver has something to
    /// tell.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&Board) -> Option<T> + Send) -> T {
        let mut watch = Watch {
            shared: self,
            id: None,
        };
        poll_fn(|cx| {
            let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = look(&board) {
                return Poll::Ready(found);
            }
            let id = *watch.id.get_or_insert_with(|| {
                board.next_watcher += 1;
                board.next_watcher
            });
            match board.watchers.iter_mut().find(|(other, _)| *other == id) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => board.watchers.push((id, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await
    }
}

/// Takes its waker away when the future is dropped.
struct Watch<'a> {
    shared: &'a Shared,
    id: Option<u64>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared
                .look(|board| board.watchers.retain(|(other, _)| *other != id));
        }
    }
}
