//! Reject (RFC 7143 sections 7.3 and 11.17).

use iscsi_client::{
    error::{Error, ErrorKind, Outcome},
    session::Session,
};
use iscsi_proto::{
    pdu::{
        DataOut, LogoutRequest, NopOut, RejectReason as Reason, ScsiCommand,
        TaskManagementFunction, TaskManagementRequest, TaskManagementResponseCode, TextRequest,
    },
    scsi::{AdditionalSenseCode, Lun, ScsiStatus, SenseData, SenseKey},
    serial::CmdSn,
    session::TaskManagement,
};
use iscsi_testkit::scripted::{End, Frame, Peer, Say};

use super::talk::{
    expect_error, fence, hear_function, logged_in, pattern, quiet, say_complete, start,
};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c67_a_rejected_command_ends_unexecuted;
    c67_a_disagreement_ends_the_connection;
    c67_waiting_for_logout_gets_one;
    c67_the_hole_in_cmd_sn_is_closed_by_an_abort;
    c67_the_hole_in_cmd_sn_is_closed_by_a_nop_out;
    c67_the_hole_of_a_text_request_is_closed;
    c67_a_function_that_was_one_too_many_is_sent_again;
    c67_other_requests_end_alone;
    c67_a_rejected_data_out_leaves_the_end_to_the_target;
}

const REFUSED: [Reason; 6] = [
    Reason::DataDigestError,
    Reason::ProtocolError,
    Reason::CommandNotSupported,
    Reason::InvalidPduField,
    Reason::NegotiationReset,
    Reason::Unknown(0x55),
];
const NOT_NOW: [Reason; 2] = [Reason::ImmediateCommandReject, Reason::LongOperationReject];

/// Rejects a PDU.
async fn say_reject(peer: &mut Peer, reason: Reason, rejected: &Frame) {
    let header = rejected.bhs.as_bytes().to_vec();
    peer.say(Say::reject(reason), header).await.unwrap();
}

fn kind_for(reason: Reason) -> ErrorKind {
    match NOT_NOW.contains(&reason) {
        true => ErrorKind::Busy,
        false => ErrorKind::Protocol,
    }
}

fn assert_unexecuted(error: &Error, reason: Reason) {
    assert_eq!(error.kind(), kind_for(reason), "{reason:?}");
    let (outcome, dead) = (error.outcome(), error.is_dead());
    assert_eq!((outcome, dead), (Outcome::NotExecuted, true), "{reason:?}");
}

/// Section 11.17.1: the command ends at once, as one that was not executed, and the session goes on.
async fn c67_a_rejected_command_ends_unexecuted(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for reason in REFUSED.into_iter().chain(NOT_NOW) {
        for request in [test_unit_ready(), read(0, 1), write(0, pattern(512))] {
            let execute = start(&session, request);
            let command = peer.hear().await.unwrap();
            say_reject(&mut peer, reason, &command).await;
            assert_unexecuted(&expect_error(execute).await, reason);
            let ping = fence(&session, &mut peer).await;
            assert_eq!(ping.exp_stat_sn.next(), peer.stat_sn(), "it has a StatSN");
        }
    }
    assert_eq!(session.logins(), 1);
}

/// Section 11.17.1: answers to SNACKs that were not sent, and a tag that is in use; also a Reject of something that
/// was never said. All that is under way ends once, with an unknown outcome.
async fn c67_a_disagreement_ends_the_connection(world: &World) {
    let cases = [
        (Reason::SnackReject, "as it was"),
        (Reason::InvalidDataAck, "as it was"),
        (Reason::TaskInProgress, "as it was"),
        (Reason::ProtocolError, "of another tag"),
        (Reason::ProtocolError, "of another opcode"),
        (Reason::ProtocolError, "cut"),
    ];
    for (number, (reason, which)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let executes = [read(0, 1), test_unit_ready()].map(|request| start(&session, request));
        let command = peer.hear().await.unwrap();
        peer.hear().await.unwrap();
        let mut header = command.bhs.as_bytes().to_vec();
        match which {
            "of another tag" => header[16] ^= 0x80,
            // A Login Request.
            "of another opcode" => header[0] = 0x43,
            "cut" => header.truncate(47),
            _ => {}
        }
        peer.say(Say::reject(reason), header).await.unwrap();
        for execute in executes {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), ErrorKind::Protocol, "{reason:?} {which}");
            assert_eq!(error.outcome(), Outcome::Unknown, "{reason:?} {which}");
        }
        let end = peer.hear().await.unwrap_err();
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}

