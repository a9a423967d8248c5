//! A disk that becomes smaller while it is used.

use std::{cell::Cell, sync::Arc};

use futures_util::future::join_all;
use iscsi_client::{
    device::{BlockDevice, BlockDeviceExt},
    error::{Error, ErrorKind, Outcome},
    session::UnitAttention,
};
use iscsi_proto::{pdu::ScsiCommand, scsi::AdditionalSenseCode};
use iscsi_testkit::scripted::Told;

use super::{
    disk::{Lies, cdb, lying, open},
    two_paths::{TwoPaths, checked_often},
};
use mpio::core::AutoResize;

use crate::{
    conformance::talk::pattern,
    support::{World, rows},
};

rows! {
    h118_a_disk_that_shrinks_and_says_so;
    h118_a_disk_that_shrinks_in_silence;
    h118_a_disk_that_shrinks_under_two_paths;
    h118_a_disk_that_shrinks_on_one_path_only;
}

const SIZE: u64 = 1 << 20;
const LESS: u64 = SIZE / 2;

/// LOGICAL BLOCK ADDRESS OUT OF RANGE from the disk, or no command at all.
#[track_caller]
fn expect_out_of_range(error: &Error) {
    assert_eq!(error.outcome(), Outcome::NotExecuted, "{error:#}");
    match error.kind() {
        ErrorKind::OutOfRange { size, .. } => assert_eq!(size, LESS),
        ErrorKind::Refused => {
            let code = AdditionalSenseCode::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE;
            assert_eq!(error.sense().unwrap().code(), code);
        }
        other => panic!("{other}: {error:#}"),
    }
}

/// Sixteen reads, or writes, over all of the disk are under way: those within what is left of it go well, each of
/// the others ends with the reason, and both the size and the unit attention are told.
async fn h118_a_disk_that_shrinks_and_says_so(world: &World) {
    for writes in [false, true] {
        let world = world.case(usize::from(writes)).await;
        let core = world.core();
        let lies = Lies::default();
        lying(&world, &core, &lies, async |session| {
            let unit = open(&session).await.unwrap();
            let whole = unit.read_bytes(0, SIZE as usize).await.unwrap();
            let seen = unit.info().generation;
            let step = SIZE / 16;
            // The first answer that comes shrinks it.
            let shrinks = Cell::new(true);
            let target = Arc::clone(&core);
            lies.about(if writes { &[0x2a] } else { &[0x28] }, move |_, _| {
                if shrinks.take() {
                    target.resize(0, LESS);
                }
                None
            });
            let requests = (0..16_u64).map(async |number| {
                let offset = number * step;
                if writes {
                    let bytes = vec![number as u8; step as usize];
                    unit.write_bytes(offset, bytes.into()).await.map(|()| None)
                } else {
                    unit.read_bytes(offset, step as usize).await.map(Some)
                }
            });
            for (number, result) in join_all(requests).await.into_iter().enumerate() {
                let at = number * step as usize;
                match result {
                    Ok(Some(bytes)) => assert_eq!(bytes, whole[at..at + step as usize]),
                    Ok(None) => {
                        let mut found = vec![0; step as usize];
                        core.peek(0, at as u64, &mut found);
                        assert_eq!(found, vec![number as u8; step as usize]);
                    }
                    Err(error) => {
                        assert!(number >= 8, "{number}: {error:#}");
                        expect_out_of_range(&error);
                    }
                }
            }
            // Whatever was under way, the next one finds it.
            let error = unit.read_bytes(LESS, 512).await.unwrap_err();
            expect_out_of_range(&error);
            let info = unit.info_changed(seen).await.unwrap();
            assert_eq!(info.size, LESS);
            let attentions = unit.events(0).into_iter().map(|event| event.attention);
            assert_eq!(
                attentions.collect::<Vec<_>>(),
                [UnitAttention::CapacityChanged]
            );
            // From here on nothing is sent that cannot be.
            lies.heard(&[]);
            let error = unit.read_bytes(LESS - 512, 1024).await.unwrap_err();
            let (offset, len, size) = (LESS - 512, 1024, LESS);
            assert_eq!(error.kind(), ErrorKind::OutOfRange { offset, len, size });
            assert_eq!(lies.heard(&[]), [[0; 16]; 0]);
            unit.read_bytes(LESS - 512, 512).await.unwrap();
        })
        .await;
    }
}

