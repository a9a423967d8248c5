//! CmdSN, StatSN and their windows (RFC 7143 section 4.2.2).

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join;
use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{
    pdu::{
        AsyncEvent, DataOut, LogoutRequest, RejectReason, ScsiCommand, TaskManagementFunction,
        TaskManagementRequest, TaskManagementResponseCode, TextRequest,
    },
    scsi::{Lun, ScsiStatus},
    serial::StatSn,
    session::TaskManagement,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::talk::{
    bytes_of, expect_error, expect_good, fence, hear_command, hear_function, logged_in,
    logged_in_with_window, patience, pattern, quiet, say_complete, say_good, start,
};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c05_stat_sn_is_taken_from_the_first_response;
    c30_cmd_sn_counts_the_commands;
    c31_immediate_requests_carry_cmd_sn_and_do_not_count;
    c32_nothing_past_max_cmd_sn;
    c32_exactly_the_window_is_used;
    c32_any_pdu_opens_the_window;
    c33_only_what_has_arrived_is_acknowledged;
    c33_every_kind_of_request_acknowledges;
    c34_no_command_is_sent_twice;
    c59_a_task_tag_is_free_once_its_status_is_acknowledged;
}

/// Section 4.2.2.2: the first login response says where StatSN begins, wherever that is.
async fn c05_stat_sn_is_taken_from_the_first_response(world: &World) {
    let firsts = [0, 1, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];
    for (number, first) in firsts.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            peer.set_stat_sn(StatSn(first));
            let exchanges = peer.log_in(&[]).await.unwrap();
            let logins = exchanges.len() as u32;
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            assert_eq!(command.exp_stat_sn, StatSn(first).plus(logins));
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
            let (next, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            assert_eq!(next.exp_stat_sn, StatSn(first).plus(logins + 1));
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let first = session.execute(test_unit_ready()).await;
            assert_eq!(first.result.unwrap().status, ScsiStatus::Good);
            let _connection_lost = session.execute(test_unit_ready()).await;
        };
        join(script, client).await;
    }
}

/// Section 4.2.2.1: a command waits for the window, and the window is opened by any PDU.
async fn c32_nothing_past_max_cmd_sn(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.window = 1;
        peer.log_in(&[]).await.unwrap();
        let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        // The window is shut by the answer, and a NOP-In opens it for two.
        peer.window = 0;
        let answer = Say::response(command.itt, ScsiStatus::Good, 0);
        peer.say(answer, []).await.unwrap();
        peer.sleep(Duration::from_millis(50)).await;
        peer.window = 2;
        peer.say(Say::nop_in(), []).await.unwrap();
        for _ in 0..2 {
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
        }
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        let all = (0..3).map(|_| session.execute(test_unit_ready()));
        for executed in futures_util::future::join_all(all).await {
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        }
        drop(session);
        drop(initiator);
    };
    join(script, client).await;
}

/// Section 4.2.2.1: the login's CmdSN is that of the first command, and each one after it has the next number,
/// whatever goes between them.
async fn c30_cmd_sn_counts_the_commands(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let mut expected = peer.exp_cmd_sn();
    for _ in 0..100 {
        let all: Vec<_> = (0..10)
            .map(|_| start(&session, test_unit_ready()))
            .collect();
        for _ in 0..10 {
            let command = hear_command(&mut peer).await;
            assert_eq!((command.cmd_sn, command.immediate), (expected, false));
            expected = expected.next();
            say_good(&mut peer, command.itt).await;
        }
        for execute in all {
            expect_good(execute, 0).await;
        }
        assert_eq!(fence(&session, &mut peer).await.cmd_sn, expected);
    }
}

/// Section 4.2.2.1: what is for immediate delivery carries the next CmdSN, and the next command carries it
/// again.
async fn c31_immediate_requests_carry_cmd_sn_and_do_not_count(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for _ in 0..3 {
        let next = peer.exp_cmd_sn();
        let ping = fence(&session, &mut peer).await;
        assert_eq!((ping.cmd_sn, ping.immediate), (next, true));
        let reset = session.task_management(TaskManagement::LogicalUnitReset(Lun::ZERO), None);
        let function = hear_function(&mut peer).await;
        assert_eq!((function.cmd_sn, function.immediate), (next, true));
        say_complete(&mut peer, function.itt).await;
        reset.await.unwrap();
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        assert_eq!((command.cmd_sn, command.immediate), (next, false));
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 0).await;
    }
    let next = peer.exp_cmd_sn();
    let script = async {
        let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
        assert_eq!((logout.cmd_sn, logout.immediate), (next, true));
    };
    join(script, async { drop(session) }).await;
}

