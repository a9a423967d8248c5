//! Commands over a session that is up.

use std::sync::{Arc, Mutex};

use crate::support::{BLOCK, World, assert_pattern, config, poll_once, read, write};
use futures_util::future::join_all;
use iscsi_client::{
    buf::{MemError, MemRegion, ReadBuf, ReadSeg, WriteBuf, WriteSeg},
    session::{Payload, ScsiRequest, SessionOptions},
};
use iscsi_proto::{
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
    text::{DigestOffer, OperationalOffer},
};
use iscsi_testkit::{pattern, target::DigestPolicy};

#[test]
fn what_is_read_is_what_the_medium_holds_under_any_cut_of_the_stream() {
    for seed in 0..20 {
        let world = World::new(seed);
        let session = world.connect(SessionOptions::default());
        world.sim.block_on(async {
            let sizes = [1, 8, 33, 128, 600, 2048];
            let reads = (0..24).map(|i: usize| {
                let (lba, blocks) = (i as u64 * 5000, sizes[i % sizes.len()]);
                let (session, request) = (&session, read(lba, blocks));
                async move { assert_pattern(session.execute(request).await, lba) }
            });
            join_all(reads).await;
        });
        world.assert_clean();
        assert_eq!(session.stats().ios, 24);
    }
}

#[test]
fn what_was_written_is_on_the_medium_and_the_buffer_comes_back() {
    for seed in 0..20 {
        let world = World::new(seed);
        let session = world.connect(SessionOptions::default());
        world.sim.block_on(async {
            let writes = [1, 16, 700, 3000]
                .into_iter()
                .enumerate()
                .map(|(i, blocks)| {
                    let (lba, data) = (i as u64 * 10_000, vec![i as u8 + 1; blocks * BLOCK]);
                    let (session, request) = (&session, write(lba, data));
                    async move { (lba, i as u8 + 1, session.execute(request).await) }
                });
            for (lba, byte, executed) in join_all(writes).await {
                assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
                let Payload::Out(buf) = executed.payload else {
                    panic!()
                };
                let mut medium = vec![0; buf.len()];
                world.target.core().peek(0, lba * BLOCK as u64, &mut medium);
                assert!(medium.iter().all(|b| *b == byte));
            }
        });
        world.assert_clean();
    }
}

#[test]
fn digests_are_summed_over_memory_that_the_core_does_not_own() {
    let config = config().with_digests(DigestPolicy::Require, DigestPolicy::Require);
    let world = World::with_config(3, config);
    let mut options = SessionOptions::default();
    options.offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::RequireCrc32c)
        .with_data_digest(DigestOffer::RequireCrc32c);
    let session = world.connect(options);
    world.sim.block_on(async {
        let executed = session.execute(write(8, vec![0x5a; 64 * BLOCK])).await;
        assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        assert_pattern(session.execute(read(100, 2000)).await, 100);
    });
    world.assert_clean();
}

/// Guest memory: a vector behind a lock.
struct Guest(Mutex<Vec<u8>>);

impl MemRegion for Guest {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn load(&self, offset: u64, dst: &mut [u8]) -> Result<(), MemError> {
        let at = offset as usize;
        dst.copy_from_slice(&self.0.lock().unwrap()[at..at + dst.len()]);
        Ok(())
    }

    fn store(&self, offset: u64, src: &[u8]) -> Result<(), MemError> {
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + src.len()].copy_from_slice(src);
        Ok(())
    }
}

#[test]
fn guest_memory_is_copied_once_each_way_and_counted() {
    let world = World::new(4);
    let session = world.connect(SessionOptions::default());
    let guest = Arc::new(Guest(Mutex::new(vec![7; 64 * BLOCK])));
    let len = 8 * BLOCK;
    world.sim.block_on(async {
        let into: ReadBuf = ReadSeg::region(guest.clone(), 1024, len).unwrap().into();
        let cdb = Cdb::read(40, 8, false);
        let request = ScsiRequest::new(Lun::new(0), cdb, Payload::In(into));
        let executed = session.execute(request).await;
        assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        let memory = guest.0.lock().unwrap();
        assert_eq!(
            pattern::verify(1, 40 * BLOCK as u64, &memory[1024..1024 + len]),
            Ok(())
        );
        assert_eq!((memory[1023], memory[1024 + len]), (7, 7));
    });
    assert_eq!(session.stats().region_copied_bytes, len as u64);
    world.sim.block_on(async {
        let from: WriteBuf = WriteSeg::region(guest.clone(), 0, len).unwrap().into();
        let request = ScsiRequest::new(Lun::new(0), Cdb::write(0, 8, false), Payload::Out(from));
        let mut execute = session.execute(request);
        // Loaded at submission: what the guest does to its memory afterwards does not matter.
        assert!(poll_once(&mut execute).await.is_pending());
        guest.0.lock().unwrap()[..len].fill(0xee);
        assert_eq!(execute.await.result.unwrap().status, ScsiStatus::Good);
        let mut medium = vec![0; 512];
        world.target.core().peek(0, 0, &mut medium);
        assert_eq!(medium, [7; 512]);
    });
    assert_eq!(session.stats().region_copied_bytes, 2 * len as u64);
}

#[test]
fn large_reads_are_received_in_place() {
    let world = World::new(5);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        for i in 0..16 {
            assert_pattern(session.execute(read(i * 2048, 2048)).await, i * 2048);
        }
    });
    let stats = session.stats();
    assert_eq!(stats.bytes_read, 16 << 20);
    let share = stats.copied_bytes() * 100 / stats.bytes_read;
    assert!(share <= 5, "{share} % of the payload was copied");
}

#[test]
fn a_ping_is_answered_with_its_round_trip() {
    let world = World::new(6);
    let session = world.connect(SessionOptions::default());
    let round_trip = world.sim.block_on(session.ping()).unwrap();
    assert!(
        round_trip.as_micros() >= 100,
        "two ways of at least 50 us: {round_trip:?}"
    );
}
