//! Digests (RFC 7143 sections 7.8, 11.2.3 and 13.1).

use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::{Payload, Session, SessionOptions},
};
use iscsi_proto::{pdu::ScsiCommand, scsi::ScsiStatus, text::DigestOffer};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::talk::{
    bytes_of, expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet, say_good,
    start,
};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c68_a_header_that_is_damaged_is_not_acted_on;
    c69_data_that_is_damaged_is_not_believed;
}

fn with_digests() -> SessionOptions {
    let mut options = quiet();
    options.offer = options
        .offer
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c);
    options
}

const KEYS: [(&str, &str); 2] = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];

/// A session with another target, whose commands nothing of this is to touch.
async fn bystander(world: &World) -> (Peer, Session) {
    let world = world.case(100).await;
    logged_in(&world, quiet(), &[]).await
}

/// The PDUs that a target says to a read and to a write under way.
fn frames(reading: &ScsiCommand, writing: &ScsiCommand) -> [(&'static str, Frame); 5] {
    [
        (
            "response",
            Frame::new(Say::response(writing.itt, ScsiStatus::Good, 0), []),
        ),
        (
            "data",
            Frame::new(Say::data_in(reading, 0, 0), pattern(512)),
        ),
        (
            "last data",
            Frame::new(Say::last_data_in(reading, 0, 0), pattern(512)),
        ),
        ("R2T", Frame::new(Say::r2t(writing, 1, 0, 0, 512), [])),
        ("ping", Frame::new(Say::ping(1), pattern(6))),
    ]
}

/// The session logs in again, and is of use again.
async fn recovers(world: &World, session: &Session) {
    let mut peer = world.accept().await;
    peer.log_in(&KEYS).await.unwrap();
    session.wait_up().await.unwrap();
    let execute = start(session, read(0, 1));
    let command = hear_command(&mut peer).await;
    let data = Say::last_data_in(&command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    assert_eq!(bytes_of(&expect_good(execute, 512).await), pattern(512));
}

/// Says a PDU of which the byte at `at` (from the end if negative) is damaged on the way; whatever it says, the
/// connection ends, all that was under way ends once with an unknown outcome, nothing was answered, and the
/// session comes back. Returns what was read.
async fn damaged(world: &World, which: usize, at: isize) -> Payload {
    let keys = [KEYS[0], KEYS[1], ("ImmediateData", "No")];
    let (mut peer, session) = logged_in(world, with_digests(), &keys).await;
    let reading = start(&session, read(0, 2));
    let read_command = hear_command(&mut peer).await;
    let writing = start(&session, write(0, pattern(512)));
    let write_command = hear_command(&mut peer).await;
    let (name, mut frame) = frames(&read_command, &write_command)[which].clone();
    peer.number(&mut frame);
    let mut bytes = frame.to_bytes(peer.digests());
    let index = at.rem_euclid(bytes.len() as isize) as usize;
    bytes[index] ^= 0x10;
    peer.bytes(&bytes).await.unwrap();
    let case = format!("{name}, byte {at}");
    let error = expect_error(writing).await;
    assert_eq!(error.kind(), ErrorKind::Protocol, "{case}");
    assert_eq!(
        (error.outcome(), error.is_dead()),
        (Outcome::Unknown, false),
        "{case}"
    );
    let executed = reading.await;
    let error = executed.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{case}");
    assert_eq!(
        (error.outcome(), error.is_dead()),
        (Outcome::Unknown, false),
        "{case}"
    );
    let end = peer.hear().await;
    assert!(end.is_err(), "{case}: {end:?}");
    recovers(world, &session).await;
    executed.payload
}

/// Section 7.8: a header whose digest is wrong says nothing, not even how long its PDU is; at ErrorRecoveryLevel 0
/// the connection is closed. Not a byte of what followed it was placed.
async fn c68_a_header_that_is_damaged_is_not_acted_on(world: &World) {
    let (mut other_peer, other_session) = bystander(world).await;
    let other = start(&other_session, test_unit_ready());
    let other_command = hear_command(&mut other_peer).await;
    let mut number = 0;
    for which in 0..5 {
        // Opcode, flags, lengths, LUN, task tag, StatSN, MaxCmdSN, the last field, the digest.
        for at in [0, 1, 4, 5, 7, 8, 16, 19, 27, 35, 47, 48, 51] {
            let world = world.case(number).await;
            number += 1;
            let payload = damaged(&world, which, at).await;
            assert!(bytes_of(&payload).iter().all(|byte| *byte == 0));
        }
    }
    say_good(&mut other_peer, other_command.itt).await;
    expect_good(other, 0).await;
    fence(&other_session, &mut other_peer).await;
}

/// Section 7.8: data whose digest is wrong is discarded, and its command does not succeed. At ErrorRecoveryLevel 0,
/// where nothing can be asked for again, the connection is closed (section 7.1.4.4 has session recovery for it).
async fn c69_data_that_is_damaged_is_not_believed(world: &World) {
    let (mut other_peer, other_session) = bystander(world).await;
    let other = start(&other_session, test_unit_ready());
    let other_command = hear_command(&mut other_peer).await;
    let mut number = 0;
    // Data-In with and without status, and a ping, whose data has padding.
    for which in [1, 2, 4] {
        // The first byte of the data, the last (or its padding), and the digest.
        for at in [52, -5, -4, -1] {
            let world = world.case(number).await;
            number += 1;
            damaged(&world, which, at).await;
        }
    }
    say_good(&mut other_peer, other_command.itt).await;
    expect_good(other, 0).await;
    fence(&other_session, &mut other_peer).await;
}