/// Section 4.2.2.1: as many commands as the window has room for, and an immediate request all the same. A
/// MaxCmdSN that is older than another one is ignored.
async fn c32_exactly_the_window_is_used(world: &World) {
    const COMMANDS: u32 = 40;
    for (number, window) in [1, 2, 39, 40, 0x7fff_ffff].into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in_with_window(&world, window, quiet()).await;
        let all: Vec<_> = (0..COMMANDS)
            .map(|_| start(&session, test_unit_ready()))
            .collect();
        let mut heard = Vec::new();
        for _ in 0..window.min(COMMANDS) {
            heard.push(hear_command(&mut peer).await);
        }
        // Shut, as far as the peer says; of the widest window this is an older value.
        peer.window = 0;
        fence(&session, &mut peer).await;
        peer.window = 1;
        for at in 0..COMMANDS {
            let itt = heard[at as usize].itt;
            say_good(&mut peer, itt).await;
            if heard.len() < COMMANDS as usize {
                heard.push(hear_command(&mut peer).await);
                let before = heard[heard.len() - 2].cmd_sn;
                assert_eq!(heard[heard.len() - 1].cmd_sn, before.next());
                peer.window = 0;
                fence(&session, &mut peer).await;
                peer.window = 1;
            }
        }
        for execute in all {
            expect_good(execute, 0).await;
        }
    }
}

/// Section 4.2.2.1: MaxCmdSN counts in whatever PDU it comes, with data and without status too.
async fn c32_any_pdu_opens_the_window(world: &World) {
    let kinds = ["data", "R2T", "function", "message", "reject", "pong"];
    for (number, kind) in kinds.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            peer.window = 2;
            peer.log_in(&[("ImmediateData", "No")]).await.unwrap();
            peer
        };
        let initiator = world.initiator();
        let to = world.to_with(quiet());
        let (mut peer, session) = join(script, initiator.connect_spawned(&to)).await;
        let session = session.unwrap();
        let _reading = start(&session, read(0, 2));
        let reading = hear_command(&mut peer).await;
        let _writing = start(&session, write(0, pattern(512)));
        let writing = hear_command(&mut peer).await;
        let clearing = session.task_management(TaskManagement::ClearAca(Lun::new(9)), None);
        let function = hear_function(&mut peer).await;
        let ping = session.ping();
        let ping_frame = peer.hear().await.unwrap();
        let waits = start(&session, test_unit_ready());
        peer.window = 0;
        fence(&session, &mut peer).await;
        peer.window = 1;
        let mut said = match kind {
            "data" => Frame::new(Say::data_in(&reading, 0, 0), pattern(512)),
            "R2T" => Frame::new(Say::r2t(&writing, 1, 0, 0, 512), []),
            "function" => {
                let complete = TaskManagementResponseCode::FunctionComplete;
                Frame::new(Say::function(function.itt, complete), [])
            }
            "message" => {
                let event = AsyncEvent::VendorSpecific;
                Frame::new(Say::asynchronous(event, [0; 3]), [])
            }
            "reject" => {
                let reject = Say::reject(RejectReason::CommandNotSupported);
                Frame::new(reject, *ping_frame.bhs.as_bytes())
            }
            _ => Frame::new(Say::pong(ping_frame.bhs.initiator_task_tag()), []),
        };
        peer.number(&mut said);
        peer.say_as_it_is(&said).await.unwrap();
        if kind == "R2T" {
            peer.hear_pdu::<DataOut>().await.unwrap();
        }
        let command = hear_command(&mut peer).await;
        assert_eq!(command.cmd_sn, writing.cmd_sn.next(), "{kind}");
        say_good(&mut peer, command.itt).await;
        expect_good(waits, 0).await;
        drop((clearing, ping));
    }
}

/// Section 4.2.2.2: a status is acknowledged once it has been taken with its data, not when its first byte
/// arrived.
async fn c33_only_what_has_arrived_is_acknowledged(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for missing in [1, 4, 2048, 4096] {
        let before = peer.stat_sn();
        let reading = start(&session, read(0, 8));
        let command = hear_command(&mut peer).await;
        let mut frame = Frame::new(Say::last_data_in(&command, 0, 0), pattern(4096));
        peer.number(&mut frame);
        let bytes = frame.to_bytes(peer.digests());
        let (there, rest) = bytes.split_at(bytes.len() - missing);
        peer.bytes(there).await.unwrap();
        peer.sleep(Duration::from_millis(20)).await;
        let other = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        assert_eq!(command.exp_stat_sn, before, "{missing} bytes are missing");
        peer.bytes(rest).await.unwrap();
        peer.set_stat_sn(before.next());
        say_good(&mut peer, command.itt).await;
        expect_good(other, 0).await;
        assert_eq!(bytes_of(&expect_good(reading, 4096).await), pattern(4096));
        let after = fence(&session, &mut peer).await;
        assert_eq!(after.exp_stat_sn, before.plus(2));
    }
}

