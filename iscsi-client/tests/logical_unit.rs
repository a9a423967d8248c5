//! A logical unit over a session with the testkit's target, in the simulator.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::future::join;
use iscsi_client::{
    buf::{MemError, MemRegion, ReadBuf, WriteBuf, WriteSeg},
    device::{BlockDevice, BlockDeviceExt, FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    initiator::{Initiator, SessionTarget},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    session::{Session, SessionOptions},
};
use iscsi_proto::scsi::{DiskModes, Lun};
use iscsi_testkit::{
    conformance, pattern,
    sim::{Link, SimRuntime},
    target::{Answer, LunConfig, SimTarget, TargetConfig, TargetCore},
};

const TARGET: &str = "iqn.2026-01.example:disk";
const PORTAL: &str = "10.0.0.1:3260";
const SIZE: u64 = 64 << 20;

const TEST_UNIT_READY: &[u8] = &[0x00];
const INQUIRY: &[u8] = &[0x12, 0];
const DEVICE_IDENTIFICATION: &[u8] = &[0x12, 1, 0x83];
const MODE_SENSE: &[u8] = &[0x5a];
const READ_CAPACITY_10: &[u8] = &[0x25];
const READ_CAPACITY_16: &[u8] = &[0x9e];
const READ: &[u8] = &[0x28];
const WRITE: &[u8] = &[0x2a];
const SYNCHRONIZE_CACHE: &[u8] = &[0x35];

/// A world with one target.
struct World {
    sim: SimRuntime,
    target: SimTarget,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with_target(seed, |config| config.with_lun(LunConfig::new(0, SIZE)))
    }

    fn with_target(seed: u64, configure: impl FnOnce(TargetConfig) -> TargetConfig) -> Self {
        let sim = SimRuntime::new(seed);
        let config = TargetConfig::new(TARGET).with_portal(PORTAL.parse().unwrap(), 1);
        let target = SimTarget::start(&sim.handle(), configure(config)).unwrap();
        Self { sim, target }
    }

    fn core(&self) -> &Arc<TargetCore> {
        self.target.core()
    }

    async fn session(&self, options: SessionOptions) -> Session {
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let initiator = Initiator::builder(name, Arc::new(self.sim.handle())).build();
        let to = SessionTarget::new(TARGET.parse().unwrap(), PORTAL.parse().unwrap())
            .with_options(options);
        let connect = initiator.connect_spawned(&to);
        connect.await.unwrap()
    }

    async fn try_open(&self, options: LogicalUnitOptions) -> Result<LogicalUnit, Error> {
        let session = self.session(SessionOptions::default()).await;
        LogicalUnit::open_with(session, Lun::ZERO, options).await
    }

    async fn open(&self) -> LogicalUnit {
        let opened = self.try_open(LogicalUnitOptions::default()).await;
        opened.unwrap()
    }

    /// Runs `test`, then looks at what the target thought of it.
    fn run(&self, test: impl Future<Output = ()>) {
        self.sim.block_on(test);
        assert_eq!(self.core().violations(), []);
    }
}

async fn read(unit: &LogicalUnit, offset: u64, len: usize) -> Result<BytesMut, Error> {
    let read = unit.read(offset, ReadBuf::zeroed(len), ReadOptions::default());
    let buf = read.await.into_result()?;
    Ok(buf.into_bytes_mut().unwrap())
}

async fn write(unit: &LogicalUnit, offset: u64, data: Vec<u8>) -> Result<(), Error> {
    let write = unit.write(offset, data.into(), WriteOptions::default());
    write.await.result
}

fn capacity_16(blocks: u64, block_length: u32) -> Answer {
    let mut data = (blocks - 1).to_be_bytes().to_vec();
    data.extend(block_length.to_be_bytes());
    data.resize(32, 0);
    Answer::Data(data)
}

#[test]
fn it_keeps_the_contract_of_a_block_device_under_many_seeds() {
    for seed in 0..8 {
        let world = World::with_target(seed, |mut config| {
            config.limits.max_transfer_length = 32 << 10;
            config.with_lun(LunConfig::new(0, SIZE))
        });
        world.run(async {
            let unit = world.open().await;
            conformance::block_device(&unit, 4096..1 << 20).await;
        });
    }
}

#[test]
fn a_device_of_large_blocks_keeps_the_contract_too() {
    let world = World::with_target(1, |config| {
        config.with_lun(LunConfig::new(0, SIZE).with_block_size(4096))
    });
    world.run(async {
        let unit = world.open().await;
        assert_eq!(unit.info().request_alignment, 4096);
        conformance::block_device(&unit, 0..1 << 20).await;
    });
}

