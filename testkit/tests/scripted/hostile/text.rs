//! Login text that is none, that says things twice, or that never ends (RFC 7143 sections 6.1 to 6.3).

use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    DecodeError, Error, PeerMisbehaved,
    pdu::{LoginRequest, ScsiCommand},
    scsi::ScsiStatus,
};
use iscsi_testkit::scripted::{Frame, LoginExchange, Peer, Say};

use super::reaction::{hears_the_end, refused};
use crate::support::{World, rows, test_unit_ready};

rows! {
    h19_text_without_an_end;
    h19_nothing_but_nuls_is_legal;
    h20_what_is_no_key_and_no_value;
    h21_keys_and_values_that_are_too_long;
    h22_a_key_for_the_second_time;
    h23_a_text_that_goes_on_for_ever;
    h24_a_login_without_progress;
    h25_flags_that_contradict_each_other;
}

/// Answers all requests before the `round`-th as usual, and hears that one.
async fn hear_round(peer: &mut Peer, round: usize) -> LoginExchange {
    for _ in 0..round {
        let exchange = peer.hear_login().await.unwrap();
        let answers = exchange.answers(&[]);
        peer.say_login(exchange.agreed(), &answers).await.unwrap();
    }
    peer.hear_login().await.unwrap()
}

/// The login in whose `round`-th response this text stands.
async fn said(world: &World, round: usize, text: &[u8]) -> Error {
    let script = async |peer: &mut Peer| {
        let exchange = hear_round(peer, round).await;
        peer.say(exchange.agreed(), text).await.unwrap();
    };
    refused(world, SessionOptions::default(), script).await
}

/// Section 6.1: each pair ends in a NUL.
async fn h19_text_without_an_end(world: &World) {
    for (text, offset) in [
        (&b"TargetAlias=disk"[..], 0),
        (b"T", 0),
        (b"TargetPortalGroupTag=1\0TargetAlias=d", 23),
        (b"\0\0\0TargetAlias=d", 3),
    ] {
        for round in [0, 1] {
            let error = said(world, round, text).await;
            assert_eq!(error, DecodeError::Text { offset }.into());
        }
    }
    let longest = vec![b'x'; 8192];
    let error = said(world, 0, &longest).await;
    assert_eq!(error, DecodeError::Text { offset: 0 }.into());
}

/// A text may be empty, and some targets fill it up with NULs; what is not answered has its default
/// (section 6.2).
async fn h19_nothing_but_nuls_is_legal(world: &World) {
    for (number, len) in [0, 1, 3, 8192].into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            for _ in 0..2 {
                let exchange = peer.hear_login().await.unwrap();
                peer.say(exchange.agreed(), vec![0; len]).await.unwrap();
            }
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
            peer.hear_the_end().await;
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let executed = session.execute(test_unit_ready()).await;
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
            let login = session.login();
            let agreed = &login.parameters;
            assert_eq!(agreed.max_xmit_data_segment_length, 8192);
            assert_eq!((agreed.initial_r2t, agreed.max_outstanding_r2t), (true, 1));
            session.close().await;
        };
        futures_util::future::join(script, client).await;
    }
}

/// Section 6.1: a key, `=`, a value in UTF-8.
async fn h20_what_is_no_key_and_no_value(world: &World) {
    for (text, offset) in [
        (&b"TargetAlias\0"[..], 0),
        (b"=disk\0", 0),
        (b"=\0", 0),
        (b"A=1\0B\0", 4),
        (b"Target Alias=disk\0", 6),
        (b"\x01=disk\0", 0),
        (b"X-caf\xc3\xa9=1\0", 5),
        (b"TargetAlias=\xff\0", 12),
        (b"TargetAlias=caf\xc3\0", 15),
    ] {
        for round in [0, 1] {
            let error = said(world, round, text).await;
            assert_eq!(error, DecodeError::Text { offset }.into(), "{text:?}");
        }
    }
}

/// Section 6.1: 63 bytes of key, 255 of value.
async fn h21_keys_and_values_that_are_too_long(world: &World) {
    let pair = |key: usize, value: usize| {
        let (key, value) = ("K".repeat(key), "v".repeat(value));
        format!("{key}={value}\0").into_bytes()
    };
    for (text, length, limit) in [
        (pair(64, 1), 64, 63),
        (pair(8000, 1), 8000, 63),
        (pair(3, 256), 256, 255),
        (pair(3, 8187), 8187, 255),
        ([b"TargetAlias=", &pair(1, 300)[2..]].concat(), 300, 255),
    ] {
        let error = said(world, 1, &text).await;
        assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
    }
    // The longest ones are understood as something that is not understood.
    let script = async |peer: &mut Peer| {
        let exchange = hear_round(peer, 0).await;
        let mut response = exchange.agreed();
        response.transit = false;
        peer.say(response, pair(63, 255)).await.unwrap();
        let next = peer.hear_login().await.unwrap();
        assert_eq!(next.value(&"K".repeat(63)), Some("NotUnderstood"));
        peer.say(next.agreed(), pair(64, 0)).await.unwrap();
    };
    let error = refused(world, SessionOptions::default(), script).await;
    let (length, limit) = (64, 63);
    assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
}

