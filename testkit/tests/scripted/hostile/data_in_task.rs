//! Data-In for tasks that do not read, and flags that contradict each other (RFC 7143 section 11.7).

use std::{error::Error as _, time::Duration};

use futures_util::future::join;
use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{
    Error as CoreError, InitiatorTaskTag,
    error::{PeerMisbehaved, TimedOut},
    pdu::{DataIn, NopOut, Residual, TaskManagementRequest},
    scsi::{Lun, ScsiStatus},
    session::TaskManagement,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::{Scene, core_error};
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
    h76_data_in_without_data_and_without_end;
    h76_or_the_connection_fails_meanwhile;
    h77_flags_that_contradict_each_other;
    h81_data_in_after_the_response;
}

/// Longer than any row takes.
const NEVER: Duration = Duration::from_secs(3600);

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

/// Data-In that brings nothing, for ever: the command has a deadline all the same, its abort has one, and then the
/// connection ends. Whoever set the deadline reads that it has passed, and everybody else on the connection that it
/// was lost; why is the same.
async fn h76_data_in_without_data_and_without_end(world: &World) {
    for (number, is_final) in [false, true].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.core.ladder.abort_task = Some(patience(&world, Duration::from_secs(5)));
        let late = patience(&world, Duration::from_secs(30));
        let requests = [
            read(0, 2).with_timeout(Some(late)),
            test_unit_ready().with_timeout(Some(NEVER)),
        ];
        let mut scene = Scene::beside_another(&world, options, &[], requests).await;
        let mut executes = std::mem::take(&mut scene.executes).into_iter();
        let (peer, command) = (&mut scene.peer, scene.commands[0]);
        let script = async {
            for data_sn in 0.. {
                let mut data = Say::data_in(&command, data_sn, 0);
                data.is_final = is_final;
                if peer.say(data, []).await.is_err() {
                    break;
                }
                peer.sleep(Duration::from_millis(1)).await;
            }
        };
        let client = async {
            for kind in [ErrorKind::Timeout, ErrorKind::Transport] {
                let error = expect_error(executes.next().unwrap()).await;
                assert_eq!(error.kind(), kind);
                assert_eq!(
                    (error.outcome(), error.is_dead()),
                    (Outcome::Unknown, false)
                );
                assert_eq!(core_error(&error), TimedOut::TaskManagement.into());
            }
        };
        join(script, client).await;
        assert_eq!(scene.session.stats().aborts_sent, 1);
        scene.peer.hear_the_end().await;
        scene.others_lost_nothing().await;
    }
}

/// A connection that fails while a late command is being aborted: that one was late, and its neighbour was lost.
async fn h76_or_the_connection_fails_meanwhile(world: &World) {
    for (number, by_reset) in [true, false].into_iter().enumerate() {
        let world = world.case(number).await;
        let late = patience(&world, Duration::from_secs(30));
        let requests = [
            write(0, pattern(512)).with_timeout(Some(late)),
            test_unit_ready().with_timeout(Some(NEVER)),
        ];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        hear_function(&mut scene.peer).await;
        match by_reset {
            true => scene.peer.reset(),
            false => scene.peer.finish().await.unwrap(),
        }
        let kinds = [ErrorKind::Timeout, ErrorKind::Transport];
        for (execute, kind) in scene.executes.drain(..).zip(kinds) {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), kind, "reset {by_reset}");
            assert_eq!(
                (error.outcome(), error.is_dead()),
                (Outcome::Unknown, false)
            );
            let source = error.source().expect("what became of the connection");
            assert_eq!(source.is::<CoreError>(), !by_reset, "{source}");
        }
        scene.others_lost_nothing().await;
    }
}

/// Section 11.7.3: status without F, and CHECK CONDITION without its sense data. (A: `c40`.)
async fn h77_flags_that_contradict_each_other(world: &World) {
    type Spoil = fn(&mut DataIn);
    let spoils: [(&str, Spoil); 4] = [
        ("S without F", |data| data.is_final = false),
        ("A without S", |data| {
            (data.status, data.acknowledge) = (None, true);
        }),
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
        let breach = scene.expect_broken(&world, case).await;
        let breach = breach.was(PeerMisbehaved::Flags, case);
        let bytes = bytes_of(&breach.payloads[0]);
        assert!(bytes.iter().all(|byte| *byte == 0), "{case}");
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
