//! Targets that answer every command with a unit attention, or are busy for ever (SAM-5 sections 5.3.1 and 5.14).

use std::time::Duration;

use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDeviceExt, FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
};
use iscsi_proto::scsi::{Lun, ScsiStatus};
use iscsi_testkit::scripted::Told;

use super::{
    disk::{Lies, cdb, lying, open},
    two_paths::{TwoPaths, checked_often},
};
use crate::{
    conformance::talk::{patience, pattern},
    support::{World, rows},
};

rows! {
    h115_a_unit_attention_for_ever;
    h115_a_unit_that_is_another_one_whenever_it_is_asked;
    h115_a_unit_attention_for_ever_on_one_path;
    h115_busy_for_ever;
    h115_busy_for_ever_on_both_paths;
}

/// More than the unit attentions of one request and of what it looks at; less than somebody who does not stop sends.
const SOME: usize = 100;

/// Each request fails after a bounded number of repeats, was not executed, and says so; events are kept up to their
/// bound; all works again afterwards.
async fn h115_a_unit_attention_for_ever(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        for (asc, ascq) in [
            (0x28, 0x00),
            (0x29, 0x00),
            (0x2a, 0x01),
            (0x2a, 0x06),
            (0x2a, 0x09),
            (0x3f, 0x03),
            (0x3f, 0x0e),
            (0x5a, 0x01),
        ] {
            // To every command, then to reads and writes alone.
            for cdbs in [&[&[][..]][..], &[&[0x28], &[0x2a], &[0x35]]] {
                for cdb in cdbs {
                    lies.told(cdb, Told::Sense(6, asc, ascq));
                }
                let case = format!("{asc:02x}/{ascq:02x} to {cdbs:?}");
                lies.heard(&[]);
                let read = unit.read_bytes(0, 4096).await.unwrap_err();
                let write = unit.write_bytes(0, pattern(512).into()).await;
                let flush = unit.flush(FlushOptions::default()).await.unwrap_err();
                for error in [read, write.unwrap_err(), flush] {
                    assert_eq!(error.kind(), ErrorKind::Refused, "{case}: {error:#}");
                    assert_eq!(error.outcome(), Outcome::NotExecuted, "{case}");
                    let sense = error.sense().unwrap_or_else(|| panic!("{case}: {error:?}"));
                    assert_eq!((sense.code().0, sense.code().1), (asc, ascq), "{case}");
                }
                let count = lies.heard(&[]).len();
                assert!((27..=3 * SOME).contains(&count), "{case}: {count}");
                assert!(unit.events(0).len() <= 64);
                if cdbs.len() == 1 {
                    assert_eq!(open(&session).await.unwrap_err().kind(), ErrorKind::Refused);
                    assert!(lies.heard(&[]).len() <= SOME, "{case}");
                }
                lies.end();
                unit.write_bytes(0, pattern(512).into()).await.unwrap();
                assert_eq!(unit.read_bytes(0, 512).await.unwrap(), pattern(512));
            }
        }
    })
    .await;
}

/// Whenever its capacity is read it reports that its identity has changed: it cannot be opened, and that is found out
/// after a bounded number of commands.
async fn h115_a_unit_that_is_another_one_whenever_it_is_asked(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let mut attention = false;
        lies.about(cdb::READ_CAPACITY_16, move |_, truth| {
            attention = !attention;
            match attention {
                true => Told::Sense(6, 0x3f, 0x03),
                false => Told::Data(truth.to_vec()),
            }
        });
        lies.heard(&[]);
        let error = open(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongUnit);
        assert!(lies.heard(&[]).len() <= 2 * SOME);
        lies.end();
        open(&session).await.unwrap();
    })
    .await;
}

/// Under a multipath device no caller sees it while the other path is well.
async fn h115_a_unit_attention_for_ever_on_one_path(world: &World) {
    for (number, ascq) in [0x06, 0x09].into_iter().enumerate() {
        let paths = TwoPaths::new(world, number).await;
        let lies = Lies::default();
        let client = async |device: &mpio::MultipathDevice| {
            for cdb in [[0x28], [0x2a]] {
                lies.told(&cdb, Told::Sense(6, 0x2a, ascq));
            }
            let mut met = 0;
            for round in 0..64_u64 {
                lies.heard(&[]);
                let bytes = vec![round as u8; 512];
                let offset = round * 512;
                device
                    .write_bytes(offset, bytes.clone().into())
                    .await
                    .unwrap();
                assert_eq!(device.read_bytes(offset, 512).await.unwrap(), bytes);
                let heard = lies.heard(&[]).len();
                met += heard;
                assert!(heard <= 2 * SOME, "{heard}");
            }
            assert!(met > 0, "the other path was tried");
        };
        paths.lying(checked_often(), &lies, client).await;
    }
}

