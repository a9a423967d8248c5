//! CRC32C that does not match, or stands where there is none (RFC 7143 sections 7.8, 11.2.3 and 13.1).

use futures_util::future::join;
use iscsi_client::{error::ErrorKind, session::Payload};
use iscsi_proto::{
    DecodeError, Error,
    digest::{crc32c, to_wire},
    pdu::{Bhs, ScsiCommand, TextRequest},
    scsi::ScsiStatus,
    text::DigestOffer,
};
use iscsi_testkit::scripted::{Digests, Frame, Peer, Say};

use super::{
    framing::{DIGESTS, with_digests},
    reaction::{cause, connection_fails, hears_the_end},
};
use crate::support::{World, read, rows};

rows! {
    h04_padding_is_not_looked_at;
    h13_a_header_that_is_not_what_its_digest_says;
    h14_data_that_are_not_what_their_digest_says;
    h14_or_a_text;
    h15_a_digest_that_does_not_belong_there;
}

/// Section 11.1: padding "SHOULD be sent as zeros", so that it may be anything; a segment may be as long as we
/// declared.
async fn h04_padding_is_not_looked_at(world: &World) {
    let mut number = 0;
    for longest in 1021..=1024_usize {
        for (mut options, keys) in [(Default::default(), &[][..]), (with_digests(), DIGESTS)] {
            let world = world.case(number).await;
            number += 1;
            let offer = options.offer;
            let limit = longest as u32;
            options.offer = offer.with_max_recv_data_segment_length(limit).unwrap();
            let content: Vec<u8> = (0..2048).map(|at| (at % 251) as u8).collect();
            let script = async {
                let mut peer = world.accept().await;
                peer.log_in(keys).await.unwrap();
                let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
                let mut offset = 0;
                for (data_sn, part) in content.chunks(longest).enumerate() {
                    let (data_sn, end) = (data_sn as u32, offset + part.len());
                    let pdu = match end == content.len() {
                        true => Say::last_data_in(&command, data_sn, offset as u32),
                        false => Say::data_in(&command, data_sn, offset as u32),
                    };
                    let mut frame = Frame::new(pdu, part);
                    peer.number(&mut frame);
                    offset = end;
                    let bytes = padded_with(0xa5, &frame, peer.digests());
                    peer.wrote(&frame);
                    peer.bytes(&bytes).await.unwrap();
                }
                peer.hear_the_end().await;
            };
            let initiator = world.initiator();
            let client = async {
                let to = world.to_with(options);
                let session = initiator.connect_spawned(&to).await.unwrap();
                let executed = session.execute(read(0, 4)).await;
                assert_eq!(executed.result.unwrap().transferred, 2048);
                let Payload::In(buf) = executed.payload else {
                    panic!("the buffer comes back");
                };
                assert_eq!(buf.as_slice(), Some(&content[..]));
            };
            join(script, client).await;
        }
    }
}

/// The PDU with this byte as padding, which the data digest covers.
fn padded_with(padding: u8, frame: &Frame, digests: Digests) -> Vec<u8> {
    let none = Frame {
        data: Vec::new(),
        ..frame.clone()
    };
    let mut bytes = none.to_bytes(digests);
    let mut segment = frame.data.clone();
    segment.resize(segment.len().next_multiple_of(4), padding);
    bytes.extend(&segment);
    if digests.data {
        bytes.extend(to_wire(crc32c(0, &segment)));
    }
    bytes
}

/// The end of a connection whose target answers the command GOOD, in bytes that `spoil` has changed.
async fn spoiled(world: &World, data: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) -> Error {
    let script = async |peer: &mut Peer, command: &ScsiCommand| {
        let mut frame = match data {
            [] => Frame::new(Say::response(command.itt, ScsiStatus::Good, 0), []),
            _ => Frame::new(Say::last_data_in(command, 0, 0), data),
        };
        peer.number(&mut frame);
        let mut bytes = frame.to_bytes(peer.digests());
        spoil(&mut bytes);
        peer.bytes(&bytes).await.unwrap();
    };
    let error = connection_fails(world, with_digests(), DIGESTS, script).await;
    assert_eq!(error.kind(), ErrorKind::Protocol);
    cause(&error)
}

/// Section 7.8: nothing of such a PDU is believed; without recovery within the connection it is the end of that.
async fn h13_a_header_that_is_not_what_its_digest_says(world: &World) {
    for at in 0..Bhs::LEN + 4 {
        let world = world.case(at).await;
        let spoil = |bytes: &mut Vec<u8>| bytes[at] ^= 1 << (at % 8);
        let error = spoiled(&world, &[], spoil).await;
        let expected = match at {
            // Where the digest stands depends on TotalAHSLength, which is zero in all that targets send.
            4 => DecodeError::UnexpectedAhs,
            _ => DecodeError::HeaderDigest,
        };
        assert_eq!(error, expected.into(), "byte {at}");
    }
}

