//! What comes after a task was aborted, or for a function that is none (RFC 7143 sections 11.5 and 11.6).

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{
    InitiatorTaskTag, PeerMisbehaved,
    pdu::{Pdu, ScsiCommand, TaskManagementResponseCode as Code},
    scsi::ScsiStatus,
};
use iscsi_testkit::scripted::{Peer, Say};

use super::scene::{Asked, Scene};
use crate::{
    conformance::talk::{
        bytes_of, expect_good, fence, hear_command, hear_function, logged_in, pattern, quiet,
        say_complete, start,
    },
    support::{World, read, rows, test_unit_ready, write},
};

rows! {
    h96_answers_of_a_task_that_was_aborted;
    h96_answers_of_an_aborted_task_long_after;
    h96_an_answer_to_a_function_that_is_none;
}

/// What a target may still say of a command.
fn late(command: &ScsiCommand) -> Vec<(Pdu, Vec<u8>)> {
    let mut late: Vec<(Pdu, Vec<u8>)> = vec![
        (
            Say::response(command.itt, ScsiStatus::Good, 0).into(),
            vec![],
        ),
        (
            Say::response(command.itt, ScsiStatus::CheckCondition, 0).into(),
            vec![0, 1, 0x70],
        ),
    ];
    if command.read {
        late.push((Say::data_in(command, 0, 0).into(), vec![0xee; 512]));
        late.push((
            Say::data_in(command, 7, 0xffff_fe00).into(),
            vec![0xee; 1024],
        ));
        late.push((Say::last_data_in(command, 0, 512).into(), vec![0xee; 512]));
    }
    if command.write {
        late.push((Say::r2t(command, 9, 0, 0, 1024).into(), vec![]));
        late.push((
            Say::r2t(command, 9, 5, 0xffff_fe00, 0xffff_ffff).into(),
            vec![],
        ));
    }
    late
}

async fn say_late(peer: &mut Peer, command: &ScsiCommand) {
    for (pdu, data) in late(command) {
        peer.say(pdu, data).await.unwrap();
    }
}

/// Section 11.6.1: "function complete" says that the task is over. What the target says of it all the same, once or
/// twice, in what order ever, goes nowhere: not into the memory, which its caller has back, and to no command that is
/// under way; nor is it answered.
async fn h96_answers_of_a_task_that_was_aborted(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[("ImmediateData", "No")]).await;
    for code in [Code::FunctionComplete, Code::TaskDoesNotExist] {
        for request in [read(0, 2), write(0, pattern(1024)), test_unit_ready()] {
            let other = start(&session, read(8, 1));
            let other_command = hear_command(&mut peer).await;
            let aborted = start(&session, request);
            let command = hear_command(&mut peer).await;
            aborted.revoke();
            let function = hear_function(&mut peer).await;
            assert_eq!(function.referenced_task_tag, command.itt);
            let answer = Say::function(function.itt, code);
            peer.say(answer, []).await.unwrap();
            let executed = aborted.await;
            let error = executed.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Aborted);
            assert_eq!(error.outcome(), Outcome::Unknown);
            for _ in 0..2 {
                say_late(&mut peer, &command).await;
            }
            fence(&session, &mut peer).await;
            let ping = fence(&session, &mut peer).await;
            assert_eq!(
                ping.exp_stat_sn.next(),
                peer.stat_sn(),
                "each has its StatSN"
            );
            if command.read {
                let bytes = bytes_of(&executed.payload);
                assert!(bytes.iter().all(|byte| *byte == 0));
            }
            let data = Say::last_data_in(&other_command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
            assert_eq!(bytes_of(&expect_good(other, 512).await), pattern(512));
        }
    }
    assert_eq!(session.logins(), 1);
}

/// The same after other commands have had its place in the table of tasks, and while one has.
async fn h96_answers_of_an_aborted_task_long_after(world: &World) {
    let mut options = quiet();
    options.queue_depth = 8;
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let aborted = start(&session, read(0, 2));
    let command = hear_command(&mut peer).await;
    aborted.revoke();
    let function = hear_function(&mut peer).await;
    say_complete(&mut peer, function.itt).await;
    aborted.await.result.unwrap_err();
    fence(&session, &mut peer).await;
    let mut slots = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let all: Vec<_> = (0..8).map(|_| start(&session, read(0, 2))).collect();
        for execute in all {
            let now = hear_command(&mut peer).await;
            slots.insert(now.itt.0 & 0xfff);
            say_late(&mut peer, &command).await;
            let data = Say::last_data_in(&now, 0, 0);
            peer.say(data, pattern(1024)).await.unwrap();
            assert_eq!(bytes_of(&expect_good(execute, 1024).await), pattern(1024));
        }
    }
    assert!(slots.contains(&(command.itt.0 & 0xfff)), "{slots:?}");
    assert_eq!(session.logins(), 1);
}

/// Section 11.6: the answer has the tag of its function. One with another tag ends the connection, and no function
/// was answered by it; nor is one answered twice.
async fn h96_an_answer_to_a_function_that_is_none(world: &World) {
    let of = [
        "its task",
        "a ping",
        "other generation",
        "nobody",
        "reserved",
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
        let itt = match of {
            "its task" => scene.commands[0].itt,
            "a ping" => heard.itt,
            "other generation" => InitiatorTaskTag(function.itt.0 ^ 0x1000),
            "nobody" => InitiatorTaskTag(0x1234_5678),
            "reserved" => InitiatorTaskTag::RESERVED,
            _ => function.itt,
        };
        say_complete(peer, itt).await;
        if of == "twice" {
            assert_eq!(reset.await.unwrap().response, Code::FunctionComplete);
            say_complete(peer, itt).await;
        } else {
            let error = reset.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{of}");
            assert_eq!(error.outcome(), Outcome::Unknown, "{of}");
        }
        assert_eq!(ping.await.unwrap_err().kind(), ErrorKind::Protocol, "{of}");
        let breach = scene.expect_broken(&world, of).await;
        breach.was(PeerMisbehaved::UnknownTask(itt), of);
    }
}
