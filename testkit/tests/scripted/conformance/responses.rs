//! SCSI Response: what the initiator makes of it (RFC 7143 section 11.4).

use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    error::{ErrorKind, Outcome},
    session::{Payload, ScsiRequest},
};
use iscsi_proto::{
    pdu::{Residual, ServiceResponse},
    scsi::{Cdb, Lun, ScsiStatus},
    serial::DataSn,
};
use iscsi_testkit::scripted::{Frame, Say};

use super::talk::{
    bytes_of, expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet, start,
};
use crate::support::{World, read, rows, test_unit_ready};

rows! {
    c60_only_response_0_has_a_status;
    c60_data_that_is_missing_is_missed;
    c61_residuals_are_applied;
    c61_overflow_and_underflow_at_once;
}

/// Section 11.4.3: a response other than 0 is a failure, and status and flags mean nothing. The session goes on.
async fn c60_only_response_0_has_a_status(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (response, request) in [
        (ServiceResponse::TargetFailure, test_unit_ready()),
        (ServiceResponse::TargetFailure, read(0, 1)),
        (ServiceResponse::Unknown(0x02), read(0, 1)),
        (ServiceResponse::Unknown(0x80), read(0, 1)),
        (ServiceResponse::Unknown(0xff), read(0, 1)),
    ] {
        let execute = start(&session, request);
        let command = hear_command(&mut peer).await;
        // All of the data, and GOOD: without the response code this would be a success.
        let mut data_pdus = 0;
        if command.read {
            let mut data = Say::data_in(&command, 0, 0);
            data.is_final = true;
            peer.say(data, pattern(512)).await.unwrap();
            data_pdus = 1;
        }
        let mut answer = Say::response(command.itt, ScsiStatus::Good, data_pdus);
        answer.response = response;
        peer.say(answer, []).await.unwrap();
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Hardware, "{response:?}");
        assert_eq!((error.outcome(), error.is_dead()), (Outcome::Unknown, true));
        fence(&session, &mut peer).await;
    }
}

/// Section 11.4.8: ExpDataSN says how many Data-In came, which is for those who can ask for a missing one
/// again. At ErrorRecoveryLevel 0 it is the bytes that are counted: those that are not there are missed whatever
/// it says, and a wrong count of PDUs with all the bytes there harms nobody.
async fn c60_data_that_is_missing_is_missed(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for exp_data_sn in [0, 1, 2, 3, u32::MAX] {
        for sent in [0, 1, 2] {
            let execute = start(&session, read(0, 2));
            let command = hear_command(&mut peer).await;
            for at in 0..sent {
                let mut data = Say::data_in(&command, at, at * 512);
                data.is_final = true;
                peer.say(data, pattern(512)).await.unwrap();
            }
            let mut answer = Say::response(command.itt, ScsiStatus::Good, 0);
            answer.exp_data_sn = DataSn(exp_data_sn);
            peer.say(answer, []).await.unwrap();
            if sent == 2 {
                let payload = expect_good(execute, 1024).await;
                assert_eq!(bytes_of(&payload)[512..], pattern(512));
            } else {
                let error = expect_error(execute).await;
                assert_eq!(error.kind(), ErrorKind::Protocol);
                assert_eq!(error.outcome(), Outcome::Executed);
            }
            fence(&session, &mut peer).await;
        }
    }
}

