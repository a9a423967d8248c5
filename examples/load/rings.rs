//! A ring per session.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use iscsi_client::{
    runtime::Runtime,
    session::{Payload, Ring, RingCompletion, ScsiRequest},
};
use iscsi_proto::scsi::{Cdb, Lun};

use super::{
    Backend, Load, Measured, Times, backend::judge, memory::Memory, slots::PAUSE_AFTER_ERROR,
    tally::Tally,
};
use crate::{clock, runtime::sleep};

pub(super) async fn run(backend: Arc<Backend>, runtime: Arc<dyn Runtime>, load: Load) -> Measured {
    let mut times = Times::new(&*runtime, &load);
    let mut done = Vec::with_capacity(load.queue_depth);
    let mut run = Run {
        tally: Tally::new(Arc::clone(&backend), load),
        rings: backend.paths().map(|(s, lun)| (s.ring(), lun)).collect(),
        slots: Vec::with_capacity(load.queue_depth),
        backend,
        length: load.block_size,
    };
    let now = clock::now();
    for slot in 0..load.queue_depth {
        let memory = Memory::new(&load);
        run.slots.push((now, memory));
        run.submit(slot, now);
    }
    loop {
        poll_fn(|cx| {
            times.poll(&*runtime, cx).tell(&mut run.tally);
            run.poll_harvest(cx, &mut done)
        })
        .await;
        if done.is_empty() {
            return run.tally.into_measured();
        }
        let mut failed = false;
        for completion in done.drain(..) {
            // One look at the clock ends an I/O and begins the next.
            let (slot, now) = (completion.tag as usize, clock::now());
            failed |= !run.complete(slot, completion, now);
            run.submit(slot, now);
        }
        if failed {
            sleep(&*runtime, PAUSE_AFTER_ERROR).await;
        }
    }
}

struct Run {
    tally: Tally,
    backend: Arc<Backend>,
    rings: Vec<(Ring, Lun)>,
    /// When the slot's I/O was submitted, and its memory while none is under way.
    slots: Vec<(Instant, Memory)>,
    /// Bytes of an I/O.
    length: usize,
}

impl Run {
    /// The slot's next I/O, unless it is enough.
    fn submit(&mut self, slot: usize, now: Instant) {
        let Some((offset, write)) = self.tally.next() else {
            return;
        };
        let (lba, blocks) = self.backend.blocks(offset, self.length);
        let (submitted, memory) = &mut self.slots[slot];
        *submitted = now;
        let (cdb, payload) = if write {
            let data = std::mem::take(&mut memory.write);
            (Cdb::write16(lba, blocks, false), Payload::Out(data))
        } else {
            let place = std::mem::take(&mut memory.read);
            (Cdb::read16(lba, blocks, false), Payload::In(place))
        };
        let paths = self.rings.len();
        let (ring, lun) = &mut self.rings[slot % paths];
        // A session has a slot for each of ours.
        let submitted = ring.try_submit(slot as u64, ScsiRequest::new(*lun, cdb, payload));
        if let Err(full) = submitted {
            self.tally.note(full);
        }
    }

    /// Takes the memory back; whether all went well.
    fn complete(&mut self, slot: usize, completion: RingCompletion, now: Instant) -> bool {
        let RingCompletion { executed, .. } = completion;
        let (submitted, memory) = &mut self.slots[slot];
        match executed.payload {
            Payload::In(buf) => memory.read = buf,
            Payload::Out(buf) => memory.write = buf,
            Payload::None => {}
        }
        let result = judge(executed.result, self.length);
        self.tally.complete(*submitted, now, result.is_ok());
        match result {
            Ok(()) => true,
            Err(error) => {
                self.tally.note(error);
                false
            }
        }
    }

    /// Ready with what is done, or with nothing when nothing is under way.
    fn poll_harvest(&mut self, cx: &mut Context<'_>, done: &mut Vec<RingCompletion>) -> Poll<()> {
        let mut idle = true;
        for (ring, _) in &mut self.rings {
            let under_way = ring.in_flight() > 0;
            idle &= !under_way || ring.poll_harvest(cx, done).is_ready();
        }
        if idle || !done.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
