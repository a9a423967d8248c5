//! TaskReporting=FastAbort, and the functions of RFC 7144 (RFC 7143 sections 4.2.3.4 and 11.9.1).

use iscsi_client::{
    error::{ErrorKind, Outcome, Retry},
    session::{Execute, Session, SessionOptions},
};
use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag,
    pdu::{
        AsyncEvent, NopOut, TaskManagementFunction as Function, TaskManagementResponseCode as Code,
    },
    scsi::Lun,
    session::TaskManagement,
    text::TaskReportingOffer,
};
use iscsi_testkit::scripted::Say;

use super::{
    data_out::hear_sequence,
    talk::{
        expect_error, expect_good, fence, hear_command, hear_function, logged_in, pattern, quiet,
        say_complete, say_good, start,
    },
};
use crate::support::{World, read, rows, write};

rows! {
    c63_a_task_is_asked_after;
    c64_fast_abort_stops_data_at_once;
    c64_fast_abort_by_others_is_acknowledged;
}

/// RFC 7144: QUERY TASK names its task as ABORT TASK does, and ends nothing; it needs
/// iSCSIProtocolLevel 2, without which it is refused here.
async fn c63_a_task_is_asked_after(world: &World) {
    for (number, level) in ["1", "2"].into_iter().enumerate() {
        let world = world.case(number).await;
        let keys = [("iSCSIProtocolLevel", level)];
        let (mut peer, session) = logged_in(&world, quiet(), &keys).await;
        let mut request = read(0, 1);
        request.lun = Lun::new(3);
        let reading = start(&session, request);
        let command = hear_command(&mut peer).await;
        for code in [
            Code::FunctionSucceeded,
            Code::FunctionComplete,
            Code::NotSupported,
        ] {
            let query = reading.query(None);
            if level == "1" {
                let error = query.await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Protocol);
                assert_eq!(error.outcome(), Outcome::NotExecuted);
                assert_eq!(error.retry(), Retry::Never);
                continue;
            }
            let function = hear_function(&mut peer).await;
            assert_eq!(function.function, Function::QueryTask);
            assert_eq!(function.referenced_task_tag, command.itt);
            assert_eq!(function.ref_cmd_sn, command.cmd_sn);
            assert_eq!(function.lun, command.lun);
            peer.say(Say::function(function.itt, code), [])
                .await
                .unwrap();
            assert_eq!(query.await.unwrap().response, code);
        }
        fence(&session, &mut peer).await;
        let data = Say::last_data_in(&command, 0, 0);
        peer.say(data, pattern(512)).await.unwrap();
        expect_good(reading, 512).await;
    }
}

const KEYS: [(&str, &str); 3] = [
    ("TaskReporting", "FastAbort"),
    ("ImmediateData", "No"),
    ("MaxRecvDataSegmentLength", "512"),
];

fn with_fast_abort() -> SessionOptions {
    let mut options = quiet();
    let offer = TaskReportingOffer::PreferFastAbort;
    options.offer = options.offer.with_task_reporting(offer);
    options
}

fn write_to(session: &Session, lun: u16) -> Execute {
    let mut request = write(0, pattern(1024));
    request.lun = Lun::new(lun);
    start(session, request)
}

/// Section 4.2.3.4: once the function is sent no Data-Out follows for the tasks that it affects, and for the others
/// as before.
async fn c64_fast_abort_stops_data_at_once(world: &World) {
    let (mut peer, session) = logged_in(world, with_fast_abort(), &KEYS).await;
    for (request, others_go_on) in [
        (TaskManagement::AbortTaskSet(Lun::new(5)), true),
        (TaskManagement::ClearTaskSet(Lun::new(5)), true),
        (TaskManagement::LogicalUnitReset(Lun::new(5)), true),
        (TaskManagement::TargetWarmReset, false),
    ] {
        let affected = write_to(&session, 5);
        let affected_command = hear_command(&mut peer).await;
        let other = write_to(&session, 6);
        let other_command = hear_command(&mut peer).await;
        let managing = session.task_management(request, None);
        let function = hear_function(&mut peer).await;
        for command in [&affected_command, &other_command] {
            let r2t = Say::r2t(command, 1, 0, 0, 1024);
            peer.say(r2t, []).await.unwrap();
        }
        if others_go_on {
            let tag = TargetTransferTag(1);
            hear_sequence(&mut peer, &other_command, tag, (0, 1024), 512).await;
        }
        fence(&session, &mut peer).await;
        say_complete(&mut peer, function.itt).await;
        let error = expect_error(affected).await;
        assert_eq!(error.kind(), ErrorKind::Aborted);
        assert_eq!((error.outcome(), error.is_dead()), (Outcome::Unknown, true));
        managing.await.unwrap();
        if others_go_on {
            say_good(&mut peer, other_command.itt).await;
            expect_good(other, 1024).await;
        } else {
            let error = expect_error(other).await;
            assert_eq!(error.kind(), ErrorKind::Aborted);
        }
    }
}

/// Section 11.9.1, event 5: data for the logical unit stops, and its StatSN is acknowledged by a NOP-Out that wants
/// no answer and names the unit. The tasks end here once an ABORT TASK SET says that they have ended there.
async fn c64_fast_abort_by_others_is_acknowledged(world: &World) {
    let (mut peer, session) = logged_in(world, with_fast_abort(), &KEYS).await;
    let affected = write_to(&session, 5);
    let affected_command = hear_command(&mut peer).await;
    let other = write_to(&session, 6);
    let other_command = hear_command(&mut peer).await;
    let mut terminated = Say::asynchronous(AsyncEvent::TasksTerminated, [1, 0, 0]);
    terminated.lun = Lun::new(5);
    peer.say(terminated, []).await.unwrap();
    let (heard, data) = peer.hear_pdu::<NopOut>().await.unwrap();
    let expected = NopOut {
        immediate: true,
        lun: Lun::new(5),
        itt: InitiatorTaskTag::RESERVED,
        ttt: TargetTransferTag::RESERVED,
        cmd_sn: peer.exp_cmd_sn(),
        exp_stat_sn: peer.stat_sn(),
        data_segment_length: 0,
    };
    assert_eq!((heard, data), (expected, Vec::new()));
    let function = hear_function(&mut peer).await;
    assert_eq!(function.function, Function::AbortTaskSet);
    assert_eq!(function.lun, Lun::new(5));
    let r2t = Say::r2t(&affected_command, 1, 0, 0, 1024);
    peer.say(r2t, []).await.unwrap();
    fence(&session, &mut peer).await;
    say_complete(&mut peer, function.itt).await;
    let error = expect_error(affected).await;
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!((error.outcome(), error.is_dead()), (Outcome::Unknown, true));
    let r2t = Say::r2t(&other_command, 1, 0, 0, 1024);
    peer.say(r2t, []).await.unwrap();
    let tag = TargetTransferTag(1);
    hear_sequence(&mut peer, &other_command, tag, (0, 1024), 512).await;
    say_good(&mut peer, other_command.itt).await;
    expect_good(other, 1024).await;
}