/// Section 6.3: no key is negotiated or declared for the second time in one login.
async fn h22_a_key_for_the_second_time(world: &World) {
    let twice: Error = PeerMisbehaved::DuplicateKey.into();
    for text in [
        &b"AuthMethod=None\0AuthMethod=CHAP\0"[..],
        b"AuthMethod=None\0AuthMethod=None\0",
        b"TargetPortalGroupTag=1\0TargetPortalGroupTag=2\0",
    ] {
        assert_eq!(said(world, 0, text).await, twice);
    }
    for text in [
        &b"MaxBurstLength=512\0MaxBurstLength=1024\0"[..],
        b"HeaderDigest=None\0HeaderDigest=None\0",
        b"MaxRecvDataSegmentLength=512\0MaxRecvDataSegmentLength=4096\0",
        b"TargetAlias=a\0TargetAlias=b\0",
        // Said in the stage before.
        b"TargetPortalGroupTag=1\0",
        b"AuthMethod=None\0",
    ] {
        let script = async |peer: &mut Peer| {
            let first = peer.hear_login().await.unwrap();
            let answers = [("AuthMethod", "None"), ("TargetPortalGroupTag", "1")];
            peer.say_login(first.agreed(), &answers).await.unwrap();
            let second = peer.hear_login().await.unwrap();
            peer.say(second.agreed(), text).await.unwrap();
        };
        let error = refused(world, SessionOptions::default(), script).await;
        assert_eq!(error, twice, "{}", text.escape_ascii());
    }
    // The same in two responses of one stage.
    let script = async |peer: &mut Peer| {
        let exchange = hear_round(peer, 1).await;
        let mut response = exchange.agreed();
        response.transit = false;
        let text = b"MaxBurstLength=512\0";
        peer.say(response, *text).await.unwrap();
        let next = peer.hear_login().await.unwrap();
        peer.say(next.agreed(), *text).await.unwrap();
    };
    let error = refused(world, SessionOptions::default(), script).await;
    assert_eq!(error, twice);
}

/// Section 6.2 joins texts by the C bit; the cap on what is joined ends it.
async fn h23_a_text_that_goes_on_for_ever(world: &World) {
    for (cap, len) in [(65_536_u32, 8192), (65_536, 8191), (20_000, 8192)] {
        let mut options = SessionOptions::default();
        options.login.max_text = cap;
        let script = async |peer: &mut Peer| {
            let mut exchange = hear_round(peer, 1).await;
            let mut sent = 0;
            while sent <= cap {
                let mut response = exchange.agreed();
                (response.transit, response.cont) = (false, true);
                peer.say(response, vec![b'x'; len]).await.unwrap();
                sent += len as u32;
                if sent <= cap {
                    let (request, text) = peer.hear_pdu::<LoginRequest>().await.unwrap();
                    assert!(text.is_empty() && !request.transit && !request.cont);
                    exchange.request = request;
                }
            }
        };
        let error = refused(world, options, script).await;
        let length = cap / len as u32 * len as u32 + len as u32;
        let limit = cap;
        assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
    }
}

/// A target that never agrees to go on: the login ends after its rounds.
async fn h24_a_login_without_progress(world: &World) {
    for (rounds, stage) in [(32, 0), (32, 1), (3, 0)] {
        let mut options = SessionOptions::default();
        options.login.max_rounds = rounds;
        let script = async |peer: &mut Peer| {
            let mut exchange = hear_round(peer, stage).await;
            for round in stage as u32..=rounds {
                let mut response = exchange.agreed();
                response.transit = false;
                peer.say(response, []).await.unwrap();
                if round < rounds {
                    exchange = peer.hear_login().await.unwrap();
                    assert!(exchange.request.transit);
                }
            }
        };
        let error = refused(world, options, script).await;
        assert_eq!(error, PeerMisbehaved::Stalled(rounds).into());
    }
}

/// Sections 11.13.6 and 11.13.7: T goes with the last part of a text, and only where it was asked for.
async fn h25_flags_that_contradict_each_other(world: &World) {
    for round in [0, 1] {
        let script = async |peer: &mut Peer| {
            let exchange = hear_round(peer, round).await;
            let mut response = exchange.agreed();
            response.cont = true;
            peer.say(response, *b"TargetAlias=").await.unwrap();
        };
        let error = refused(world, SessionOptions::default(), script).await;
        assert_eq!(error, PeerMisbehaved::Flags.into());
        // While its text goes on, the initiator asks for nothing.
        let script = async |peer: &mut Peer| {
            let exchange = hear_round(peer, round).await;
            let mut response = exchange.agreed();
            (response.transit, response.cont) = (false, true);
            peer.say(response, *b"TargetAlias=").await.unwrap();
            let (request, _) = peer.hear_pdu::<LoginRequest>().await.unwrap();
            assert!(!request.transit);
            let mut frame = Frame::new(response, *b"disk\0");
            peer.number(&mut frame);
            frame.bhs.as_bytes_mut()[1] = 0x80 | (round as u8) << 2 | [1, 3][round];
            peer.say_as_it_is(&frame).await.unwrap();
            hears_the_end(peer).await;
        };
        let error = refused(world, SessionOptions::default(), script).await;
        assert_eq!(error, PeerMisbehaved::Flags.into());
    }
}
