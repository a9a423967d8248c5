//! Data-In for tasks that do not read, and flags that contradict each other (RFC 7143 section 11.7).

use std::time::Duration;

use iscsi_client::error::ErrorKind;
use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{DataIn, NopOut, Residual, TaskManagementRequest},
    scsi::{Lun, ScsiStatus},
    session::TaskManagement,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::Scene;
use crate::{
    conformance::talk::{
        bytes_of, expect_error, expect_good, fence, hear_command, hear_function, logged_in,
        patience, pattern, quiet, say_complete, start,
    },
    support::{World, read, rows, test_unit_ready, write},
};

rows! {
    h74_data_in_for_no_task_that_reads;
    h74_late_data_in_of_an_aborted_task;
    h77_flags_that_contradict_each_other;
    h81_data_in_after_the_response;
}

/// Section 11.7: the tag is that of a command that reads; anything else ends the connection.
async fn h74_data_in_for_no_task_that_reads(world: &World) {
    let keys = [("ImmediateData", "No")];
    let of = [
        "nobody",
        "reserved",
        "other generation",
        "no data",
        "write",
        "ping",
        "function",
    ];
    for (number, of) in of.into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready(), write(0, pattern(512))];
        let mut scene = Scene::new(&world, quiet(), &keys, requests).await;
        let peer = &mut scene.peer;
        let ping = scene.session.ping();
        let (heard, _) = peer.hear_pdu::<NopOut>().await.unwrap();
        let reset = scene
            .session
            .task_management(TaskManagement::LogicalUnitReset(Lun::ZERO), None);
        let (function, _) = peer.hear_pdu::<TaskManagementRequest>().await.unwrap();
        let itt = match of {
            "nobody" => InitiatorTaskTag(0x1234_5678),
            "reserved" => InitiatorTaskTag::RESERVED,
            "other generation" => InitiatorTaskTag(scene.commands[0].itt.0 ^ 0x8000_0000),
            "no data" => scene.commands[1].itt,
            "write" => scene.commands[2].itt,
            "ping" => heard.itt,
            _ => function.itt,
        };
        let mut data = Say::data_in(&scene.commands[0], 0, 0);
        data.itt = itt;
        peer.say(data, pattern(512)).await.unwrap();
        assert_eq!(ping.await.unwrap_err().kind(), ErrorKind::Protocol, "{of}");
        assert_eq!(reset.await.unwrap_err().kind(), ErrorKind::Protocol, "{of}");
        scene
            .expect_broken(&world, of)
            .await
            .was_an_unknown_task(of);
    }
}

/// Section 11.5.1: until its ABORT TASK is answered, a task may still send data, which goes nowhere.
async fn h74_late_data_in_of_an_aborted_task(world: &World) {
    let mut options = quiet();
    options.command_timeout = Some(patience(world, Duration::from_secs(30)));
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let late = start(&session, read(0, 2));
    let command = hear_command(&mut peer).await;
    let function = hear_function(&mut peer).await;
    assert_eq!(function.referenced_task_tag, command.itt);
    let data = Say::data_in(&command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    say_complete(&mut peer, function.itt).await;
    assert_eq!(expect_error(late).await.kind(), ErrorKind::Timeout);
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// Section 11.7.3: status without F, and CHECK CONDITION without its sense data. (A: `c40`.)
async fn h77_flags_that_contradict_each_other(world: &World) {
    type Spoil = fn(&mut DataIn);
    let spoils: [(&str, Spoil); 3] = [
        ("S without F", |data| data.is_final = false),
        ("CHECK CONDITION", |data| {
            data.status = Some(ScsiStatus::CheckCondition);
        }),
        ("A", |data| data.acknowledge = true),
    ];
    for (number, (case, spoil)) in spoils.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::new(&world, quiet(), &[], [read(0, 1), test_unit_ready()]).await;
        let mut data = Say::last_data_in(&scene.commands[0], 0, 0);
        spoil(&mut data);
        let mut frame = Frame::new(data, pattern(512));
        scene.peer.number(&mut frame);
        scene.peer.say_as_it_is(&frame).await.unwrap();
        scene.expect_broken(&world, case).await;
    }
}

/// Section 11.7: the response was the last of its command.
async fn h81_data_in_after_the_response(world: &World) {
    for (number, sent) in [0, 512, 1024].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::new(&world, quiet(), &[], [read(0, 2), test_unit_ready()]).await;
        let (peer, command) = (&mut scene.peer, scene.commands[0]);
        if sent > 0 {
            let data = Say::data_in(&command, 0, 0);
            peer.say(data, pattern(sent)).await.unwrap();
        }
        let mut answer = Say::response(command.itt, ScsiStatus::Good, 1);
        if sent < 1024 {
            let missing = 1024 - sent as u32;
            answer.residual = Residual::Underflow(missing);
        }
        peer.say(answer, []).await.unwrap();
        let payload = expect_good(scene.executes.remove(0), sent as u32).await;
        let data = Say::data_in(&command, u32::from(sent > 0), sent as u32);
        peer.say(data, vec![0xee; 512]).await.unwrap();
        let case = format!("after {sent} bytes");
        scene
            .expect_broken(&world, &case)
            .await
            .was_an_unknown_task(&case);
        let bytes = bytes_of(&payload);
        assert_eq!(bytes[..sent], pattern(sent));
        assert!(bytes[sent..].iter().all(|byte| *byte == 0));
    }
}
