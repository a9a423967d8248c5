//! Login Responses whose header is no answer (RFC 7143 section 11.13).

use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    DecodeError, Error, InitiatorTaskTag, LoginStatus, PeerIncompatible, PeerMisbehaved, Tsih,
    pdu::{Pdu, RejectReason, Stage},
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::reaction::{login_fails, protocol, refused};
use crate::support::{World, rows};

rows! {
    h26_a_stage_that_was_not_asked_for;
    h28_a_version_that_we_do_not_speak;
    h29_an_answer_to_somebody_else;
    h30_every_status_of_a_refusal;
}

/// Answers the `round`-th request with the agreeing answer, spoiled by `spoil`, and those before it as usual.
async fn answer(peer: &mut Peer, round: usize, spoil: impl FnOnce(&mut Frame)) {
    for _ in 0..round {
        let exchange = peer.hear_login().await.unwrap();
        let answers = exchange.answers(&[]);
        peer.say_login(exchange.agreed(), &answers).await.unwrap();
    }
    let exchange = peer.hear_login().await.unwrap();
    let mut frame = Frame::new(exchange.agreed(), []);
    peer.number(&mut frame);
    spoil(&mut frame);
    peer.say_as_it_is(&frame).await.unwrap();
}

async fn spoiled(world: &World, round: usize, spoil: impl FnOnce(&mut Frame)) -> Error {
    let script = async |peer: &mut Peer| answer(peer, round, spoil).await;
    refused(world, SessionOptions::default(), script).await
}

/// T, CSG and NSG as they stand in the header.
fn stages(frame: &mut Frame, transit: bool, csg: u8, nsg: u8) {
    frame.bhs.as_bytes_mut()[1] = u8::from(transit) << 7 | csg << 2 | nsg;
}

/// Sections 6.3 and 11.13.6: stages are entered in order and by agreement; there is no stage 2, and none that is
/// entered because a target says so.
async fn h26_a_stage_that_was_not_asked_for(world: &World) {
    let other: Error = PeerMisbehaved::LoginMismatch.into();
    let no_stage: Error = DecodeError::Field { offset: 1 }.into();
    for (round, transit, csg, nsg, expected) in [
        // We are at 0 and ask for 1.
        (0, true, 1, 3, other),
        (0, false, 1, 0, other),
        (0, true, 3, 3, other),
        (0, true, 0, 0, other),
        (0, true, 0, 3, other),
        (0, true, 0, 2, no_stage),
        (0, true, 2, 3, no_stage),
        // We are at 1 and ask for 3.
        (1, true, 0, 1, other),
        (1, true, 0, 3, other),
        (1, true, 1, 0, other),
        (1, true, 1, 1, other),
        (1, true, 1, 2, no_stage),
        (1, false, 3, 0, other),
    ] {
        let spoil = |frame: &mut Frame| stages(frame, transit, csg, nsg);
        let error = spoiled(world, round, spoil).await;
        assert_eq!(error, expected, "{round}: T={transit} {csg} -> {nsg}");
    }
}

/// Section 11.13.2: Version-active is one of those that we said, and we said 0.
async fn h28_a_version_that_we_do_not_speak(world: &World) {
    for version in [1, 2, 0x7f, 0xff] {
        let spoil = |frame: &mut Frame| frame.bhs.as_bytes_mut()[3] = version;
        let error = spoiled(world, 0, spoil).await;
        assert_eq!(error, PeerIncompatible::Version.into(), "{version}");
    }
}

/// Sections 11.13.3 and 11.13.8: task tag and ISID are those of the request, and a new session has a handle; and
/// until the login is over nothing but Login Responses comes (section 6.3).
async fn h29_an_answer_to_somebody_else(world: &World) {
    let other: Error = PeerMisbehaved::LoginMismatch.into();
    for round in [0, 1] {
        for flipped in [8, 13, 16, 19] {
            let spoil = |frame: &mut Frame| frame.bhs.as_bytes_mut()[flipped] ^= 1;
            assert_eq!(spoiled(world, round, spoil).await, other, "byte {flipped}");
        }
    }
    let no_handle = |frame: &mut Frame| frame.bhs.as_bytes_mut()[14..16].fill(0);
    assert_eq!(spoiled(world, 1, no_handle).await, other);
    let reserved = InitiatorTaskTag::RESERVED;
    let mut of_full_feature: Vec<Pdu> = vec![
        Say::nop_in().into(),
        Say::ping(7).into(),
        Say::text(reserved).into(),
        Say::response(reserved, iscsi_proto::scsi::ScsiStatus::Good, 0).into(),
        Say::logout(reserved, iscsi_proto::pdu::LogoutResponseCode::Closed).into(),
    ];
    let event = iscsi_proto::pdu::AsyncEvent::ConnectionDrop;
    of_full_feature.push(Say::asynchronous(event, [0; 3]).into());
    for pdu in of_full_feature {
        for round in [0, 1] {
            let spoil = |frame: &mut Frame| *frame = Frame::new(pdu, []);
            let error = spoiled(world, round, spoil).await;
            assert_eq!(error, PeerMisbehaved::Phase.into(), "{pdu}");
        }
    }
    let reject = Say::reject(RejectReason::ProtocolError);
    let spoil = |frame: &mut Frame| *frame = Frame::new(reject, []);
    let rejected = PeerMisbehaved::Rejected(reject.reason.to_byte()).into();
    assert_eq!(spoiled(world, 0, spoil).await, rejected);
}

/// Section 11.13.5: the class says what to do, known or not; all but 0 are refusals.
async fn h30_every_status_of_a_refusal(world: &World) {
    let initiator = world.initiator();
    let to = world.to();
    for class in 1..=u8::MAX {
        // In virtual time there is time for all of the classes that are defined.
        let details: Vec<u8> = match class {
            1..=4 if world.is_simulated() => (0..=u8::MAX).collect(),
            1..=4 => (0..=12).chain([0x7f, 0xff]).collect(),
            _ if world.is_simulated() => vec![0, 1, 2, 6, 10, 0xff],
            _ => vec![class.wrapping_mul(7)],
        };
        for detail in details {
            let status = LoginStatus { class, detail };
            let script = async |peer: &mut Peer| {
                let exchange = peer.hear_login().await.unwrap();
                // The rest of a refusal means nothing: it may be anything.
                let mut refusal = exchange.refused(status);
                refusal.version_active = detail;
                refusal.itt = InitiatorTaskTag(u32::from(detail));
                refusal.tsih = Tsih(u16::from(class));
                refusal.nsg = Stage::FullFeature;
                peer.say(refusal, []).await.unwrap();
            };
            let login = initiator.connect_spawned(&to);
            let error = login_fails(world, login, script).await;
            let moved = matches!((class, detail), (1, 1 | 2));
            let expected = match moved {
                // Without an address.
                true => DecodeError::Address.into(),
                false => Error::LoginRejected(status),
            };
            assert_eq!(protocol(&error), expected, "{class}/{detail}");
            let transient = matches!((class, detail), (1 | 3, _) | (2, 3 | 6 | 10));
            assert_eq!(error.is_transient(), transient, "{class}/{detail}");
        }
    }
}
