//! Unit attentions: each is an event once per nexus, for all who use the unit, and no I/O error.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDevice, BlockDeviceExt, ReadOptions},
    error::ErrorKind,
    logical_unit::LogicalUnit,
    session::UnitAttention,
};
use iscsi_proto::scsi::{AdditionalSenseCode, Lun, SenseKey};
use iscsi_testkit::target::Answer;

use crate::support::World;

fn attentions(unit: &LogicalUnit, seen: u64) -> Vec<UnitAttention> {
    let events = unit.events(seen);
    events.into_iter().map(|event| event.attention).collect()
}

fn last(unit: &LogicalUnit) -> u64 {
    unit.events(0).last().map_or(0, |event| event.number)
}

#[test]
fn every_condition_is_an_event_and_no_error_of_a_read_or_a_write() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let reset = AdditionalSenseCode::RESET_OCCURRED;
        assert_eq!(attentions(&unit, 0), [UnitAttention::Reset(reset)]);
        let raw = AdditionalSenseCode(0x5a, 0x01);
        let codes = [
            (0x28, 0x00, UnitAttention::MediumMayHaveChanged),
            (0x29, 0x00, UnitAttention::Reset(reset)),
            (0x2a, 0x01, UnitAttention::ModeParametersChanged),
            (0x2a, 0x04, UnitAttention::ReservationsReleased),
            (0x2a, 0x06, UnitAttention::AccessStateChanged),
            (0x2a, 0x07, UnitAttention::ImplicitTransitionFailed),
            (0x2a, 0x09, UnitAttention::CapacityChanged),
            (0x2f, 0x00, UnitAttention::CommandsCleared),
            (0x38, 0x07, UnitAttention::ThinProvisioningThreshold),
            (0x3f, 0x01, UnitAttention::MicrocodeChanged),
            (0x3f, 0x03, UnitAttention::InquiryDataChanged),
            (0x3f, 0x05, UnitAttention::DeviceIdentifierChanged),
            (0x3f, 0x0e, UnitAttention::ReportedLunsChanged),
            (0x5a, 0x01, UnitAttention::Other(raw)),
        ];
        for (asc, ascq, attention) in codes {
            for write in [false, true] {
                let seen = last(&unit);
                world.core().raise_attention(0, asc, ascq);
                if write {
                    unit.write_bytes(0, vec![7; 512].into()).await.unwrap();
                } else {
                    unit.read_bytes(0, 512).await.unwrap();
                }
                assert_eq!(attentions(&unit, seen), [attention], "{asc:02x}/{ascq:02x}");
                unit.read_bytes(0, 512).await.unwrap();
                assert_eq!(last(&unit), seen + 1, "reported twice");
            }
        }
    });
}

/// The target tells it once, and what it says goes on to hold for those who stay.
#[test]
fn an_attention_in_the_answer_to_a_request_that_was_given_up_is_heard() {
    for given_up_by_timeout in [false, true] {
        let world = World::with_disk();
        world.run(async {
            let unit = world.open().await;
            let seen = last(&unit);
            world.core().raise_attention(0, 0x3f, 0x03);
            // Less than the way to the target and back.
            let soon = Duration::from_micros(60);
            if given_up_by_timeout {
                let options = ReadOptions::default().with_timeout(soon);
                let read = unit.read(0, ReadBuf::zeroed(512), options).await;
                assert!(read.result.is_err());
            } else {
                let read = pin!(unit.read(0, ReadBuf::zeroed(512), ReadOptions::default()));
                let patience = pin!(world.sim.sleep(soon));
                assert!(matches!(select(read, patience).await, Either::Right(_)));
            }
            world.sim.sleep(Duration::from_secs(1)).await;
            assert_eq!(attentions(&unit, seen), [UnitAttention::InquiryDataChanged]);
        });
    }
}

#[test]
fn a_preempted_reservation_fails_a_write_and_not_a_read_and_is_an_event_both_times() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        for (ascq, attention) in [
            (0x03, UnitAttention::ReservationsPreempted),
            (0x05, UnitAttention::RegistrationsPreempted),
        ] {
            let seen = last(&unit);
            world.core().raise_attention(0, 0x2a, ascq);
            let error = unit.write_bytes(0, vec![7; 512].into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReservationConflict);
            world.core().raise_attention(0, 0x2a, ascq);
            unit.read_bytes(0, 512).await.unwrap();
            assert_eq!(attentions(&unit, seen), [attention; 2]);
        }
    });
}