#[test]
fn a_read_only_unit_refuses_writes_by_itself_if_it_says_so_in_time() {
    let world = World::new(1);
    let modes = DiskModes {
        write_protected: true,
        ..DiskModes::default()
    };
    world
        .core()
        .answer(0, MODE_SENSE, Answer::Data(modes.emit10()), u32::MAX);
    world.run(async {
        let unit = world.open().await;
        conformance::read_only_block_device(&unit).await;
    });
}

#[test]
fn opening_tells_who_it_is() {
    let world = World::new(1);
    world.run(async {
        let unit = world.open().await;
        let info = unit.info();
        assert_eq!((info.size, info.block_size), (SIZE, 512));
        assert_eq!(info.max_transfer, 4 << 20);
        let wwid = "36001405f15c51d000000000000000000";
        assert_eq!(info.identity.wwid.as_deref(), Some(wwid));
        assert_eq!(unit.identity().unwrap().to_string(), wwid);
        assert_eq!(info.identity.serial.as_deref(), Some("TESTKIT00000000"));
        assert_eq!(&*info.identity.vendor, "RUSTSDK");
        assert_eq!(read(&unit, 0, 512).await.unwrap().len(), 512);
    });
}

#[test]
fn what_cannot_be_opened_is_a_typed_error() {
    let not_there = |lun| {
        let world = World::new(1);
        world.run(async {
            let session = world.session(SessionOptions::default()).await;
            let error = LogicalUnit::open(session, lun).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchUnit);
        });
    };
    not_there(Lun::new(1));
    not_there(Lun::new(300));
    let mut tape = vec![0; 36];
    tape[0] = 0x01;
    let cases = [
        (INQUIRY, Answer::Data(tape), ErrorKind::Unsupported),
        (INQUIRY, Answer::Data(vec![0; 3]), ErrorKind::Protocol),
        (
            TEST_UNIT_READY,
            Answer::Sense(0x02, 0x3a, 0x00),
            ErrorKind::NotReady,
        ),
        (
            TEST_UNIT_READY,
            Answer::Sense(0x02, 0x04, 0x0b),
            ErrorKind::NotReady,
        ),
        (
            READ_CAPACITY_16,
            capacity_16(1 << 20, 520),
            ErrorKind::Protocol,
        ),
        (
            READ_CAPACITY_16,
            capacity_16(1 << 60, 65536),
            ErrorKind::Protocol,
        ),
    ];
    for (cdb, answer, kind) in cases {
        let world = World::new(1);
        world.core().answer(0, cdb, answer.clone(), u32::MAX);
        world.run(async {
            let opened = world.try_open(LogicalUnitOptions::default()).await;
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), kind, "{answer:?}: {error:#}");
        });
    }
}

#[test]
fn a_disk_without_pages_modes_or_long_capacity_is_a_disk_all_the_same() {
    let world = World::new(1);
    let core = world.core();
    core.answer(0, &[0x12, 1], Answer::Sense(0x05, 0x24, 0x00), u32::MAX);
    core.answer(
        0,
        READ_CAPACITY_16,
        Answer::Sense(0x05, 0x20, 0x00),
        u32::MAX,
    );
    world.run(async {
        let unit = world.open().await;
        assert_eq!(unit.info().size, SIZE);
        assert_eq!(unit.identity(), None);
        assert!(unit.info().write_cache);
        let data = read(&unit, 1 << 20, 4096).await.unwrap();
        assert_eq!(pattern::verify(1, 1 << 20, &data), Ok(()));
        // Nothing to compare with, so nothing that could be wrong.
        unit.verify_identity(None).await.unwrap();
    });
}

