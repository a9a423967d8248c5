//! Another unit behind a LUN after a reconnect.

use std::error::Error as _;

use iscsi_client::{
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome},
    logical_unit::LogicalUnit,
    session::Session,
};
use iscsi_testkit::scripted::Told;
use mpio::core::{DownReason, Event};

use super::{
    disk::{Lies, cdb, lying, open},
    two_paths::{TwoPaths, checked_often, comes_back, happens},
};
use crate::support::{World, rows};

rows! {
    h117_a_unit_that_is_another_one;
    h117_a_path_to_another_unit;
}

/// What is another one: said how, and how the error says it.
#[derive(Clone, Copy)]
struct Change {
    cdb: &'static [u8],
    at: usize,
    to: &'static [u8],
    text: &'static str,
}

const fn change(cdb: &'static [u8], at: usize, to: &'static [u8], text: &'static str) -> Change {
    Change { cdb, at, to, text }
}

const NAME: &[u8] = &[0x12, 0x01, 0x83];
const SERIAL: &[u8] = &[0x12, 0x01, 0x80];

/// Of a disk with a name that is assigned world wide.
const CHANGES: [Change; 7] = [
    // First, middle and last byte of the NAA identifier; another type; no name at all.
    change(NAME, 8, &[0x61], "identity was"),
    change(NAME, 16, &[0xff], "identity was"),
    change(NAME, 23, &[0xff], "identity was"),
    change(NAME, 5, &[0x02], "identity was"),
    change(NAME, 2, &[0, 0], "is none now"),
    // A tape, a CD.
    change(NAME, 0, &[0x01], "device type was"),
    change(NAME, 0, &[0x05], "device type was"),
];

/// Of a disk with a name that its vendor has made: other digits, and one less.
const SERIALS: [Change; 2] = [
    change(SERIAL, 18, b"9", "serial number was"),
    change(SERIAL, 2, &[0, 14], "serial number was"),
];

/// Of a disk without a name.
const TYPES: [Change; 2] = [
    change(cdb::INQUIRY, 0, &[0x01], "device type was"),
    change(cdb::INQUIRY, 0, &[0x05], "device type was"),
];

/// Says a page of these designators.
fn name(lies: &Lies, designators: &[u8]) {
    let mut page = vec![0, 0x83, 0, designators.len() as u8];
    page.extend(designators);
    lies.data(NAME, page);
}

const OF_VENDOR: &[u8] = b"\x02\x01\x00\x0cRUSTSDK DISK";

impl Change {
    fn tell(self, lies: &Lies) {
        lies.about(self.cdb, move |_, truth| {
            let mut bytes = truth.to_vec();
            bytes[self.at..self.at + self.to.len()].copy_from_slice(self.to);
            Told::Data(bytes)
        });
    }
}

/// How many reads and writes were heard.
fn ios(lies: &Lies) -> usize {
    lies.heard(&[]).iter().filter(|cdb| cdb::is_io(cdb)).count()
}

