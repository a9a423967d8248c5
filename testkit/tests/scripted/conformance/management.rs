//! Task management (RFC 7143 sections 4.2.3, 11.5 and 11.6).

use std::time::Duration;

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag,
    pdu::{
        TaskManagementFunction as Function, TaskManagementRequest,
        TaskManagementResponseCode as Code,
    },
    scsi::{AdditionalSenseCode, Lun, ScsiStatus, SenseData, SenseKey},
    serial::{CmdSn, DataSn},
    session::TaskManagement,
};
use iscsi_testkit::scripted::{End, Say};

use super::{
    data_out::hear_sequence,
    talk::{
        expect_error, expect_good, fence, hear_command, hear_function, logged_in, patience,
        pattern, quiet, say_complete, say_good, start,
    },
};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c62_abort_task_names_its_task;
    c62_a_command_that_was_not_sent_is_not_aborted;
    c62_other_functions_name_no_task;
    c63_every_response_reaches_who_asked;
    c63_an_abort_that_is_refused_ends_the_connection;
    c64_a_logical_unit_reset_ends_what_it_affects;
}

/// Sections 11.5.3 to 11.5.6: tag, CmdSN and LUN of the task; a tag of its own; the next CmdSN, immediate.
async fn c62_abort_task_names_its_task(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (number, revoke) in [(0, true), (5, true), (300, false), (0x4000, false)] {
        let mut request = read(0, 1);
        request.lun = Lun::new(number);
        let aborted = start(&session, request);
        let command = hear_command(&mut peer).await;
        let other = start(&session, test_unit_ready());
        let later = hear_command(&mut peer).await;
        let aborted = match revoke {
            true => {
                aborted.revoke();
                Some(aborted)
            }
            false => {
                drop(aborted);
                None
            }
        };
        let function = hear_function(&mut peer).await;
        let expected = TaskManagementRequest {
            immediate: true,
            function: Function::AbortTask,
            lun: Lun::new(number),
            itt: function.itt,
            referenced_task_tag: command.itt,
            cmd_sn: later.cmd_sn.next(),
            exp_stat_sn: peer.stat_sn(),
            ref_cmd_sn: command.cmd_sn,
            exp_data_sn: DataSn(0),
        };
        assert_eq!(function, expected);
        if let Some(aborted) = aborted {
            let error = expect_error(aborted).await;
            assert_eq!(error.kind(), ErrorKind::Aborted);
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
        say_complete(&mut peer, function.itt).await;
        say_good(&mut peer, later.itt).await;
        expect_good(other, 0).await;
        fence(&session, &mut peer).await;
    }
}

/// Section 11.5.1: there is nothing to abort of a command that waits for the window; it ends here.
async fn c62_a_command_that_was_not_sent_is_not_aborted(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let last = start(&session, test_unit_ready());
    let command = hear_command(&mut peer).await;
    // A window that shuts is one that does not move while commands arrive.
    for _ in 0..31 {
        let execute = start(&session, test_unit_ready());
        let filler = hear_command(&mut peer).await;
        peer.window = 0;
        say_good(&mut peer, filler.itt).await;
        expect_good(execute, 0).await;
    }
    let waits = start(&session, read(0, 1));
    fence(&session, &mut peer).await;
    waits.revoke();
    let error = expect_error(waits).await;
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    fence(&session, &mut peer).await;
    peer.window = 32;
    say_good(&mut peer, command.itt).await;
    expect_good(last, 0).await;
    fence(&session, &mut peer).await;
}

/// Sections 11.5.3 and 11.5.4: the reserved tag in what is about many tasks, and the LUN only where there is one.
async fn c62_other_functions_name_no_task(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let lun = Lun::new(7);
    for (request, function, lun) in [
        (
            TaskManagement::AbortTaskSet(lun),
            Function::AbortTaskSet,
            lun,
        ),
        (TaskManagement::ClearAca(lun), Function::ClearAca, lun),
        (
            TaskManagement::ClearTaskSet(lun),
            Function::ClearTaskSet,
            lun,
        ),
        (
            TaskManagement::LogicalUnitReset(lun),
            Function::LogicalUnitReset,
            lun,
        ),
        (
            TaskManagement::TargetWarmReset,
            Function::TargetWarmReset,
            Lun::ZERO,
        ),
        (
            TaskManagement::TargetColdReset,
            Function::TargetColdReset,
            Lun::ZERO,
        ),
    ] {
        let managing = session.task_management(request, None);
        let heard = hear_function(&mut peer).await;
        let expected = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt: heard.itt,
            referenced_task_tag: InitiatorTaskTag::RESERVED,
            cmd_sn: peer.exp_cmd_sn(),
            exp_stat_sn: peer.stat_sn(),
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
        };
        assert_eq!(heard, expected);
        say_complete(&mut peer, heard.itt).await;
        assert_eq!(managing.await.unwrap().response, Code::FunctionComplete);
    }
}

const REFUSALS: [Code; 7] = [
    Code::LunDoesNotExist,
    Code::TaskStillAllegiant,
    Code::ReassignmentNotSupported,
    Code::NotSupported,
    Code::AuthorizationFailed,
    Code::FunctionRejected,
    Code::Unknown(0x4d),
];

