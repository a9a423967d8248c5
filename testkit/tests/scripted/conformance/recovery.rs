//! What is left of a session whose connection failed (RFC 7143 sections 4.4.3, 6.3.5, 7.2, 7.9 and 7.14).

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{
    error::{ErrorKind, LoginFailure, Outcome, Retry},
    isid::SessionSlot,
};
use iscsi_proto::{InitiatorTaskTag, Isid, Tsih, pdu::Stage, session::TaskManagement};
use iscsi_testkit::scripted::{End, Frame, LoginExchange, Say};

use super::talk::{
    expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet, say_good, start,
};
use crate::support::{INITIATOR, TARGET, World, read, rows, test_unit_ready, write};

rows! {
    c36_no_task_is_reassigned;
    c70_what_is_out_of_sequence_ends_the_connection;
    c71_time2wait_passes_before_the_next_login;
    c72_the_same_isid_and_no_tsih;
    c73_every_session_has_an_isid_of_its_own;
}

/// Section 7.2.2: reassignment needs ErrorRecoveryLevel 2. It is refused here, and after a lost connection no
/// function is sent for the tasks that it had.
async fn c36_no_task_is_reassigned(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let lost = start(&session, read(0, 1));
    let command = hear_command(&mut peer).await;
    for tag in [command.itt, InitiatorTaskTag(0), InitiatorTaskTag::RESERVED] {
        let reassign = session.task_management(TaskManagement::TaskReassign(tag), None);
        let error = reassign.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        assert_eq!(error.retry(), Retry::Never);
    }
    fence(&session, &mut peer).await;
    peer.reset();
    assert_eq!(expect_error(lost).await.outcome(), Outcome::Unknown);
    let mut peer = world.accept().await;
    let exchanges = peer.log_in(&[]).await.unwrap();
    assert_eq!(exchanges[0].request.tsih, Tsih(0), "it is another session");
    session.wait_up().await.unwrap();
    fence(&session, &mut peer).await;
}