/// With another name, serial number or device type no read and no write is sent, each fails with the reason, and the
/// first one after the right unit is back goes well.
async fn h117_a_unit_that_is_another_one(world: &World) {
    let core = world.core();
    let lies = Lies::default();
    lying(world, &core, &lies, async |session| {
        let unit = open(&session).await.unwrap();
        for change in CHANGES {
            is_refused(&session, &unit, &lies, change).await;
            lies.truth_about(change.cdb);
            unit.read_bytes(0, 512).await.unwrap();
        }
        // Whose serial number it is, the standard leaves to the target.
        SERIALS[0].tell(&lies);
        core.raise_attention(0, 0x3f, 0x03);
        unit.read_bytes(0, 512).await.unwrap();
        lies.end();
        // Nothing is there any more, or nobody can tell.
        for first in [0x20, 0x60, 0x7f] {
            lies.about(NAME, move |_, truth| {
                let mut bytes = truth.to_vec();
                bytes[0] = first;
                Told::Data(bytes)
            });
            core.raise_attention(0, 0x3f, 0x03);
            // It finds the unit attention; what is sent after it is none of it.
            let error = unit.read_bytes(0, 4096).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchUnit);
            lies.heard(&[]);
            let error = unit.write_bytes(0, vec![1; 512].into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchUnit);
            assert_eq!(ios(&lies), 0);
            lies.end();
            unit.read_bytes(0, 512).await.unwrap();
        }
        for (designators, changes) in [(OF_VENDOR, &SERIALS[..]), (&[], &SERIALS), (&[], &TYPES)] {
            name(&lies, designators);
            let unit = open(&session).await.unwrap();
            for change in changes {
                is_refused(&session, &unit, &lies, *change).await;
                lies.truth_about(change.cdb);
                unit.read_bytes(0, 512).await.unwrap();
            }
            // A serial number that is blank is one that is not available, and no other one.
            change(SERIAL, 4, &[b' '; 15], "").tell(&lies);
            core.raise_attention(0, 0x3f, 0x03);
            unit.read_bytes(0, 512).await.unwrap();
            lies.end();
        }
    })
    .await;
}

/// The unit is this other one after a reconnect.
async fn is_refused(session: &Session, unit: &LogicalUnit, lies: &Lies, change: Change) {
    change.tell(lies);
    let logins = session.logins();
    session.reconnect();
    lies.heard(&[]);
    while session.logins() == logins {
        session.changed(session.status().generation).await;
    }
    for _ in 0..3 {
        let read = unit.read_bytes(0, 4096).await.unwrap_err();
        let write = unit.write_bytes(0, vec![1; 512].into()).await.unwrap_err();
        for error in [read, write] {
            assert_eq!(error.kind(), ErrorKind::WrongUnit, "{error:#}");
            assert_eq!(error.outcome(), Outcome::NotExecuted);
            let source = error.source().unwrap().to_string();
            assert!(source.contains(change.text), "{source}");
        }
    }
    assert_eq!(ios(lies), 0, "{}", change.text);
}

/// One path of two comes back to another unit: it is kept out with the reason, nothing is read or written through
/// it, the other one carries on; and it is used again once it leads to the right unit.
async fn refused(world: &World, number: usize, tell: impl Fn(&Lies)) {
    let paths = TwoPaths::new(world, number).await;
    let lies = Lies::default();
    let client = async |device: &mpio::MultipathDevice| {
        let mut events = device.events();
        let bad = paths.bad_path(device).id;
        let info = device.info();
        tell(&lies);
        lies.heard(&[]);
        device.path(bad).unwrap().session().reconnect();
        let mismatch = Event::IdentityMismatch { path: bad };
        happens(&mut events, |event| *event == mismatch).await;
        for round in 0..20_u8 {
            let offset = u64::from(round) * 51_200;
            let bytes = vec![round; 512];
            device
                .write_bytes(offset, bytes.clone().into())
                .await
                .unwrap();
            assert_eq!(device.read_bytes(offset, 512).await.unwrap(), bytes);
        }
        let last = info.size - 512;
        device.read_bytes(last, 512).await.unwrap();
        assert_eq!(ios(&lies), 0, "{number}");
        let path = paths.bad_path(device);
        assert_eq!(path.down, Some(DownReason::IdentityMismatch), "{number}");
        assert_eq!(device.info(), info, "{number}");
        lies.end();
        // Ten seconds until it is asked again.
        if world.is_simulated() {
            comes_back(&mut events, bad).await;
            device.read_bytes(last, 512).await.unwrap();
        }
    };
    paths.lying(checked_often(), &lies, client).await;
}

async fn h117_a_path_to_another_unit(world: &World) {
    for (number, change) in CHANGES.into_iter().enumerate() {
        refused(world, number, |lies| change.tell(lies)).await;
    }
}