/// Sections 11.3.3, 11.5, 11.7, 11.10, 11.14 and 11.18: ExpStatSN is in every request, and in Data-Out.
async fn c33_every_kind_of_request_acknowledges(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[("ImmediateData", "No")]).await;
    // A command and its status, and what is to acknowledge it.
    let execute = start(&session, test_unit_ready());
    let command = hear_command(&mut peer).await;
    say_good(&mut peer, command.itt).await;
    expect_good(execute, 0).await;
    let expected = peer.stat_sn();
    assert_eq!(fence(&session, &mut peer).await.exp_stat_sn, expected);

    let writing = start(&session, write(0, pattern(1024)));
    let command = hear_command(&mut peer).await;
    assert_eq!(command.exp_stat_sn, expected.next());
    let execute = start(&session, test_unit_ready());
    let other = hear_command(&mut peer).await;
    say_good(&mut peer, other.itt).await;
    expect_good(execute, 0).await;
    peer.say(Say::r2t(&command, 1, 0, 0, 1024), [])
        .await
        .unwrap();
    let (data, _) = peer.hear_pdu::<DataOut>().await.unwrap();
    assert_eq!(data.exp_stat_sn, peer.stat_sn());
    say_good(&mut peer, command.itt).await;
    expect_good(writing, 1024).await;

    let reset = session.task_management(TaskManagement::LogicalUnitReset(Lun::ZERO), None);
    let (function, _) = peer.hear_pdu::<TaskManagementRequest>().await.unwrap();
    assert_eq!(function.exp_stat_sn, peer.stat_sn());
    say_complete(&mut peer, function.itt).await;
    reset.await.unwrap();

    let renegotiating = session.renegotiate(65_536);
    let (text, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
    assert_eq!(text.exp_stat_sn, peer.stat_sn());
    peer.say(Say::text(text.itt), []).await.unwrap();
    renegotiating.await.unwrap();

    let expected = peer.stat_sn();
    let script = async {
        let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
        assert_eq!(logout.exp_stat_sn, expected);
    };
    join(script, async { drop(session) }).await;
}

/// Section 7.2.1: a retry needs ErrorRecoveryLevel 1 and a connection that is the same. At level 0 a command
/// that is not answered is aborted, and one that was lost with its connection is nobody's any more.
async fn c34_no_command_is_sent_twice(world: &World) {
    let mut options = quiet();
    options.command_timeout = Some(patience(world, Duration::from_secs(30)));
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let late = start(&session, read(0, 1));
    let command = hear_command(&mut peer).await;
    let function = hear_function(&mut peer).await;
    assert_eq!(function.function, TaskManagementFunction::AbortTask);
    assert_eq!(function.referenced_task_tag, command.itt);
    say_complete(&mut peer, function.itt).await;
    let error = expect_error(late).await;
    assert_eq!((error.kind(), error.is_dead()), (ErrorKind::Timeout, true));

    let lost = start(&session, write(0, pattern(512)).with_timeout(None));
    hear_command(&mut peer).await;
    peer.reset();
    let error = expect_error(lost).await;
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(
        (error.outcome(), error.is_dead()),
        (Outcome::Unknown, false)
    );
    let mut peer = world.accept().await;
    peer.log_in(&[]).await.unwrap();
    session.wait_up().await.unwrap();
    fence(&session, &mut peer).await;
}

/// Section 11.2.1.8: a task tag is the task's alone for as long as that lives, which is until its status is
/// acknowledged.
async fn c59_a_task_tag_is_free_once_its_status_is_acknowledged(world: &World) {
    let rounds = match world.is_simulated() {
        true => 4096,
        false => 512,
    };
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let mut ended: BTreeMap<u32, StatSn> = BTreeMap::new();
    for _ in 0..rounds {
        let all: Vec<_> = (0..16)
            .map(|_| start(&session, test_unit_ready()))
            .collect();
        let mut open = Vec::new();
        for _ in 0..all.len() {
            let command = hear_command(&mut peer).await;
            if let Some(stat_sn) = ended.remove(&command.itt.0) {
                assert!(stat_sn.precedes(command.exp_stat_sn), "{command}");
            }
            open.push(command.itt);
        }
        for itt in open {
            ended.insert(itt.0, peer.stat_sn());
            say_good(&mut peer, itt).await;
        }
        for execute in all {
            expect_good(execute, 0).await;
        }
    }
}
