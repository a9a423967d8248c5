//! Asynchronous messages that ask for too much, for nonsense, or without end (RFC 7143 section 11.9).

use std::time::{Duration, Instant};

use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::{Session, SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    Error as CoreError,
    error::TimedOut,
    pdu::{AsyncEvent, AsyncMessage, LogoutRequest, LogoutResponseCode, TextRequest},
    scsi::sense::SenseData,
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::{
    scene::{Scene, core_error},
    sense,
};
use crate::{
    conformance::talk::{
        expect_error, expect_good, fence, hear_command, logged_in, patience, quiet, say_good, start,
    },
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h101_a_logout_wanted_after_each_login;
    h102_events_that_nobody_knows;
    h102_sense_data_of_an_event_that_lies;
    h102_messages_without_end;
    h102_another_connection_is_dropped;
    h102_a_negotiation_asked_for_without_end;
    h102_a_negotiation_that_is_not_answered;
}

/// How often in a row a target takes a login and wants it to end.
const ROUNDS: u32 = 12;

/// The login after the `attempt`-th loss in a row comes no sooner than this.
fn least_pause(attempt: u32) -> Duration {
    let full = Duration::from_millis(100) * (1 << attempt.saturating_sub(1).min(7));
    match attempt {
        0 => Duration::ZERO,
        _ => full.min(Duration::from_secs(10)) / 2,
    }
}

/// Section 11.9.1, events 1 to 3: a target that ends each session at once is not asked at the rate at which it
/// answers, but with pauses that double up to ten seconds.
async fn h101_a_logout_wanted_after_each_login(world: &World) {
    let events = [
        AsyncEvent::LogoutRequested,
        AsyncEvent::ConnectionDrop,
        AsyncEvent::SessionDrop,
    ];
    for (number, event) in events.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::beside_another(&world, quiet(), &[], []).await;
        let rounds = if world.is_simulated() { ROUNDS } else { 4 };
        for attempt in 0..rounds {
            let ended = end_session(&world, &mut scene.peer, event).await;
            scene.peer = world.accept().await;
            let pause = world.runtime.now() - ended;
            let least = least_pause(attempt);
            assert!(pause >= least, "{event}: {pause:?} after {attempt} others");
            scene.peer.log_in(&[]).await.unwrap();
        }
        scene.session.wait_up().await.unwrap();
        let execute = start(&scene.session, test_unit_ready());
        let command = hear_command(&mut scene.peer).await;
        say_good(&mut scene.peer, command.itt).await;
        expect_good(execute, 0).await;
        // What comes along with the last Login Response may end a login that has not been told yet.
        let stats = scene.session.stats();
        let logins = u64::from(rounds) + 1;
        assert_eq!(stats.logins + stats.login_failures, logins, "{event}");
        scene.others_lost_nothing().await;
    }
}

/// Ends a session by this message; returns when it was said, or the logout granted.
async fn end_session(world: &World, peer: &mut Peer, event: AsyncEvent) -> Instant {
    peer.say(Say::asynchronous(event, [0; 3]), [])
        .await
        .unwrap();
    if event == AsyncEvent::LogoutRequested {
        let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
        let granted = Say::logout(logout.itt, LogoutResponseCode::Closed);
        peer.say(granted, []).await.unwrap();
    }
    world.runtime.now()
}

/// The messages that the session has passed on and still has.
fn told(session: &Session) -> Vec<(AsyncMessage, Option<SenseData>)> {
    let message = |kind| match kind {
        SessionEventKind::Async { message, sense } => Some((message, sense)),
        _ => None,
    };
    let events = session.events(0).into_iter();
    events.filter_map(|event| message(event.kind)).collect()
}

/// Says a message while a command is under way, which goes on. Returns what was told of it.
async fn is_told(
    peer: &mut Peer,
    session: &Session,
    message: AsyncMessage,
    data: &[u8],
) -> (AsyncMessage, Option<SenseData>) {
    let execute = start(session, test_unit_ready());
    let command = hear_command(peer).await;
    peer.say(message, data).await.unwrap();
    fence(session, peer).await;
    let ping = fence(session, peer).await;
    assert_eq!(ping.exp_stat_sn.next(), peer.stat_sn(), "it has a StatSN");
    say_good(peer, command.itt).await;
    expect_good(execute, 0).await;
    assert_eq!(session.logins(), 1);
    told(session).pop().unwrap()
}

/// Section 11.9.1: codes that are reserved, or a vendor's, are passed on and change nothing, whatever parameters and
/// data they have.
async fn h102_events_that_nobody_knows(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for code in 6..=u8::MAX {
        let mut message = Say::asynchronous(AsyncEvent::from_byte(code), [u16::MAX; 3]);
        message.vcode = code ^ 0xff;
        let data = vec![0xee; usize::from(code) * 17];
        let (found, sense) = is_told(&mut peer, &session, message, &data).await;
        assert_eq!((found.event.to_byte(), found.vcode), (code, code ^ 0xff));
        assert_eq!(found.data_segment_length as usize, data.len());
        assert_eq!(sense, None);
    }
}

