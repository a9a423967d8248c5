//! The login phase (RFC 7143 sections 6.3, 11.12 and 11.13).

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{isid::SessionSlot, session::SessionOptions};
use iscsi_proto::{
    DecodeError, Error, LoginStatus, PeerMisbehaved, Tsih,
    pdu::{LoginRequest, Stage},
    serial::StatSn,
};
use iscsi_testkit::scripted::{End, Frame, LoginExchange, Peer};

use super::steps::{
    GROUP, NONE, agree, fails, hear_offers, held, is_ended, logged_in, say_good, text,
    works_after_each_login,
};
use crate::support::{INITIATOR, TARGET, World, rows, test_unit_ready};

rows! {
    c01_a_leading_login;
    c02_a_login_that_replaces_a_session;
    c03_a_session_without_a_handle_is_refused;
    c04_the_target_may_take_its_time_to_go_on;
    c06_login_requests_acknowledge_the_responses;
    c14_what_does_not_belong_into_a_login_ends_it;
    c17_names_are_in_the_first_request_of_each_connection;
    c29_the_numbers_of_a_refusal_count_for_nothing;
    c74_a_login_ends_in_its_time_and_with_its_connection;
}

/// The fields that are the same in all requests of a login.
fn constants(request: &LoginRequest) -> LoginRequest {
    LoginRequest {
        transit: false,
        cont: false,
        csg: Stage::SecurityNegotiation,
        nsg: Stage::SecurityNegotiation,
        data_segment_length: 0,
        exp_stat_sn: StatSn(0),
        ..*request
    }
}

/// Sections 6.3.1 and 11.12: a new session is asked for with TSIH 0 and an ISID of its own; one task tag, one
/// CmdSN, the connection's CID and version 0 stay the same to the end; the first command has that CmdSN too.
async fn c01_a_leading_login(world: &World) {
    let script = async {
        let mut first: Vec<LoginRequest> = Vec::new();
        for _ in 0..2 {
            let mut peer = world.accept().await;
            let exchanges = peer.log_in(&[]).await.unwrap();
            let request = exchanges[0].request;
            assert_eq!((request.version_min, request.version_max), (0, 0));
            assert_eq!(request.tsih, Tsih(0));
            for exchange in &exchanges {
                assert_eq!(constants(&exchange.request), constants(&request));
            }
            let last = exchanges.last().unwrap().request;
            assert_eq!((last.transit, last.nsg), (true, Stage::FullFeature));
            let command = say_good(&mut peer).await;
            assert_eq!(command.cmd_sn, request.cmd_sn);
            first.push(request);
        }
        assert_ne!(first[0].isid, first[1].isid, "two sessions");
    };
    let initiator = world.initiator();
    let client = async {
        for number in 0..2 {
            let slot = SessionSlot {
                number,
                ..SessionSlot::default()
            };
            let to = world.to().with_slot(slot);
            let session = initiator.connect_spawned(&to).await.unwrap();
            session.execute(test_unit_ready()).await.result.unwrap();
        }
    };
    join(script, client).await;
}

/// Section 6.3.5: a session is reinstated by its ISID and TSIH 0. The handle of the session that is lost is the
/// target's to forget: sent again, it would add or reinstate a connection (section 6.3.1).
async fn c02_a_login_that_replaces_a_session(world: &World) {
    let script = async {
        let mut isids = Vec::new();
        for tsih in [1, 0x1234, 0xffff] {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            assert_eq!(offers.request.tsih, Tsih(0));
            let mut response = offers.agreed();
            response.tsih = Tsih(tsih);
            let answers = offers.answers(&[]);
            peer.say_login(response, &answers).await.unwrap();
            say_good(&mut peer).await;
            isids.push((offers.request.isid, offers.request.cid));
            drop(peer);
        }
        assert!(isids.iter().all(|one| *one == isids[0]), "{isids:?}");
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        for (logins, tsih) in [(1, 1), (2, 0x1234), (3, 0xffff)] {
            logged_in(&session, logins).await;
            assert_eq!(session.login().tsih, Tsih(tsih));
            session.execute(test_unit_ready()).await.result.unwrap();
        }
    };
    join(script, client).await;
}

/// Section 11.13.3: the final response gives a new session its handle, which is not 0.
async fn c03_a_session_without_a_handle_is_refused(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let offers = hear_offers(&mut peer).await;
        let mut response = offers.agreed();
        response.tsih = Tsih(0);
        let answers = offers.answers(&[]);
        peer.say_login(response, &answers).await.unwrap();
        is_ended(&mut peer).await;
    };
    let error = fails(&world.initiator(), &world.to(), script).await;
    assert_eq!(error, PeerMisbehaved::LoginMismatch.into());
}