/// What a transfer of 1024 bytes came to: how many were moved, the status, the residual, and how many the caller
/// is told; `None` if the answer contradicts itself.
const RESIDUALS: [(usize, ScsiStatus, Residual, Option<u32>); 15] = {
    use Residual::{None as Exact, Overflow, Underflow};
    use ScsiStatus::{Busy, Good, TaskSetFull};
    [
        (1024, Good, Exact, Some(1024)),
        (1024, Good, Overflow(1), Some(1024)),
        (1024, Good, Overflow(u32::MAX), Some(1024)),
        (1023, Good, Underflow(1), Some(1023)),
        (512, Good, Underflow(512), Some(512)),
        (0, Good, Underflow(1024), Some(0)),
        (1024, Good, Underflow(0), Some(1024)),
        // More came than is claimed: what is claimed is valid.
        (1024, Good, Underflow(512), Some(512)),
        // Less came than is claimed, and nothing about it.
        (512, Good, Underflow(511), None),
        (1023, Good, Exact, None),
        (512, Good, Overflow(512), None),
        // More is missing than was asked for.
        (0, Good, Underflow(1025), None),
        (0, Good, Underflow(u32::MAX), None),
        // Without GOOD less is no contradiction.
        (512, Busy, Exact, Some(512)),
        (0, TaskSetFull, Underflow(1024), Some(0)),
    ]
};

/// Section 11.4.5: the residual is applied to what the caller is told, for reads and for writes, in SCSI Response
/// and in Data-In with status. What contradicts itself ends the task and not the session.
async fn c61_residuals_are_applied(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[("ImmediateData", "No")]).await;
    for (moved, status, residual, told) in RESIDUALS {
        for kind in ["read", "read with status in Data-In", "write"] {
            // The only data that a write moves is what was asked for, and then it is all there.
            let with_status = kind.contains("status");
            if with_status && (moved == 0 || status != ScsiStatus::Good) {
                continue;
            }
            let payload = match kind {
                "write" => Payload::Out(WriteBuf::from(pattern(1024))),
                _ => Payload::In(ReadBuf::zeroed(1024)),
            };
            let cdb = Cdb::from_bytes([0xc0; 16]);
            let execute = start(&session, ScsiRequest::new(Lun::ZERO, cdb, payload));
            let command = hear_command(&mut peer).await;
            if kind == "write" && moved > 0 {
                let r2t = Say::r2t(&command, 1, 0, 0, moved as u32);
                peer.say(r2t, []).await.unwrap();
                let data = peer.hear().await.unwrap().data;
                assert_eq!(data, pattern(1024)[..moved]);
            }
            if command.read && moved > 0 {
                let mut data = Say::data_in(&command, 0, 0);
                data.is_final = true;
                if with_status {
                    data.status = Some(status);
                    data.residual = residual;
                }
                peer.say(data, pattern(moved)).await.unwrap();
            }
            if !with_status {
                let mut answer = Say::response(command.itt, status, 0);
                answer.residual = residual;
                peer.say(answer, []).await.unwrap();
            }
            let executed = execute.await;
            let case = format!("{kind} of {moved}: {status}, {residual}");
            match told {
                Some(told) => {
                    let response = executed.result.unwrap();
                    assert_eq!(response.status, status, "{case}");
                    assert_eq!(response.residual, residual, "{case}");
                    assert_eq!(response.transferred, told, "{case}");
                }
                None => {
                    let error = executed.result.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Protocol, "{case}");
                    assert_eq!(error.outcome(), Outcome::Executed, "{case}");
                }
            }
            fence(&session, &mut peer).await;
        }
    }
}

/// Section 11.4.1: O and U, or o and u, at once are a protocol error; so the connection ends, and what was under
/// way ends once.
async fn c61_overflow_and_underflow_at_once(world: &World) {
    let flags = [("response", 0x06), ("response", 0x18), ("data", 0x06)];
    for (number, (carrier, both)) in flags.into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let execute = start(&session, read(0, 1));
        let other = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        hear_command(&mut peer).await;
        let mut frame = match carrier {
            "data" => Frame::new(Say::last_data_in(&command, 0, 0), pattern(512)),
            _ => Frame::new(Say::response(command.itt, ScsiStatus::Good, 0), []),
        };
        frame.bhs.as_bytes_mut()[1] |= both;
        peer.number(&mut frame);
        peer.say_as_it_is(&frame).await.unwrap();
        for execute in [execute, other] {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), ErrorKind::Protocol, "{carrier} {both:#x}");
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
        peer.hear_the_end().await;
    }
}
