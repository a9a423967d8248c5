//! PDUs that end too early, are too long, or are none (RFC 7143 sections 7.7, 7.14 and 11.2).

use std::time::Duration;

use iscsi_client::{error::ErrorKind, session::SessionOptions};
use iscsi_proto::{
    DecodeError, Error, InitiatorTaskTag, PeerMisbehaved,
    error::TimedOut,
    pdu::{AsyncEvent, Bhs, Pdu, RejectReason, ScsiCommand},
    scsi::ScsiStatus,
    text::DigestOffer,
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::reaction::{cause, connection_fails, login_fails, protocol, refused};
use crate::support::{World, rows};

rows! {
    h01_the_stream_ends_inside_a_pdu;
    h01_or_inside_a_login_response;
    h02_a_pdu_that_comes_byte_by_byte;
    h03_a_data_segment_that_is_too_long;
    h07_additional_headers_that_never_come;
    h08_additional_headers_of_any_kind;
    h10_an_opcode_that_no_target_has;
}

pub(super) const DIGESTS: &[(&str, &str)] = &[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];

/// Both digests.
pub(super) fn with_digests() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.offer = options
        .offer
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c);
    options
}

/// Data-In of five bytes, as it is on the wire.
fn five_bytes(peer: &mut Peer, command: &ScsiCommand) -> Vec<u8> {
    let mut frame = Frame::new(Say::data_in(command, 0, 0), [7; 5]);
    peer.number(&mut frame);
    frame.to_bytes(peer.digests())
}

/// Section 7.14: what is under way on a connection ends with it, wherever the stream stood: in a header, its
/// digest, data, padding, or the data digest.
async fn h01_the_stream_ends_inside_a_pdu(world: &World) {
    for cut in 0..64 {
        let world = world.case(cut).await;
        let script = async |peer: &mut Peer, command: &ScsiCommand| {
            let bytes = five_bytes(peer, command);
            assert_eq!(bytes.len(), 64);
            peer.bytes(&bytes[..cut]).await.unwrap();
            peer.finish().await.unwrap();
        };
        let error = connection_fails(&world, with_digests(), DIGESTS, script).await;
        assert_eq!(error.kind(), ErrorKind::Transport, "{cut}");
        assert_eq!(cause(&error), Error::Closed, "{cut}");
    }
}

/// The same during login.
async fn h01_or_inside_a_login_response(world: &World) {
    let initiator = world.initiator();
    let to = world.to();
    for cut in 0..72 {
        let script = async |peer: &mut Peer| {
            let exchange = peer.hear_login().await.unwrap();
            let mut frame = Frame::new(exchange.agreed(), *b"TargetPortalGroupTag=1\0");
            peer.number(&mut frame);
            let bytes = frame.to_bytes(peer.digests());
            assert_eq!(bytes.len(), 72);
            peer.bytes(&bytes[..cut]).await.unwrap();
            peer.finish().await.unwrap();
        };
        let error = login_fails(world, initiator.connect_spawned(&to), script).await;
        assert_eq!(protocol(&error), Error::Closed, "{cut}");
        assert!(error.is_transient());
    }
}