/// Section 11.6.1: whoever asked gets the code, whatever it is. A function that was refused has ended nothing.
async fn c63_every_response_reaches_who_asked(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for code in REFUSALS.into_iter().chain([Code::TaskDoesNotExist]) {
        let reading = start(&session, read(0, 1));
        let command = hear_command(&mut peer).await;
        let managing = session.task_management(TaskManagement::LogicalUnitReset(Lun::ZERO), None);
        let function = hear_function(&mut peer).await;
        peer.say(Say::function(function.itt, code), [])
            .await
            .unwrap();
        assert_eq!(managing.await.unwrap().response, code);
        let data = Say::last_data_in(&command, 0, 0);
        peer.say(data, pattern(512)).await.unwrap();
        expect_good(reading, 512).await;
    }
    // Of a single task "does not exist" is as good: its response would have come before.
    for code in [Code::FunctionComplete, Code::TaskDoesNotExist] {
        let writing = start(&session, write(0, pattern(512)));
        hear_command(&mut peer).await;
        writing.revoke();
        let function = hear_function(&mut peer).await;
        peer.say(Say::function(function.itt, code), [])
            .await
            .unwrap();
        let error = expect_error(writing).await;
        assert_eq!(error.kind(), ErrorKind::Aborted, "{code:?}");
        fence(&session, &mut peer).await;
    }
}

/// Section 11.6.1: what an abort did not end may still be executed. Only the end of the session stops it, and the
/// caller is not told that it is dead; it was late, and whatever else was on the connection was lost with it.
async fn c63_an_abort_that_is_refused_ends_the_connection(world: &World) {
    for (number, code) in REFUSALS.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.command_timeout = Some(patience(&world, Duration::from_secs(30)));
        let (mut peer, session) = logged_in(&world, options, &[]).await;
        let late = start(&session, write(0, pattern(512)));
        let other = start(
            &session,
            read(0, 1).with_timeout(Some(Duration::from_secs(600))),
        );
        hear_command(&mut peer).await;
        hear_command(&mut peer).await;
        let function = hear_function(&mut peer).await;
        peer.say(Say::function(function.itt, code), [])
            .await
            .unwrap();
        for (execute, kind) in [(late, ErrorKind::Timeout), (other, ErrorKind::Transport)] {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), kind, "{code:?}");
            assert_eq!(error.outcome(), Outcome::Unknown);
            assert!(!error.is_dead());
        }
        let end = peer.hear().await.unwrap_err();
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}

/// Sections 4.2.3.2 and 4.2.3.3: until the response R2Ts of affected tasks are answered and new commands to the
/// unit wait; with the response the affected tasks end here. Other units' go on, and the unit attention that follows
/// is passed on.
async fn c64_a_logical_unit_reset_ends_what_it_affects(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[("ImmediateData", "No")]).await;
    let (lun, other_lun) = (Lun::new(5), Lun::new(6));
    let at = |mut request: iscsi_client::session::ScsiRequest, lun| {
        request.lun = lun;
        start(&session, request)
    };
    let reading = at(read(0, 1), lun);
    hear_command(&mut peer).await;
    let writing = at(write(0, pattern(1024)), lun);
    let write_command = hear_command(&mut peer).await;
    let other = at(read(0, 1), other_lun);
    let other_command = hear_command(&mut peer).await;

    let reset = session.task_management(TaskManagement::LogicalUnitReset(lun), None);
    let held = at(test_unit_ready(), lun);
    let function = hear_function(&mut peer).await;
    assert_eq!(
        (function.function, function.lun),
        (Function::LogicalUnitReset, lun)
    );
    let r2t = Say::r2t(&write_command, 3, 0, 0, 1024);
    peer.say(r2t, []).await.unwrap();
    let tag = TargetTransferTag(3);
    hear_sequence(&mut peer, &write_command, tag, (0, 1024), 65_536).await;
    fence(&session, &mut peer).await;

    say_complete(&mut peer, function.itt).await;
    for execute in [reading, writing] {
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Aborted);
        assert_eq!((error.outcome(), error.is_dead()), (Outcome::Unknown, true));
    }
    assert_eq!(reset.await.unwrap().response, Code::FunctionComplete);

    let held_command = hear_command(&mut peer).await;
    assert_eq!(held_command.lun, lun);
    let reset_occurred = AdditionalSenseCode(0x29, 0x03);
    let sense = SenseData::fixed(SenseKey::UnitAttention, reset_occurred);
    let answer = Say::response(held_command.itt, ScsiStatus::CheckCondition, 0);
    peer.say(answer, sense.to_data_segment()).await.unwrap();
    let response = held.await.result.unwrap();
    assert_eq!(response.status, ScsiStatus::CheckCondition);
    assert_eq!(response.sense.unwrap().code(), reset_occurred);

    let data = Say::last_data_in(&other_command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    expect_good(other, 512).await;
    let again = at(test_unit_ready(), lun);
    let command = hear_command(&mut peer).await;
    say_good(&mut peer, command.itt).await;
    expect_good(again, 0).await;
}
