//! CDBs of more than 16 bytes (section 11.2.2.3).

use super::*;
use crate::{error::ApiMisuse, session::SubmitError, text::Digest};

fn cdb(len: u8) -> Vec<u8> {
    (0x7f..).take(usize::from(len)).collect()
}

fn command() -> Command {
    Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::Out(4))
}

#[test]
fn the_rest_of_the_cdb_follows_the_header_byte_by_byte() {
    let mut h = Harness::new();
    let itt = h
        .session
        .submit_extended(h.now, &command(), &cdb(19))
        .unwrap();
    h.memory.0.insert(itt.0, vec![0xd0, 0xd1, 0xd2, 0xd3]);
    let bytes = h.sent_bytes();
    let mut want = vec![
        0x01, 0xa1, 0x00, 0x00, // F, W, SIMPLE
        0x02, 0x00, 0x00, 0x04, // two words of AHS, four bytes of data
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];
    want.extend(itt.0.to_be_bytes());
    want.extend([0, 0, 0, 4]);
    want.extend(CMD_SN.to_be_bytes());
    want.extend(STAT_SN.to_be_bytes());
    want.extend(&cdb(19)[..16]);
    // AHSLength (three bytes and the reserved one), AHSType, reserved, the rest, one byte of padding.
    want.extend([0x00, 0x04, 0x01, 0x00, 0x8f, 0x90, 0x91, 0x00]);
    want.extend([0xd0, 0xd1, 0xd2, 0xd3]);
    assert_eq!(bytes, want);
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
}

#[test]
fn the_header_digest_covers_the_additional_segment() {
    let p = Parameters {
        header_digest: Digest::Crc32c,
        data_digest: Digest::Crc32c,
        ..parameters()
    };
    let mut h = Harness::with(p, SessionConfig::default());
    let mut command = command();
    command.data = DataLength::None;
    h.session
        .submit_extended(h.now, &command, &cdb(32))
        .unwrap();
    let bytes = h.sent_bytes();
    assert_eq!(bytes.len(), 48 + 20 + 4);
    assert_eq!(bytes[4], 5);
    let crc = digest::to_wire(digest::crc32c(0, &bytes[..68]));
    assert_eq!(bytes[68..], crc);
}

#[test]
fn every_length_that_exists_is_taken_and_no_other() {
    let mut h = Harness::new();
    for len in [17_usize, 260] {
        let cdb = vec![0x7f; len];
        h.session.submit_extended(h.now, &command(), &cdb).unwrap();
    }
    for len in [0_usize, 6, 16, 261, 1000] {
        let error = h.session.submit_extended(h.now, &command(), &vec![0; len]);
        assert_eq!(error, Err(SubmitError::Misuse(ApiMisuse::OutOfRange)));
    }
}

/// The segment waits with its command and goes with it.
#[test]
fn an_abandoned_command_leaves_no_segment_behind() {
    let mut h = Harness::new();
    let itt = h
        .session
        .submit_extended(h.now, &command(), &cdb(40))
        .unwrap();
    h.session.abandon(h.now, itt);
    assert!(h.session.extended.is_empty());
    h.session
        .submit_extended(h.now, &command(), &cdb(40))
        .unwrap();
    h.session.handle_closed(Error::Closed);
    assert!(h.session.extended.is_empty());
}
