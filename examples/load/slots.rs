//! A future per I/O.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use iscsi_client::runtime::Runtime;

use super::{Backend, Load, Measured, Times, memory::Memory, tally::Tally};
use crate::{clock, runtime::sleep};

/// After a failure a slot waits for so long: a session that is down fails at once, and a loop that
/// never waits would keep its own thread from ever bringing it up again.
pub(super) const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

pub(super) async fn run(backend: Arc<Backend>, runtime: Arc<dyn Runtime>, load: Load) -> Measured {
    let run = Run {
        tally: Mutex::new(Tally::new(Arc::clone(&backend), load)),
        backend,
        runtime,
        load,
    };
    // One future per slot, made once: an I/O then costs no task and no allocation here.
    let mut slots: FuturesUnordered<_> = (0..load.queue_depth).map(|slot| run.slot(slot)).collect();
    let mut times = Times::new(&*run.runtime, &load);
    poll_fn(|cx| {
        times.poll(&*run.runtime, cx).tell(&mut run.tally());
        loop {
            match slots.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    drop(slots);
    let tally = run.tally.into_inner();
    tally
        .unwrap_or_else(PoisonError::into_inner)
        .into_measured()
}

/// What the slots share; all of them run in one task, so the lock is never waited for.
struct Run {
    backend: Arc<Backend>,
    runtime: Arc<dyn Runtime>,
    load: Load,
    tally: Mutex<Tally>,
}

impl Run {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn slot(&self, slot: usize) {
        let mut memory = Memory::new(&self.load);
        loop {
            let next = self.tally().next();
            let Some((offset, write)) = next else { break };
            let submitted = clock::now();
            let result = self.backend.execute(slot, offset, write, &mut memory).await;
            let completed = clock::now();
            self.tally().complete(submitted, completed, result.is_ok());
            if let Err(error) = result {
                self.tally().note(error);
                sleep(&*self.runtime, PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