#[test]
fn a_disk_too_large_for_the_short_capacity_is_refused_without_the_long_one() {
    let world = World::new(1);
    let core = world.core();
    let refused = Answer::Sense(0x05, 0x20, 0x00);
    core.answer(0, READ_CAPACITY_16, refused, u32::MAX);
    let more = vec![0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0];
    core.answer(0, READ_CAPACITY_10, Answer::Data(more), u32::MAX);
    world.run(async {
        let opened = world.try_open(LogicalUnitOptions::default()).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn long_requests_are_split_by_the_units_limit_and_come_back_in_one_piece() {
    let world = World::with_target(3, |mut config| {
        config.limits.max_transfer_length = 64 << 10;
        config.with_lun(LunConfig::new(0, SIZE))
    });
    world.run(async {
        let unit = world.open().await;
        assert_eq!(unit.info().max_transfer, 64 << 10);
        let commands = || world.core().counters(0).commands;
        let before = commands();
        let buf = BytesMut::zeroed((1 << 20) + 512);
        let home = buf.as_ptr();
        let read = unit.read(512, buf.into(), ReadOptions::default()).await;
        let data = read.into_result().unwrap().into_bytes_mut().unwrap();
        assert_eq!(data.as_ptr(), home);
        assert_eq!(pattern::verify(1, 512, &data), Ok(()));
        assert_eq!(commands() - before, 17);
        let before = commands();
        write(&unit, 0, data.to_vec()).await.unwrap();
        assert_eq!(commands() - before, 17);
        let mut found = vec![0; data.len()];
        world.core().peek(0, 0, &mut found);
        assert!(found == data[..]);
    });
}

#[test]
fn a_failed_piece_fails_the_request_and_the_rest_is_not_sent() {
    let world = World::with_target(3, |mut config| {
        config.limits.max_transfer_length = 16 << 10;
        config.with_lun(LunConfig::new(0, SIZE))
    });
    world.run(async {
        let unit = world.open().await;
        // The fourth piece, at LBA 96.
        let cdb = [0x2a, 0, 0, 0, 0, 96];
        world
            .core()
            .answer(0, &cdb, Answer::Sense(0x03, 0x11, 0x00), 1);
        let before = world.core().counters(0).commands;
        let data = WriteBuf::from(vec![7; 1 << 20]);
        let written = unit.write(0, data, WriteOptions::default()).await;
        assert_eq!(written.buf.len(), 1 << 20);
        let error = written.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Medium);
        assert!(error.is_dead());
        assert!(world.core().counters(0).commands - before < 40);
    });
}

#[test]
fn unit_attentions_aborts_and_overload_are_the_units_own_business() {
    let answers = [
        (Answer::Sense(0x06, 0x28, 0x00), 8),
        (Answer::Sense(0x06, 0x2a, 0x06), 3),
        (Answer::Sense(0x06, 0x29, 0x04), 2),
        (Answer::Sense(0x0b, 0x47, 0x05), 2),
        (Answer::Sense(0x02, 0x04, 0x01), 5),
        (Answer::Sense(0x06, 0x04, 0x0a), 5),
        (Answer::Status(0x08), 6),
        (Answer::Status(0x28), 6),
    ];
    for (answer, times) in answers {
        let world = World::new(9);
        world.run(async {
            let unit = world.open().await;
            world.core().answer(0, READ, answer.clone(), times);
            let data = read(&unit, 4096, 4096).await;
            let data = data.unwrap_or_else(|e| panic!("{answer:?}: {e:#}"));
            assert_eq!(pattern::verify(1, 4096, &data), Ok(()));
            world.core().answer(0, WRITE, answer.clone(), times);
            let written = write(&unit, 4096, vec![3; 4096]).await;
            written.unwrap_or_else(|e| panic!("{answer:?}: {e:#}"));
            assert_eq!(read(&unit, 4096, 4096).await.unwrap(), vec![3; 4096]);
        });
    }
}

#[test]
fn what_does_not_end_fails_within_its_time_with_the_targets_words() {
    let forever = [
        (Answer::Sense(0x06, 0x28, 0x00), ErrorKind::Refused),
        (Answer::Sense(0x0b, 0x47, 0x05), ErrorKind::Aborted),
        (Answer::Sense(0x02, 0x04, 0x01), ErrorKind::NotReady),
        (Answer::Sense(0x03, 0x11, 0x00), ErrorKind::Medium),
        (Answer::Sense(0x07, 0x27, 0x07), ErrorKind::NoSpace),
        (Answer::Status(0x08), ErrorKind::Busy),
        (Answer::Status(0x18), ErrorKind::ReservationConflict),
        (Answer::Status(0x99), ErrorKind::Refused),
    ];
    for (answer, kind) in forever {
        let world = World::new(5);
        world.run(async {
            let unit = world.open().await;
            world.core().answer(0, WRITE, answer.clone(), u32::MAX);
            let start = world.sim.elapsed();
            let limit = Duration::from_secs(3);
            let options = WriteOptions::default().with_timeout(limit);
            let written = unit.write(0, vec![0; 512].into(), options).await;
            let error = written.result.unwrap_err();
            assert_eq!(error.kind(), kind, "{answer:?}");
            let sense = matches!(answer, Answer::Sense(..));
            assert_eq!(error.sense().is_some(), sense, "{answer:?}");
            assert!(world.sim.elapsed() - start <= limit);
            assert!(error.is_dead());
        });
    }
}

#[test]
fn somebody_with_other_paths_is_told_at_once() {
    let world = World::new(5);
    world.run(async {
        let options = LogicalUnitOptions::default().fail_fast();
        let unit = world.try_open(options).await.unwrap();
        world.core().answer(0, READ, Answer::Status(0x28), 1);
        let error = read(&unit, 0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(matches!(error.retry(), Retry::After(_)));
        let transition = Answer::Sense(0x02, 0x04, 0x0a);
        world.core().answer(0, READ, transition, 1);
        let error = read(&unit, 0, 512).await.unwrap_err();
        let found = (error.kind(), error.retry(), error.outcome());
        let expected = (ErrorKind::NotReady, Retry::OtherPath, Outcome::NotExecuted);
        assert_eq!(found, expected);
        read(&unit, 0, 512).await.unwrap();
    });
}

#[test]
fn a_grown_disk_is_noticed_and_told() {
    let world = World::new(5);
    world.run(async {
        let unit = world.open().await;
        let seen = unit.info().generation;
        let larger = capacity_16(SIZE / 512 + 8, 512);
        world.core().answer(0, READ_CAPACITY_16, larger, 1);
        let changed = Answer::Sense(0x06, 0x2a, 0x09);
        world.core().answer(0, READ, changed, 1);
        read(&unit, 0, 512).await.unwrap();
        let device: &dyn BlockDevice = &unit;
        let info = device.info_changed(seen).await.unwrap();
        assert_eq!(info.size, SIZE + 4096);
        // The target itself has not grown, and its answer makes us look again.
        let error = read(&unit, SIZE, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = read(&unit, SIZE, 512).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutOfRange { .. }));
        assert_eq!(unit.info().size, SIZE);
    });
}

#[test]
fn a_lun_that_leads_elsewhere_is_found_out_before_it_is_written_to() {
    let world = World::new(5);
    world.run(async {
        let unit = world.open().await;
        let mut page = vec![0, 0x83, 0, 20, 0x01, 0x03, 0, 16];
        page.extend([0x60; 16]);
        let core = world.core();
        core.answer(0, DEVICE_IDENTIFICATION, Answer::Data(page), u32::MAX);
        core.answer(0, WRITE, Answer::Sense(0x06, 0x3f, 0x0e), 1);
        for _ in 0..2 {
            let error = write(&unit, 0, vec![9; 512]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongUnit, "{error:#}");
            assert_eq!(error.outcome(), Outcome::NotExecuted);
            let error = read(&unit, 0, 512).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongUnit);
        }
        let mut found = [0; 512];
        core.peek(0, 0, &mut found);
        assert_eq!(pattern::verify(1, 0, &found), Ok(()));
        // Mapped back, it works again.
        core.answer(0, DEVICE_IDENTIFICATION, Answer::Status(0), 0);
        write(&unit, 0, vec![9; 512]).await.unwrap();
    });
}

/// As long as one request looks, no other one takes for granted what is looked at.
#[test]
fn a_write_waits_while_another_request_looks_whose_unit_it_is() {
    let world = World::new(5);
    world.run(async {
        let unit = world.open().await;
        let mut page = vec![0, 0x83, 0, 20, 0x01, 0x03, 0, 16];
        page.extend([0x60; 16]);
        let core = world.core();
        core.answer(0, DEVICE_IDENTIFICATION, Answer::Data(page), u32::MAX);
        core.answer(0, READ, Answer::Sense(0x06, 0x3f, 0x0e), 1);
        let before = core.counters(0).commands;
        let writing = async {
            // The read, and the first question of the look.
            while core.counters(0).commands < before + 2 {
                world.sim.sleep(Duration::from_micros(10)).await;
            }
            write(&unit, 0, vec![9; 512]).await
        };
        let (read, written) = join(read(&unit, 0, 512), writing).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WrongUnit);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::WrongUnit);
    });
}

