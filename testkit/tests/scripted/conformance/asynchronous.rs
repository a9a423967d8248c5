//! Asynchronous messages (RFC 7143 section 11.9).

use std::time::Duration;

use iscsi_client::{
    error::{ErrorKind, Outcome},
    session::SessionEventKind,
};
use iscsi_proto::pdu::{AsyncEvent, LogoutReason, LogoutRequest, LogoutResponseCode};
use iscsi_testkit::scripted::Say;

use super::talk::{
    expect_error, expect_good, fence, hear_command, logged_in, patience, pattern, quiet, say_good,
    start,
};
use crate::support::{World, read, rows, test_unit_ready};

rows! {
    c50_a_logout_that_is_asked_for_comes_in_time;
    c50_commands_under_way_get_their_time;
    c50_an_idle_session_logs_out_at_once;
}

/// Section 11.9.1, event 1: a Logout Request on that connection, within Parameter3 seconds, although a command is
/// not answered. What was not sent ends unsent, what was ends with the connection, and the session comes back.
async fn c50_a_logout_that_is_asked_for_comes_in_time(world: &World) {
    for (number, seconds) in [0, 1, 3, 600, u16::MAX].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.command_timeout = None;
        options.core.logout_grace = patience(&world, Duration::from_secs(5));
        let script = async {
            let mut peer = world.accept().await;
            // One command may be sent, and no more.
            peer.window = 1;
            peer.log_in(&[]).await.unwrap();
            peer
        };
        let initiator = world.initiator();
        let to = world.to_with(options);
        let login = initiator.connect_spawned(&to);
        let (mut peer, session) = futures_util::future::join(script, login).await;
        let session = session.unwrap();
        let sent = start(&session, read(0, 1));
        hear_command(&mut peer).await;
        let unsent = start(&session, test_unit_ready());
        peer.window = 0;
        fence(&session, &mut peer).await;

        let asked = world.runtime.now();
        let asks = Say::asynchronous(AsyncEvent::LogoutRequested, [0, 0, seconds]);
        peer.say(asks, []).await.unwrap();
        let error = expect_error(unsent).await;
        assert_eq!(error.kind(), ErrorKind::Transport);
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
        if world.is_simulated() {
            // And a network's time.
            let within = Duration::from_secs(seconds.into()) + Duration::from_millis(100);
            assert!(world.runtime.now() - asked <= within, "{seconds}");
        }
        assert!(logout.immediate);
        assert_eq!(logout.reason, LogoutReason::CloseSession);
        assert_eq!(logout.cmd_sn, peer.exp_cmd_sn());
        let error = expect_error(start(&session, test_unit_ready())).await;
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        let granted = Say::logout(logout.itt, LogoutResponseCode::Closed);
        peer.say(granted, []).await.unwrap();
        let error = expect_error(sent).await;
        assert_eq!(error.kind(), ErrorKind::Transport);
        assert_eq!(
            (error.outcome(), error.is_dead()),
            (Outcome::Unknown, false)
        );

        let within = session
            .events(0)
            .into_iter()
            .find_map(|event| match event.kind {
                SessionEventKind::LogoutRequested { within } => Some(within),
                _ => None,
            });
        assert_eq!(within, Some(Duration::from_secs(seconds.into())));
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        session.wait_up().await.unwrap();
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 0).await;
    }
}

/// Section 11.9.1, event 1: "as early as possible", which is when the commands under way have been answered.
async fn c50_commands_under_way_get_their_time(world: &World) {
    let mut options = quiet();
    options.core.logout_grace = Duration::from_secs(600);
    let (mut peer, session) = logged_in(world, options, &[]).await;
    let execute = start(&session, read(0, 1));
    let command = hear_command(&mut peer).await;
    let asks = Say::asynchronous(AsyncEvent::LogoutRequested, [0, 0, 1200]);
    peer.say(asks, []).await.unwrap();
    // Pings are still answered, and nothing else is said.
    fence(&session, &mut peer).await;
    let data = Say::last_data_in(&command, 0, 0);
    peer.say(data, pattern(512)).await.unwrap();
    let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
    assert_eq!(logout.exp_stat_sn, peer.stat_sn());
    expect_good(execute, 512).await;
}

/// Section 11.9.1, event 1: where nothing is under way nothing is waited for, however long the target would wait.
async fn c50_an_idle_session_logs_out_at_once(world: &World) {
    for (number, seconds) in [0, 1, 3600].into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let asked = world.runtime.now();
        let asks = Say::asynchronous(AsyncEvent::LogoutRequested, [0, 0, seconds]);
        peer.say(asks, []).await.unwrap();
        let (logout, _) = peer.hear_pdu::<LogoutRequest>().await.unwrap();
        if world.is_simulated() {
            assert!(world.runtime.now() - asked < Duration::from_millis(100));
        }
        let granted = Say::logout(logout.itt, LogoutResponseCode::Closed);
        peer.say(granted, []).await.unwrap();
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        session.wait_up().await.unwrap();
        fence(&session, &mut peer).await;
    }
}