/// Section 6.3: the target goes on to the next stage when it is ready, and until then the initiator asks, with
/// nothing said twice.
async fn c04_the_target_may_take_its_time_to_go_on(world: &World) {
    fn asks_only(exchange: &LoginExchange, csg: Stage, nsg: Stage) {
        let request = &exchange.request;
        assert_eq!(
            (request.csg, request.transit, request.nsg),
            (csg, true, nsg)
        );
        assert_eq!(exchange.keys, []);
    }
    let script = async {
        let mut peer = world.accept().await;
        let mut exchange = peer.hear_login().await.unwrap();
        peer.say_login(held(&exchange), &exchange.answers(&[GROUP]))
            .await
            .unwrap();
        for _ in 0..3 {
            exchange = peer.hear_login().await.unwrap();
            let (here, next) = (Stage::SecurityNegotiation, Stage::OperationalNegotiation);
            asks_only(&exchange, here, next);
            if exchange.request.exp_stat_sn != StatSn(4) {
                peer.say_login(held(&exchange), &NONE).await.unwrap();
            }
        }
        peer.say_login(exchange.agreed(), &NONE).await.unwrap();
        let offers = peer.hear_login().await.unwrap();
        let answers = offers.answers(&[]);
        let (some, others) = answers.split_at(answers.len() / 2);
        peer.say_login(held(&offers), some).await.unwrap();
        for answers in [&[], &[], others] {
            exchange = peer.hear_login().await.unwrap();
            asks_only(&exchange, Stage::OperationalNegotiation, Stage::FullFeature);
            peer.say_login(held(&exchange), answers).await.unwrap();
        }
        exchange = peer.hear_login().await.unwrap();
        peer.say_login(exchange.agreed(), &NONE).await.unwrap();
        say_good(&mut peer).await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
    };
    join(script, client).await;
}

/// Sections 11.12.9 and 4.2.2.2: each request acknowledges the response before it; a response out of sequence ends
/// the login.
async fn c06_login_requests_acknowledge_the_responses(world: &World) {
    for (number, first) in [0, 1, 0x7fff_ffff, u32::MAX].into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            peer.set_stat_sn(StatSn(first));
            let mut exchange = hear_offers(&mut peer).await;
            for rounds in 1..4 {
                let expected = StatSn(first).plus(rounds);
                assert_eq!(exchange.request.exp_stat_sn, expected);
                peer.say_login(held(&exchange), &NONE).await.unwrap();
                exchange = peer.hear_login().await.unwrap();
            }
            let mut response = Frame::new(held(&exchange), []);
            peer.number(&mut response);
            response.set_field(24, StatSn(first).plus(5).0);
            peer.say_as_it_is(&response).await.unwrap();
            is_ended(&mut peer).await;
        };
        let error = fails(&world.initiator(), &world.to(), script).await;
        let out_of_sequence = PeerMisbehaved::StatSn {
            expected: StatSn(first).plus(4).0,
            found: StatSn(first).plus(5).0,
        };
        assert_eq!(error, out_of_sequence.into());
    }
}

/// Sections 7.13 and 11.13: only Login Responses belong into a login; whatever else comes, even what would be right
/// a moment later, ends it and its connection.
async fn c14_what_does_not_belong_into_a_login_ends_it(world: &World) {
    let misplaced = Error::from(PeerMisbehaved::Phase);
    let unknown = |opcode| Error::from(DecodeError::Opcode(opcode));
    let rejected = Error::from(PeerMisbehaved::Rejected(4));
    let cases = [
        (0x20, misplaced),
        (0x21, misplaced),
        (0x24, misplaced),
        (0x25, misplaced),
        (0x26, misplaced),
        (0x31, misplaced),
        (0x32, misplaced),
        (0x3f, rejected),
        (0x03, unknown(0x03)),
        (0x1c, unknown(0x1c)),
        (0x3c, unknown(0x3c)),
    ];
    for (number, (opcode, expected)) in cases.into_iter().enumerate() {
        for late in [false, true] {
            let world = world.case(2 * number + usize::from(late)).await;
            let script = async {
                let mut peer = world.accept().await;
                let exchange = match late {
                    false => peer.hear_login().await.unwrap(),
                    true => hear_offers(&mut peer).await,
                };
                let mut frame = Frame::new(exchange.agreed(), []);
                peer.number(&mut frame);
                frame.bhs.as_bytes_mut()[0] = opcode;
                frame.bhs.as_bytes_mut()[2] = 4;
                peer.say_as_it_is(&frame).await.unwrap();
                is_ended(&mut peer).await;
            };
            let error = fails(&world.initiator(), &world.to(), script).await;
            assert_eq!(error, expected, "{opcode:#x}");
        }
    }
}