#[test]
fn a_login_makes_everything_known_of_the_unit_doubtful() {
    let world = World::with_target(5, |mut config| {
        // A target that says nothing by itself.
        config.unit_attention = false;
        config.with_lun(LunConfig::new(0, SIZE))
    });
    world.run(async {
        let unit = world.open().await;
        let mut page = vec![0, 0x83, 0, 20, 0x01, 0x03, 0, 16];
        page.extend([0x60; 16]);
        let core = world.core();
        core.answer(0, DEVICE_IDENTIFICATION, Answer::Data(page), 1);
        world.sim.net().reset(Link::to(PORTAL.parse().unwrap()));
        while core.counters(0).logins < 2 {
            world.sim.sleep(Duration::from_millis(1)).await;
        }
        unit.session().wait_up().await.unwrap();
        let error = write(&unit, 0, vec![9; 512]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongUnit);
        // It was asked once, and is the right one again.
        write(&unit, 0, vec![9; 512]).await.unwrap();
    });
}

#[test]
fn fua_is_a_flush_where_the_unit_does_not_know_it() {
    for (dpo_fua, flushes) in [(false, 1), (true, 0)] {
        let world = World::with_target(5, |config| {
            let mut lun = LunConfig::new(0, SIZE);
            lun.fua = dpo_fua;
            config.with_lun(lun)
        });
        world.run(async {
            let unit = world.open().await;
            assert_eq!(unit.info().fua, dpo_fua);
            let commands = || world.core().counters(0).commands;
            let before = commands();
            let options = WriteOptions::default().with_fua();
            let written = unit.write(0, vec![1; 512].into(), options).await;
            written.result.unwrap();
            assert_eq!(commands() - before, 1 + flushes);
            let failing = Answer::Sense(0x04, 0x44, 0x00);
            world.core().answer(0, SYNCHRONIZE_CACHE, failing, 1);
            let written = unit.write(0, vec![1; 512].into(), options).await;
            let outcome = written.result.map_err(|error| error.outcome());
            let expected = if dpo_fua {
                Ok(())
            } else {
                Err(Outcome::Unknown)
            };
            assert_eq!(outcome, expected);
        });
    }
}

