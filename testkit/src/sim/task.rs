//! Tasks, and which of them can run.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use iscsi_client::runtime::BoxFuture;

use super::{ids::ProcessId, slab::Key};

/// A spawned future, and the waker that it is always polled with.
pub(super) struct Task {
    pub(super) process: ProcessId,
    /// `None` while it is polled, outside of the world's lock.
    pub(super) future: Option<BoxFuture<()>>,
    pub(super) mark: Arc<Mark>,
    pub(super) waker: Waker,
}

impl Task {
    pub(super) fn new(
        key: Key,
        process: ProcessId,
        future: BoxFuture<()>,
        ready: &Arc<ReadyQueue>,
    ) -> Self {
        let mark = Mark::new(key, ready);
        Self {
            process,
            future: Some(future),
            waker: Waker::from(Arc::clone(&mark)),
            mark,
        }
    }
}

/// The tasks that were woken and not yet polled, each once.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue(Mutex<Vec<Key>>);

impl ReadyQueue {
    pub(super) fn push(&self, task: Key) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.push(task);
    }

    pub(super) fn take(&self, pick: impl FnOnce(usize) -> usize) -> Option<Key> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let index = pick(ready.len());
        Some(ready.swap_remove(index))
    }
}

/// Whether a task is in the queue.
#[derive(Debug)]
pub(super) struct Mark {
    task: Key,
    is_queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl Mark {
    pub(super) fn new(task: Key, ready: &Arc<ReadyQueue>) -> Arc<Self> {
        Arc::new(Self {
            task,
            is_queued: AtomicBool::new(false),
            ready: Arc::clone(ready),
        })
    }

    /// Before its poll, so that a wake during the poll counts.
    pub(super) fn taken(&self) {
        self.is_queued.store(false, Ordering::Release);
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.task);
        }
    }
}
