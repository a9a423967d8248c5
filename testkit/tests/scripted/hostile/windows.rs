//! Command windows that are wrong, shut, or too wide (RFC 7143 section 4.2.2.1).

use std::time::Duration;

use futures_util::{FutureExt as _, future::join};
use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_testkit::scripted::{Frame, Say};

use crate::{
    conformance::talk::{
        expect_error, expect_good, fence, hear_command, logged_in_with_window, patience, quiet,
        say_good, start,
    },
    support::{World, rows, test_unit_ready},
};

rows! {
    h65_a_window_that_ends_before_it_begins;
    h66_a_window_that_stays_shut;
    h67_a_window_wider_than_our_queue;
}

/// Section 4.2.2.1: if MaxCmdSN is less than ExpCmdSN - 1, both are ignored, even an ExpCmdSN that would be an error
/// by itself.
async fn h65_a_window_that_ends_before_it_begins(world: &World) {
    let (mut peer, session) = logged_in_with_window(world, 1, quiet()).await;
    let first = start(&session, test_unit_ready());
    let command = hear_command(&mut peer).await;
    peer.window = 0;
    say_good(&mut peer, command.itt).await;
    expect_good(first, 0).await;
    let second = start(&session, test_unit_ready());
    let next = peer.exp_cmd_sn();
    // ExpCmdSN and MaxCmdSN, both from the next CmdSN on.
    for (exp, max) in [
        (2, 0),
        (5, 3),
        (100, 50),
        (0, u32::MAX - 1),
        (0x7fff_fff0, 0x3000_0000),
        (0x3000_0000, 0),
    ] {
        let mut news = Frame::new(Say::nop_in(), []);
        peer.number(&mut news);
        news.set_field(28, next.plus(exp).0);
        news.set_field(32, next.plus(max).0);
        let bytes = news.to_bytes(peer.digests());
        peer.bytes(&bytes).await.unwrap();
        fence(&session, &mut peer).await;
    }
    peer.window = 1;
    peer.say(Say::nop_in(), []).await.unwrap();
    let command = hear_command(&mut peer).await;
    say_good(&mut peer, command.itt).await;
    expect_good(second, 0).await;
    assert_eq!(session.logins(), 1);
}

/// Section 4.2.2.1: nothing is sent past MaxCmdSN, however long the target leaves it there. Commands wait and end by
/// their deadline, not executed, since they were not sent; meanwhile the session does nothing but wait, and it is
/// none the worse for it.
async fn h66_a_window_that_stays_shut(world: &World) {
    for (number, window) in [32, 1, 0].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.command_timeout = Some(patience(&world, Duration::from_secs(30)));
        const NEVER: Duration = Duration::from_secs(3600);
        let (mut peer, session) = logged_in_with_window(&world, window, options).await;
        let filling: Vec<_> = (0..window)
            .map(|_| start(&session, test_unit_ready().with_timeout(Some(NEVER))))
            .collect();
        let mut heard = Vec::new();
        for _ in 0..window {
            heard.push(hear_command(&mut peer).await.itt);
        }
        // A window that shuts is one that does not move while commands arrive.
        peer.window = 0;
        let waiting: Vec<_> = (0..64)
            .map(|_| start(&session, test_unit_ready()))
            .collect();
        let before = session.stats();
        for execute in waiting {
            let error = expect_error(execute).await;
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_eq!(
                (error.outcome(), error.is_dead()),
                (Outcome::NotExecuted, true)
            );
        }
        let after = session.stats();
        assert_eq!(after.pdus_sent, before.pdus_sent);
        let polls = after.driver_polls - before.driver_polls;
        // Over TCP deadlines may pass one by one.
        let most = if world.is_simulated() { 8 } else { 2 * 64 };
        assert!(
            polls <= most,
            "{polls} polls in which nothing could be done"
        );
        fence(&session, &mut peer).await;
        for itt in heard {
            say_good(&mut peer, itt).await;
        }
        for execute in filling {
            expect_good(execute, 0).await;
        }
        peer.window = 1;
        peer.say(Say::nop_in(), []).await.unwrap();
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 0).await;
        assert_eq!(session.logins(), 1);
    }
}

/// Section 4.2.2.1: MaxCmdSN is at most 2^31 - 1 ahead. However many commands a target would take, our own queue has
/// its depth, and no more than that is sent, or even taken from a caller.
async fn h67_a_window_wider_than_our_queue(world: &World) {
    let windows = [1 << 16, 1 << 24, 0x7fff_fffe, 0x7fff_ffff];
    for (number, window) in windows.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.queue_depth = 8;
        let (mut peer, session) = logged_in_with_window(&world, window, options).await;
        let all: Vec<_> = (0..8).map(|_| start(&session, test_unit_ready())).collect();
        assert!(session.try_execute(test_unit_ready()).is_err());
        let mut ninth = session.execute(test_unit_ready());
        assert!((&mut ninth).now_or_never().is_none());
        let mut heard = Vec::new();
        for _ in 0..8 {
            heard.push(hear_command(&mut peer).await.itt);
        }
        fence(&session, &mut peer).await;
        let script = async {
            for itt in heard {
                say_good(&mut peer, itt).await;
            }
            let command = hear_command(&mut peer).await;
            say_good(&mut peer, command.itt).await;
        };
        // A slot is free again once its result was taken.
        let client = async {
            for execute in all {
                expect_good(execute, 0).await;
            }
            ninth.await.result.unwrap();
        };
        join(script, client).await;
        assert_eq!(session.logins(), 1);
    }
}
