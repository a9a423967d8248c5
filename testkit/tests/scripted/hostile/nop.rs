//! Pings without end, and answers to pings that were none (RFC 7143 sections 11.18 and 11.19).

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{DecodeError, InitiatorTaskTag, PeerMisbehaved, TargetTransferTag, pdu::NopOut};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::scene::{Asked, Scene, core_error};
use crate::{
    conformance::talk::{fence, logged_in, pattern, quiet},
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h98_pings_that_are_answered_in_time;
    h98_more_pings_than_are_answered;
    h98_pings_of_a_target_that_does_not_listen;
    h98_a_ping_longer_than_a_segment;
    h99_an_answer_to_no_ping;
}

/// Pings of the target's with these tags, all at once.
async fn say_pings(peer: &mut Peer, tags: std::ops::Range<u32>) {
    let mut bytes = Vec::new();
    for ttt in tags {
        let mut frame = Frame::new(Say::ping(ttt), []);
        peer.number(&mut frame);
        bytes.extend(frame.to_bytes(peer.digests()));
    }
    // The initiator may have had enough before all of it was sent.
    let _sent = peer.bytes(&bytes).await;
}

/// Section 11.19: each is answered, in order. 64 may wait for that at a time.
async fn h98_pings_that_are_answered_in_time(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let mut first = 0;
    for burst in [1, 2, 63, 64, 64, 64] {
        say_pings(&mut peer, first..first + burst).await;
        for ttt in first..first + burst {
            let (answer, _) = peer.hear_pdu::<NopOut>().await.unwrap();
            assert_eq!(answer.ttt, TargetTransferTag(ttt));
            assert_eq!(answer.itt, InitiatorTaskTag::RESERVED);
        }
        first += burst;
    }
    for ttt in first..first + 1000 {
        peer.say(Say::ping(ttt), pattern(512)).await.unwrap();
        let (answer, echo) = peer.hear_pdu::<NopOut>().await.unwrap();
        assert_eq!(answer.ttt, TargetTransferTag(ttt));
        assert_eq!(echo, pattern(512));
    }
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// The commands end for a flood; on the connection nothing comes but answers, and its end.
async fn was_a_flood(mut scene: Scene, most: usize) {
    for execute in scene.executes.drain(..) {
        let error = execute.await.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(
            (error.outcome(), error.is_dead()),
            (Outcome::Unknown, false)
        );
        assert_eq!(core_error(&error), PeerMisbehaved::Flood.into());
    }
    let mut answers = 0;
    while let Ok((answer, _)) = scene.peer.hear_pdu::<NopOut>().await {
        assert_ne!(answer.ttt, TargetTransferTag::RESERVED);
        answers += 1;
    }
    assert!(answers <= most, "{answers} answers");
    scene.others_lost_nothing().await;
}

/// More than that are a flood, which ends the connection.
async fn h98_more_pings_than_are_answered(world: &World) {
    for (number, burst) in [1000, 20_000].into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        say_pings(&mut scene.peer, 0..burst).await;
        was_a_flood(scene, burst as usize - 1).await;
    }
}

/// A target that does not read what it asked for: no more than 512 KiB of its data are kept for the answers.
async fn h98_pings_of_a_target_that_does_not_listen(world: &World) {
    for (number, length) in [65_536, 262_144].into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        let bytes = pattern(length);
        let mut said = 0;
        while scene.peer.say(Say::ping(said), &bytes[..]).await.is_ok() {
            said += 1;
            // 256 MiB: more than any socket holds.
            assert!(said < 4096, "no end");
        }
        was_a_flood(scene, said as usize).await;
    }
}

/// Section 11.18: the answer has as much of the data as the target takes in a segment; section 13.12: a ping has no
/// more than we do.
async fn h98_a_ping_longer_than_a_segment(world: &World) {
    let keys = [("MaxRecvDataSegmentLength", "512")];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    for length in [513, 65_536, 262_144] {
        peer.say(Say::ping(1), pattern(length)).await.unwrap();
        let (_, echo) = peer.hear_pdu::<NopOut>().await.unwrap();
        assert_eq!(echo, pattern(512));
    }
    fence(&session, &mut peer).await;
    for (number, length) in [262_145, 1 << 23, 0xff_ffff].into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &keys, requests).await;
        let mut ping = Frame::new(Say::ping(1), []);
        scene.peer.number(&mut ping);
        ping.set_length(length);
        scene.peer.say_as_it_is(&ping).await.unwrap();
        let case = format!("{length} bytes");
        let breach = scene.expect_broken(&world, &case).await;
        let limit = 262_144;
        breach.was(DecodeError::DataSegmentTooLong { length, limit }, &case);
    }
}

/// Section 11.19: an answer has the tag of a ping of ours, and its data, of which there was none. Anything else ends
/// the connection, and the ping has not succeeded.
async fn h99_an_answer_to_no_ping(world: &World) {
    let of = [
        "one byte",
        "many bytes",
        "a command",
        "a function",
        "other generation",
        "nobody",
        "twice",
    ];
    for (number, of) in of.into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        let Asked {
            ping,
            heard,
            reset,
            function,
        } = scene.ask().await;
        let peer = &mut scene.peer;
        let (itt, data) = match of {
            "one byte" => (heard.itt, vec![0]),
            "many bytes" => (heard.itt, pattern(262_144)),
            "a command" => (scene.commands[0].itt, vec![]),
            "a function" => (function.itt, vec![]),
            "other generation" => (InitiatorTaskTag(heard.itt.0 ^ 0x1000), vec![]),
            "nobody" => (InitiatorTaskTag(0x1234_5678), vec![]),
            _ => (heard.itt, vec![]),
        };
        let expected = match data.is_empty() {
            true => PeerMisbehaved::UnknownTask(itt),
            false => PeerMisbehaved::NopData,
        };
        peer.say(Say::pong(itt), data).await.unwrap();
        if of == "twice" {
            ping.await.unwrap();
            peer.say(Say::pong(itt), []).await.unwrap();
        } else {
            let error = ping.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{of}");
            assert_eq!(core_error(&error), expected.into(), "{of}");
        }
        assert_eq!(reset.await.unwrap_err().kind(), ErrorKind::Protocol, "{of}");
        let breach = scene.expect_broken(&world, of).await;
        breach.was(expected, of);
    }
}
