//! Logout (RFC 7143 sections 11.14 and 11.15).

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::SessionState,
};
use iscsi_proto::{
    pdu::{AsyncEvent, LogoutReason, LogoutRequest, LogoutResponseCode},
    scsi::ScsiStatus,
};
use iscsi_testkit::scripted::{End, Peer, Say};

use super::talk::{
    expect_error, expect_good, hear_command, logged_in, patience, pattern, quiet, serves_again,
    start,
};
use crate::support::{World, read, rows, test_unit_ready};

rows! {
    c65_a_close_waits_for_commands_and_is_the_last_request;
    c65_the_answer_is_waited_for;
    c65_late_data_in_before_the_answer_still_counts;
    c66_every_answer_closes_the_session;
    c66_time2wait_of_the_answer_is_kept;
}

const ANSWERS: [LogoutResponseCode; 5] = [
    LogoutResponseCode::Closed,
    LogoutResponseCode::CidNotFound,
    LogoutResponseCode::RecoveryNotSupported,
    LogoutResponseCode::CleanupFailed,
    LogoutResponseCode::Unknown(0x7f),
];

async fn hear_logout(peer: &mut Peer) -> LogoutRequest {
    let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
    assert!(logout.immediate, "{logout}");
    assert_eq!(logout.reason, LogoutReason::CloseSession);
    assert_eq!(logout.cmd_sn, peer.exp_cmd_sn());
    logout
}

fn is_over(end: &End) -> bool {
    matches!(end, End::Closed | End::Failed(_))
}

/// Section 11.14: the request comes after the commands under way, and nothing comes after it. The transport is
/// closed once it is answered.
async fn c65_a_close_waits_for_commands_and_is_the_last_request(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let executes: Vec<_> = (0..3).map(|_| start(&session, read(0, 1))).collect();
    let script = async {
        let mut commands = Vec::new();
        for _ in 0..3 {
            commands.push(hear_command(&mut peer).await);
        }
        for command in commands {
            peer.sleep(Duration::from_millis(20)).await;
            let data = Say::last_data_in(&command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
        }
        let logout = hear_logout(&mut peer).await;
        // A question that would be answered on any other day.
        peer.say(Say::ping(7), []).await.unwrap();
        peer.sleep(Duration::from_millis(20)).await;
        let granted = Say::logout(logout.itt, LogoutResponseCode::Closed);
        peer.say(granted, []).await.unwrap();
        let end = peer.hear().await.unwrap_err();
        assert!(is_over(&end), "{end}");
    };
    join(script, session.close()).await;
    for execute in executes {
        expect_good(execute, 512).await;
    }
    assert!(matches!(session.state(), SessionState::Closed));
    let error = expect_error(start(&session, test_unit_ready())).await;
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.outcome(), Outcome::NotExecuted);
}

/// Section 11.14: the transport is not closed before the answer, unless that does not come at all.
async fn c65_the_answer_is_waited_for(world: &World) {
    let mut options = quiet();
    options.core.logout_timeout = patience(world, Duration::from_secs(5));
    let patience = options.core.logout_timeout;
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let script = async {
        hear_logout(&mut peer).await;
        let heard = world.runtime.now();
        let end = peer.hear().await.unwrap_err();
        assert!(is_over(&end), "{end}");
        if world.is_simulated() {
            let waited = world.runtime.now() - heard;
            assert!(
                waited + Duration::from_millis(100) >= patience,
                "{waited:?}"
            );
        }
    };
    join(script, session.close()).await;
    assert!(matches!(session.state(), SessionState::Closed));
}

/// The target asks for a logout, and gets it while `session` has commands under way.
async fn ask_for_logout(peer: &mut Peer) -> LogoutRequest {
    let asks = Say::asynchronous(AsyncEvent::LogoutRequested, [0, 0, 1]);
    peer.say(asks, []).await.unwrap();
    hear_logout(peer).await
}

/// Section 11.14: until it has answered the target may go on with what is under way, and that ends as it says.
/// What it has not ended by then ends with the answer, once.
async fn c65_late_data_in_before_the_answer_still_counts(world: &World) {
    let mut options = quiet();
    options.core.logout_grace = Duration::from_millis(20);
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let late = start(&session, read(0, 2));
    let late_command = hear_command(&mut peer).await;
    let busy = start(&session, test_unit_ready());
    let busy_command = hear_command(&mut peer).await;
    let never = start(&session, read(0, 1));
    hear_command(&mut peer).await;
    let data = Say::data_in(&late_command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    let logout = ask_for_logout(&mut peer).await;
    let data = Say::last_data_in(&late_command, 1, 512);
    peer.say(data, pattern(512)).await.unwrap();
    let answer = Say::response(busy_command.itt, ScsiStatus::Busy, 0);
    peer.say(answer, []).await.unwrap();
    let granted = Say::logout(logout.itt, LogoutResponseCode::Closed);
    peer.say(granted, []).await.unwrap();
    expect_good(late, 1024).await;
    assert_eq!(busy.await.result.unwrap().status, ScsiStatus::Busy);
    let error = expect_error(never).await;
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(
        (error.outcome(), error.is_dead()),
        (Outcome::Unknown, false)
    );
    let end = peer.hear().await.unwrap_err();
    assert!(is_over(&end), "{end}");
}

/// Section 11.15.1: the connection is over whatever the answer says; so is a session that its user has closed.
async fn c66_every_answer_closes_the_session(world: &World) {
    for (number, code) in ANSWERS.into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let script = async {
            let logout = hear_logout(&mut peer).await;
            let mut answer = Say::logout(logout.itt, code);
            (answer.time2wait, answer.time2retain) = (u16::MAX, u16::MAX);
            peer.say(answer, []).await.unwrap();
            let end = peer.hear().await.unwrap_err();
            assert!(is_over(&end), "{code:?}: {end}");
        };
        join(script, session.close()).await;
        assert!(matches!(session.state(), SessionState::Closed), "{code:?}");
    }
}

/// Section 11.15.3: the next login comes no sooner than Time2Wait after the answer; and it comes.
async fn c66_time2wait_of_the_answer_is_kept(world: &World) {
    for (number, code) in ANSWERS.into_iter().enumerate() {
        let world = world.case(number).await;
        // Over TCP one real wait will do.
        let time2wait: u16 = match (world.is_simulated(), number) {
            (true, _) => [0, 1, 2, 60, 300][number],
            (false, 0) => 1,
            (false, _) => 0,
        };
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let logout = ask_for_logout(&mut peer).await;
        let answered = world.runtime.now();
        let mut answer = Say::logout(logout.itt, code);
        answer.time2wait = time2wait;
        peer.say(answer, []).await.unwrap();
        let end = peer.hear().await.unwrap_err();
        assert!(is_over(&end), "{code:?}: {end}");
        serves_again(&world, &session).await;
        let waited = world.runtime.now() - answered;
        assert!(
            waited >= Duration::from_secs(time2wait.into()),
            "{waited:?}"
        );
    }
}
