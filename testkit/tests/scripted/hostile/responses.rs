//! Responses that are no answer to what was asked (RFC 7143 sections 11.4, 11.6, 11.11, 11.15 and 11.19).

use std::error::Error as _;

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{
    InitiatorTaskTag, PeerMisbehaved,
    pdu::{LogoutResponseCode, Pdu, TaskManagementResponseCode as Code, TextRequest},
    scsi::ScsiStatus,
    session::TaskErrorKind,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::{Asked, Scene};
use crate::{
    conformance::talk::{expect_error, fence, hear_command, logged_in, pattern, quiet, start},
    support::{World, read, rows, test_unit_ready, write},
};

rows! {
    h93_a_response_code_that_is_not_completed;
    h93_a_status_that_is_none;
    h93_a_response_to_something_else;
}

/// Section 11.4.3: with any response code but 0 the command has failed at the target, whatever the status byte, the
/// flags and the residual counts beside it are.
async fn h93_a_response_code_that_is_not_completed(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let statuses = [0x00, 0x02, 0x08, 0x7f, 0xff];
    for code in 1..=u8::MAX {
        let status = statuses[usize::from(code) % statuses.len()];
        let execute = start(&session, read(0, 1));
        let command = hear_command(&mut peer).await;
        let mut data = Say::data_in(&command, 0, 0);
        data.is_final = true;
        peer.say(data, pattern(512)).await.unwrap();
        let mut answer = Frame::new(Say::response(command.itt, ScsiStatus::Good, 1), []);
        peer.number(&mut answer);
        let bytes = answer.bhs.as_bytes_mut();
        // O and U, o and u; and counts that no transfer could have.
        bytes[1..4].copy_from_slice(&[0x9e, code, status]);
        bytes[40..48].fill(0xff);
        peer.say_as_it_is(&answer).await.unwrap();
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Hardware, "{code:#x}");
        assert_eq!(
            (error.outcome(), error.is_dead()),
            (Outcome::Unknown, true),
            "{code:#x}"
        );
        let source = error.source().and_then(|source| source.downcast_ref());
        assert_eq!(source, Some(&TaskErrorKind::TargetFailure(code)));
        assert!(error.sense().is_none());
    }
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// SAM-5 section 5.3.1: a status byte that is reserved or obsolete is given as it is and is no success; in a response,
/// and in Data-In.
async fn h93_a_status_that_is_none(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for byte in 0..=u8::MAX {
        let status = ScsiStatus::from_byte(byte);
        if !matches!(status, ScsiStatus::Unknown(_)) {
            continue;
        }
        for in_data in [false, true] {
            let execute = start(&session, read(0, 1));
            let command = hear_command(&mut peer).await;
            if in_data {
                let mut data = Say::last_data_in(&command, 0, 0);
                data.status = Some(status);
                peer.say(data, pattern(512)).await.unwrap();
            } else {
                let answer = Say::response(command.itt, status, 0);
                peer.say(answer, []).await.unwrap();
            }
            let response = execute.await.result.unwrap();
            assert_eq!(response.status, ScsiStatus::Unknown(byte));
            assert_eq!(response.transferred, if in_data { 512 } else { 0 });
        }
    }
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// What a target can answer with; each of them to one kind of request.
fn answers(itt: InitiatorTaskTag) -> [(&'static str, Pdu); 5] {
    [
        ("command", Say::response(itt, ScsiStatus::Good, 0).into()),
        (
            "function",
            Say::function(itt, Code::FunctionComplete).into(),
        ),
        ("text", Say::text(itt).into()),
        ("ping", Say::pong(itt).into()),
        (
            "logout",
            Say::logout(itt, LogoutResponseCode::Closed).into(),
        ),
    ]
}

/// An answer that belongs to a request of another kind, to none, or to the reserved tag, ends the connection, and no
/// request: neither the one whose tag it has, nor any other, was answered.
async fn h93_a_response_to_something_else(world: &World) {
    let requests = [
        "command", "write", "function", "text", "ping", "nobody", "reserved",
    ];
    let mut number = 0;
    for to in requests {
        for answer in 0..answers(InitiatorTaskTag(0)).len() {
            let of = answers(InitiatorTaskTag(0))[answer].0;
            let is_news = to == "reserved" && of == "ping";
            if of == to || (of, to) == ("command", "write") || is_news {
                continue;
            }
            let world = world.case(number).await;
            number += 1;
            let keys = [("ImmediateData", "No")];
            let commands = [read(0, 1), test_unit_ready(), write(0, pattern(512))];
            let mut scene = Scene::new(&world, quiet(), &keys, commands).await;
            let Asked {
                ping,
                heard,
                reset,
                function,
            } = scene.ask().await;
            let peer = &mut scene.peer;
            let renegotiating = scene.session.renegotiate(4096);
            let (text, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
            let itt = match to {
                "command" => scene.commands[1].itt,
                "write" => scene.commands[2].itt,
                "function" => function.itt,
                "text" => text.itt,
                "ping" => heard.itt,
                "nobody" => InitiatorTaskTag(scene.commands[0].itt.0 ^ 0x8000_0000),
                _ => InitiatorTaskTag::RESERVED,
            };
            let (_, pdu) = answers(itt)[answer];
            let case = format!("an answer to a {of}, for a {to}");
            peer.say(pdu, []).await.unwrap();
            assert_eq!(
                ping.await.unwrap_err().kind(),
                ErrorKind::Protocol,
                "{case}"
            );
            assert_eq!(
                reset.await.unwrap_err().kind(),
                ErrorKind::Protocol,
                "{case}"
            );
            let error = renegotiating.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{case}");
            let breach = scene.expect_broken(&world, &case).await;
            breach.was(PeerMisbehaved::UnknownTask(itt), &case);
        }
    }
    // And with another session beside it.
    let world = world.case(number).await;
    let scene = Scene::beside_another(&world, quiet(), &[], [read(0, 1), test_unit_ready()]);
    let mut scene = scene.await;
    let itt = scene.commands[0].itt;
    let answer = Say::function(itt, Code::FunctionComplete);
    scene.peer.say(answer, []).await.unwrap();
    let breach = scene.expect_broken(&world, "beside another").await;
    breach.was(PeerMisbehaved::UnknownTask(itt), "beside another");
}