#[test]
fn all_units_of_a_lun_on_one_session_learn_of_it_and_those_of_another_nexus_on_their_own() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session(0).await;
        let one = LogicalUnit::open(session.clone(), Lun::ZERO).await.unwrap();
        let two = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        let clone = one.clone();
        let other = {
            let session = world.session(1).await;
            LogicalUnit::open(session, Lun::ZERO).await.unwrap()
        };
        let seen = [&one, &two, &clone, &other].map(last);
        world.core().raise_attention(0, 0x2a, 0x09);
        // The device has grown; only one of them asks anything.
        let mut grown = ((2 * crate::support::SIZE / 512) - 1)
            .to_be_bytes()
            .to_vec();
        grown.extend(512_u32.to_be_bytes());
        grown.resize(32, 0);
        world
            .core()
            .answer(0, &[0x9e], Answer::Data(grown), u32::MAX);
        one.read_bytes(0, 512).await.unwrap();
        for (unit, seen) in [&one, &two, &clone].into_iter().zip(seen) {
            assert_eq!(attentions(unit, seen), [UnitAttention::CapacityChanged]);
        }
        assert_eq!(attentions(&other, seen[3]), []);
        // Each looks at the capacity before its next command, though it was told to another one.
        for unit in [&one, &two, &clone] {
            unit.read_bytes(0, 512).await.unwrap();
            assert_eq!(unit.info().size, 2 * crate::support::SIZE);
            assert_eq!(last(unit), seen[0] + 1);
        }
        assert_eq!(other.info().size, crate::support::SIZE);
        other.read_bytes(0, 512).await.unwrap();
        assert_eq!(
            attentions(&other, seen[3]),
            [UnitAttention::CapacityChanged]
        );
    });
}

#[test]
fn a_storm_ends_in_an_error_and_a_bounded_journal() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let seen = last(&unit);
        for cdb in [&[0x28][..], &[0x12], &[0x9e]] {
            world
                .core()
                .answer(0, cdb, Answer::Sense(0x06, 0x2a, 0x09), u32::MAX);
        }
        let error = unit.read_bytes(0, 512).await.unwrap_err();
        assert_eq!(error.sense().unwrap().key(), SenseKey::UnitAttention);
        let commands = last(&unit) - seen;
        assert!((8..=100).contains(&commands), "{commands}");
        assert!(unit.events(0).len() <= 64);
        for cdb in [&[0x28][..], &[0x12], &[0x9e]] {
            world.core().answer(0, cdb, Answer::Status(0), 0);
        }
        unit.read_bytes(0, 512).await.unwrap();
    });
}

#[test]
fn a_reader_waits_for_the_next_one_and_the_end_of_the_unit_ends_the_wait() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let seen = last(&unit);
        let ask = async {
            world.sim.sleep(Duration::from_secs(1)).await;
            world.core().raise_attention(0, 0x2a, 0x06);
            unit.test_unit_ready(None).await.unwrap();
        };
        let (event, ()) = futures_util::future::join(unit.next_event(seen), ask).await;
        let event = event.unwrap();
        assert_eq!(event.attention, UnitAttention::AccessStateChanged);
        assert_eq!((event.sense.code().0, event.number), (0x2a, seen + 1));
        // What came before anybody waited is not lost.
        assert_eq!(unit.next_event(seen).await.unwrap().number, seen + 1);

        let close = async {
            world.sim.sleep(Duration::from_secs(1)).await;
            BlockDevice::close(&unit).await.unwrap();
        };
        let (end, ()) = futures_util::future::join(unit.next_event(seen + 1), close).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed);

        let unit = world.open().await;
        let seen = last(&unit);
        let close = unit.session().close();
        let (end, ()) = futures_util::future::join(unit.next_event(seen), close).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn request_sense_takes_an_attention_for_everybody() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let seen = last(&unit);
        world.core().raise_attention(0, 0x2a, 0x06);
        let sense = unit.request_sense(None).await.unwrap();
        assert_eq!(sense.key(), SenseKey::UnitAttention);
        assert_eq!(attentions(&unit, seen), [UnitAttention::AccessStateChanged]);
        let sense = unit.request_sense(None).await.unwrap();
        assert_eq!(sense.key(), SenseKey::NoSense);
        assert_eq!(last(&unit), seen + 1);
        world.core().answer(0, &[0x03], Answer::Data(vec![]), 1);
        let error = unit.request_sense(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    });
}

/// INQUIRY tells nobody that its data changed in between; half of one unit's identity and half of
/// another's would bind a device to a unit that does not exist.
#[test]
fn a_unit_that_changes_while_it_is_opened_is_read_anew() {
    const OTHER: [u8; 16] = [0x60; 16];
    let open_and_change = |after: Duration| {
        let world = World::with_disk();
        let mut read = None;
        world.run(async {
            let session = world.session(0).await;
            let begun = world.sim.elapsed();
            let open = pin!(LogicalUnit::open(session, Lun::ZERO));
            let change = pin!(async {
                world.sim.handle().sleep(after).await;
                world.core().remap(0, OTHER, "another unit");
            });
            let opened = match select(open, change).await {
                Either::Left((opened, _)) => opened,
                Either::Right(((), open)) => open.await,
            };
            let identity = opened.unwrap().info().identity.clone();
            read = Some((identity, world.sim.elapsed() - begun));
        });
        read.expect("the test came to its end")
    };
    // Too late, and else the same: without that timer it would be another world.
    let (own, whole) = open_and_change(Duration::from_secs(1));
    let steps = 60;
    let mut of_another = 0;
    for step in 0..steps {
        let (identity, _) = open_and_change(whole * step / steps);
        if identity != own {
            assert_eq!(identity.serial.as_deref(), Some("another unit"));
            assert_eq!(
                identity.wwid.as_deref(),
                Some("360606060606060606060606060606060")
            );
            of_another += 1;
        }
    }
    assert!(0 < of_another && of_another < steps, "{of_another}");
}
