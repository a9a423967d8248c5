//! R2Ts that no target may send (RFC 7143 section 11.8).

use iscsi_proto::{
    DecodeError, InitiatorTaskTag,
    error::PeerMisbehaved,
    pdu::{DataOut, NopOut, R2t, TaskManagementRequest},
    scsi::Lun,
    session::TaskManagement,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::Scene;
use crate::{
    conformance::talk::{pattern, quiet},
    support::{World, read, rows, test_unit_ready, write},
};

rows! {
    h83_r2t_that_asks_for_nothing_or_too_much;
    h83_r2t_with_a_data_segment;
    h85_more_r2ts_than_agreed;
    h86_r2t_for_no_task_that_writes;
    h87_r2t_sn_that_is_not_the_next;
    h87_the_same_range_for_ever;
}

const TERMS: [(&str, &str); 4] = [
    ("ImmediateData", "No"),
    ("MaxRecvDataSegmentLength", "1024"),
    ("MaxBurstLength", "4096"),
    ("FirstBurstLength", "4096"),
];

async fn writing(world: &World) -> Scene {
    let requests = [write(0, pattern(8192)), test_unit_ready()];
    Scene::beside_another(world, quiet(), &TERMS, requests).await
}

/// Sections 11.8.4 and 11.8.3: not zero, not more than MaxBurstLength; and with a tag.
async fn h83_r2t_that_asks_for_nothing_or_too_much(world: &World) {
    let cases = [
        (1, 0, 0),
        (1, 0, 4097),
        (1, 0, 8192),
        (1, 0, u32::MAX),
        (u32::MAX, 0, 4096),
    ];
    for (number, (ttt, offset, length)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = writing(&world).await;
        let r2t = Say::r2t(&scene.commands[0], ttt, 0, offset, length);
        scene.peer.say(r2t, []).await.unwrap();
        let case = format!("{length} bytes for {ttt:#x}");
        let breach = scene.expect_broken(&world, &case).await;
        breach.was(PeerMisbehaved::R2tRange { offset, length }, &case);
    }
}

/// Section 11.8: an R2T has no data segment.
async fn h83_r2t_with_a_data_segment(world: &World) {
    for (number, length) in [1, 4, 8192].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = writing(&world).await;
        let r2t = Say::r2t(&scene.commands[0], 1, 0, 0, 4096);
        let mut frame = Frame::new(r2t, pattern(length));
        scene.peer.number(&mut frame);
        // The initiator may have reset the connection before all of it was sent.
        let _sent = scene.peer.say_as_it_is(&frame).await;
        let case = format!("{length} bytes of data");
        let breach = scene.expect_broken(&world, &case).await;
        let length = length as u32;
        breach.was(DecodeError::DataSegmentTooLong { length, limit: 0 }, &case);
    }
}

/// Section 13.17: no more R2Ts are open at a time than were agreed on. Those may be answered; the next one ends the
/// connection.
async fn h85_more_r2ts_than_agreed(world: &World) {
    let world = world.case(0).await;
    let mut scene = writing(&world).await;
    // All at once, so that none is answered before the last one is there.
    let mut bytes = Vec::new();
    for number in 0..16 {
        let r2t = Say::r2t(&scene.commands[0], number, number, number * 512, 512);
        let mut frame = Frame::new(r2t, []);
        scene.peer.number(&mut frame);
        bytes.extend(frame.to_bytes(scene.peer.digests()));
    }
    scene.peer.bytes(&bytes).await.unwrap();
    for execute in scene.executes.drain(..) {
        let error = execute.await.result.unwrap_err();
        let expected = PeerMisbehaved::TooManyR2ts.into();
        assert_eq!(super::scene::core_error(&error), expected);
    }
    let mut sent = 0;
    while let Ok((_, data)) = scene.peer.hear_pdu::<DataOut>().await {
        sent += data.len();
    }
    assert!(sent <= 8192);
}

/// Section 11.8: the tag is that of a command that writes.
async fn h86_r2t_for_no_task_that_writes(world: &World) {
    let of = ["nobody", "reserved", "read", "no data", "ping", "function"];
    for (number, of) in of.into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [write(0, pattern(512)), read(0, 1), test_unit_ready()];
        let mut scene = Scene::new(&world, quiet(), &TERMS, requests).await;
        let peer = &mut scene.peer;
        let ping = scene.session.ping();
        let (heard, _) = peer.hear_pdu::<NopOut>().await.unwrap();
        let reset = TaskManagement::LogicalUnitReset(Lun::ZERO);
        let reset = scene.session.task_management(reset, None);
        let (function, _) = peer.hear_pdu::<TaskManagementRequest>().await.unwrap();
        let itt = match of {
            "nobody" => InitiatorTaskTag(0x1234_5678),
            "reserved" => InitiatorTaskTag::RESERVED,
            "read" => scene.commands[1].itt,
            "no data" => scene.commands[2].itt,
            "ping" => heard.itt,
            _ => function.itt,
        };
        let r2t = R2t {
            itt,
            ..Say::r2t(&scene.commands[0], 1, 0, 0, 512)
        };
        peer.say(r2t, []).await.unwrap();
        ping.await.unwrap_err();
        reset.await.unwrap_err();
        let breach = scene.expect_broken(&world, of).await;
        breach.was_an_unknown_task(of);
    }
}

/// Section 11.8.1: R2TSN starts at 0 and counts.
async fn h87_r2t_sn_that_is_not_the_next(world: &World) {
    for (number, found) in [1, 2, u32::MAX].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = writing(&world).await;
        let r2t = Say::r2t(&scene.commands[0], 1, found, 0, 4096);
        scene.peer.say(r2t, []).await.unwrap();
        let case = format!("R2TSN {found}");
        let breach = scene.expect_broken(&world, &case).await;
        let expected = 0;
        breach.was(PeerMisbehaved::R2tSn { expected, found }, &case);
    }
}

/// Section 7.2: a target that asks for a range again recovers within a command, which needs ErrorRecoveryLevel 1.
/// Every byte is sent once at most.
async fn h87_the_same_range_for_ever(world: &World) {
    for (number, (offset, length)) in [(0, 1024), (512, 512), (1020, 4)].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = writing(&world).await;
        let r2t = Say::r2t(&scene.commands[0], 1, 0, 0, 1024);
        scene.peer.say(r2t, []).await.unwrap();
        let (data, _) = scene.peer.hear_pdu::<DataOut>().await.unwrap();
        assert!(data.is_final);
        let r2t = Say::r2t(&scene.commands[0], 2, 1, offset, length);
        scene.peer.say(r2t, []).await.unwrap();
        let case = format!("{length} bytes at {offset} again");
        let breach = scene.expect_broken(&world, &case).await;
        breach.was(PeerMisbehaved::R2tRange { offset, length }, &case);
    }
}
