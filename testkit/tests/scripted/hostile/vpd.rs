//! INQUIRY data and vital product data pages that lie (SPC-4 sections 6.6.2 and 7.8).

use iscsi_client::error::ErrorKind;
use iscsi_proto::{
    DecodeError,
    scsi::vpd::{ProvisioningType, RotationRate},
};
use iscsi_testkit::scripted::Told;

use super::disk::{Lies, cdb, lying, malformed, open};
use crate::support::{World, rows};

rows! {
    h108_pages_that_are_cut;
    h108_pages_that_claim_to_be_longer;
    h108_another_page_than_was_asked_for;
    h108_designators_that_do_not_fit_the_page;
    h108_standard_data_that_are_cut;
    h108_text_without_an_end;
}

const PAGES: [u8; 6] = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2];
const WWID: &str = "36001405f15c51d000000000000000000";
const SERIAL: &str = "TESTKIT00000000";
/// Of the disk, and of one that does not say.
const TRANSFERS: [u32; 2] = [64 << 10, 4 << 20];

/// A disk with something to say in each page.
fn core(world: &World) -> std::sync::Arc<iscsi_testkit::target::TargetCore> {
    world.core_with(|mut config| {
        config.limits.max_transfer_length = TRANSFERS[0];
        config.luns[0] = config.luns[0].clone().with_thin_provisioning();
        config
    })
}

/// Each page ends at each of its bytes: what came whole counts, and a header that is cut is an error.
async fn h108_pages_that_are_cut(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        let whole = open(&session).await.unwrap();
        for page in PAGES {
            let len = match page {
                0x00 => 4 + 6,
                0x80 => 4 + SERIAL.len(),
                0x83 => 4 + 20 + 4 + 8 + SERIAL.len(),
                _ => 64,
            };
            for end in 0..len {
                lies.about(&cdb::page(page), move |_, truth| {
                    Told::Data(truth[..end.min(truth.len())].to_vec())
                });
                let case = format!("page {page:#04x} ends at {end}");
                let opened = open(&session).await;
                if end < 4 && page != 0xb1 {
                    let needed = 4;
                    let length = end as u32;
                    let error = DecodeError::Truncated { length, needed };
                    assert_eq!(malformed(&opened.unwrap_err()), error, "{case}");
                    continue;
                }
                let unit = opened.unwrap_or_else(|error| panic!("{case}: {error:#}"));
                let (info, right) = (unit.info(), whole.info());
                let is_listed = |code: u8| {
                    let place = PAGES.iter().position(|page| *page == code);
                    page != 0 || place.is_some_and(|place| 4 + place < end)
                };
                let reaches = |code: u8, at: usize| is_listed(code) && (page != code || end >= at);
                let wwid = reaches(0x83, 4 + 20).then_some(WWID);
                assert_eq!(info.identity.wwid.as_deref(), wwid, "{case}");
                assert_eq!(unit.identification().truncated, page == 0x83, "{case}");
                let serial = match page {
                    0x80 => Some(&SERIAL[..end - 4]),
                    _ => is_listed(0x80).then_some(SERIAL),
                };
                assert_eq!(info.identity.serial.as_deref(), serial, "{case}");
                let transfer = TRANSFERS[usize::from(!reaches(0xb0, 12))];
                assert_eq!(info.max_transfer, transfer, "{case}");
                let rotation = match reaches(0xb1, 6) {
                    true => right.rotation,
                    false => RotationRate::default(),
                };
                assert_eq!(info.rotation, rotation, "{case}");
                let provisioning = match reaches(0xb2, 7) {
                    true => right.provisioning,
                    false => ProvisioningType::default(),
                };
                assert_eq!(info.provisioning, provisioning, "{case}");
                assert_eq!(info.size, right.size, "{case}");
            }
            lies.end();
        }
    })
    .await;
}

/// PAGE LENGTH is more than there is: as if it were right, and it is asked for once more at most, never for more
/// than 16 KiB.
async fn h108_pages_that_claim_to_be_longer(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        let whole = open(&session).await.unwrap();
        for page in PAGES {
            for claimed in [100_u16, 508, 509, 16_380, 16_381, 0x8000, u16::MAX] {
                let case = format!("page {page:#04x} claims {claimed}");
                lies.about(&cdb::page(page), move |_, truth| {
                    let mut bytes = truth.to_vec();
                    bytes[2..4].copy_from_slice(&claimed.to_be_bytes());
                    Told::Data(bytes)
                });
                lies.heard(&[]);
                let unit = open(&session).await.unwrap();
                let asked = lies.heard(&cdb::page(page));
                assert!((1..=2).contains(&asked.len()), "{case}");
                for cdb in asked {
                    let length = u16::from_be_bytes([cdb[3], cdb[4]]);
                    assert!(length <= 16 << 10, "{case}: {length}");
                }
                assert_eq!(unit.info(), whole.info(), "{case}");
                assert_eq!(unit.identification().truncated, page == 0x83, "{case}");
            }
            lies.end();
        }
    })
    .await;
}