/// Without a unit attention: the first request that the disk refuses is told so, and the next one has the new size.
async fn h118_a_disk_that_shrinks_in_silence(world: &World) {
    let core = world.core();
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        let unit = open(&session).await.unwrap();
        for (read, size) in [(true, LESS), (false, 512)] {
            let seen = unit.info().generation;
            lies.about(cdb::READ_CAPACITY_16, move |_, truth| {
                let mut bytes = truth.to_vec();
                bytes[..8].copy_from_slice(&(size / 512 - 1).to_be_bytes());
                Told::Data(bytes)
            });
            let beyond = move |command: &ScsiCommand, _: &[u8]| {
                let lba = u32::from_be_bytes([2, 3, 4, 5].map(|at| command.cdb[at]));
                (u64::from(lba) * 512 >= size).then_some(Told::Sense(5, 0x21, 0))
            };
            lies.about(&[0x28], beyond);
            lies.about(&[0x2a], beyond);
            let at = size;
            let error = match read {
                true => unit.read_bytes(at, 512).await.unwrap_err(),
                false => unit.write_bytes(at, pattern(512).into()).await.unwrap_err(),
            };
            assert_eq!(error.kind(), ErrorKind::Refused);
            let code = AdditionalSenseCode::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE;
            assert_eq!(error.sense().unwrap().code(), code);
            unit.read_bytes(0, 512).await.unwrap();
            assert_eq!(unit.info_changed(seen).await.unwrap().size, size);
            let error = unit.read_bytes(at, 512).await.unwrap_err();
            let (offset, len) = (at, 512);
            assert_eq!(error.kind(), ErrorKind::OutOfRange { offset, len, size });
        }
    })
    .await;
}

/// Under a multipath device that is to follow: the caller gets the reason, the device has the new size once both paths
/// tell it, and goes on.
async fn h118_a_disk_that_shrinks_under_two_paths(world: &World) {
    let paths = TwoPaths::new(world, 0).await;
    let client = async |device: &mpio::MultipathDevice| {
        let seen = device.info().generation;
        paths.core.resize(0, LESS);
        let requests = (0..16_u64).map(async |number| {
            let read = device.read_bytes(number * (SIZE / 16), 512).await;
            let error = read.err();
            assert!(number >= 8 || error.is_none(), "{number}: {error:?}");
            error
                .into_iter()
                .for_each(|error| expect_out_of_range(&error));
        });
        join_all(requests).await;
        let error = device
            .write_bytes(LESS, pattern(512).into())
            .await
            .unwrap_err();
        expect_out_of_range(&error);
        assert_eq!(device.info_changed(seen).await.unwrap().size, LESS);
        let error = device.read_bytes(LESS, 512).await.unwrap_err();
        let (offset, len, size) = (LESS, 512, LESS);
        assert_eq!(error.kind(), ErrorKind::OutOfRange { offset, len, size });
        device
            .write_bytes(LESS - 512, pattern(512).into())
            .await
            .unwrap();
        assert_eq!(
            device.read_bytes(LESS - 512, 512).await.unwrap(),
            pattern(512)
        );
        assert_eq!(
            device
                .snapshot()
                .paths()
                .filter(|path| path.down.is_none())
                .count(),
            2
        );
    };
    let follows = checked_often().to_builder();
    let follows = follows.auto_resize(AutoResize::GrowShrink).build().unwrap();
    paths.lying(follows, &Lies::default(), client).await;
}

/// One path alone says that the disk is smaller: what lies past its end goes through the other one, and no caller sees
/// it; the device stays as large as it is.
async fn h118_a_disk_that_shrinks_on_one_path_only(world: &World) {
    for (number, size) in [512, LESS, SIZE - 512].into_iter().enumerate() {
        let paths = TwoPaths::new(world, number).await;
        let lies = Lies::default();
        let client = async |device: &mpio::MultipathDevice| {
            let info = device.info();
            let path = device.path(paths.bad_path(device).id).unwrap();
            lies.about(cdb::READ_CAPACITY_16, move |_, truth| {
                let mut bytes = truth.to_vec();
                bytes[..8].copy_from_slice(&(size / 512 - 1).to_be_bytes());
                Told::Data(bytes)
            });
            assert_eq!(path.refresh(None).await.unwrap().size, size);
            for round in 0..4_u8 {
                for number in 1..=16 {
                    let (at, bytes) = (number * (SIZE / 16) - 512, vec![round; 512]);
                    device.write_bytes(at, bytes.clone().into()).await.unwrap();
                    assert_eq!(device.read_bytes(at, 512).await.unwrap(), bytes);
                }
            }
            assert_eq!(device.info(), info);
        };
        paths.lying(checked_often(), &lies, client).await;
    }
}
