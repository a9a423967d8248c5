//! What a peer may send at the most, read on a stack that is small.

use std::{fmt::Debug, thread};

use iscsi_proto::{
    scsi::{
        DiskModes, FullStatus, ReportLuns, ReservationKeys, SenseData, TargetPortGroups,
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

    // Structures whose parts are as many as their lengths can say, and that nest where a parser might.
    for fill in [0x00, 0x01, 0x04, 0xff] {
        structures(fill);
    }
}

fn structures(fill: u8) {
    let mut data = vec![fill; LEN];
    // Lengths of one, two and four bytes that cover all of it.
    for (at, byte) in [(0, 0x00), (1, 0x0f), (2, 0xff), (3, 0xf0)] {
        data[at] = byte;
    }
    fn read<T: Debug>(parsed: &T) -> usize {
        format!("{parsed:?}").len()
    }
    let read = on_a_small_stack(move || {
        [
            read(&ReportLuns::parse(&data)),
            read(&TargetPortGroups::parse(&data)),
            read(&ReservationKeys::parse(&data)),
            read(&FullStatus::parse(&data)),
            read(&DeviceIdentification::parse(&data)),
            read(&SupportedPages::parse(&data)),
            read(&DiskModes::parse10(&data)),
            read(&SenseData::parse(&data)),
        ]
    });
    assert!(read.iter().all(|len| *len > 0));
}