/// PAGE CODE is that of another page: only where nothing depends on it the disk can be used.
async fn h108_another_page_than_was_asked_for(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        for expected in PAGES {
            for found in [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2, 0xff] {
                if found == expected {
                    continue;
                }
                lies.about(&cdb::page(expected), move |_, truth| {
                    let mut bytes = truth.to_vec();
                    bytes[1] = found;
                    Told::Data(bytes)
                });
                let opened = open(&session).await;
                if expected == 0xb1 {
                    assert_eq!(opened.unwrap().info().rotation, RotationRate::default());
                    continue;
                }
                let error = DecodeError::WrongVpdPage { expected, found };
                assert_eq!(malformed(&opened.unwrap_err()), error);
            }
            lies.end();
        }
        // One that is open already is not another unit for this; it is not used either.
        let unit = open(&session).await.unwrap();
        lies.data(&cdb::page(0x83), vec![0, 0x80, 0, 0]);
        let error = unit.verify_identity(None).await.unwrap_err();
        let (expected, found) = (0x83, 0x80);
        assert_eq!(
            malformed(&error),
            DecodeError::WrongVpdPage { expected, found }
        );
        lies.end();
        unit.verify_identity(None).await.unwrap();
    })
    .await;
}

/// A page of designators with the right PAGE LENGTH.
fn designators(designators: &[&[u8]]) -> Vec<u8> {
    let body = designators.concat();
    let mut page = vec![0, 0x83];
    page.extend((body.len() as u16).to_be_bytes());
    page.extend(body);
    page
}

/// Designators that reach past the page, have no bytes or not as many as their type has: no name is made of them,
/// and the next one is found all the same.
async fn h108_designators_that_do_not_fit_the_page(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    let naa = [&[0x01, 0x03, 0, 16][..], &[0x60; 16]].concat();
    let naa = naa.as_slice();
    let found = format!("3{}", "60".repeat(16));
    let found = found.as_str();
    let past = [&[0x01, 0x03, 0, 17][..], &[0x60; 16]].concat();
    let longest = [&[0x01, 0x03, 0, 255][..], &[0x60; 16]].concat();
    let short_naa = [&[0x01, 0x03, 0, 8][..], &[0x60; 8]].concat();
    let long_naa = [&[0x01, 0x03, 0, 32][..], &[0x60; 32]].concat();
    let empty: &[u8] = &[0x01, 0x03, 0, 0];
    let vendor_only = [&[0x02, 0x01, 0, 8][..], b"RUSTSDK "].concat();
    let name_without_end = [&[0x03, 0x08, 0, 8][..], b"iqn.2026"].concat();
    let odd_name = [&[0x03, 0x08, 0, 7][..], b"naa.600"].concat();
    let of_port = [&[0x51, 0x93, 0, 16][..], &[0x60; 16]].concat();
    let of_nobody = [&[0x01, 0x33, 0, 16][..], &[0x60; 16]].concat();
    let many = vec![empty; 4000];
    let cases: [(Vec<u8>, Option<&str>, bool); 13] = [
        (designators(&[]), None, false),
        (designators(&[&past]), None, true),
        (designators(&[&longest]), None, true),
        (designators(&[naa, &longest]), Some(found), true),
        (
            designators(&[&short_naa, &long_naa, naa]),
            Some(found),
            false,
        ),
        (designators(&[empty, naa]), Some(found), false),
        (designators(&many), None, false),
        (designators(&[&[0x01, 0x03, 0][..]]), None, true),
        (designators(&[&vendor_only]), None, false),
        (designators(&[&name_without_end]), Some("8iqn.2026"), false),
        (designators(&[&odd_name]), None, false),
        (designators(&[&of_port, &of_nobody]), None, false),
        (designators(&[naa, &of_port]), Some(found), false),
    ];
    lying(world, &core, &lies, async |session| {
        for (number, (page, wwid, truncated)) in cases.into_iter().enumerate() {
            lies.data(&cdb::page(0x83), page);
            let unit = open(&session).await.unwrap();
            assert_eq!(unit.info().identity.wwid.as_deref(), wwid, "{number}");
            assert_eq!(unit.identification().truncated, truncated, "{number}");
        }
    })
    .await;
}

