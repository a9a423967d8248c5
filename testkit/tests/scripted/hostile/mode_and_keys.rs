//! Mode parameters and reservation data that lie (SPC-4 sections 7.5 and 6.15).

use iscsi_client::{device::BlockDeviceExt, error::ErrorKind};
use iscsi_proto::{
    DecodeError,
    scsi::{ReservationKey, ReservationType},
};
use iscsi_testkit::scripted::Told;

use super::disk::{Lies, cdb, lying, malformed, open};
use crate::support::{World, rows};

rows! {
    h113_mode_parameters_that_are_cut;
    h113_mode_parameters_that_lie;
    h113_reservation_keys_that_lie;
    h113_reservations_that_lie;
    h113_full_status_that_lies;
}

/// Mode parameters of either command: the header, write-protected or not, then this.
fn modes(ten: bool, protected: bool, descriptors: u16, pages: &[u8]) -> Vec<u8> {
    let specific = if protected { 0x90 } else { 0x10 };
    let mut bytes = if ten {
        let [high, low] = descriptors.to_be_bytes();
        vec![0, 0, 0, specific, 0, 0, high, low]
    } else {
        vec![0, 0, specific, descriptors as u8]
    };
    bytes.extend(pages);
    let length = bytes.len() - if ten { 2 } else { 1 };
    if ten {
        bytes[..2].copy_from_slice(&(length as u16).to_be_bytes());
    } else {
        bytes[0] = length as u8;
    }
    bytes
}

/// The Caching page without a cache, and the Control page.
fn pages() -> Vec<u8> {
    let caching = [&[0x08, 18][..], &[0; 18]].concat();
    let control = [&[0x0a, 10][..], &[0; 10]].concat();
    [caching, control].concat()
}

fn tell_modes(lies: &Lies, ten: bool, bytes: Vec<u8>) {
    let (told, refused) = match ten {
        true => (cdb::MODE_SENSE_10, cdb::MODE_SENSE_6),
        false => (cdb::MODE_SENSE_6, cdb::MODE_SENSE_10),
    };
    lies.data(told, bytes);
    lies.told(refused, Told::Sense(5, 0x20, 0));
}

/// Parameters that end anywhere: whatever is not there is not believed either; a disk without them is one that can
/// be written to and has a volatile cache.
async fn h113_mode_parameters_that_are_cut(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        for ten in [true, false] {
            let header = if ten { 8 } else { 4 };
            let whole = modes(ten, true, 0, &pages());
            for end in 0..=whole.len() {
                tell_modes(&lies, ten, whole[..end].to_vec());
                let unit = open(&session).await.unwrap();
                let info = unit.info();
                let is_there = end >= header;
                assert_eq!((info.read_only, info.fua), (is_there, is_there), "{end}");
                assert_eq!(info.write_cache, end < header + 20, "{end}");
                let write = unit.write_bytes(0, vec![7; 512].into()).await;
                match write {
                    Ok(()) => assert!(!is_there),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ReadOnly),
                }
            }
        }
    })
    .await;
}

/// Lengths of the whole, of block descriptors and of pages that are not those of what came.
async fn h113_mode_parameters_that_lie(world: &World) {
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let caching = |length: u8| {
            let mut pages = pages();
            pages[1] = length;
            pages
        };
        for ten in [true, false] {
            let most = if ten { u16::MAX } else { 255 };
            let empty_pages = [0x00, 0x00].repeat(100);
            // Descriptors, pages, and whether the cache is known to be none.
            let cases = [
                (0, pages(), true),
                (8, [vec![0; 8], pages()].concat(), true),
                (7, pages(), false),
                (32, pages(), false),
                (33, pages(), false),
                (most, pages(), false),
                (0, caching(0), false),
                (0, caching(200), false),
                (0, caching(255), false),
                (0, [&[0x08, 1, 0][..], &pages()].concat(), true),
                (0, empty_pages.clone(), false),
                (0, [empty_pages, pages()].concat(), true),
                // A page of subpages has two bytes of length.
                (0, [&[0x48, 1, 0xff, 0xff][..], &pages()].concat(), false),
                (0, vec![0xff; 200], false),
            ];
            for (number, (descriptors, pages, known)) in cases.into_iter().enumerate() {
                tell_modes(&lies, ten, modes(ten, false, descriptors, &pages));
                let unit = open(&session).await.unwrap();
                assert_eq!(unit.info().write_cache, !known, "{ten}, {number}");
                assert!(!unit.info().read_only, "{ten}, {number}");
                unit.write_bytes(0, vec![7; 512].into()).await.unwrap();
            }
            // MODE DATA LENGTH is too short, then too long.
            for (length, known) in [(0, false), (3, false), (10, false), (60, true), (255, true)] {
                let mut bytes = modes(ten, false, 0, &pages());
                bytes[usize::from(ten)] = length;
                tell_modes(&lies, ten, bytes);
                let unit = open(&session).await.unwrap();
                assert_eq!(unit.info().write_cache, !known, "{ten}, {length}");
            }
        }
        // Both commands, of every page, without a page or without anything: asked for four times, and then not again.
        for bytes in [vec![], vec![0; 3], vec![0; 8], vec![0xff; 252]] {
            lies.data(cdb::MODE_SENSE_6, bytes.clone());
            lies.data(cdb::MODE_SENSE_10, bytes);
            lies.heard(&[]);
            open(&session).await.unwrap();
            let heard = lies.heard(&[]);
            let modes = heard.iter().filter(|cdb| matches!(cdb[0], 0x1a | 0x5a));
            assert!((2..=4).contains(&modes.count()));
        }
    })
    .await;
}