/// Sections 6.3, 13.4 and 13.5: the first request of every connection says who asks and for whom, and no other does.
async fn c17_names_are_in_the_first_request_of_each_connection(world: &World) {
    let script = async {
        for _ in 0..2 {
            let mut peer = world.accept().await;
            let exchanges = peer.log_in(&[]).await.unwrap();
            let (first, others) = exchanges.split_first().unwrap();
            for (key, value) in [
                ("InitiatorName", INITIATOR),
                ("TargetName", TARGET),
                ("SessionType", "Normal"),
            ] {
                assert_eq!(first.value(key), Some(value));
                assert!(others.iter().all(|other| other.value(key).is_none()));
            }
            assert_eq!(first.keys[0].0, "InitiatorName");
            say_good(&mut peer).await;
            drop(peer);
        }
    };
    join(script, works_after_each_login(world, 2)).await;
}

/// Sections 11.13.4 and 11.13.5: the numbers of a response are only valid if its Status-Class is 0.
async fn c29_the_numbers_of_a_refusal_count_for_nothing(world: &World) {
    let junk = [0, 0x7fff_ffff, 0xdead_beef];
    let statuses = [(3, 1), (2, 1), (2, 0xb)];
    for (number, (junk, (class, detail))) in junk.into_iter().zip(statuses).enumerate() {
        for late in [false, true] {
            let world = world.case(2 * number + usize::from(late)).await;
            let status = LoginStatus { class, detail };
            let script = async {
                let mut peer = world.accept().await;
                let exchange = match late {
                    false => peer.hear_login().await.unwrap(),
                    true => hear_offers(&mut peer).await,
                };
                let mut frame = Frame::new(exchange.refused(status), []);
                for at in [24, 28, 32] {
                    frame.set_field(at, junk);
                }
                peer.say_as_it_is(&frame).await.unwrap();
                is_ended(&mut peer).await;
            };
            let error = fails(&world.initiator(), &world.to(), script).await;
            assert_eq!(error, Error::LoginRejected(status));
        }
    }
}

/// Where a target falls silent.
#[derive(Clone, Copy, Debug)]
enum Silence {
    AtOnce,
    InsideAHeader,
    InsideAText,
    AfterTheSecurityStage,
}

/// Says as much of a login as comes before the silence.
async fn say_until(peer: &mut Peer, silence: Silence) {
    let exchange = peer.hear_login().await.unwrap();
    let mut frame = Frame::new(exchange.agreed(), text(&[GROUP]));
    peer.number(&mut frame);
    let bytes = frame.to_bytes(peer.digests());
    let said = match silence {
        Silence::AtOnce => 0,
        Silence::InsideAHeader => 47,
        Silence::InsideAText => bytes.len() - 1,
        Silence::AfterTheSecurityStage => bytes.len(),
    };
    peer.bytes(&bytes[..said]).await.unwrap();
    if said == bytes.len() {
        // It is not a login that the peer has said itself, so it does not know of it.
        peer.hear_login().await.unwrap();
    }
}

/// Section 6.3: a login that does not end is ended, and its connection closed.
async fn c74_a_login_ends_in_its_time_and_with_its_connection(world: &World) {
    // Over TCP the wait is real.
    let patience = match world.is_simulated() {
        true => Duration::from_secs(60),
        false => Duration::from_millis(200),
    };
    let silences = [
        Silence::AtOnce,
        Silence::InsideAHeader,
        Silence::InsideAText,
        Silence::AfterTheSecurityStage,
    ];
    for (number, silence) in silences.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = SessionOptions::default();
        options.login.timeout = patience;
        let script = async {
            let mut peer = world.accept().await;
            say_until(&mut peer, silence).await;
            let end = peer.hear_the_end().await;
            assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
        };
        let begun = world.runtime.now();
        let error = fails(&world.initiator(), &world.to_with(options), script).await;
        assert_eq!(error, Error::TimedOut(iscsi_proto::error::TimedOut::Login));
        assert!(world.runtime.now() - begun >= patience, "{silence:?}");
    }
    // And one that is quick enough is none of that.
    let mut options = SessionOptions::default();
    options.login.timeout = 100 * patience;
    let script = async {
        let mut peer = world.accept().await;
        let offers = hear_offers(&mut peer).await;
        peer.sleep(patience / 2).await;
        agree(&mut peer, &offers).await;
        say_good(&mut peer).await;
    };
    let initiator = world.initiator();
    let to = world.to_with(options);
    let client = async {
        let session = initiator.connect_spawned(&to).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
    };
    join(script, client).await;
}