/// A PDU has a time from its first byte on, whether or not more of it comes.
async fn h02_a_pdu_that_comes_byte_by_byte(world: &World) {
    let (pause, patience) = match world.is_simulated() {
        true => (Duration::from_secs(1), Duration::from_secs(20)),
        // Over TCP the wait is real.
        false => (Duration::from_millis(10), Duration::from_millis(100)),
    };
    let mut options = SessionOptions::default();
    options.core.pdu_timeout = patience;
    options.login.timeout = patience;
    // Until the initiator has had enough.
    let drip = async |peer: &mut Peer, bytes: &[u8]| {
        for byte in bytes {
            if peer.bytes(&[*byte]).await.is_err() {
                return;
            }
            peer.sleep(pause).await;
        }
    };
    for (number, at_once) in [0, 47, 50].into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async |peer: &mut Peer, command: &ScsiCommand| {
            let mut frame = Frame::new(Say::last_data_in(command, 0, 0), [7; 512]);
            peer.number(&mut frame);
            let bytes = frame.to_bytes(peer.digests());
            peer.bytes(&bytes[..at_once]).await.unwrap();
            drip(peer, &bytes[at_once..]).await;
        };
        let error = connection_fails(&world, options.clone(), &[], script).await;
        assert_eq!(cause(&error), TimedOut::Pdu.into(), "{at_once}");
        let script = async |peer: &mut Peer| {
            let exchange = peer.hear_login().await.unwrap();
            let mut frame = Frame::new(exchange.agreed(), [0; 512]);
            peer.number(&mut frame);
            let bytes = frame.to_bytes(peer.digests());
            peer.bytes(&bytes[..at_once]).await.unwrap();
            drip(peer, &bytes[at_once..]).await;
        };
        let other = world.case(100 + number).await;
        let error = refused(&other, options.clone(), script).await;
        assert_eq!(error, TimedOut::Login.into(), "{at_once}");
    }
}

/// What a target may send to a command that is under way, and otherwise.
fn of_targets(command: &ScsiCommand) -> Vec<Pdu> {
    vec![
        Say::data_in(command, 0, 0).into(),
        Say::response(command.itt, ScsiStatus::CheckCondition, 0).into(),
        Say::nop_in().into(),
        Say::asynchronous(AsyncEvent::VendorSpecific, [0; 3]).into(),
        Say::reject(RejectReason::ProtocolError).into(),
        Say::text(InitiatorTaskTag(1)).into(),
    ]
}

/// The connection on which a header comes, and nothing behind it; `of` is one of [`of_targets`].
async fn header(
    world: &World,
    options: SessionOptions,
    of: usize,
    spoil: impl FnOnce(&mut Frame),
) -> Error {
    let script = async |peer: &mut Peer, command: &ScsiCommand| {
        let mut frame = Frame::new(of_targets(command).remove(of), []);
        peer.number(&mut frame);
        spoil(&mut frame);
        peer.bytes(frame.bhs.as_bytes()).await.unwrap();
    };
    let error = connection_fails(world, options, &[], script).await;
    assert_eq!(error.kind(), ErrorKind::Protocol);
    cause(&error)
}

/// The login whose first response has this header, and nothing behind it.
async fn login_header(world: &World, spoil: impl FnOnce(&mut Frame)) -> Error {
    let script = async |peer: &mut Peer| {
        let exchange = peer.hear_login().await.unwrap();
        let mut frame = Frame::new(exchange.agreed(), []);
        peer.number(&mut frame);
        spoil(&mut frame);
        peer.bytes(frame.bhs.as_bytes()).await.unwrap();
    };
    refused(world, SessionOptions::default(), script).await
}

/// Section 13.12: no data segment is longer than we declared, nor than 8192 bytes until we have. The header
/// says enough: nothing of the segment is waited for.
async fn h03_a_data_segment_that_is_too_long(world: &World) {
    let mut number = 0;
    for limit in [512_u32, 262_144] {
        for length in [limit + 1, 0xff_ffff] {
            for of in 0..6 {
                let world = world.case(number).await;
                number += 1;
                let mut options = SessionOptions::default();
                let offer = options.offer.with_max_recv_data_segment_length(limit);
                options.offer = offer.unwrap();
                let spoil = |frame: &mut Frame| frame.set_length(length);
                let error = header(&world, options, of, spoil).await;
                let expected = DecodeError::DataSegmentTooLong { length, limit };
                assert_eq!(error, expected.into(), "{of}");
            }
        }
    }
    for length in [8193, 262_144, 0xff_ffff] {
        let error = login_header(world, |frame| frame.set_length(length)).await;
        let limit = 8192;
        assert_eq!(
            error,
            DecodeError::DataSegmentTooLong { length, limit }.into()
        );
    }
}

