//! Rings: many commands of one submitter, and their completions in batches.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use crate::support::{BLOCK, World, assert_pattern, read, write};
use iscsi_client::{
    buf::{MemError, MemRegion, ReadBuf, ReadSeg},
    error::{ErrorKind, Outcome},
    session::{Payload, Ring, RingCompletion, ScsiRequest, Session, SessionOptions},
};
use iscsi_proto::scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus};

fn depth(queue_depth: u16) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.queue_depth = queue_depth;
    options
}

async fn all(ring: &mut Ring) -> Vec<RingCompletion> {
    let mut done = Vec::new();
    while ring.in_flight() > 0 {
        ring.harvest(&mut done).await;
    }
    done
}

#[test]
fn every_command_comes_back_once_under_its_tag_with_its_data() {
    for seed in 0..20 {
        let world = World::new(seed);
        let session = world.connect(depth(8));
        world.sim.block_on(async {
            let mut ring = session.ring();
            let (mut next, mut seen, mut done) = (0, Vec::new(), Vec::new());
            while seen.len() < 100 {
                while next < 100 && ring.in_flight() < 8 {
                    let lba = next * 40;
                    ring.try_submit(next, read(lba, 1 + next as u32 % 20))
                        .unwrap();
                    next += 1;
                }
                assert!(ring.harvest(&mut done).await > 0);
                for completion in done.drain(..) {
                    seen.push(completion.tag);
                    assert_pattern(completion.executed, completion.tag * 40);
                }
            }
            assert_eq!(ring.in_flight(), 0);
            assert_eq!(ring.harvest(&mut done).await, 0, "it waits for nothing");
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        });
        world.assert_clean();
    }
}

#[test]
fn a_full_session_gives_the_request_back_as_it_was() {
    let world = World::new(1);
    let session = world.connect(depth(2));
    world.sim.block_on(async {
        let mut ring = session.ring();
        ring.try_submit(0, read(0, 1)).unwrap();
        let _other = session.try_execute(read(0, 1)).unwrap();
        let request = write(8, vec![9; 3 * BLOCK]).with_timeout(Some(Duration::from_secs(7)));
        let full = ring.try_submit(1, request).unwrap_err().request;
        assert_eq!(full.timeout, Some(Duration::from_secs(7)));
        assert!(matches!(&full.payload, Payload::Out(buf) if buf.len() == 3 * BLOCK));
        assert_eq!(all(&mut ring).await.len(), 1);
        ring.try_submit(1, *full).unwrap();
        let done = all(&mut ring).await;
        assert_eq!(
            done[0].executed.result.as_ref().unwrap().status,
            ScsiStatus::Good
        );
        let mut medium = vec![0; BLOCK];
        world.target.core().peek(0, 8 * BLOCK as u64, &mut medium);
        assert_eq!(medium, [9; BLOCK]);
    });
    world.assert_clean();
}

/// All slots of the session are free.
async fn assert_all_free(session: &Session, slots: u16) {
    let mut ring = session.ring();
    for tag in 0..slots.into() {
        ring.try_submit(tag, read(0, 1)).unwrap();
    }
    for completion in all(&mut ring).await {
        assert_pattern(completion.executed, 0);
    }
}

#[test]
fn a_dropped_ring_leaves_no_slot_taken_and_other_rings_alone() {
    for seed in 0..20 {
        let world = World::new(seed);
        let session = world.connect(depth(12));
        world.sim.block_on(async {
            let mut stays = session.ring();
            stays.try_submit(7, read(3, 1)).unwrap();
            world.target.core().set_delay(0, Duration::from_millis(50));
            let mut goes = session.ring();
            for tag in 0..5 {
                goes.try_submit(tag, read(0, 256)).unwrap();
            }
            world.sim.sleep(Duration::from_millis(10)).await;
            // Of these the driver knows nothing.
            for tag in 5..9 {
                goes.try_submit(tag, read(0, 256)).unwrap();
            }
            drop(goes);
            let again = session.ring();
            assert_eq!(again.in_flight(), 0);
            let done = all(&mut stays).await;
            assert_eq!(done.len(), 1);
            for completion in done {
                assert_eq!(completion.tag, 7);
                assert_pattern(completion.executed, 3);
            }
            world.target.core().set_delay(0, Duration::ZERO);
            world.sim.sleep(Duration::from_secs(1)).await;
            assert_all_free(&session, 12).await;
        });
        world.assert_clean();
        assert_eq!(session.stats().logins, 1, "the session survived");
    }
}

