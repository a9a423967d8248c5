//! Rejects of nothing, for any reason, or without end (RFC 7143 section 11.17).

use std::{error::Error as _, time::Duration};

use futures_util::future::join;
use iscsi_client::error::{Error, ErrorKind, Outcome};
use iscsi_proto::{
    InitiatorTaskTag, PeerMisbehaved,
    pdu::{LogoutRequest, NopOut, RejectReason, TaskManagementRequest},
    scsi::Lun,
    session::{TaskErrorKind, TaskManagement},
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::scene::Scene;
use crate::{
    conformance::talk::{
        expect_error, expect_good, fence, logged_in, patience, pattern, quiet, start,
    },
    support::{World, read, rows, test_unit_ready, write},
};

rows! {
    h106_every_reason_there_is;
    h106_reasons_that_end_the_connection;
    h106_a_reject_that_encloses_no_header;
    h106_a_reject_of_what_was_not_sent;
    h106_a_reject_of_what_has_begun;
    h106_rejects_without_end;
    h106_a_function_that_is_one_too_many_for_ever;
}

/// Reasons of somebody who has another idea of what is under way.
const DISAGREEMENTS: [u8; 3] = [0x03, 0x07, 0x08];
const LOGOUT_FIRST: u8 = 0x0c;

fn reason_of(error: &Error) -> Option<&TaskErrorKind> {
    error.source().and_then(|source| source.downcast_ref())
}

/// Section 11.17.1: the command whose header comes back was not executed, for the reason that is told, whatever number
/// that has; the other one goes on. A second Reject of it changes nothing.
async fn h106_every_reason_there_is(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[("ImmediateData", "No")]).await;
    let other = start(&session, read(8, 1));
    let other_frame = peer.hear().await.unwrap();
    for code in 0..=u8::MAX {
        if DISAGREEMENTS.contains(&code) || code == LOGOUT_FIRST {
            continue;
        }
        let reason = RejectReason::from_byte(code);
        let request = match code % 3 {
            0 => read(0, 1),
            1 => write(0, pattern(512)),
            _ => test_unit_ready(),
        };
        let execute = start(&session, request);
        let mut enclosed = peer.hear().await.unwrap().bhs.as_bytes().to_vec();
        // Targets may send the PDU's data along.
        enclosed.resize(48 + usize::from(code) * 3, 0xee);
        for _ in 0..2 {
            let reject = Say::reject(reason);
            peer.say(reject, enclosed.clone()).await.unwrap();
        }
        let error = expect_error(execute).await;
        let expected = TaskErrorKind::Rejected(reason);
        assert_eq!(reason_of(&error), Some(&expected), "{code:#x}");
        assert_eq!(error.outcome(), Outcome::NotExecuted, "{code:#x}");
        assert!(error.is_dead());
        fence(&session, &mut peer).await;
    }
    let command = other_frame.pdu().unwrap().try_into().unwrap();
    let data = Say::last_data_in(&command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    expect_good(other, 512).await;
    assert_eq!(session.logins(), 1);
}

/// A scene, and a Reject with this data as what was rejected, for which the connection ends.
async fn ends(world: &World, code: u8, case: &str, enclosed: impl FnOnce(&Scene) -> Vec<u8>) {
    let requests = [read(0, 1), test_unit_ready()];
    let mut scene = Scene::beside_another(world, quiet(), &[], requests).await;
    let enclosed = enclosed(&scene);
    let reject = Say::reject(RejectReason::from_byte(code));
    scene.peer.say(reject, enclosed).await.unwrap();
    let breach = scene.expect_broken(world, case).await;
    breach.was(PeerMisbehaved::Rejected(code), case);
}

/// The header of a scene's command, as it was sent.
fn header_of(scene: &Scene, at: usize) -> Vec<u8> {
    scene.commands[at].emit().as_bytes().to_vec()
}

/// Section 11.17.1: answers to SNACKs, of which there were none, and a tag that is in use; and "waiting for logout",
/// which gets one.
async fn h106_reasons_that_end_the_connection(world: &World) {
    for (number, code) in DISAGREEMENTS.into_iter().enumerate() {
        let world = world.case(number).await;
        let case = format!("reason {code:#x}");
        ends(&world, code, &case, |scene| header_of(scene, 0)).await;
    }
    let world = world.case(DISAGREEMENTS.len()).await;
    let mut scene = Scene::new(&world, quiet(), &[], [test_unit_ready()]).await;
    let reject = Say::reject(RejectReason::from_byte(LOGOUT_FIRST));
    let header = header_of(&scene, 0);
    scene.peer.say(reject, header).await.unwrap();
    let error = expect_error(scene.executes.remove(0)).await;
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    scene.peer.hear_pdu::<LogoutRequest>().await.unwrap();
}

/// Section 11.17: without a whole header nobody knows what was rejected.
async fn h106_a_reject_that_encloses_no_header(world: &World) {
    let mut number = 0;
    for length in [0, 1, 15, 16, 20, 47] {
        for code in [0x02, 0x06, 0x0c, 0xff] {
            let world = world.case(number).await;
            number += 1;
            let case = format!("{length} bytes, reason {code:#x}");
            ends(&world, code, &case, |scene| {
                header_of(scene, 0)[..length].to_vec()
            })
            .await;
        }
    }
}

/// A header with this opcode and tag, as it might have been sent; or not.
fn header(opcode: u8, itt: InitiatorTaskTag) -> Vec<u8> {
    let mut header = vec![0; 48];
    (header[0], header[1]) = (opcode, 0x80);
    header[16..20].copy_from_slice(&itt.0.to_be_bytes());
    header
}

/// A Reject of what was never sent, be it a tag or an opcode, is about nothing that is under way: the two do not agree
/// on what that is.
async fn h106_a_reject_of_what_was_not_sent(world: &World) {
    const SCSI_COMMAND: u8 = 0x01;
    const DATA_OUT: u8 = 0x05;
    let mut number = 0;
    for opcode in 0..0x40 {
        // Over TCP those of initiators will do.
        if !world.is_simulated() && !(0..=0x06).contains(&opcode) && opcode != 0x10 {
            continue;
        }
        for to in ["a read", "nobody", "reserved"] {
            let is_sent = opcode == SCSI_COMMAND && to == "a read";
            // Nobody waits for anything that a NOP-Out without a tag of ours would have brought, and of Data-Out some
            // may be on its way while its command ends.
            let is_nothing =
                opcode == 0 && to == "reserved" || opcode == DATA_OUT && to != "a read";
            if is_sent || is_nothing {
                continue;
            }
            let world = world.case(number).await;
            number += 1;
            let case = format!("opcode {opcode:#x} of {to}");
            ends(&world, 0x04, &case, |scene| {
                let itt = match to {
                    "a read" => scene.commands[0].itt,
                    "nobody" => InitiatorTaskTag(scene.commands[0].itt.0 ^ 0x8000_0000),
                    _ => InitiatorTaskTag::RESERVED,
                };
                header(opcode, itt)
            })
            .await;
        }
    }
}

/// A command that the target has begun to carry out cannot be one that it has not taken.
async fn h106_a_reject_of_what_has_begun(world: &World) {
    for (number, of) in ["read", "write"].into_iter().enumerate() {
        let world = world.case(number).await;
        let keys = [("ImmediateData", "No")];
        let requests = [read(0, 2), write(0, pattern(1024))];
        let mut scene = Scene::beside_another(&world, quiet(), &keys, requests).await;
        let at = number;
        let (peer, command) = (&mut scene.peer, scene.commands[at]);
        if of == "read" {
            let data = Say::data_in(&command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
        } else {
            let r2t = Say::r2t(&command, 1, 0, 0, 512);
            peer.say(r2t, []).await.unwrap();
            peer.hear().await.unwrap();
        }
        let header = header_of(&scene, at);
        let reject = Say::reject(RejectReason::InvalidPduField);
        scene.peer.say(reject, header).await.unwrap();
        let breach = scene.expect_broken(&world, of).await;
        breach.was(PeerMisbehaved::Rejected(0x09), of);
    }
}

/// Says so many Rejects of a NOP-Out without a task tag, at once.
async fn say_rejects(peer: &mut Peer, count: usize) {
    let mut bytes = Vec::new();
    for number in 0..count {
        let reason = RejectReason::from_byte([0x02, 0x04, 0x06, 0xff][number % 4]);
        let enclosed = header(0x40, InitiatorTaskTag::RESERVED);
        let mut frame = Frame::new(Say::reject(reason), enclosed);
        peer.number(&mut frame);
        bytes.extend(frame.to_bytes(peer.digests()));
        peer.wrote(&frame);
    }
    peer.bytes(&bytes).await.unwrap();
}

/// Rejects are counted and not answered: a target that rejects without end, be it our acknowledgements or what would
/// tell it so, hears nothing of it, and commands go on.
async fn h106_rejects_without_end(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let execute = start(&session, read(0, 1));
    let command = peer.hear().await.unwrap().pdu().unwrap();
    for _ in 0..20 {
        say_rejects(&mut peer, 1000).await;
    }
    fence(&session, &mut peer).await;
    // Pings and their Rejects take turns as long as somebody asks.
    for _ in 0..100 {
        let ping = session.ping();
        let frame = peer.hear().await.unwrap();
        let reject = Say::reject(RejectReason::ImmediateCommandReject);
        let enclosed = *frame.bhs.as_bytes();
        peer.say(reject, enclosed).await.unwrap();
        let error = ping.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
    }
    fence(&session, &mut peer).await;
    assert_eq!(session.stats().pdus_rejected, 20_100);
    let data = Say::last_data_in(&command.try_into().unwrap(), 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    expect_good(execute, 512).await;
    assert_eq!(session.logins(), 1);
}

/// "Too many immediate commands" is answered by sending it again, after 100 ms and not at the rate of the Rejects, for
/// as long as the function has.
async fn h106_a_function_that_is_one_too_many_for_ever(world: &World) {
    let mut options = quiet();
    options.core.task_management_timeout = patience(world, Duration::from_secs(5));
    let most = options.core.task_management_timeout.as_millis() / 100 + 1;
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let reset = TaskManagement::LogicalUnitReset(Lun::ZERO);
    let mut reset = session.task_management(reset, None);
    let client = async {
        let error = (&mut reset).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        session.ping().await.unwrap();
    };
    let script = async {
        let mut sent = 0;
        loop {
            let frame = peer.hear().await.unwrap();
            if let Ok(ping) = NopOut::try_from(frame.pdu().unwrap()) {
                peer.say(Say::pong(ping.itt), []).await.unwrap();
                return sent;
            }
            TaskManagementRequest::try_from(frame.pdu().unwrap()).unwrap();
            sent += 1;
            let reject = Say::reject(RejectReason::ImmediateCommandReject);
            let enclosed = *frame.bhs.as_bytes();
            peer.say(reject, enclosed).await.unwrap();
        }
    };
    let (sent, ()) = join(script, client).await;
    assert!((1..=most).contains(&sent), "{sent}");
    assert_eq!(session.logins(), 1);
}