/// Section 11.17.1: "waiting for logout" ends the command unexecuted, and a Logout Request follows.
async fn c67_waiting_for_logout_gets_one(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let execute = start(&session, test_unit_ready());
    let command = peer.hear().await.unwrap();
    say_reject(&mut peer, Reason::WaitingForLogout, &command).await;
    let error = expect_error(execute).await;
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    peer.hear_pdu::<LogoutRequest>().await.unwrap();
}

/// Rejects a command so that its CmdSN does not count as received, and hears what the initiator does about it.
async fn hear_abort_of_rejected(peer: &mut Peer, reason: Reason) -> TaskManagementRequest {
    let frame = peer.hear().await.unwrap();
    let command = ScsiCommand::try_from(frame.pdu().unwrap()).unwrap();
    let mut reject = Frame::new(Say::reject(reason), *frame.bhs.as_bytes());
    peer.number(&mut reject);
    reject.set_field(28, command.cmd_sn.0);
    peer.say_as_it_is(&reject).await.unwrap();
    let function = hear_function(peer).await;
    assert_eq!(function.function, TaskManagementFunction::AbortTask);
    assert_eq!(function.referenced_task_tag, command.itt);
    assert_eq!(function.ref_cmd_sn, command.cmd_sn);
    assert_eq!(function.lun, command.lun);
    function
}

/// Sections 7.3 and 11.5.1: ExpCmdSN tells that the number of the rejected command is missing. An ABORT TASK that
/// names it lets the target go on, and with its answer the command ends unexecuted.
async fn c67_the_hole_in_cmd_sn_is_closed_by_an_abort(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for reason in REFUSED.into_iter().chain(NOT_NOW) {
        let execute = start(&session, write(0, pattern(512)));
        let function = hear_abort_of_rejected(&mut peer, reason).await;
        say_complete(&mut peer, function.itt).await;
        assert_unexecuted(&expect_error(execute).await, reason);
        fence(&session, &mut peer).await;
    }
}

/// A NOP-Out takes the place of what was rejected.
async fn hear_the_plug(world: &World, peer: &mut Peer, missing: CmdSn) {
    let (plug, _) = peer.hear_pdu::<NopOut>().await.unwrap();
    assert_eq!((plug.cmd_sn, plug.immediate), (missing, false));
    // For the judge the number comes for the second time, which is what was wanted.
    let [complaint] = &world.complaints()[..] else {
        panic!("one complaint");
    };
    assert!(complaint.contains("was to come"), "{complaint}");
    peer.say(Say::pong(plug.itt), []).await.unwrap();
}

/// Section 7.3: where the abort has not closed the hole, since the target knows nothing of the task, a NOP-Out with
/// that number does.
async fn c67_the_hole_in_cmd_sn_is_closed_by_a_nop_out(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let execute = start(&session, test_unit_ready());
    let function = hear_abort_of_rejected(&mut peer, Reason::InvalidPduField).await;
    let answer = Say::function(function.itt, TaskManagementResponseCode::TaskDoesNotExist);
    let mut answer = Frame::new(answer, []);
    peer.number(&mut answer);
    answer.set_field(28, function.ref_cmd_sn.0);
    peer.say_as_it_is(&answer).await.unwrap();
    hear_the_plug(world, &mut peer, function.ref_cmd_sn).await;
    assert_unexecuted(&expect_error(execute).await, Reason::InvalidPduField);
    fence(&session, &mut peer).await;
}

/// Section 7.3: a text request is numbered like a command and cannot be aborted; so a NOP-Out closes its hole.
async fn c67_the_hole_of_a_text_request_is_closed(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for reason in REFUSED {
        let renegotiating = session.renegotiate(4096);
        let frame = request_of::<TextRequest>(&mut peer).await;
        let missing = frame.field(24);
        let mut reject = Frame::new(Say::reject(reason), *frame.bhs.as_bytes());
        peer.number(&mut reject);
        reject.set_field(28, missing);
        peer.say_as_it_is(&reject).await.unwrap();
        assert_unexecuted(&renegotiating.await.unwrap_err(), reason);
        hear_the_plug(world, &mut peer, CmdSn(missing)).await;
        nothing_else_ended(&session, &mut peer).await;
    }
}

