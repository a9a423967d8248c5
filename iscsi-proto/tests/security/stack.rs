//! What a peer may send at the most, read on a stack that is small.

use std::thread;

use iscsi_proto::{
    scsi::{
        DiskModes, FullStatus, Lun, ReportLuns, ReservationKeys, SenseData, TargetPortGroups,
        vpd::{DeviceIdentification, SupportedPages},
    },
    text::{
        binary,
        codec::{Accumulator, Pairs},
        send_targets,
    },
};

/// A hundredth of what a thread has.
const STACK: usize = 64 << 10;

/// Longer than anything that is read in one piece.
const LEN: usize = 1 << 20;

/// On a stack that a copy of the input would not fit on by far, nor a call for each of its parts.
fn on_a_small_stack<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let builder = thread::Builder::new().stack_size(STACK);
    builder.spawn(read).unwrap().join().expect("it is enough")
}

fn text_with(part: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = String::new();
    for number in 0.. {
        let part = part(number);
        if text.len() + part.len() > LEN {
            break;
        }
        text += &part;
    }
    text.into_bytes()
}

#[test]
fn k18_what_a_peer_sends_needs_no_more_stack() {
    let portals = text_with(|number| match number {
        0 => "TargetName=iqn.2026-01.example:a\0".to_owned(),
        _ => format!("TargetAddress=10.0.0.1:{}\0", number % 65_535 + 1),
    });
    let found = on_a_small_stack(move || send_targets::parse(&portals, None).unwrap());
    assert!(found.dropped > 10_000, "{}", found.dropped);

    let pairs = text_with(|number| format!("X-{number}=y\0"));
    let count = on_a_small_stack(move || {
        let mut all = Accumulator::new(u32::MAX);
        for part in pairs.chunks(8192) {
            all.push(part).unwrap();
        }
        Pairs::new(&pairs).filter(Result::is_ok).count()
    });
    assert!(count > 50_000, "{count}");

    let nothing = vec![0; LEN];
    assert_eq!(on_a_small_stack(move || Pairs::new(&nothing).count()), 0);

    let digits = format!("0x{}", "5a".repeat(LEN));
    let bytes = on_a_small_stack(move || binary::decode(&digits, LEN).unwrap());
    assert_eq!(bytes.len(), LEN);

    structures();
}

/// A header, then the same part as often as it says.
fn filled(head: &[u8], part: &[u8], count: usize) -> Vec<u8> {
    let mut data = head.to_vec();
    data.extend(part.iter().cycle().take(part.len() * count));
    data
}

/// Structures with as many parts as their lengths can say, or as memory has room for: they are all read.
fn structures() {
    let luns = (0..0x4000).map(|number: u16| {
        Lun::from_wire([0x40 | (number >> 8) as u8, number as u8, 0, 0, 0, 0, 0, 0])
    });
    let luns = ReportLuns::emit(&luns.collect::<Vec<_>>());
    let luns = on_a_small_stack(move || ReportLuns::parse(&luns).unwrap());
    assert_eq!((luns.luns.len(), luns.truncated), (0x4000, false));

    // Groups without ports.
    let count = LEN / 8;
    let length = (LEN as u32).to_be_bytes();
    let groups = filled(&length, &[0; 8], count);
    let groups = on_a_small_stack(move || TargetPortGroups::parse(&groups).unwrap());
    assert_eq!((groups.groups.len(), groups.truncated), (count, false));

    let head = [[0; 4], length].concat();
    let keys = filled(&head, &[1; 8], count);
    let keys = on_a_small_stack(move || ReservationKeys::parse(&keys).unwrap());
    assert_eq!((keys.keys.len(), keys.truncated), (count, false));

    // Descriptors of 24 bytes, without a TransportID.
    let count = LEN / 24;
    let head = [[0; 4], (24 * count as u32).to_be_bytes()].concat();
    let status = filled(&head, &[0; 24], count);
    let status = on_a_small_stack(move || FullStatus::parse(&status).unwrap());
    assert_eq!(
        (status.registrations.len(), status.truncated),
        (count, false)
    );

    // Designators without bytes, and one byte for each page.
    let designators = filled(&[0, 0x83, 0xff, 0xfc], &[0; 4], 0x3fff);
    let page = on_a_small_stack(move || DeviceIdentification::parse(&designators).unwrap());
    assert_eq!((page.designators.len(), page.truncated), (0x3fff, false));
    let pages = filled(&[0, 0, 0xff, 0xff], &[0xb0], 0xffff);
    let page = on_a_small_stack(move || SupportedPages::parse(&pages).unwrap());
    assert_eq!((page.pages.len(), page.truncated), (0xffff, false));

    // Empty mode pages, and the one that is looked for behind them: a length of 65535 has room for 32763.
    let mut modes = filled(&[0xff, 0xff, 0, 0, 0, 0, 0, 0], &[0x01, 0], 32_763);
    modes.extend([0x08, 1, 0x04]);
    assert_eq!(modes.len(), 2 + 0xffff);
    let modes = on_a_small_stack(move || DiskModes::parse10(&modes).unwrap());
    assert_eq!(modes.write_cache, Some(true));

    // As many empty descriptors as sense data has room for before its information, and a megabyte behind that.
    let head = [0x72, 0x05, 0x24, 0, 0, 0, 0, 244];
    let mut sense = filled(&head, &[0x80, 0], 116);
    sense.extend([0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sense.len(), SenseData::MAX_LEN);
    sense.resize(LEN, 0xff);
    let sense = on_a_small_stack(move || SenseData::parse(&sense).unwrap());
    assert_eq!(sense.information(), Some(0x0102_0304_0506_0708));
}