/// Section 7.8: the same for data. The read does not succeed, though its status said GOOD.
async fn h14_data_that_are_not_what_their_digest_says(world: &World) {
    let data = [7; 509];
    // In the data, in the padding, and in the digest.
    for (number, at) in [52, 53, 52 + 508, 52 + 509, 52 + 511, 52 + 512, 52 + 515]
        .into_iter()
        .enumerate()
    {
        let world = world.case(number).await;
        let spoil = |bytes: &mut Vec<u8>| {
            assert_eq!(bytes.len(), 48 + 4 + 512 + 4);
            bytes[at] ^= 0x80;
        };
        let error = spoiled(&world, &data, spoil).await;
        assert_eq!(error, DecodeError::DataDigest.into(), "byte {at}");
    }
    // Sense data.
    let world = world.case(100).await;
    let script = async |peer: &mut Peer, command: &ScsiCommand| {
        let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
        let sense = [&[0, 18, 0x70, 0, 5][..], &[0; 15]].concat();
        let mut frame = Frame::new(answer, sense);
        peer.number(&mut frame);
        let mut bytes = frame.to_bytes(peer.digests());
        bytes[52 + 4] ^= 1;
        peer.bytes(&bytes).await.unwrap();
    };
    let error = connection_fails(&world, with_digests(), DIGESTS, script).await;
    assert_eq!(cause(&error), DecodeError::DataDigest.into());
}

/// And for the text of an answer, of which nothing is believed either.
async fn h14_or_a_text(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(DIGESTS).await.unwrap();
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        let mut frame = Frame::new(
            Say::text(request.itt),
            *b"TargetName=iqn.2026-01.example:a\0",
        );
        peer.number(&mut frame);
        let mut bytes = frame.to_bytes(peer.digests());
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        peer.bytes(&bytes).await.unwrap();
        hears_the_end(&mut peer).await;
    };
    let initiator = world.initiator();
    let client = async {
        let to = world.to_with(with_digests());
        let session = initiator.connect_spawned(&to).await.unwrap();
        let error = session.send_targets().await.unwrap_err();
        assert_eq!(cause(&error), DecodeError::DataDigest.into());
    };
    join(script, client).await;
}

/// Sections 11.2.3 and 6.3: no data, no data digest; it covers the padding; and login has none.
async fn h15_a_digest_that_does_not_belong_there(world: &World) {
    // A digest of no data is taken for the next header.
    let here = world.case(0).await;
    let spoil = |bytes: &mut Vec<u8>| {
        let good = bytes.split_off(0);
        let mut news = Frame::new(Say::nop_in(), []);
        news.bhs.as_bytes_mut()[24..36].copy_from_slice(&good[24..36]);
        bytes.extend(news.to_bytes(BOTH));
        bytes.extend(to_wire(crc32c(0, &[])));
        bytes.extend(good);
    };
    let error = spoiled(&here, &[], spoil).await;
    assert!(matches!(error, Error::Decode(_)), "{error}");
    // A digest over the data without its padding.
    for padding in 1..4 {
        let here = world.case(padding).await;
        let data = vec![7; 512 - padding];
        let spoil = |bytes: &mut Vec<u8>| {
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&to_wire(crc32c(0, &data)));
        };
        let error = spoiled(&here, &data, spoil).await;
        assert_eq!(error, DecodeError::DataDigest.into());
    }
    // One behind the last Login Response, and one that is missing behind it.
    for (number, missing) in [false, true].into_iter().enumerate() {
        let here = world.case(10 + number).await;
        let script = async {
            let mut peer = here.accept().await;
            let first = peer.hear_login().await.unwrap();
            let answers = first.answers(&[]);
            peer.say_login(first.agreed(), &answers).await.unwrap();
            let last = peer.hear_login().await.unwrap();
            let answers = last.answers(DIGESTS);
            let mut text = String::new();
            for (key, value) in &answers {
                text += &format!("{key}={value}\0");
            }
            let mut frame = Frame::new(last.agreed(), text);
            peer.number(&mut frame);
            let digests = Digests {
                header: !missing,
                data: !missing,
            };
            peer.bytes(&frame.to_bytes(digests)).await.unwrap();
            // A command may be sent before what follows is read.
            peer.wrote(&frame);
            let mut news = Frame::new(Say::nop_in(), []);
            peer.number(&mut news);
            let bytes = news.to_bytes(Digests::default());
            peer.bytes(&bytes).await.unwrap();
            peer.bytes(&[0; 48]).await.unwrap();
            peer.set_digests(BOTH);
            while peer.hear().await.is_ok() {}
        };
        let initiator = here.initiator();
        let client = async {
            let mut options = with_digests();
            options.login.timeout = std::time::Duration::from_secs(5);
            options.offer = options.offer.with_data_digest(DigestOffer::RequireCrc32c);
            let to = here.to_with(options);
            match initiator.connect_spawned(&to).await {
                // What followed was not the beginning of a PDU.
                Ok(session) => {
                    let executed = session.execute(read(0, 1)).await;
                    let kind = executed.result.unwrap_err().kind();
                    assert_eq!(kind, ErrorKind::Protocol);
                }
                Err(error) => assert!(matches!(
                    super::reaction::protocol(&error),
                    Error::Decode(_) | Error::PeerMisbehaved(_)
                )),
            }
        };
        join(script, client).await;
    }
}

const BOTH: Digests = Digests {
    header: true,
    data: true,
};