/// Section 11.9.4: the data of a SCSI event begins as that of a response does. Whatever it is, the event is passed on,
/// with as much sense data as can be read.
async fn h102_sense_data_of_an_event_that_lies(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let message = Say::asynchronous(AsyncEvent::ScsiEvent, [0; 3]);
    for bytes in sense::none() {
        let (found, sense) = is_told(&mut peer, &session, message, &bytes).await;
        assert_eq!(found.event, AsyncEvent::ScsiEvent);
        assert_eq!(sense, None, "{bytes:x?}");
    }
    for (bytes, key, code, truncated) in sense::lying() {
        let (_, sense) = is_told(&mut peer, &session, message, &bytes).await;
        let sense = sense.unwrap_or_else(|| panic!("{bytes:x?}"));
        assert_eq!((sense.key(), sense.code()), (key, code), "{bytes:x?}");
        assert_eq!(sense.is_truncated(), truncated, "{bytes:x?}");
        assert!(sense.as_bytes().len() <= 252);
    }
}

/// However many come: 64 are kept, commands go on, and nothing is said to them.
async fn h102_messages_without_end(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let execute = start(&session, read(0, 1));
    let command = hear_command(&mut peer).await;
    for event in [AsyncEvent::VendorSpecific, AsyncEvent::ScsiEvent] {
        for _ in 0..10 {
            let mut bytes = Vec::new();
            for number in 0..1000 {
                let message = Say::asynchronous(event, [number; 3]);
                let mut frame = Frame::new(message, sense::segment(18, &sense::fixed(10)));
                peer.number(&mut frame);
                bytes.extend(frame.to_bytes(peer.digests()));
                peer.wrote(&frame);
            }
            peer.bytes(&bytes).await.unwrap();
        }
        fence(&session, &mut peer).await;
        let told = told(&session);
        assert!(told.len() <= 64, "{}", told.len());
        let (last, _) = told.last().unwrap();
        assert_eq!((last.event, last.parameter1), (event, 999));
    }
    let data = Say::last_data_in(&command, 0, 0);
    peer.say(data, vec![7; 512]).await.unwrap();
    expect_good(execute, 512).await;
    assert_eq!(session.logins(), 1);
}

/// Section 11.9.1, event 2: Parameter1 names the connection, and those of others are no affair of ours.
async fn h102_another_connection_is_dropped(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let exchanges = peer.log_in(&[]).await.unwrap();
        (peer, exchanges[0].request.cid.0)
    };
    let initiator = world.initiator();
    let to = world.to_with(quiet());
    let ((mut peer, cid), session) =
        futures_util::future::join(script, initiator.connect_spawned(&to)).await;
    let session = session.unwrap();
    for other in [cid.wrapping_add(1), cid.wrapping_sub(1), cid ^ 0x8000] {
        let parameters = [other, u16::MAX, u16::MAX];
        let message = Say::asynchronous(AsyncEvent::ConnectionDrop, parameters);
        let (found, _) = is_told(&mut peer, &session, message, &[]).await;
        assert_eq!(found.parameter1, other);
    }
}

/// Section 11.9.1, event 4: there is one negotiation at a time, however often it is asked for, and one for as often as
/// it is asked for after that.
async fn h102_a_negotiation_asked_for_without_end(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for round in 0..10_u16 {
        let mut bytes = Vec::new();
        for number in 0..1000 {
            let wait = [0, 1, 3, u16::MAX][number % 4];
            let message = Say::asynchronous(AsyncEvent::NegotiationRequested, [0, 0, wait]);
            let mut frame = Frame::new(message, []);
            peer.number(&mut frame);
            bytes.extend(frame.to_bytes(peer.digests()));
            peer.wrote(&frame);
        }
        peer.bytes(&bytes).await.unwrap();
        let (text, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        fence(&session, &mut peer).await;
        let answer = format!("MaxRecvDataSegmentLength={}\0", 8192 - round);
        let answer = answer.into_bytes();
        peer.say(Say::text(text.itt), answer).await.unwrap();
        fence(&session, &mut peer).await;
    }
    assert_eq!(session.logins(), 1);
}

/// Who asks for a negotiation and does not answer it ends the connection thereby.
async fn h102_a_negotiation_that_is_not_answered(world: &World) {
    for (number, seconds) in [0, u16::MAX].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options: SessionOptions = quiet();
        options.command_timeout = None;
        options.core.text_timeout = patience(&world, Duration::from_secs(15));
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, options, &[], requests).await;
        let asks = Say::asynchronous(AsyncEvent::NegotiationRequested, [0, 0, seconds]);
        scene.peer.say(asks, []).await.unwrap();
        scene.peer.hear_pdu::<TextRequest>().await.unwrap();
        for execute in scene.executes.drain(..) {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), ErrorKind::Transport);
            assert_eq!(
                (error.outcome(), error.is_dead()),
                (Outcome::Unknown, false)
            );
            assert_eq!(core_error(&error), CoreError::TimedOut(TimedOut::Text));
        }
        scene.peer.hear_the_end().await;
        scene.others_lost_nothing().await;
    }
}
