//! Lists of logical units that lie (SPC-4 section 6.33).

use std::time::Duration;

use iscsi_client::{error::ErrorKind, session::Session};
use iscsi_proto::{
    DecodeError,
    scsi::{Lun, ReportLuns, ScsiStatus},
};
use iscsi_testkit::scripted::Told;

use super::disk::{Lies, cdb, lying, malformed};
use crate::{
    conformance::talk::patience,
    support::{World, rows},
};

rows! {
    h109_list_lengths_that_cannot_be;
    h109_lists_of_any_length;
    h109_lists_that_never_end;
    h109_no_list_at_all;
}

/// A list that claims `length` bytes, and these LUNs.
fn list(length: u32, luns: &[Lun]) -> Vec<u8> {
    let mut bytes = ReportLuns::emit(luns);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn numbers(count: u16) -> Vec<Lun> {
    (0..count).map(Lun::new).collect()
}

async fn ask(session: &Session) -> Result<Vec<Lun>, iscsi_client::error::Error> {
    session.report_luns(None).await
}

/// LUN LIST LENGTH is no multiple of eight, or that of more units than are kept.
async fn h109_list_lengths_that_cannot_be(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let inconsistent = DecodeError::Scsi { offset: 0 };
        let limit = ReportLuns::MAX_LUNS;
        let too_many = |count| DecodeError::TooManyLuns { count, limit };
        for (length, error) in [
            (1, inconsistent),
            (7, inconsistent),
            (9, inconsistent),
            (15, inconsistent),
            (0x7fff_ffff, inconsistent),
            (u32::MAX, inconsistent),
            (8 * (limit + 1), too_many(limit + 1)),
            (800_000, too_many(100_000)),
            (0x8000_0000, too_many(0x1000_0000)),
            (0xffff_fff8, too_many(0x1fff_ffff)),
        ] {
            for luns in [0, 1, 3, 500] {
                lies.data(cdb::REPORT_LUNS, list(length, &numbers(luns)));
                lies.heard(&[]);
                assert_eq!(
                    malformed(&ask(&session).await.unwrap_err()),
                    error,
                    "{length}"
                );
                assert_eq!(lies.heard(&[]).len(), 1, "nothing else is tried");
            }
        }
        for end in 0..8 {
            lies.data(cdb::REPORT_LUNS, vec![0; end]);
            let (length, needed) = (end as u32, 8);
            let error = DecodeError::Truncated { length, needed };
            assert_eq!(malformed(&ask(&session).await.unwrap_err()), error);
        }
    })
    .await;
}

/// What came whole and is part of the list, once each, and no more than 16,384.
async fn h109_lists_of_any_length(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let all = numbers(16_384);
        for (bytes, expected) in [
            (list(0, &[]), &all[..0]),
            (list(0, &all[..5]), &all[..0]),
            (list(8, &all[..5]), &all[..1]),
            (list(16, &all[..1]), &all[..1]),
            (list(16_384 * 8, &all[..3]), &all[..3]),
            (list(512 * 8, &all[..512]), &all[..512]),
            (list(513 * 8, &all[..513]), &all[..513]),
            (list(16_384 * 8, &all), &all[..]),
        ] {
            lies.data(cdb::REPORT_LUNS, bytes);
            lies.heard(&[]);
            assert_eq!(ask(&session).await.unwrap(), expected);
            assert!(lies.heard(&[]).len() <= 2);
        }
        for cut in 0..8 {
            let mut bytes = list(24, &all[..3]);
            bytes.truncate(8 + 16 + cut);
            lies.data(cdb::REPORT_LUNS, bytes);
            assert_eq!(ask(&session).await.unwrap(), all[..2], "{cut}");
        }
        let repeated: Vec<Lun> = all.iter().map(|_| Lun::new(7)).collect();
        lies.data(cdb::REPORT_LUNS, ReportLuns::emit(&repeated));
        assert_eq!(ask(&session).await.unwrap(), [Lun::new(7)]);
        // Two encodings of one number are two LUNs, as are those that have no number.
        let strange = [
            Lun::from_wire([0x40, 7, 0, 0, 0, 0, 0, 0]),
            Lun::from_wire([0, 7, 0, 7, 0, 7, 0, 7]),
            Lun::from_wire([0xff; 8]),
            Lun::REPORT_LUNS,
        ];
        lies.data(cdb::REPORT_LUNS, ReportLuns::emit(&strange));
        assert_eq!(ask(&session).await.unwrap(), strange);
    })
    .await;
}

/// A list that is longer each time it is asked for is asked for four times.
async fn h109_lists_that_never_end(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        for step in [1_u32, 8, 1000] {
            lies.about(cdb::REPORT_LUNS, move |command, _| {
                let asked = command.expected_data_transfer_length;
                let luns = numbers(((asked - 8) / 8) as u16);
                Told::Data(list(asked - 8 + 8 * step, &luns))
            });
            lies.heard(&[]);
            let luns = ask(&session).await.unwrap();
            assert_eq!(luns, numbers((512 + 3 * step) as u16));
            assert_eq!(lies.heard(&[]).len(), 4, "{step}");
        }
    })
    .await;
}

/// A target without REPORT LUNS is asked LUN by LUN: 256 of them, until the first that is not there, or until an
/// answer cannot be.
async fn h109_no_list_at_all(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        lies.told(cdb::REPORT_LUNS, Told::Sense(5, 0x20, 0));
        lies.about(cdb::INQUIRY, |_, truth| {
            let mut bytes = truth.to_vec();
            bytes[0] = 0;
            Told::Data(bytes)
        });
        assert_eq!(ask(&session).await.unwrap(), numbers(256));
        let mut left = 3;
        lies.about(cdb::INQUIRY, move |_, truth| {
            left -= 1;
            let mut bytes = truth.to_vec();
            bytes[0] = if left < 0 { 0x7f } else { 0x00 };
            Told::Data(bytes)
        });
        assert_eq!(ask(&session).await.unwrap(), numbers(3));
        lies.data(cdb::INQUIRY, vec![0; 4]);
        let error = ask(&session).await.unwrap_err();
        let (length, needed) = (4, 5);
        assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
        // And one that is busy for ever: until the time is over.
        for status in [ScsiStatus::Busy, ScsiStatus::TaskSetFull] {
            lies.told(cdb::REPORT_LUNS, Told::Status(status));
            let timeout = patience(world, Duration::from_secs(30));
            let error = session.report_luns(Some(timeout)).await.unwrap_err();
            // Over TCP the last command may be the one that is late.
            let is_late = error.kind() == ErrorKind::Timeout && !world.is_simulated();
            assert!(is_late || error.kind() == ErrorKind::Busy, "{error:#}");
        }
    })
    .await;
}
