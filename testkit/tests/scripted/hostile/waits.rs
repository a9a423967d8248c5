//! Waits that a target asks for and that are longer than any (RFC 7143 sections 11.9.1 and 11.15.3).

use std::time::{Duration, Instant};

use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::{DownReason, SessionState},
};
use iscsi_proto::{
    Error as CoreError,
    pdu::{AsyncEvent, LogoutRequest, LogoutResponseCode, Pdu},
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::{Scene, core_error};
use crate::{
    conformance::talk::{expect_error, quiet, serves_again, start},
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h97_a_message_that_wants_a_long_wait;
    h97_a_message_that_comes_with_the_login;
    h97_an_answer_to_a_logout_that_wants_a_long_wait;
}

/// What a target asks for, in seconds.
const WAITS: [u16; 6] = [u16::MAX, 0x8000, 3600, 301, 300, 299];

/// The longest that is granted.
const LONGEST: Duration = Duration::from_secs(300);

/// The session is down since `since`, and until when is no secret: so long as was asked for, but no longer than
/// [`LONGEST`]. Commands meanwhile fail at once, unsent, so that whoever has another path takes that. Then it is back.
async fn waits(world: &World, scene: Scene, since: Instant, asked: u16) {
    let Scene { session, .. } = &scene;
    let mut status = session.status();
    let at = loop {
        match &status.state {
            SessionState::Down {
                next_attempt: Some(at),
                ..
            } => break *at,
            // Not yet, or a login is under way.
            SessionState::Up | SessionState::Down { .. } => {}
            other => panic!("{other:?}"),
        }
        status = session.changed(status.generation).await;
    };
    let wait = Duration::from_secs(asked.into()).min(LONGEST);
    let now = world.runtime.now();
    assert!(
        at >= since + wait,
        "{asked}: {:?} too soon",
        since + wait - at
    );
    assert!(
        at <= now + wait,
        "{asked}: {:?} too late",
        at - (now + wait)
    );
    let execute = start(session, test_unit_ready());
    let error = expect_error(execute).await;
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(
        (error.outcome(), error.is_dead()),
        (Outcome::NotExecuted, true)
    );
    // Over TCP nobody waits for so long.
    if world.is_simulated() {
        serves_again(world, session).await;
        assert!(world.runtime.now() >= at);
    }
    scene.others_lost_nothing().await;
}

/// Section 11.9.1, events 2 and 3: Time2Wait is kept up to five minutes. Time2Retain, which is for tasks that can be
/// reassigned, changes nothing.
async fn h97_a_message_that_wants_a_long_wait(world: &World) {
    let events = [AsyncEvent::SessionDrop, AsyncEvent::ConnectionDrop];
    let cases = events
        .into_iter()
        .flat_map(|event| WAITS.map(|wait| (event, wait)));
    for (number, (event, wait)) in cases.enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        let since = world.runtime.now();
        let drops = Say::asynchronous(event, [0, wait, u16::MAX]);
        scene.peer.say(drops, []).await.unwrap();
        for execute in scene.executes.drain(..) {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), ErrorKind::Transport, "{event}, {wait}");
            assert_eq!(
                (error.outcome(), error.is_dead()),
                (Outcome::Unknown, false)
            );
            let expected = CoreError::DropRequested {
                wait: Duration::from_secs(wait.into()),
                retain: Duration::from_secs(u16::MAX.into()),
            };
            assert_eq!(core_error(&error), expected, "{event}");
        }
        scene.peer.hear_the_end().await;
        waits(&world, scene, since, wait).await;
    }
}

/// The same if the message comes in one piece with the last Login Response.
async fn h97_a_message_that_comes_with_the_login(world: &World) {
    for (number, wait) in WAITS.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::beside_another(&world, quiet(), &[], []).await;
        scene.peer.reset();
        scene.peer = world.accept().await;
        let group = [("TargetPortalGroupTag", "1")];
        let exchange = scene.peer.hear_login().await.unwrap();
        let answers = exchange.answers(&group);
        scene
            .peer
            .say_login(exchange.agreed(), &answers)
            .await
            .unwrap();
        let exchange = scene.peer.hear_login().await.unwrap();
        let mut text = String::new();
        for (key, value) in exchange.answers(&[]) {
            text += &format!("{key}={value}\0");
        }
        let drops = Say::asynchronous(AsyncEvent::SessionDrop, [0, wait, 0]);
        let mut bytes = Vec::new();
        for (pdu, data) in [
            (Pdu::from(exchange.agreed()), text.into_bytes()),
            (drops.into(), vec![]),
        ] {
            let mut frame = Frame::new(pdu, data);
            scene.peer.number(&mut frame);
            bytes.extend(frame.to_bytes(scene.peer.digests()));
            scene.peer.wrote(&frame);
        }
        let since = world.runtime.now();
        scene.peer.bytes(&bytes).await.unwrap();
        scene.peer.hear_the_end().await;
        waits(&world, scene, since, wait).await;
    }
}

/// Section 11.15.3: the same for the answer to a logout that the target wanted, whatever its code.
async fn h97_an_answer_to_a_logout_that_wants_a_long_wait(world: &World) {
    for (number, wait) in WAITS.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::beside_another(&world, quiet(), &[], []).await;
        let wants = Say::asynchronous(AsyncEvent::LogoutRequested, [0; 3]);
        scene.peer.say(wants, []).await.unwrap();
        let (logout, _) = scene.peer.hear_pdu::<LogoutRequest>().await.unwrap();
        let code = match number % 2 {
            0 => LogoutResponseCode::Closed,
            _ => LogoutResponseCode::CleanupFailed,
        };
        let mut answer = Say::logout(logout.itt, code);
        (answer.time2wait, answer.time2retain) = (wait, u16::MAX);
        let since = world.runtime.now();
        scene.peer.say(answer, []).await.unwrap();
        scene.peer.hear_the_end().await;
        let mut status = scene.session.status();
        while status.state.is_up() {
            status = scene.session.changed(status.generation).await;
        }
        let logged_out = DownReason::LogoutRequested;
        let SessionState::Down { reason, .. } = status.state else {
            panic!("{:?}", status.state);
        };
        assert_eq!(format!("{reason:?}"), format!("{logged_out:?}"));
        waits(&world, scene, since, wait).await;
    }
}