/// Section 11.17.1: "too many immediate commands" may be sent again, which is done; with the same tag, since the
/// target has not got it.
async fn c67_a_function_that_was_one_too_many_is_sent_again(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let reset = session.task_management(TaskManagement::LogicalUnitReset(Lun::ZERO), None);
    let first = peer.hear().await.unwrap();
    for _ in 0..2 {
        say_reject(&mut peer, Reason::ImmediateCommandReject, &first).await;
        let again = hear_function(&mut peer).await;
        assert_eq!(again.function, TaskManagementFunction::LogicalUnitReset);
        assert_eq!(again.itt, first.bhs.initiator_task_tag());
    }
    say_complete(&mut peer, first.bhs.initiator_task_tag()).await;
    let answer = reset.await.unwrap();
    assert_eq!(
        answer.response,
        TaskManagementResponseCode::FunctionComplete
    );
}

async fn request_of<T: TryFrom<iscsi_proto::pdu::Pdu>>(peer: &mut Peer) -> Frame {
    let frame = peer.hear().await.unwrap();
    assert!(T::try_from(frame.pdu().unwrap()).is_ok(), "{frame:?}");
    frame
}

async fn nothing_else_ended(session: &Session, peer: &mut Peer) {
    fence(session, peer).await;
    assert_eq!(session.logins(), 1);
}

/// Section 11.17.1: a ping, a text request or a function that is rejected ends, and nothing else does.
async fn c67_other_requests_end_alone(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for reason in REFUSED {
        let ping = session.ping();
        let frame = request_of::<NopOut>(&mut peer).await;
        say_reject(&mut peer, reason, &frame).await;
        assert_unexecuted(&ping.await.unwrap_err(), reason);
        nothing_else_ended(&session, &mut peer).await;

        let reset = session.task_management(TaskManagement::AbortTaskSet(Lun::ZERO), None);
        let frame = request_of::<TaskManagementRequest>(&mut peer).await;
        say_reject(&mut peer, reason, &frame).await;
        assert_unexecuted(&reset.await.unwrap_err(), reason);
        nothing_else_ended(&session, &mut peer).await;

        let renegotiating = session.renegotiate(4096);
        let frame = request_of::<TextRequest>(&mut peer).await;
        say_reject(&mut peer, reason, &frame).await;
        assert_unexecuted(&renegotiating.await.unwrap_err(), reason);
        nothing_else_ended(&session, &mut peer).await;
    }
    // An answer to the target's ping, for which nobody waits.
    peer.say(Say::ping(7), []).await.unwrap();
    let frame = request_of::<NopOut>(&mut peer).await;
    say_reject(&mut peer, Reason::ProtocolError, &frame).await;
    nothing_else_ended(&session, &mut peer).await;
}

/// Section 11.17.1: a Data-Out that was damaged ends its task, but by a response of its own after all of the data.
async fn c67_a_rejected_data_out_leaves_the_end_to_the_target(world: &World) {
    let keys = [("ImmediateData", "No"), ("MaxRecvDataSegmentLength", "512")];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    let execute = start(&session, write(0, pattern(1024)));
    let command = ScsiCommand::try_from(peer.hear().await.unwrap().pdu().unwrap()).unwrap();
    peer.say(Say::r2t(&command, 1, 0, 0, 1024), [])
        .await
        .unwrap();
    let damaged = request_of::<DataOut>(&mut peer).await;
    say_reject(&mut peer, Reason::DataDigestError, &damaged).await;
    request_of::<DataOut>(&mut peer).await;
    fence(&session, &mut peer).await;
    let crc = AdditionalSenseCode(0x47, 0x05);
    let sense = SenseData::fixed(SenseKey::AbortedCommand, crc);
    let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 1);
    peer.say(answer, sense.to_data_segment()).await.unwrap();
    let response = execute.await.result.unwrap();
    assert_eq!(response.status, ScsiStatus::CheckCondition);
    assert_eq!(response.sense.unwrap().code(), crc);
    nothing_else_ended(&session, &mut peer).await;
}