/// Section 11.2.2: additional headers belong to commands. A header that announces some is the end, before any of
/// them is waited for.
async fn h07_additional_headers_that_never_come(world: &World) {
    let mut number = 0;
    for words in [1, 255] {
        for of in 0..6 {
            let world = world.case(number).await;
            number += 1;
            let spoil = |frame: &mut Frame| frame.bhs.as_bytes_mut()[4] = words;
            let error = header(&world, SessionOptions::default(), of, spoil).await;
            assert_eq!(error, DecodeError::UnexpectedAhs.into(), "{of}: {words}");
        }
        let spoil = |frame: &mut Frame| frame.bhs.as_bytes_mut()[4] = words;
        let error = login_header(world, spoil).await;
        assert_eq!(error, DecodeError::UnexpectedAhs.into(), "{words}");
    }
}

/// The same if they come: of no length, past their end, of a type that there is or not; with digests, too.
async fn h08_additional_headers_of_any_kind(world: &World) {
    let kinds: [[u8; 8]; 6] = [
        // AHSLength, AHSType, the rest.
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0, 5, 2, 0, 0, 0, 2, 0],
        [0xff, 0xff, 1, 0, 0, 0, 0, 0],
        [0, 5, 0x3f, 0, 0, 0, 0, 0],
        [0, 5, 0, 0, 0, 0, 0, 0],
    ];
    let mut number = 0;
    for ahs in kinds {
        for (options, keys) in [
            (SessionOptions::default(), &[][..]),
            (with_digests(), DIGESTS),
        ] {
            let world = world.case(number).await;
            number += 1;
            let script = async |peer: &mut Peer, command: &ScsiCommand| {
                let mut frame = Frame::new(Say::last_data_in(command, 0, 0), [7; 512]);
                peer.number(&mut frame);
                frame.ahs = ahs.to_vec();
                frame.bhs.as_bytes_mut()[4] = 2;
                let bytes = frame.to_bytes(peer.digests());
                peer.bytes(&bytes).await.unwrap();
            };
            let error = connection_fails(&world, options, keys, script).await;
            assert_eq!(cause(&error), DecodeError::UnexpectedAhs.into(), "{ahs:?}");
        }
    }
}

/// Section 11.2.1.2: the opcodes of initiators, those of vendors and those of nobody, and a Login Response when
/// the login is over.
async fn h10_an_opcode_that_no_target_has(world: &World) {
    let of_full_feature =
        |opcode: u8| matches!(opcode, 0x20..=0x22 | 0x24..=0x26 | 0x31 | 0x32 | 0x3f);
    let others = (0..=0x3f).filter(|opcode| !of_full_feature(*opcode));
    for (number, opcode) in others.enumerate() {
        let world = world.case(number).await;
        let script = async |peer: &mut Peer, _: &ScsiCommand| {
            let mut bhs = Bhs::default();
            bhs.as_bytes_mut()[..2].copy_from_slice(&[opcode, 0x80]);
            peer.bytes(bhs.as_bytes()).await.unwrap();
        };
        let error = connection_fails(&world, SessionOptions::default(), &[], script).await;
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let cause = cause(&error);
        let expected = match opcode {
            0x00..=0x06 | 0x10 | 0x23 => matches!(
                cause,
                Error::PeerMisbehaved(PeerMisbehaved::Phase) | Error::Decode(_)
            ),
            _ => cause == DecodeError::Opcode(opcode).into(),
        };
        assert!(expected, "{opcode:#x}: {cause:?}");
    }
    for opcode in (0..=0x3f).filter(|opcode| *opcode != 0x23) {
        let spoil = |frame: &mut Frame| frame.bhs.as_bytes_mut()[0] = opcode;
        let error = login_header(world, spoil).await;
        let expected: Error = match opcode {
            0x3f => PeerMisbehaved::Rejected(0).into(),
            _ if of_full_feature(opcode) => PeerMisbehaved::Phase.into(),
            _ => DecodeError::Opcode(opcode).into(),
        };
        assert_eq!(error, expected, "{opcode:#x}");
    }
}