#[test]
fn what_cannot_be_submitted_is_harvested_with_its_error() {
    let world = World::new(2);
    let mut options = depth(4);
    options.replacement_timeout = None;
    let session = world.connect(options);
    world.sim.block_on(async {
        let mut ring = session.ring();
        session.close().await;
        ring.try_submit(3, read(0, 2)).unwrap();
        let done = all(&mut ring).await;
        let error = done[0].executed.result.as_ref().unwrap_err();
        assert_eq!(done[0].tag, 3);
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Closed, Outcome::NotExecuted)
        );
        assert!(matches!(&done[0].executed.payload, Payload::In(buf) if buf.len() == 2 * BLOCK));
    });
}

/// Guest memory whose store looks at the session, which would never end under the session's lock.
struct Nosy(Mutex<Vec<u8>>, Session);

impl MemRegion for Nosy {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn load(&self, _: u64, _: &mut [u8]) -> Result<(), MemError> {
        unreachable!("nothing is written")
    }

    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError> {
        let _ = self.1.stats();
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + src.len()].copy_from_slice(src);
        Ok(())
    }
}

#[test]
fn guest_memory_is_stored_to_outside_of_every_lock() {
    let world = World::new(3);
    let session = world.connect(depth(4));
    let guest = Arc::new(Nosy(Mutex::new(vec![0; 4 * BLOCK]), session.clone()));
    world.sim.block_on(async {
        let mut ring = session.ring();
        let into = ReadSeg::region(guest.clone(), BLOCK as u64, 2 * BLOCK).unwrap();
        let payload = Payload::In(ReadBuf::from(into));
        let request = ScsiRequest::new(Lun::new(0), Cdb::read(9, 2, false), payload);
        ring.try_submit(0, request).unwrap();
        let done = all(&mut ring).await;
        assert!(done[0].executed.result.is_ok());
        let memory = guest.0.lock().unwrap();
        let pattern =
            iscsi_testkit::pattern::verify(1, 9 * BLOCK as u64, &memory[BLOCK..3 * BLOCK]);
        assert_eq!(pattern, Ok(()));
    });
    assert_eq!(session.stats().region_copied_bytes, 2 * BLOCK as u64);
}

/// However little there is to be stored.
#[test]
fn an_empty_region_is_asked_outside_of_every_lock_too() {
    let world = World::new(1);
    let session = world.connect(depth(2));
    let guest = Arc::new(Nosy(Mutex::new(vec![0; BLOCK]), session.clone()));
    let executed = world.sim.block_on(async {
        let mut ring = session.ring();
        let empty = ReadSeg::region(guest.clone(), 0, 0).unwrap();
        let segments = [ReadSeg::from(bytes::BytesMut::zeroed(BLOCK)), empty];
        let into = segments.into_iter().collect::<ReadBuf>();
        let request = ScsiRequest::new(Lun::ZERO, Cdb::read16(5, 1, false), Payload::In(into));
        ring.try_submit(0, request).unwrap();
        all(&mut ring).await.remove(0).executed
    });
    assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn one_batch_is_one_wake_up() {
    let world = World::new(4);
    let session = world.connect(depth(32));
    world.target.core().set_delay(0, Duration::from_millis(5));
    let mut ring = session.ring();
    for tag in 0..32 {
        ring.try_submit(tag, read(0, 1)).unwrap();
    }
    let count = Arc::new(Count::default());
    let waker = Arc::clone(&count).into();
    let (mut done, mut harvests) = (Vec::new(), 0);
    while ring.in_flight() > 0 {
        let polled = ring.poll_harvest(&mut Context::from_waker(&waker), &mut done);
        harvests += usize::from(polled.is_ready());
        if polled.is_pending() {
            let seen = count.0.load(Ordering::Relaxed);
            world.sim.block_on(async {
                while count.0.load(Ordering::Relaxed) == seen {
                    world.sim.sleep(Duration::from_micros(100)).await;
                }
            });
        }
    }
    assert_eq!(done.len(), 32);
    let wakes = count.0.load(Ordering::Relaxed);
    assert!(wakes <= harvests && harvests < 32, "{wakes} {harvests}");
    assert_eq!(ring.try_harvest(&mut done), 0);
    assert_eq!(
        ring.poll_harvest(&mut Context::from_waker(&waker), &mut done),
        Poll::Ready(0)
    );
}

#[test]
fn a_look_in_between_does_not_cost_the_one_who_waits_its_wake_up() {
    let world = World::new(5);
    let session = world.connect(depth(4));
    world.target.core().set_delay(0, Duration::from_millis(5));
    let mut ring = session.ring();
    ring.try_submit(0, read(0, 1)).unwrap();
    let count = Arc::new(Count::default());
    let waker = Arc::clone(&count).into();
    let mut done = Vec::new();
    let polled = ring.poll_harvest(&mut Context::from_waker(&waker), &mut done);
    assert!(polled.is_pending());
    assert_eq!(ring.try_harvest(&mut done), 0);
    world.sim.block_on(world.sim.sleep(Duration::from_secs(1)));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(ring.try_harvest(&mut done), 1);
}