/// Section 7.9: StatSN, DataSN and R2TSN that are not the next are sequence errors, of which level 0 recovers by a
/// new session only. All that was under way ends once; the next session works.
async fn c70_what_is_out_of_sequence_ends_the_connection(world: &World) {
    // What is said, and by how much its number is wrong.
    let said = ["status", "data", "R2T", "status in data", "reject", "pong"];
    let wrong_by = [1, 2, 0x8000_0000, u32::MAX];
    let mut number = 0;
    for what in said {
        for wrong_by in wrong_by {
            let world = world.case(number).await;
            number += 1;
            let keys = [("ImmediateData", "No")];
            let (mut peer, session) = logged_in(&world, quiet(), &keys).await;
            let reading = start(&session, read(0, 2));
            let read_command = hear_command(&mut peer).await;
            let writing = start(&session, write(0, pattern(1024)));
            let write_command = hear_command(&mut peer).await;
            let other = start(&session, test_unit_ready());
            let other_command = hear_command(&mut peer).await;
            let ping = session.ping();
            let ping_frame = peer.hear().await.unwrap();
            let ping_tag = ping_frame.bhs.initiator_task_tag();
            // The first one is right, so that a number before it is a repetition.
            let data = Say::data_in(&read_command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
            peer.say(Say::r2t(&write_command, 1, 0, 0, 512), [])
                .await
                .unwrap();
            peer.hear().await.unwrap();
            let good = iscsi_proto::scsi::ScsiStatus::Good;
            let (mut frame, at) = match what {
                "status" => (
                    Frame::new(Say::response(other_command.itt, good, 0), []),
                    24,
                ),
                "data" => (
                    Frame::new(Say::data_in(&read_command, 1, 512), pattern(512)),
                    36,
                ),
                "R2T" => (Frame::new(Say::r2t(&write_command, 2, 1, 512, 512), []), 36),
                "status in data" => {
                    let data = Say::last_data_in(&read_command, 1, 512);
                    (Frame::new(data, pattern(512)), 24)
                }
                "reject" => {
                    let reject = Say::reject(iscsi_proto::pdu::RejectReason::ProtocolError);
                    (Frame::new(reject, *ping_frame.bhs.as_bytes()), 24)
                }
                _ => (Frame::new(Say::pong(ping_tag), []), 24),
            };
            peer.number(&mut frame);
            frame.set_field(at, frame.field(at).wrapping_add(wrong_by));
            peer.say_as_it_is(&frame).await.unwrap();
            for execute in [reading, writing, other] {
                let error = expect_error(execute).await;
                assert_eq!(error.kind(), ErrorKind::Protocol, "{what} {wrong_by:#x}");
                let (outcome, dead) = (error.outcome(), error.is_dead());
                assert_eq!((outcome, dead), (Outcome::Unknown, false), "{what}");
            }
            assert_eq!(ping.await.unwrap_err().kind(), ErrorKind::Protocol);
            let end = peer.hear().await.unwrap_err();
            assert!(matches!(end, End::Closed | End::Failed(_)), "{what}: {end}");
            let mut peer = world.accept().await;
            peer.log_in(&[]).await.unwrap();
            session.wait_up().await.unwrap();
            fence(&session, &mut peer).await;
        }
    }
}

/// Sections 7.14 and 13.15: what was sent may have been executed, what was not has not; and the next login comes
/// no sooner than DefaultTime2Wait after the end, however the connection ended.
async fn c71_time2wait_passes_before_the_next_login(world: &World) {
    // Over TCP one real wait will do.
    let waits: [&str; 3] = match world.is_simulated() {
        true => ["0", "2", "300"],
        false => ["0", "1", "0"],
    };
    let mut number = 0;
    for time2wait in waits {
        for in_good_order in [true, false] {
            let world = world.case(number).await;
            number += 1;
            let keys = [("DefaultTime2Wait", time2wait)];
            let script = async {
                let mut peer = world.accept().await;
                peer.window = 2;
                peer.log_in(&keys).await.unwrap();
                peer
            };
            let initiator = world.initiator();
            let to = world.to_with(quiet());
            let (mut peer, session) = join(script, initiator.connect_spawned(&to)).await;
            let session = session.unwrap();
            let sent = [read(0, 1), write(0, pattern(512))].map(|request| start(&session, request));
            let unsent = start(&session, test_unit_ready());
            hear_command(&mut peer).await;
            hear_command(&mut peer).await;
            let ended = world.runtime.now();
            match in_good_order {
                true => drop(peer),
                false => peer.reset(),
            }
            for execute in sent {
                let error = expect_error(execute).await;
                assert_eq!(error.kind(), ErrorKind::Transport);
                let (outcome, dead) = (error.outcome(), error.is_dead());
                assert_eq!((outcome, dead), (Outcome::Unknown, false));
            }
            let error = expect_error(unsent).await;
            assert_eq!(error.kind(), ErrorKind::Transport);
            assert_eq!(error.outcome(), Outcome::NotExecuted);
            let mut peer = world.accept().await;
            peer.log_in(&keys).await.unwrap();
            let waited = world.runtime.now() - ended;
            let time2wait = Duration::from_secs(time2wait.parse().unwrap());
            assert!(waited >= time2wait, "{waited:?}");
            session.wait_up().await.unwrap();
            let execute = start(&session, test_unit_ready());
            let command = hear_command(&mut peer).await;
            say_good(&mut peer, command.itt).await;
            expect_good(execute, 0).await;
        }
    }
}

fn isid_of(exchanges: &[LoginExchange]) -> Isid {
    let first = &exchanges[0];
    assert_eq!(first.request.tsih, Tsih(0));
    assert_eq!(first.value("InitiatorName"), Some(INITIATOR));
    assert_eq!(first.value("TargetName"), Some(TARGET));
    let isid = first.request.isid;
    for exchange in exchanges {
        assert_eq!(exchange.request.isid, isid, "all through the login");
        assert_eq!(exchange.request.cid, first.request.cid);
    }
    assert_eq!(exchanges.last().unwrap().request.nsg, Stage::FullFeature);
    isid
}

/// Section 6.3.5: session reinstatement is a login with the ISID of before and TSIH 0, whether the target or the
/// caller has ended the connection.
async fn c72_the_same_isid_and_no_tsih(world: &World) {
    let initiator = world.initiator();
    let to = world.to_with(quiet());
    let script = async {
        let mut peer = world.accept().await;
        let exchanges = peer.log_in(&[]).await.unwrap();
        (peer, isid_of(&exchanges))
    };
    let ((mut peer, isid), session) = join(script, initiator.connect_spawned(&to)).await;
    let session = session.unwrap();
    assert_eq!(session.isid(), isid);
    for how in ["reset", "closed", "requested", "reset"] {
        match how {
            "reset" => peer.reset(),
            "closed" => drop(peer),
            _ => {
                session.reconnect();
                let end = peer.hear().await.unwrap_err();
                assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
            }
        }
        peer = world.accept().await;
        let exchanges = peer.log_in(&[]).await.unwrap();
        assert_eq!(isid_of(&exchanges), isid, "{how}");
        session.wait_up().await.unwrap();
        fence(&session, &mut peer).await;
    }
    assert_eq!(session.logins(), 5);
}

/// Section 4.4.3, the ISID rule: no two sessions of one initiator and one target (and so of no portal group either)
/// have the same ISID; and section 10.1.1, conservative reuse: the session that is opened again has the one of
/// before. A second session in a slot that is taken is refused before anything is sent.
async fn c73_every_session_has_an_isid_of_its_own(world: &World) {
    let slots = [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 1),
        (4095, 4095, u16::MAX),
    ];
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let initiator = world.initiator();
        let mut open = Vec::new();
        let mut isids = Vec::new();
        for (bind, portal, number) in slots {
            let slot = SessionSlot {
                bind,
                portal,
                number,
            };
            let to = world.to_with(quiet()).with_slot(slot);
            let script = async {
                let mut peer = world.accept().await;
                let exchanges = peer.log_in(&[]).await.unwrap();
                (peer, isid_of(&exchanges))
            };
            let ((peer, isid), session) = join(script, initiator.connect_spawned(&to)).await;
            assert!(!isids.contains(&isid), "{slot:?}");
            isids.push(isid);
            open.push((peer, session.unwrap()));
            let again = initiator.connect_spawned(&to).await.unwrap_err();
            let failure = again.failure();
            assert!(matches!(failure, LoginFailure::SessionExists), "{again}");
        }
        for (mut peer, session) in open {
            fence(&session, &mut peer).await;
            join(peer.hear_the_end(), session.close()).await;
        }
        rounds.push(isids);
    }
    assert_eq!(rounds[0], rounds[1]);
}