/// PRGENERATION and ADDITIONAL LENGTH, then this.
fn report(length: u32, list: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 9];
    bytes.extend(length.to_be_bytes());
    bytes.extend(list);
    bytes
}

/// READ KEYS: the keys that came whole, and whether there may be more; it is asked for twice at most.
async fn h113_reservation_keys_that_lie(world: &World) {
    const READ_KEYS: &[u8] = &[0x5e, 0x00];
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let keys: Vec<u8> = (1..=3_u64).flat_map(u64::to_be_bytes).collect();
        let key = |number| ReservationKey(number);
        for (length, count, truncated) in [
            (0, 0, false),
            (8, 1, false),
            (24, 3, false),
            (32, 3, true),
            (1008, 3, true),
            (1016, 3, true),
            (65_528, 3, true),
            (0x8000_0000, 3, true),
            (0xffff_fff8, 3, true),
        ] {
            lies.data(READ_KEYS, report(length, &keys));
            lies.heard(&[]);
            let found = unit.reservation_keys(None).await.unwrap();
            let expected: Vec<_> = (1..=count).map(key).collect();
            assert_eq!(
                (found.keys, found.truncated),
                (expected, truncated),
                "{length}"
            );
            assert!(lies.heard(READ_KEYS).len() <= 2, "{length}");
        }
        for length in [1, 4, 7, 9, 23, 0x7fff_ffff, u32::MAX] {
            lies.data(READ_KEYS, report(length, &keys));
            let error = unit.reservation_keys(None).await.unwrap_err();
            assert_eq!(
                malformed(&error),
                DecodeError::Scsi { offset: 4 },
                "{length}"
            );
        }
        let whole = report(24, &keys);
        for end in 0..whole.len() {
            lies.data(READ_KEYS, whole[..end].to_vec());
            match unit.reservation_keys(None).await {
                Ok(found) => {
                    assert_eq!((found.keys.len(), found.truncated), ((end - 8) / 8, true));
                }
                Err(error) => {
                    assert!(end < 8);
                    let (length, needed) = (end as u32, 8);
                    let expected = DecodeError::Truncated { length, needed };
                    assert_eq!(malformed(&error), expected);
                }
            }
        }
        // As much as there can be, each time.
        lies.about(READ_KEYS, |command, _| {
            let len = command.expected_data_transfer_length as usize;
            let mut bytes = report(0xffff_fff8, &[]);
            bytes.resize(len, 0xff);
            Told::Data(bytes)
        });
        let found = unit.reservation_keys(None).await.unwrap();
        assert_eq!((found.keys.len(), found.truncated), (8190, true));
    })
    .await;
}