/// Not executed, after the request's time.
#[track_caller]
fn expect_busy(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:#}");
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    assert!(matches!(error.retry(), Retry::After(_)));
}

/// BUSY, TASK SET FULL and "becoming ready" are waited for with growing pauses until the request's time is over; by a
/// unit that is to fail fast not at all.
async fn h115_busy_for_ever(world: &World) {
    let lies = Lies::default();
    let timeout = patience(world, Duration::from_secs(30));
    lying(world, &world.core(), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let options = LogicalUnitOptions::default().fail_fast();
        let fast = LogicalUnit::open_with(session.clone(), Lun::ZERO, options);
        let fast = fast.await.unwrap();
        for told in [
            Told::Status(ScsiStatus::Busy),
            Told::Status(ScsiStatus::TaskSetFull),
            Told::Status(ScsiStatus::AcaActive),
            Told::Sense(2, 0x04, 0x01),
            Told::Sense(2, 0x04, 0x0a),
        ] {
            let is_state = matches!(told, Told::Sense(..));
            lies.told(&[], told);
            let begun = world.runtime.now();
            let reading = ReadOptions::default().with_timeout(timeout);
            let read = unit.read(0, ReadBuf::zeroed(512), reading);
            let writing = WriteOptions::default().with_timeout(timeout);
            let write = unit.write(0, WriteBuf::from(pattern(512)), writing);
            let flush = unit.flush(FlushOptions::default().with_timeout(timeout));
            let test = unit.test_unit_ready(Some(timeout));
            let errors = [
                read.await.result.unwrap_err(),
                write.await.result.unwrap_err(),
                flush.await.unwrap_err(),
                test.await.unwrap_err(),
            ];
            // A pause that would end too late is not begun; the longest is a second and a half.
            let taken = world.runtime.now() - begun;
            assert!(taken <= timeout * 4 || !world.is_simulated());
            if world.is_simulated() {
                assert!(taken >= (timeout - Duration::from_millis(1500)) * 4);
            }
            for error in errors {
                // Over TCP the last command may be the one that is late.
                if error.kind() == ErrorKind::Timeout && !world.is_simulated() {
                    continue;
                }
                if is_state {
                    assert_eq!(error.kind(), ErrorKind::NotReady);
                    assert_eq!(error.outcome(), Outcome::NotExecuted);
                } else {
                    expect_busy(&error);
                }
            }
            let count = lies.heard(&[]).len();
            assert!(count <= 4 * SOME, "{count}");
            assert!(fast.read_bytes(0, 512).await.is_err());
            assert_eq!(lies.heard(&[]).len(), 1);
            lies.end();
            unit.read_bytes(0, 512).await.unwrap();
        }
    })
    .await;
}

/// Under a multipath device: a bounded number of attempts, then the caller is told.
async fn h115_busy_for_ever_on_both_paths(world: &World) {
    let lies = Lies::default();
    let paths = TwoPaths::new(world, 0).await;
    let client = async |device: &mpio::MultipathDevice| {
        for opcode in [0x28_u8, 0x2a] {
            let answer = iscsi_testkit::target::Answer::Status(0x08);
            paths.core.answer(0, &[opcode], answer, u32::MAX);
        }
        lies.heard(&[]);
        expect_busy(&device.read_bytes(0, 512).await.unwrap_err());
        expect_busy(
            &device
                .write_bytes(0, pattern(512).into())
                .await
                .unwrap_err(),
        );
        let ios = lies.heard(&[]);
        assert!(ios.iter().filter(|cdb| cdb::is_io(cdb)).count() <= 12);
        for opcode in [0x28_u8, 0x2a] {
            let answer = iscsi_testkit::target::Answer::Status(0x08);
            paths.core.answer(0, &[opcode], answer, 0);
        }
        device.write_bytes(0, pattern(512).into()).await.unwrap();
        assert_eq!(device.read_bytes(0, 512).await.unwrap(), pattern(512));
    };
    paths.lying(checked_often(), &lies, client).await;
}