#[test]
fn a_unit_that_cannot_flush_has_nothing_to_flush() {
    let world = World::new(5);
    world.run(async {
        let unit = world.open().await;
        let core = world.core();
        core.answer(0, SYNCHRONIZE_CACHE, Answer::Sense(0x05, 0x20, 0x00), 1);
        unit.flush(FlushOptions::default()).await.unwrap();
        core.answer(0, SYNCHRONIZE_CACHE, Answer::Sense(0x03, 0x0c, 0x00), 9);
        let error = unit.flush(FlushOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Medium);
    });
}

#[test]
fn a_plain_unit_rides_out_a_lost_connection_where_its_session_waits() {
    for seed in 0..16 {
        let world = World::new(seed);
        world.run(async {
            let mut options = SessionOptions::default();
            options.replacement_timeout = Some(Duration::from_secs(20));
            let session = world.session(options).await;
            let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
            let link = Link::to(PORTAL.parse().unwrap());
            let reads = async {
                for n in 0..64 {
                    let data = read(&unit, n << 16, 1 << 16).await.unwrap();
                    assert_eq!(pattern::verify(1, n << 16, &data), Ok(()));
                    if n == 20 {
                        world.sim.net().reset(link);
                    }
                }
            };
            reads.await;
            assert!(world.core().counters(0).logins >= 2);
        });
    }
}

#[test]
fn a_repeated_write_sends_what_the_guest_had_at_first() {
    struct Counter(Mutex<u8>);
    impl MemRegion for Counter {
        fn len(&self) -> u64 {
            512
        }
        fn load(&self, _offset: u64, dst: &mut [u8]) -> Result<(), MemError> {
            let mut loads = self.0.lock().unwrap();
            *loads += 1;
            dst.fill(*loads);
            Ok(())
        }
        fn store(&self, offset: u64, _src: &[u8]) -> Result<(), MemError> {
            Err(MemError::Inaccessible { offset })
        }
    }
    let world = World::new(11);
    world.run(async {
        let unit = world.open().await;
        world.core().answer(0, WRITE, Answer::Status(0x08), 3);
        let guest = Arc::new(Counter(Mutex::new(0)));
        let region = WriteSeg::region(guest, 0, 512).unwrap();
        let written = unit.write(0, region.into(), WriteOptions::default()).await;
        written.result.unwrap();
        assert!(written.buf.has_regions());
        assert_eq!(unit.read_bytes(0, 512).await.unwrap(), vec![1; 512]);
    });
}