/// READ RESERVATION and REPORT CAPABILITIES: none, one that is whole, or an error.
async fn h113_reservations_that_lie(world: &World) {
    const READ_RESERVATION: &[u8] = &[0x5e, 0x01];
    const CAPABILITIES: &[u8] = &[0x5e, 0x02];
    let lies = Lies::default();
    lying(world, &world.core(), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let mut held = [0; 16];
        (held[7], held[13]) = (5, 0x01);
        let one = Some((ReservationKey(5), ReservationType::WriteExclusive));
        for (length, found) in [
            (0, Some(None)),
            (1, None),
            (8, None),
            (15, None),
            (16, Some(one)),
            (17, Some(one)),
            (0xffff_fff0, Some(one)),
            (u32::MAX, Some(one)),
        ] {
            lies.data(READ_RESERVATION, report(length, &held));
            match (unit.reservation(None).await, found) {
                (Ok(reservation), Some(found)) => assert_eq!(reservation.held, found),
                (Err(error), None) => {
                    assert_eq!(malformed(&error), DecodeError::Scsi { offset: 4 });
                }
                (result, _) => panic!("{length}: {result:?}"),
            }
        }
        let whole = report(16, &held);
        for end in 0..whole.len() {
            lies.data(READ_RESERVATION, whole[..end].to_vec());
            let error = unit.reservation(None).await.unwrap_err();
            let needed = if end < 8 { 8 } else { 24 };
            let length = end as u32;
            assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
        }
        for scope in 1..16 {
            held[13] = scope << 4 | 1;
            lies.data(READ_RESERVATION, report(16, &held));
            let error = unit.reservation(None).await.unwrap_err();
            assert_eq!(malformed(&error), DecodeError::Scsi { offset: 21 });
        }
        let whole = [0, 8, 0xff, 0xff, 0xff, 0xff, 0, 0];
        for end in 0..whole.len() {
            lies.data(CAPABILITIES, whole[..end].to_vec());
            match unit.reservation_capabilities(None).await {
                Ok(capabilities) => {
                    assert!(end >= 6);
                    assert_eq!(capabilities.types, Some(0xffff));
                }
                Err(error) => {
                    assert!(end < 6);
                    let (length, needed) = (end as u32, 6);
                    assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
                }
            }
        }
        for length in [0, 1, 5] {
            lies.data(CAPABILITIES, vec![0, length, 0xff, 0xff, 0xff, 0xff, 0, 0]);
            let error = unit.reservation_capabilities(None).await.unwrap_err();
            assert_eq!(malformed(&error), DecodeError::Scsi { offset: 0 });
        }
    })
    .await;
}

/// READ FULL STATUS: descriptors that came whole; what follows one that reaches past the end is left out.
async fn h113_full_status_that_lies(world: &World) {
    const FULL_STATUS: &[u8] = &[0x5e, 0x03];
    let lies = Lies::default();
    let descriptor = |additional: u32, id: &[u8]| {
        let mut bytes = vec![0; 20];
        bytes.extend(additional.to_be_bytes());
        bytes.extend(id);
        bytes
    };
    // An iSCSI TransportID of a device: "a", padded.
    let id = [
        0x05, 0, 0, 20, b'i', b'q', b'n', b'.', b'2', b'0', b'2', b'6', b'-', b'0', b'1', b'.',
        b'a', b':', b'b', 0, 0, 0, 0, 0,
    ];
    let good = descriptor(24, &id);
    lying(world, &world.core(), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let two = [good.clone(), good.clone()].concat();
        for (number, (length, list, count, truncated)) in [
            (0, two.clone(), 0, false),
            (96, two.clone(), 2, false),
            (97, two.clone(), 2, true),
            (u32::MAX, two.clone(), 2, true),
            (95, two.clone(), 1, true),
            (72, [good.clone(), descriptor(0, &[])].concat(), 2, false),
            (72, [good.clone(), descriptor(1, &[])].concat(), 1, true),
            (
                96,
                [descriptor(u32::MAX, &id), good.clone()].concat(),
                0,
                true,
            ),
            (
                96,
                [descriptor(0xffff_ffe8, &id), good.clone()].concat(),
                0,
                true,
            ),
            (96, [good.clone(), descriptor(25, &id)].concat(), 1, true),
            // A TransportID that is none is kept as it is.
            (48, descriptor(24, &[0xff; 24]), 1, false),
            (48, descriptor(24, &[0x05; 24]), 1, false),
        ]
        .into_iter()
        .enumerate()
        {
            lies.data(FULL_STATUS, report(length, &list));
            lies.heard(&[]);
            let found = unit.registrations(None).await.unwrap();
            let told = (found.registrations.len(), found.truncated);
            assert_eq!(told, (count, truncated), "{number}");
            assert!(lies.heard(cdb::PERSISTENT_RESERVE_IN).len() <= 2);
        }
        let whole = report(96, &two);
        for end in 0..whole.len() {
            lies.data(FULL_STATUS, whole[..end].to_vec());
            match unit.registrations(None).await {
                Ok(found) => {
                    let count = usize::from(end >= 56);
                    assert_eq!(found.registrations.len(), count, "{end}");
                    assert!(found.truncated);
                }
                Err(error) => {
                    assert!(end < 8);
                    let (length, needed) = (end as u32, 8);
                    assert_eq!(malformed(&error), DecodeError::Truncated { length, needed });
                }
            }
        }
        // As many as there can be: descriptors without TransportID.
        lies.about(FULL_STATUS, |command, _| {
            let len = command.expected_data_transfer_length as usize;
            let mut bytes = report(u32::MAX, &[]);
            bytes.resize(len, 0);
            Told::Data(bytes)
        });
        let found = unit.registrations(None).await.unwrap();
        assert_eq!((found.registrations.len(), found.truncated), (2730, true));
    })
    .await;
}