/// Standard INQUIRY data that end anywhere, whatever ADDITIONAL LENGTH says: without the peripheral device type and
/// that length there is no unit; what else is missing is blank.
async fn h108_standard_data_that_are_cut(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        for end in 0..=36_usize {
            for additional in [None, Some(0), Some(1), Some(u8::MAX)] {
                lies.about(cdb::INQUIRY, move |_, truth| {
                    let mut bytes = truth[..end].to_vec();
                    if let (Some(additional), Some(length)) = (additional, bytes.get_mut(4)) {
                        *length = additional;
                    }
                    Told::Data(bytes)
                });
                let opened = open(&session).await;
                if end < 5 {
                    let (length, needed) = (end as u32, 5);
                    let error = DecodeError::Truncated { length, needed };
                    assert_eq!(malformed(&opened.unwrap_err()), error);
                    continue;
                }
                let unit = opened.unwrap();
                let end = end.min(5 + usize::from(additional.unwrap_or(91)));
                let upto = |from: usize, text: &'static str| {
                    text[..end.saturating_sub(from).min(text.len())].trim_end()
                };
                let identity = &unit.info().identity;
                assert_eq!(&*identity.vendor, upto(8, "RUSTSDK "), "{end}");
                assert_eq!(&*identity.product, upto(16, "TESTKIT DISK    "), "{end}");
                assert_eq!(&*identity.revision, upto(32, "0001"), "{end}");
                // 91 bytes were announced, and 36 asked for.
                assert!(unit.inquiry().truncated);
            }
        }
        // Qualifiers and types behind which there is no disk.
        for (first, kind) in [
            (0x20, ErrorKind::NoSuchUnit),
            (0x40, ErrorKind::NoSuchUnit),
            (0x60, ErrorKind::NoSuchUnit),
            (0x7f, ErrorKind::NoSuchUnit),
            (0xe0, ErrorKind::NoSuchUnit),
            (0x0c, ErrorKind::NoSuchUnit),
            (0x1f, ErrorKind::NoSuchUnit),
            (0x01, ErrorKind::Unsupported),
            (0x05, ErrorKind::Unsupported),
            (0x14, ErrorKind::Unsupported),
            (0x1d, ErrorKind::Unsupported),
        ] {
            lies.about(cdb::INQUIRY, move |_, truth| {
                let mut bytes = truth.to_vec();
                bytes[0] = first;
                Told::Data(bytes)
            });
            assert_eq!(open(&session).await.unwrap_err().kind(), kind, "{first:#x}");
        }
    })
    .await;
}

/// Names that no NUL ends, of any bytes, as long as they can be: what is told of them is printable, and no longer
/// than what came.
async fn h108_text_without_an_end(world: &World) {
    let core = core(world);
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        for byte in [0x00, 0x1b, b'\n', 0x7f, 0x80, 0xff] {
            lies.about(cdb::INQUIRY, move |_, truth| {
                let mut bytes = truth.to_vec();
                bytes[8..].fill(byte);
                Told::Data(bytes)
            });
            lies.about(&cdb::page(0x80), move |_, _| {
                let mut bytes = vec![0, 0x80, 0xff, 0xff];
                bytes.resize(16 << 10, byte);
                Told::Data(bytes)
            });
            let name = [b"iqn.", &[byte; 251][..]].concat();
            let vendor = [b"VENDOR  ", &[byte; 247][..]].concat();
            for (kind, text) in [(0x08, name), (0x01, vendor)] {
                let designator = [&[0x02, kind, 0, 255][..], &text].concat();
                lies.data(&cdb::page(0x83), designators(&[&designator]));
                let unit = open(&session).await.unwrap();
                let info = unit.info();
                let told = [
                    (info.identity.wwid.as_deref().unwrap_or_default(), 255),
                    (
                        info.identity.serial.as_deref().unwrap_or_default(),
                        16 << 10,
                    ),
                    (&*info.identity.vendor, 8),
                    (&*info.identity.product, 16),
                    (&*info.identity.revision, 4),
                ];
                for (told, len) in told {
                    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
                    assert!(told.bytes().all(printable), "{byte:#x}: {told:?}");
                    // `\x1b` for each.
                    assert!(told.len() <= 4 * len + 1, "{byte:#x}: {}", told.len());
                }
                assert!(!format!("{unit:?} {info:?}").contains(char::is_control));
            }
        }
    })
    .await;
}
